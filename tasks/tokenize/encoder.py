"""Text to ids in bulk: tiktoken with the frozen tokenizer's own merges, five times as fast, the same ids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken

from model.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, PATTERN, encode_documents, load_tokenizer, token_texts

# Held against the tokenizer itself at every start: words, contractions, digits, spaces, line ends, scripts, bytes.
PROBE = (
    "It's 1984, isn't it?  WE'LL see...\r\n\r\n\tdef f(x): return x**2 # -> <|endoftext|>\n"
    "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e "
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \U0001f600\u200d\U0001f4bb \x00\x7f\ufffd   end  \n\n\n"
)
# tiktoken's regular expressions overflow their stack on white space that is very long. Looking for it in ASCII text is
# six times as fast with one byte for all of it.
LONG_SPACE = re.compile(r"\s{2000}")
ASCII_SPACE = bytes(ord(" ") if chr(byte).isspace() else byte for byte in range(256))
THREADS = os.cpu_count() or 1
RUN = 20  # texts that a thread takes at once


class Encoder:
    """The encoding of one `tokenizer.json`.

    Raises:
        ValueError: the file is not a tokenizer of ours, or tiktoken would give other ids than it.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = load_tokenizer(path)
        ranks = {text: token for token, text in enumerate(token_texts(self._tokenizer)) if token != END_OF_TEXT_ID}
        self._encoding = tiktoken.Encoding(
            path.name, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: END_OF_TEXT_ID}
        )
        (expected,) = encode_documents(self._tokenizer, [PROBE])
        if not np.array_equal(self.encode([PROBE])[0], expected):
            raise ValueError(f"{path} does not split text as this version does: it was made by another one")

    def encode(self, texts: Iterable[str]) -> list[npt.NDArray[np.uint16]]:
        """The ids of each text; a literal special token in a text stays plain text.

        The first texts are encoded while the next ones are still being read.
        """
        coming = iter(texts)
        with ThreadPoolExecutor(THREADS) as pool:
            runs = pool.map(self._encode_run, iter(lambda: list(islice(coming, RUN)), []))
            return [ids for run in runs for ids in run]

    def _encode_run(self, texts: list[str]) -> list[npt.NDArray[np.uint16]]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> npt.NDArray[np.uint16]:
        if _has_long_space(text):
            return encode_documents(self._tokenizer, [text])[0]
        return self._encoding.encode_to_numpy(text, disallowed_special=()).astype(np.uint16)


def _has_long_space(text: str) -> bool:
    if text.isascii():
        return b" " * 2000 in text.encode().translate(ASCII_SPACE)
    return LONG_SPACE.search(text) is not None
