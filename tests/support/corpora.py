"""Texts for the tests: made here, deterministic, different enough to be documents of their own."""

from __future__ import annotations

import random

from tasks.contracts.records import Document

WORDS = (
    "river", "stone", "bridge", "winter", "lantern", "market", "harbour", "garden", "letter",
    "window", "mountain", "kettle", "copper", "orchard", "ladder", "thunder", "candle", "meadow",
    "compass", "saddle", "timber", "anchor", "basket", "feather", "marble", "pepper", "ribbon",
    "shadow", "tunnel", "velvet", "whistle", "barley", "cobble", "drizzle", "ember", "fathom",
    "gravel", "hollow", "inlet", "juniper",
)  # fmt: skip


def prose(seed: int, words: int = 300) -> str:
    """Sentences of random words; two seeds share next to no word 3-gram."""
    generator = random.Random(seed)
    sentences = []
    while words > 0:
        length = min(words, generator.randint(6, 14))
        sentences.append(" ".join(generator.choices(WORDS, k=length)).capitalize() + ".")
        words -= length
    return "\n\n".join(" ".join(sentences[i : i + 4]) for i in range(0, len(sentences), 4)) + "\n"


def document(seed: int, text: str | None = None, url: str | None = None) -> Document:
    """A document as extraction would give it."""
    url = url or f"https://site{seed % 3}.example/page/{seed}"
    return Document(
        text=prose(seed) if text is None else text,
        url=url,
        final_url=url,
        title=f"Page {seed}",
        provider="urls",
        query="list.txt",
        fetched_at="2026-11-22T03:00:00+00:00",
        extractor="test 1",
        robots="",
    )


NOTICE = "We use cookies to make this site work and to see how you use it."


def mixed(seed: int) -> Document:
    """Good texts, copies, near copies, texts too short, boilerplate, mojibake, the special token, by turns."""
    match seed % 8:
        case 2:
            return document(seed, f"{NOTICE}\n{prose(seed)}Write to someone{seed}@mail.example about it.\n")
        case 3:
            return document(seed, prose(seed - 3))
        case 5:
            return document(seed, prose(seed - 1) + "A closing line of its own, and nothing more.")
        case 6:
            return document(seed, "Too short.")
        case 7:
            return document(seed, prose(seed).replace("river", "cafÃ© <|endoftext|> &amp;"))
        case _:
            return document(seed)
