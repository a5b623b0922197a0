"""A cleaned text, with what several quality filters need of it: its words and its lines, found once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tasks.contracts.scripts import words


class Text:
    """A cleaned text, with what several rules need of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        return words(self.text)

    @cached_property
    def mean_word_length(self) -> float:
        """Characters a word."""
        text = self.text
        letters = len(text) - sum(map(text.count, " \n\t")) if text.isascii() else sum(map(len, self.words))
        return letters / max(1, len(self.words))

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, without the spaces around them."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    def share_of_lines(self, holds: Callable[[str], bool]) -> float:
        return sum(map(holds, self.lines)) / max(1, len(self.lines))
