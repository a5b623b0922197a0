"""Jane Austen's six novels, chapter by chapter: prose beside the reference pages.

They come from R's package janeaustenr as Debian has it (`r-cran-janeaustenr`; `./setup.sh demo` fetches it), from its
file `data/Rdata.rdb`. That is a row of chunks, one a novel: 4 bytes of length, then a zlib stream of so many bytes,
which are R's serialization of a vector of lines ("R Internals", 1.8, the binary format XDR).
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 20_000_000
"""Of one novel; the longest has a megabyte."""

_CHAPTER = re.compile(r"chapter (?:[ivxl]+|\d+)", re.IGNORECASE)
_NO_TEXT = re.compile(r"volume [ivx]+|finis|the end|[* ]+", re.IGNORECASE)
_STRINGS, _STRING = 16, 9  # STRSXP, CHARSXP
_LATIN1 = 4  # a bit of a string's flags; without it a string is ASCII or UTF-8


class NovelsError(ValueError):
    """There are no novels to read; the message says why."""


def read_novels(file: Path) -> list[tuple[str, list[str]]]:
    """Returns title and chapters of each novel. Raises NovelsError."""
    try:
        novels = [_novel(decode_lines(chunk)) for chunk in _chunks(file.read_bytes())]
    except FileNotFoundError as error:
        raise NovelsError(f"{file} is not there (./setup.sh demo fetches it where apt-get has it)") from error
    except (OSError, ValueError, zlib.error) as error:
        raise NovelsError(f"{file} cannot be read ({error})") from error
    if not any(chapters for _, chapters in novels):
        raise NovelsError(f"{file} holds no chapters")
    return novels


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        length, stream = int.from_bytes(data[:4]), zlib.decompressobj()
        chunk = stream.decompress(data[4:], MOST_BYTES)
        if not stream.eof or len(chunk) != length:
            raise ValueError(f"a chunk of {length:,} bytes has {len(chunk):,}")
        yield chunk
        data = stream.unused_data


def decode_lines(data: bytes) -> list[str]:
    """Returns the strings of a character vector that R serialized, NA as "". Raises ValueError."""
    at = 2

    def take(count: int) -> bytes:
        nonlocal at
        if not 0 <= count <= len(data) - at:
            raise ValueError("R's data ends too early")
        at += count
        return data[at - count : at]

    def number() -> int:
        return int.from_bytes(take(4), signed=True)

    if data[:2] != b"X\n" or (version := number()) not in (2, 3):
        raise ValueError("no data that R serialized in its format XDR, version 2 or 3")
    number(), number()  # the version of R that wrote it, the oldest one that reads it
    if version == 3:
        take(number())  # the name of the writer's encoding
    if number() != _STRINGS:
        raise ValueError("R's data is no plain vector of strings")
    lines = []
    for _ in range(number()):
        flags = number()
        if flags & 0xFF != _STRING:
            raise ValueError("R's vector holds something else than strings")
        encoding = "latin-1" if flags >> 12 & _LATIN1 else "utf-8"
        lines.append(take(max(0, number())).decode(encoding))
    return lines


def _novel(lines: list[str]) -> tuple[str, list[str]]:
    """Returns the title, which is the first line, and what stands under each heading of a chapter."""
    lines = [line.strip() for line in lines] or [""]
    title = lines[0].title().replace(" And ", " and ")
    starts = [place for place, line in enumerate(lines) if _CHAPTER.fullmatch(line)]
    ends = [*starts[1:], len(lines)]
    return title, [_text(lines[start + 1 : end]) for start, end in zip(starts, ends, strict=True)]


def _text(lines: list[str]) -> str:
    """Returns a chapter with a line for each paragraph, and without the typist's underscores for italics."""
    text = "\n".join("" if _NO_TEXT.fullmatch(line) else line for line in lines)
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n{2,}", text))
    return re.sub(r"_([^_]+)_", r"\1", "\n\n".join(paragraph for paragraph in paragraphs if paragraph))
