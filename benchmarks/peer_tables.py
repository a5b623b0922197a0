"""The cases of peers' own tests, against our functions.

    python -m benchmarks.peer_tables --from DIR --output benchmarks/results/peer_tables.json

DIR holds clones of google/robotstxt, scrapy/protego, scrapy/w3lib, html5lib/html5lib-tests, rspeer/python-ftfy and
kurtmckee/feedparser, each under its own name. Nothing of them is in this repository: the cases are read from their test
files, assertion by assertion; the result has their names alone, and `--list` shows the rest. A case is `not_ours` where
it is about something that we have no function for. The others agree or differ; a difference that stays has its reason
in `benchmarks/peer_reasons.py`.
"""

from __future__ import annotations

import argparse
import ast
import codecs
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import ftfy
import httpx
from w3lib.encoding import resolve_encoding

from benchmarks.peer_asserts import NotOurs, asserted
from benchmarks.peer_reasons import reason_of
from benchmarks.result import circumstances, write_result
from tasks.clean.normalize import FTFY, normalize
from tasks.contracts.urls import url_key
from tasks.extract.encoding import decode, prescan
from tasks.render.meta_refresh import refresh_target
from tasks.search.feeds_and_sitemaps import MAX_BYTES, parse
from tasks.search.listing_text import listing_text
from tasks.web.http_client import Response
from tasks.web.robots_txt import RobotsTxt, decode_robots_txt

Json = dict[str, Any]
Cases = Iterator[tuple[str, bool | None, str]]  # its name, whether we agree (None: not ours), what was seen


# -- google/robotstxt: C++ ---------------------------------------------------------------------------------

STRINGS = r"(?:\"(?:[^\"\\]|\\.)*\"\s*)+"
C_TEST = re.compile(r"^TEST\(\w+, (\w+)\) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
C_STEP = re.compile(
    rf"(?P<name>\w+) =\s*(?P<value>{STRINGS});|(?P<unread>\w+) =|"
    rf"EXPECT_(?P<wanted>TRUE|FALSE)\(\s*IsUserAgentAllowed\(\s*(?P<robots>\w+|{STRINGS}),\s*(?P<agent>\w+|{STRINGS}),"
    rf"\s*(?P<url>\w+|{STRINGS})\)\)|EXPECT_(?P<other>\w+)\("
)
C_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")


def google_cases(folder: Path) -> Cases:
    source = re.sub(r"^[ \t]*//.*$|[ \t]//[^\"\n]*$", "", (folder / "robots_test.cc").read_text(), flags=re.MULTILINE)
    for test in C_TEST.finditer(source):
        known: dict[str, bytes] = {}
        for number, step in enumerate(C_STEP.finditer(test[2])):
            name = f"{test[1]}:{number}"
            if step["name"]:
                known[step["name"]] = _c_string(step["value"])
            elif step["unread"]:
                known.pop(step["unread"], None)
            elif step["other"]:
                yield name, None, f"EXPECT_{step['other']}"
            else:
                arguments = [step["robots"], step["agent"], step["url"]]
                read = [_c_string(one) if one.startswith('"') else known.get(one) for one in arguments]
                if None in read:
                    yield name, None, "the arguments are computed"
                    continue
                robots, agent, url = (one for one in read if one is not None)
                allowed = RobotsTxt(decode_robots_txt(robots), agent.decode()).allows(url.decode())
                yield name, allowed is (step["wanted"] == "TRUE"), f"{url.decode()} for {agent.decode()}: {allowed}"


def _c_string(literals: str) -> bytes:
    """Returns the bytes of C++ string literals beside each other."""
    return b"".join(codecs.escape_decode(one[1].encode())[0] for one in C_STRING.finditer(literals))


# -- scrapy/protego and scrapy/w3lib: Python ---------------------------------------------------------------


class OurProtego:
    """Our reading of robots.txt by Protego's names."""

    def __init__(self, content: str) -> None:
        self.content = content

    @classmethod
    def parse(cls, content: str) -> OurProtego:
        return cls(content)

    def can_fetch(self, url: str, user_agent: str) -> bool:
        return RobotsTxt(self.content, user_agent).allows(url)

    def crawl_delay(self, user_agent: str) -> float | None:
        return RobotsTxt(self.content, user_agent).crawl_delay or None


def protego_cases(folder: Path) -> Cases:
    for name in ("test_protego.py", "test_on_google_spec.py"):
        yield from asserted(folder / "tests" / name, {"Protego": OurProtego})


def w3lib_cases(folder: Path) -> Cases:
    ours = {"canonicalize_url": _canonical, "get_meta_refresh": _Refresh, "self": _Decoding()}
    ours |= {"html_body_declared_encoding": _declared, "http_content_type_encoding": _of_header}
    for name in ("test_url.py", "test_html.py", "test_encoding.py"):
        yield from asserted(folder / "tests" / name, ours)


def _canonical(url: str, **options: object) -> str:
    if options or not isinstance(url, str):
        raise NotOurs
    return url_key(url)


class _Refresh:
    """Equal to w3lib's pair of seconds and address if the address is the same; we have no use for the seconds."""

    def __init__(self, text: str | bytes, base: str = "", *options: str, **named: object) -> None:
        if options or named:
            raise NotOurs
        body = text if isinstance(text, bytes) else text.encode()
        self.target = refresh_target(body, base)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and _key(self.target) == _key(other[1])

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.target)


def _key(url: str | None) -> str | None:
    return url and url_key(url)


def _declared(body: bytes | str) -> str | None:
    codec = prescan(body if isinstance(body, bytes) else body.encode())
    return codecs.lookup(codec).name if codec else None


def _of_header(value: str) -> str | None:
    label = _response(value).charset
    return codecs.lookup(label).name if label else None


def _response(content_type: str) -> Response:
    return Response("", 200, httpx.Headers({"content-type": content_type.strip()}), b"")


class _Decoding:
    """The check of w3lib's own tests of decoding: its text, not the name of the encoding."""

    def _assert_encoding(self, label: str | None, body: bytes, _: str, wanted: str | list[str]) -> bool:
        return decode(body, label) in ([wanted] if isinstance(wanted, str) else wanted)

    def _assert_encoding_detected(self, label: str | None, wanted: str, body: bytes, **_: object) -> bool:
        return decode(body, label) == body.decode(wanted)


# -- html5lib/html5lib-tests -------------------------------------------------------------------------------


def html5lib_cases(folder: Path) -> Cases:
    """The encodings that pages declare; windows-1252 stands for none."""
    for path in sorted((folder / "encoding").glob("*.dat")):
        for number, case in enumerate(re.split(rb"^#data\n", path.read_bytes(), flags=re.MULTILINE)[1:]):
            body, _, label = case.partition(b"\n#encoding\n")
            wanted = label.split(b"\n")[0].decode().strip().lower()
            found = prescan(body) or "cp1252"
            if body.startswith(codecs.BOM_UTF8):
                agrees = decode(body, None) == body.decode("utf-8-sig")
            else:
                agrees = codecs.lookup(found).name == resolve_encoding(wanted)
            yield f"{path.name}:{number}", agrees, f"{found}, wanted {wanted}"


# -- rspeer/python-ftfy ------------------------------------------------------------------------------------


def ftfy_cases(folder: Path) -> Cases:
    """Ours is right where it is what ftfy's authors want, or what ftfy itself makes of it with our settings."""
    for path in sorted((folder / "tests" / "test-cases").glob("*.json")):
        for number, case in enumerate(json.loads(path.read_text())):
            wanted = {case["fixed"], case.get("fixed-encoding", case["fixed"]), ftfy.fix_text(case["original"], FTFY)}
            found = normalize(case["original"])
            yield f"{path.stem}:{number}", found in {_tidy(one) for one in wanted}, found.strip()


def _tidy(text: str) -> str:
    """Does what `normalize` does besides mending: no invisible characters, white space in order."""
    kept = (" " if one.isspace() and one not in "\n\t" else one for one in text)
    visible = "".join(one for one in kept if one.isprintable() or one in "\n\t\u200c\u200d")
    return "\n".join(line.rstrip() for line in visible.split("\n")).strip("\n") + "\n"


# -- kurtmckee/feedparser ----------------------------------------------------------------------------------

EXPECT = re.compile(r"Expect:\s*(.*?)\s*-->", re.DOTALL)
CONTENT_TYPE = re.compile(r"^Header:\s+Content-type:(.*)$", re.MULTILINE | re.IGNORECASE)


def feedparser_cases(folder: Path) -> Cases:
    """The links of entries, and the encodings of files. Each file has what is expected of it in a comment."""
    base = "http://127.0.0.1:8097/tests/"
    for kind in ("wellformed", "illformed", "encoding"):
        for path in sorted((folder / "tests" / kind).rglob("*.xml")):
            body, name = path.read_bytes(), f"{kind}/{path.name}"
            text = listing_text(body, None, MAX_BYTES)
            expected, header = EXPECT.search(text), CONTENT_TYPE.search(text)
            charset = _response(header[1]).charset if header else None
            checks = list(_expectations(expected[1])) if expected else []
            if not checks:
                yield name, None, expected[1][:100] if expected else "nothing is expected"
            for what, wanted in checks:
                if what == "link":
                    listed = parse(body, base, charset)
                    urls = [one.url for one in listed.pages] if listed else []
                    yield f"{name} link", urljoin(base, wanted) in urls, f"{urls}, wanted {wanted}"
                else:
                    found = listing_text(body, charset, MAX_BYTES).lstrip("\ufeff")
                    yield f"{name} encoding", found == _decoded(body, wanted), f"wanted {wanted}"


def _expectations(expression: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left, [ast.Eq()], [ast.Constant(str(wanted))]):
                what = ast.unparse(left)
                if re.fullmatch(r"entries\[\d+\](\['link'\]|\.link)", what):
                    yield "link", wanted
                elif what == "encoding":
                    yield "encoding", wanted


def _decoded(body: bytes, label: str) -> str | None:
    try:
        return body.decode(label).lstrip("\ufeff")
    except (UnicodeDecodeError, LookupError):
        return None


# -- all of them -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    folder: str
    cases: Callable[[Path], Cases]


PEERS = {
    "google/robotstxt": Peer("robotstxt", google_cases),
    "scrapy/protego": Peer("protego", protego_cases),
    "scrapy/w3lib": Peer("w3lib", w3lib_cases),
    "html5lib/html5lib-tests": Peer("html5lib-tests", html5lib_cases),
    "rspeer/python-ftfy": Peer("python-ftfy", ftfy_cases),
    "kurtmckee/feedparser": Peer("feedparser", feedparser_cases),
}


def measure(name: str, root: Path, *, show: bool = False) -> Json:
    folder = root / PEERS[name].folder
    commit = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    cases = list(PEERS[name].cases(folder))
    ours = [case for case in cases if case[1] is not None]
    differing = [(case, seen) for case, agrees, seen in ours if not agrees]
    for case, seen in differing if show else ():
        print(f"{name} {case}: {seen} ({reason_of(name, case)})", file=sys.stderr)
    return {
        "commit": commit.stdout.strip(),
        "cases": len(ours),
        "agree": len(ours) - len(differing),
        "differ": len(differing),
        "not_ours": len(cases) - len(ours),
        "differences": {case: reason_of(name, case) for case, _ in differing},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="root", type=Path, required=True, help="the folder with the clones")
    parser.add_argument("--list", action="store_true", help="show what was seen where we differ")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    command = "python -m benchmarks.peer_tables --from DIR"
    tables = {name: measure(name, options.root, show=options.list) for name in PEERS}
    packages = ("protego", "w3lib", "ftfy", "lxml")
    write_result(circumstances(command, packages) | {"tables": tables}, options.output)


if __name__ == "__main__":
    main()
