"""Texts for the benchmarks: made from the words of Python's own documentation, as many and as alike as is asked for.

`prose` shares next to no word 3-gram with another seed; `page_of_template` shares a fifth to two fifths with every
other page of its template; `edited` replaces words one by one. `read_documents` takes real texts from a file.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

from tasks.contracts.records import Document


@cache
def vocabulary() -> tuple[str, ...]:
    """The words of the language reference, as often as they stand there."""
    return tuple(re.findall(r"[A-Za-z]{2,12}", " ".join(topics[name] for name in sorted(topics))))


def prose(seed: int, words: int) -> str:
    generator = random.Random(seed)
    chosen = generator.choices(vocabulary(), k=words)
    sentences = []
    while chosen:
        length = generator.randint(6, 18)
        sentence, chosen = chosen[:length], chosen[length:]
        sentences.append(" ".join(sentence).capitalize() + ".")
    return "\n\n".join(" ".join(sentences[i : i + 4]) for i in range(0, len(sentences), 4)) + "\n"


def page_of_template(template: int, seed: int, words: int) -> str:
    """Paragraphs of a template between paragraphs of its own: pairwise Jaccard similarity 0.2 to 0.4."""
    generator = random.Random(seed)
    share = generator.uniform(0.36, 0.56)
    shared = prose(-1 - template, words).split()
    own = prose(seed, words).split()
    cut = int(share * words)
    # The template's sentences run into the page's own, so that no line is the same on all pages.
    parts = [" ".join(shared[i : i + 20] + own[i : i + int(20 * (1 - share) / share)]) for i in range(0, cut, 20)]
    return "\n\n".join(parts) + "\n"


def edited(text: str, share: float, seed: int) -> str:
    """The text with a share of its words replaced by others."""
    generator = random.Random(seed)
    words = text.split(" ")
    for place in generator.sample(range(len(words)), round(share * len(words))):
        words[place] = generator.choice(vocabulary())
    return " ".join(words)


def as_document(text: str, url: str) -> Document:
    return Document(text, url, url, None, "urls", "benchmark", "2026-11-22T03:00:00+00:00", "benchmark", "")


def read_documents(path: Path) -> Iterator[Document]:
    """A line a document: `{"url": ..., "text": ...}`."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            values = json.loads(line)
            yield as_document(values["text"], values["url"])
