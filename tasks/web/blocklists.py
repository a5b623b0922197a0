"""Blocklists: URLs that are never requested. They come from files; a short list of adult content is built in.

A plain list is a file of patterns (`tasks/web/url_patterns.py`). A category of UT1 (https://dsi.ut-capitole.fr/blacklists/)
is a folder with the files `domains` and `urls`, millions of lines long. Each list is compiled once into a sorted array
of 64-bit hashes under `state/blocklists/`, which is memory-mapped. A URL is looked up by the hashes of its host, the
domains above it, and its path. With five million entries, a false match has a probability of about 10^-11.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from tasks.contracts.errors import SettingsError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.settings import SearchSettings
from tasks.storage.atomic_files import read_json, replacing, write_json
from tasks.web.url_patterns import DOMAIN, Address, Pattern, PatternSet, parse_pattern

FORMAT = 1  # raise it when the meaning of patterns or the compiled form changes
ADULT = Path(__file__).with_name("adult_urls.txt")
UT1_FILES = ("domains", "urls")
CHUNK = 100_000  # entries
LONGEST_LINE = 8192  # bytes; so that a file without line ends cannot fill the memory
MAX_IN_MEMORY = 10_000  # wildcards, words and exceptions of one list
MAX_MALFORMED = 0.1  # share of a UT1 file's lines; with more it is no UT1 file

DOMAIN_BYTES = re.compile(DOMAIN.pattern.encode())


@dataclass(frozen=True, slots=True)
class _File:
    """One file of patterns. Malformed lines of UT1 are left out, since the user cannot correct them."""

    path: Path
    name: str  # in reports
    ut1: bool


@dataclass(frozen=True, slots=True)
class Blocklist:
    """A compiled list."""

    name: str
    hashes: NDArray[np.uint64]  # sorted; of domains and paths
    patterns: PatternSet  # wildcards and words
    exceptions: PatternSet

    def find(self, address: Address, hashes: NDArray[np.uint64]) -> str | None:
        """Returns the entry that blocks this URL; `hashes` are those of `address.keys`."""
        places = np.searchsorted(self.hashes, hashes)
        inside = places < len(self.hashes)
        found = np.flatnonzero(self.hashes[places[inside]] == hashes[inside])
        if len(found):
            return address.keys[int(np.flatnonzero(inside)[found[0]])]
        return self.patterns.find(address)


class Blocklists:
    """All lists of a profile. An exception in one list overrides all lists."""

    def __init__(self, lists: Sequence[Blocklist], digest: str) -> None:
        self.lists = lists
        self.digest = digest  # of their content

    def find(self, url: str) -> str | None:
        """Returns what blocks a URL, as `list: entry`; None where nothing does."""
        if not self.lists:
            return None
        try:
            address = Address(url)
        except ValueError:
            return None  # no URL, which has another outcome
        hashes = np.array([xxh3_64_intdigest(key.encode()) for key in address.keys], dtype="<u8")
        found = ((one.name, one.find(address, hashes)) for one in self.lists)
        blocked = next((f"{name}: {entry}" for name, entry in found if entry is not None), None)
        if blocked is None or any(one.exceptions.find(address) for one in self.lists):
            return None
        return blocked

    def reject(self, url: str) -> None:
        """Raises `PageRejected("blocklisted")` for a URL that is blocked."""
        if blocked := self.find(url):
            raise PageRejected("blocklisted", f"{blocked}, at {url}")


NO_BLOCKLISTS = Blocklists((), "")


def open_blocklists(settings: SearchSettings, layout: Layout, say: Callable[[str], None]) -> Blocklists:
    """Returns the profile's lists; compiles those that are new or changed, and tells it to `say`.

    The caller holds the run lock.

    Raises:
        SettingsError: a list is missing or holds a line that is no pattern; names file and line.
    """
    files = [_File(ADULT, "own adult list", ut1=False)] if settings.block_adult else []
    files += [file for path in settings.blocklists for file in _files_of(Path(path))]
    layout.blocklists.mkdir(parents=True, exist_ok=True)
    digests = _digests(files, layout.blocklists / "files.json")
    lists = [_open(file, digest, layout.blocklists, say) for file, digest in zip(files, digests, strict=True)]
    for path in layout.blocklists.iterdir():
        if path.name != "files.json" and path.stem not in digests:
            path.unlink()
    return Blocklists(lists, hashlib.sha256("".join(digests).encode()).hexdigest() if lists else "")


def _files_of(path: Path) -> list[_File]:
    """Returns a plain list, or the files of a UT1 category."""
    if path.is_file():
        return [_File(path, path.name, ut1=False)]
    if not path.is_dir():
        raise SettingsError(
            f"search.blocklists: {path} is not there: give a file, or a folder of UT1 such as ut1/adult"
        )
    found = [_File(path / name, f"{path.name}/{name}", ut1=True) for name in UT1_FILES if (path / name).is_file()]
    if not found:
        categories = sorted(one.parent.name for one in path.glob("*/domains"))
        hint = f"name the categories you do not want, such as {path / categories[0]}" if categories else "no list"
        raise SettingsError(f"search.blocklists: {path} holds neither `domains` nor `urls`: {hint}")
    return found


def _digests(files: list[_File], record: Path) -> list[str]:
    """Returns a digest of each file's content; does not read a file again whose size and time are in `record`."""
    known = read_json(record) or {}
    named = {}
    for file in files:
        stat, before = file.path.stat(), known.get(str(file.path), {})
        about = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        same = before.get("digest") and before == about | {"digest": before["digest"]}
        named[str(file.path)] = before if same else about | {"digest": _digest(file)}
    if named != known:
        write_json(record, named)
    return [str(named[str(file.path)]["digest"]) for file in files]


def _digest(file: _File) -> str:
    with open(file.path, "rb") as content:
        return hashlib.file_digest(content, lambda: xxhash.xxh3_128(f"{FORMAT} {file.ut1}".encode())).hexdigest()


def _open(file: _File, digest: str, folder: Path, say: Callable[[str], None]) -> Blocklist:
    about = read_json(folder / f"{digest}.json") or {}
    hashes = folder / f"{digest}.hashes"
    if "hashes" not in about or not hashes.is_file() or hashes.stat().st_size != 8 * about["hashes"]:
        about = _compile(file, hashes)
        write_json(folder / f"{digest}.json", about)
        say(f"blocklist {file.name}: {about['hashes'] + len(about['patterns']):,} entries{about['left_out']}")
    mapped = np.memmap(hashes, dtype="<u8", mode="r") if about["hashes"] else np.zeros(0, dtype="<u8")
    patterns = [Pattern(*values) for values in about["patterns"]]
    return Blocklist(
        file.name,
        np.asarray(mapped),
        PatternSet(pattern for pattern in patterns if not pattern.exception),
        PatternSet(pattern for pattern in patterns if pattern.exception),
    )


def _compile(file: _File, target: Path) -> dict[str, Any]:
    """Writes the sorted hashes of a list's domains and paths. Returns their number and all other patterns."""
    others: list[Pattern] = []
    malformed = _Malformed(file)
    with replacing(target) as temporary:
        with open(file.path, "rb") as lines, open(temporary, "wb") as out:
            for keys in _read(lines, file, others, malformed):
                out.write(np.array([xxh3_64_intdigest(key) for key in keys], dtype="<u8").tobytes())
            number = out.tell() // 8
        if number:
            np.memmap(temporary, dtype="<u8", mode="r+").sort()  # in place; `replacing` makes it durable
    return {"hashes": number, "patterns": [astuple(pattern) for pattern in others], "left_out": malformed.summary()}


def _read(lines: IO[bytes], file: _File, others: list[Pattern], malformed: _Malformed) -> Iterator[list[bytes]]:
    """Yields the domains and paths of a list in chunks; adds all other patterns to `others`."""
    keys: list[bytes] = []
    number = 0
    for number, raw in enumerate(iter(lambda: lines.readline(LONGEST_LINE), b""), 1):
        line = raw.strip()
        if DOMAIN_BYTES.fullmatch(line):  # nearly all lines of a large list
            keys.append(line)
        elif (pattern := malformed.parsed(number, line)) is not None:
            if pattern.kind == "address" and not pattern.exception:
                keys.append(pattern.text.encode())
            else:
                others.append(pattern)
        if len(keys) >= CHUNK:
            yield keys
            keys = []
        if len(others) > MAX_IN_MEMORY:
            raise SettingsError(
                f"search.blocklists: {file.path} has more than {MAX_IN_MEMORY:,} wildcards, words and exceptions: "
                "domains and paths without a * may be millions"
            )
    malformed.check(number)
    yield keys


@dataclass(slots=True)
class _Malformed:
    """Lines that are no patterns: an error in a list of the user, left out of a UT1 file while they are few."""

    file: _File
    number: int = 0
    first: str = ""

    def parsed(self, number: int, line: bytes) -> Pattern | None:
        try:
            pattern = parse_pattern(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            if pattern and self.file.ut1 and (pattern.exception or pattern.kind != "address"):
                raise ValueError("no domain or path")
            return pattern
        except ValueError as error:  # UnicodeDecodeError is one
            why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            where = f"line {number}, {line[:80].decode('utf-8', 'replace')!r}: {why}"
            if not self.file.ut1:
                raise SettingsError(f"search.blocklists: {self.file.path}, {where}") from error
            self.number += 1
            self.first = self.first or where
            return None

    def check(self, lines: int) -> None:
        if self.number > MAX_MALFORMED * lines:
            raise SettingsError(f"search.blocklists: {self.file.path} is no list of UT1: {self.first}")

    def summary(self) -> str:
        return f" ({self.number:,} lines left out, the first: {self.first})" if self.number else ""
