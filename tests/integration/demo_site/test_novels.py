"""Novels as R keeps them: decoded, and as pages of the demo site."""

import socket
import zlib
from pathlib import Path

import httpx
import pytest
import trafilatura

from flows.grow import demo_site
from tasks.contracts.paths import Layout
from tasks.contracts.settings import DemoSettings
from tasks.demo_site import DemoSite, NovelsError
from tasks.demo_site.novels import decode_lines, read_novels

ASCII, UTF8, LATIN1 = 0x40009, 0x8009, 0x4009  # flags of R's strings
PARAGRAPH = "The ferry left at noon, and _nobody_ on the quay\nwas sorry that it had gone.  They had seen it before."
NOVEL = f"""THE FERRY AND THE BOY

By Somebody

VOLUME I

CHAPTER I

{PARAGRAPH}

"And he?" said the boy.

    * * * * *

He did not know.

CHAPTER II

{PARAGRAPH}

VOLUME II

Chapter 3

{PARAGRAPH}

FINIS"""


def _number(value: int) -> bytes:
    return value.to_bytes(4, signed=True)


def _vector(strings: list[tuple[int, bytes]], version: int = 3) -> bytes:
    """Serializes a character vector as R does."""
    head = b"X\n" + _number(version) + _number(0x40201) + _number(0x30500)
    head += _number(5) + b"UTF-8" if version == 3 else b""
    lines = (_number(flags) + _number(len(text)) + text for flags, text in strings)
    return head + _number(16) + _number(len(strings)) + b"".join(lines)


def _novels_file(folder: Path, *novels: str) -> Path:
    vectors = [_vector([(ASCII, line.encode()) for line in novel.splitlines()]) for novel in novels]
    file = folder / "novels.rdb"
    file.write_bytes(b"".join(len(vector).to_bytes(4) + zlib.compress(vector) for vector in vectors))
    return file


@pytest.mark.parametrize("version", [2, 3])
def test_strings_of_every_encoding(version: int) -> None:
    strings = [(ASCII, b"pound"), (UTF8, "£".encode()), (LATIN1, "£".encode("latin-1")), (ASCII, b"")]
    assert decode_lines(_vector(strings, version)) == ["pound", "£", "£", ""]


def test_a_missing_string_is_empty() -> None:
    data = _vector([(ASCII, b"a"), (ASCII, b"")])
    assert decode_lines(data[:-4] + _number(-1)) == ["a", ""]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "XDR"),
        (b"A\n" + bytes(12), "XDR"),
        (_vector([], 4), "version 2 or 3"),
        (_vector([(ASCII, b"a line")])[:-1], "too early"),
        (_vector([(ASCII, b"a line")]).replace(_number(16), _number(13)), "no plain vector"),
        (_vector([(13, b"a line")]), "something else"),
        (_vector([]).replace(_number(5) + b"UTF-8", _number(-5)), "too early"),
    ],
)
def test_what_is_no_vector_of_strings_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_lines(data)


def test_a_novel_is_cut_into_chapters(tmp_path: Path) -> None:
    paragraph = "The ferry left at noon, and nobody on the quay was sorry that it had gone. They had seen it before."
    first, second = read_novels(_novels_file(tmp_path, NOVEL, "LETTERS\n\nChapter 1\n\nDear friend."))
    assert first[0] == "The Ferry and The Boy"
    assert first[1] == [f'{paragraph}\n\n"And he?" said the boy.\n\nHe did not know.', paragraph, paragraph]
    assert second == ("Letters", ["Dear friend."])


def test_a_file_that_holds_no_novels_is_named(tmp_path: Path) -> None:
    file = _novels_file(tmp_path, NOVEL)
    whole = file.read_bytes()
    for data, why in ((whole[:-20], "a chunk of"), (b"\0\0\0\1junk", "cannot be read"), (b"", "no chapters")):
        file.write_bytes(data)
        with pytest.raises(NovelsError, match=f"{file}.*{why}"):
            read_novels(file)
    with pytest.raises(NovelsError, match=r"setup\.sh demo fetches it"):
        read_novels(tmp_path / "missing.rdb")


def test_chapters_are_pages_of_the_site(tmp_path: Path) -> None:
    file = _novels_file(tmp_path, NOVEL)
    with DemoSite(port=0) as plain, DemoSite(port=0, novels=file) as site:
        chapters = [article for article in site.articles if article.section == "novels"]
        assert len(site.articles) == len(plain.articles) + 3
        assert not [article for article in plain.articles if article.section == "novels"]
        with httpx.Client(base_url=site.url, trust_env=False) as client:
            listing = client.get("/novels/").text
            assert all(f'href="{chapter.path}"' in listing for chapter in chapters)
            page = client.get("/novels/the-ferry-and-the-boy-1")
    assert "<title>The Ferry and The Boy, chapter 1 |" in page.text
    text = trafilatura.extract(page.text, include_comments=False) or ""
    assert "nobody on the quay was sorry" in text
    assert "He did not know." in text


@pytest.mark.parametrize("found", [True, False])
def test_without_the_novels_the_demo_says_so_and_has_the_other_pages(tmp_path: Path, found: bool) -> None:
    file = _novels_file(tmp_path, NOVEL) if found else tmp_path / "missing.rdb"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    layout, said = Layout(tmp_path), list[str]()
    layout.reports.mkdir()
    with demo_site(DemoSettings(serve=True, port=port, novels=str(file)), layout, said.append):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/notes/how-to-sharpen-a-kitchen-knife").status_code == 200
            assert client.get("/novels/the-ferry-and-the-boy-1").status_code == (200 if found else 404)
    missing = f"the demo site has no novels: {file} is not there (./setup.sh demo fetches it where apt-get has it)"
    assert said[:-1] == ([] if found else [missing])
