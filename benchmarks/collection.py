"""URL to raw file against trafilatura's own command line from URL to text, and Chromium's pages a second.

    python -m benchmarks.collection --pages DIR --output benchmarks/results/collection.json

The pages of DIR (`html/*.html.gz`) are served over loopback by a process of its own, each under several addresses, by
several hosts, with no delay between two requests. The tools take turns; each run is a process of its own from its start
to its end, imports included, and its CPU is its own and that of its children. Ours is `run.py collect`, with robots.txt
and all the rest; the same step as a night of its own, in a Prefect flow with the server that it starts for itself, is
timed with the few pages alone. What each costs for a single page is told beside it. trafilatura's command line has its
own settings but for a pause of 0 and loopback opened; it names files by a similarity hash, so that copies of a page are
one file there, though it reads each.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import trafilatura

from benchmarks.result import circumstances, write_result
from run import STEPS
from tasks.contracts.paths import PROJECT

Json = dict[str, Any]
Tool = Callable[[list[str]], Json]
HOSTS = 20
COPIES = 15  # of each page, at different hosts
FEW = 300  # URLs of a small run
SCRIPT_PAGES = 100
OTHERS = [step for step in STEPS if step != "collection"]
PACKAGES = ("trafilatura", "httpx", "selenium", "lxml")
PROFILE = """
[search]
max_pages = 100000
allow_loopback = {opened}

[[search.sources]]
provider = "urls"
file = "urls.txt"

[render]
delay_seconds = 0

[extract]
consensus = {consensus}
"""
SCRIPT_PAGE = (
    "<html><head><title>{0}</title></head><body><div id=root></div><script>setTimeout(() => {{"
    "const lines = [...Array(30).keys()].map(n => `<p>Line ${{n}} of the text that a script brings.</p>`);"
    "document.getElementById('root').innerHTML = `<article><h1>Page {0}</h1>${{lines.join('')}}</article>`;"
    "}}, 20);</script></body></html>"
)


# -- the pages -------------------------------------------------------------------------------------------


async def serve(folder: Path, port: int) -> None:
    """`/<n>/<copy>` is the n-th page; `/served` tells how many were asked for since it was asked. No disk."""
    served = 0
    pages = [gzip.decompress(path.read_bytes()) for path in sorted((folder / "html").glob("*.html.gz"))]
    head = "HTTP/1.1 {} OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                parts = request.split(b" ", 2)[1].decode().strip("/").split("/")
                if parts[0] == "script":
                    body, status = SCRIPT_PAGE.format(parts[1]).encode(), 200
                elif parts[0].isdigit():
                    body, status, served = pages[int(parts[0])], 200, served + 1
                elif parts[0] == "served":
                    body, status, served = b"%d" % served, 200, 0
                else:
                    body, status = b"", 404
                writer.write(head.format(status, len(body)).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, [f"127.0.4.{number + 1}" for number in range(HOSTS)], port)
    async with server:
        print("ready", flush=True)
        await server.serve_forever()


@contextmanager
def served(pages: Path, port: int) -> Iterator[list[str]]:
    """The addresses, hosts taking turns."""
    command = [sys.executable, "-m", "benchmarks.collection", "--serve", str(pages), "--port", str(port)]
    server = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        number = len(list((pages / "html").glob("*.html.gz")))
        yield [
            f"http://127.0.4.{(page + copy) % HOSTS + 1}:{port}/{page}/{copy}"
            for copy in range(COPIES)
            for page in range(number)
        ]
    finally:
        server.kill()
        server.wait()


# -- the tools -------------------------------------------------------------------------------------------


def measure(command: list[str], folder: Path, texts: str, prefect_home: Path | None = None) -> Json:
    """One run: wall and CPU seconds of it and its children, and what came out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env["PREFECT_HOME"] = str(prefect_home or folder)  # where nothing says that a server is configured
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-2000:]
    files = [path for path in folder.glob(texts) if path.stat().st_size]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(path.stat().st_size for path in files)
    return {"wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2), "texts": len(files), "bytes": size}


def run_trafilatura(urls: list[str], *, options: Sequence[str] = ()) -> Json:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "urls.txt").write_text("\n".join(urls) + "\n")
        own = Path(trafilatura.__file__).with_name("settings.cfg").read_text()
        changed = own.replace("SLEEP_TIME = 5.0", "SLEEP_TIME = 0").replace("PROTECTION = on", "PROTECTION = off")
        Path(folder, "settings.cfg").write_text(changed)
        program = str(Path(sys.executable).with_name("trafilatura"))
        files = ["-i", f"{folder}/urls.txt", "-o", f"{folder}/out", "--config-file", f"{folder}/settings.cfg"]
        return measure([program, *files, *options], Path(folder), "out/**/*.txt")


def run_ours(urls: list[str], *, consensus: bool = True, prefect_home: Path | None = None) -> Json:
    """`run.py collect`; with a `prefect_home`, a night of nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "urls.txt").write_text("\n".join(urls) + "\n")
        opened = json.dumps(sorted({url.split("/")[2] for url in urls}))
        profile = Path(folder, "profile.toml")
        profile.write_text(PROFILE.format(opened=opened, consensus=str(consensus).lower()))
        step = ["--collect", *(f"--skip-{name}" for name in OTHERS)] if prefect_home else ["collect"]
        command = [sys.executable, "run.py", "--data-dir", f"{folder}/data", "--profile", str(profile), *step]
        return measure(command, Path(folder), "data/raw/**/*.txt", prefect_home)


def run_script_pages(urls: list[str]) -> Json:
    """Pages that only Chromium can read, of one host, through all of `collect`; its start is left out.

    Chromium's own CPU is not in the figures: its processes are nobody's children by the time they end.
    """
    origin = urls[0].rsplit("/", 2)[0]
    first = run_ours([f"{origin}/script/0"])
    all_of_them = run_ours([f"{origin}/script/{page}" for page in range(SCRIPT_PAGES)])
    seconds = all_of_them["wall_seconds"] - first["wall_seconds"]
    return {
        "pages": all_of_them["texts"],
        "wall_seconds": all_of_them["wall_seconds"],
        "wall_seconds_of_one_page": first["wall_seconds"],
        "pages_a_second": round((all_of_them["texts"] - 1) / seconds, 1),
    }


def pages_served(urls: list[str]) -> int:
    """Since it was asked last."""
    origin = urls[0].rsplit("/", 2)[0]
    with urlopen(f"{origin}/served") as answer:
        return int(answer.read())


def compare(urls: list[str], tools: dict[str, Tool], rounds: int, one_page: dict[str, Json]) -> Json:
    """Each tool over all the URLs, in turns; medians, and their ratios to trafilatura's."""
    pages_served(urls)
    runs: dict[str, list[Json]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, tool in tools.items():
            runs[name].append(tool(urls) | {"pages_served": pages_served(urls)})
    medians = {name: median(found) for name, found in runs.items()}
    for name, one in medians.items():
        for what in ("wall", "cpu"):
            one[f"{what}_seconds_of_one_page"] = one_page[name][f"{what}_seconds"]
            one[f"{what}_ratio"] = round(one[f"{what}_seconds"] / medians["trafilatura"][f"{what}_seconds"], 2)
    return {"urls": len(urls), "rounds": rounds, "tools": medians}


def median(runs: list[Json]) -> Json:
    values = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {name: round(value, 2) if name.endswith("seconds") else int(value) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.port))
        return
    about = circumstances(
        "python -m benchmarks.collection --pages DIR --output benchmarks/results/collection.json", PACKAGES
    )
    tools: dict[str, Tool] = {
        "trafilatura": run_trafilatura,
        "ours": run_ours,
        "ours, consensus off": partial(run_ours, consensus=False),
        "trafilatura, fast": partial(run_trafilatura, options=("--fast",)),
    }
    with tempfile.TemporaryDirectory() as home, served(options.pages, options.port) as urls:
        night = {"ours, a night in a Prefect flow": partial(run_ours, prefect_home=Path(home))}
        run_ours(urls[:1], prefect_home=Path(home))  # Prefect makes its database once on a machine
        one_page = {name: tool(urls[:1]) for name, tool in (tools | night).items()}
        few = compare(urls[:FEW], tools | night, options.rounds, one_page)
        many = compare(urls, tools, options.rounds, one_page)
        chromium = run_script_pages(urls)
    result = {**about, "hosts": HOSTS, "few_pages": few, "many_pages": many, "chromium": chromium}
    write_result(result, options.output)


if __name__ == "__main__":
    main()
