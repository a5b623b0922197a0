"""The texts of real pages, by digest: whether a change of the code changes what is kept of a page.

    python -m benchmarks.golden_pages --pages DIR            # compare with benchmarks/results/golden_pages.json
    python -m benchmarks.golden_pages --pages DIR --write    # write it anew, after a change that was meant

DIR holds `ground-truth.json` ({page id: {"url": address}}) and `html/<page id>.html.gz`, as for
`benchmarks.extraction`. The pages are served from this machine and collected by the command itself, without Chromium;
of each the ledger's line is compared, with the text's sha256. Nothing of the pages is written down but digests. It
imports nothing of the project, so that it can compare two versions of it. Exit status 1: a page differs.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

Json = dict[str, Any]
PROJECT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).resolve().parent / "results" / "golden_pages.json"
# What the pages say of themselves: of these, digests. The others stand as they are.
CLAIMED = ("title", "published", "author", "language", "licence", "rights")
AS_THEY_ARE = ("sha256", "bytes", "extractor", "robots")


@contextmanager
def served(pages: dict[str, bytes]) -> Iterator[str]:
    """Serves the pages, by id; gives the address."""

    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = pages.get(unquote(self.path.lstrip("/")))
            with suppress(ConnectionError):
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def collect(pages: dict[str, bytes], folder: Path) -> dict[str, Json]:
    """Of each page the outcome and, where a text was stored, what the ledger says, without what depends on the run."""
    with served(pages) as url:
        names = {f"{url}/{quote(name)}": name for name in pages}
        profile = folder / "pages.toml"
        profile.write_text(
            f"[search]\nallow_loopback = ['{url.removeprefix('http://')}']\nmax_pages = {len(pages)}\n"
            f"block_adult = false\n[[search.sources]]\nprovider = 'urls'\nurls = {json.dumps(list(names))}\n"
            "[render]\nbrowser = 'never'\ndelay_seconds = 0\nmax_page_bytes = 50_000_000\n"
            "[extract]\ntimeout_seconds = 120\n"
        )
        command = [sys.executable, "run.py", "--data-dir", str(folder / "data"), "--profile", str(profile), "collect"]
        env = os.environ | {"PREFECT_API_URL": ""}
        subprocess.run(command, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, check=True)
    with closing(sqlite3.connect(folder / "data" / "state" / "state.sqlite")) as db:
        rows = db.execute("SELECT url, outcome FROM frontier").fetchall()
    found: dict[str, Json] = {names[asked]: {"outcome": outcome} for asked, outcome in rows}
    for line in (folder / "data" / "raw" / "ledger.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        text = (folder / "data" / "raw" / entry["path"]).read_bytes()
        assert hashlib.sha256(text).hexdigest() == entry["sha256"]
        claimed = {name: _digest(entry[name].replace(url, "")) for name in CLAIMED if entry[name] is not None}
        found[names[entry["url"]]] |= {name: entry[name] for name in AS_THEY_ARE} | claimed
    return dict(sorted(found.items()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(expected: dict[str, Json], found: dict[str, Json]) -> list[str]:
    """Page by page, the fields that are not the same."""
    said = []
    for name in sorted(expected.keys() | found.keys()):
        one, other = expected.get(name, {}), found.get(name, {})
        fields = [field for field in sorted(one.keys() | other.keys()) if one.get(field) != other.get(field)]
        if fields:
            said.append(f"{name}: " + ", ".join(f"{f} {one.get(f)!r} -> {other.get(f)!r}" for f in fields))
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=Path, required=True, help="folder with ground-truth.json and html/")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(PROJECT)} instead")
    arguments = parser.parse_args()
    names = sorted(json.loads((arguments.pages / "ground-truth.json").read_text(encoding="utf-8")))
    pages = {name: gzip.decompress((arguments.pages / "html" / f"{name}.html.gz").read_bytes()) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        found = collect(pages, Path(folder))
    if arguments.write:
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
        RESULT.write_text('{\n "command": "python -m benchmarks.golden_pages --pages DIR --write",\n'
                          f' "pages": {{\n{lines}\n }}\n}}\n')  # fmt: skip
        print(f"{len(found)} pages written")
        return 0
    said = differences(json.loads(RESULT.read_text(encoding="utf-8"))["pages"], found)
    print("\n".join(said) or f"{len(found)} pages, all as they were")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
