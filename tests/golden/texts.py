"""A small corpus of files: deterministic, with everything in it that cleaning and comparing must deal with."""

from __future__ import annotations

import os
import random
from pathlib import Path

WORDS = (
    "river", "stone", "bridge", "winter", "lantern", "market", "harbour", "garden", "letter", "window", "mountain",
    "kettle", "copper", "orchard", "ladder", "thunder", "candle", "meadow", "compass", "saddle", "timber", "anchor",
    "basket", "feather", "marble", "pepper", "ribbon", "shadow", "tunnel", "velvet", "whistle", "barley", "cobble",
    "the", "of", "and", "with", "under", "from", "over",
)  # fmt: skip
HAN = "山水火木金土人大小中天日月年時學生先後東西南北風雨雪花草春夏秋冬上下左右高長老新白黑紅"
NOTICE = "We use cookies to make this site work and to see how you use it."
FOOTER = "Share this page with a friend, or print it on paper."
FILES = 66
DAY = 86400
FIRST_MTIME = 1_767_225_600  # 2026-01-01 00:00 UTC


def write_corpus(folder: Path) -> Path:
    """The files, in a folder of their own, with times of their own."""
    for number in range(FILES):
        name, content = _file(number)
        path = folder / f"part{number // 30}" / f"{number:02d}_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (FIRST_MTIME + number * DAY, FIRST_MTIME + number * DAY))
    return folder


def prose(seed: int, words: int = 260) -> str:
    """Sentences of random words; two seeds share next to no word 3-gram."""
    generator = random.Random(seed)
    sentences = []
    while words > 0:
        length = min(words, generator.randint(6, 14))
        sentences.append(" ".join(generator.choices(WORDS, k=length)).capitalize() + ".")
        words -= length
    return "\n\n".join(" ".join(sentences[i : i + 4]) for i in range(0, len(sentences), 4)) + "\n"


def chinese(seed: int) -> str:
    generator = random.Random(seed)
    return "\n".join("".join(generator.choices(HAN, k=24)) + "。" for _ in range(20)) + "\n"


def html(title: str, text: str, number: int) -> str:
    paragraphs = "".join(f"<p>{part}</p>\n" for part in text.strip().split("\n\n"))
    return (
        f'<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="author" content="A. Writer {number}"><meta property="article:published_time" '
        'content="2026-01-15T08:30:00+01:00"><link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
        f'</head><body><nav><a href="/">Home</a> <a href="/about">About</a></nav><article><h1>{title}</h1>\n'
        f"{paragraphs}</article><footer>{FOOTER}</footer></body></html>\n"
    )


def _file(number: int) -> tuple[str, bytes]:
    """Name and content; the kinds take turns."""
    text = prose(number)
    match number % 22:
        case 0 | 1:
            return "prose.txt", text.encode()
        case 2:
            return "notice.md", f"# Entry {number}\n\n{NOTICE}\n\n{text}\n{FOOTER}\n".encode()
        case 3:
            return "exact_copy.txt", prose(number - 3).encode()
        case 4:
            return "near_copy.txt", (prose(number - 3) + "A closing line of its own, and no more.\n").encode()
        case 5:
            return "too_short.txt", f"Only {number} words.\n".encode()
        case 6:
            broken = text.replace("river", "cafÃ© de la rivière").replace("stone", "â€œstoneâ€\x9d")
            # Names and words that were read in the code pages of other languages.
            names = ("Müller sagt, daß es schön ist", "Čeština je hezká řeč", "Привет, как дела")
            codecs = zip(names, ("cp1251", "iso-8859-2", "cp1252"), strict=True)
            read = "\n".join(name.encode().decode(codec, "ignore") for name, codec in codecs)
            return "mojibake.txt", f"{NOTICE}\n{broken}\n{read}\n".encode()
        case 7:
            return "special_token.txt", text.replace("bridge", "<|endoftext|>").encode()
        case 8:
            found = (
                f"Write to someone{number}@mail.example or first.last+tag@sub.example.org, call +44 20 7946 "
                f"0{number:03d} or (030) 901820-{number:02d}; the server is 192.0.2.{number} or "
                f"2001:db8::{number:x}, version 1.2.3.4.\n"
            )
            return "personal_data.txt", (NOTICE + "\n" + text + found).encode()
        case 9:
            return "chinese.txt", chinese(number).encode()
        case 10:
            return "line_ends.txt", text.replace("\n", "\r\n").replace(" garden ", "\xa0garden\u200b \t").encode()
        case 11:
            return "entities.txt", text.replace(" and ", " &amp; ").replace("winter", "&eacute;t&eacute;").encode()
        case 12:
            return "page.html", html(f"Page {number} &amp; more", text.replace(" and ", " &amp; "), number).encode()
        case 13:
            page = html(f"Übersicht {number}", text.replace("river", "Flüßchen"), number)
            return "latin1.html", page.replace('charset="utf-8"', 'charset="iso-8859-1"').encode("latin-1")
        case 14:
            return "lorem_ipsum.txt", ("Lorem ipsum dolor sit amet. " + text).encode()
        case 15:
            return "bullets.md", "".join(f"- {line}\n" for line in text.split(". ")).encode()
        case 16:
            return "ellipses.txt", "".join(f"{line}...\n" for line in text.split(". ")).encode()
        case 17:
            return "numbers.txt", " ".join(str(number * i * 7919 % 100003) for i in range(300)).encode()
        case 18:
            return "repetitive.txt", (f"{NOTICE}\n" + "The same line again, as if it were new.\n" * 40).encode()
        case 19:
            words = random.Random(number).choices(WORDS, k=200)
            return "long_words.txt", " ".join("-".join(words[i : i + 4]) for i in range(0, 200, 4)).encode() * 2
        case 20:
            return "symbols.txt", text.replace(" the ", " # # # ").replace(" of ", " ... ").encode()
        case _:
            lines = "\n".join(text.split(". "))
            return "verse.txt", f"{NOTICE}\ne\u0301tude \ufb01ne \u201cquoted\u201d\n{lines}\n{FOOTER}\n".encode()
