"""Byte-level BPE in Hugging Face `tokenizers` format, split as Qwen2 does, so that Hugging Face, tiktoken and
llama.cpp (`tokenizer.ggml.pre = qwen2`) all give the same ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END_OF_TEXT = "<|endoftext|>"
"""Between two documents: it ends one and begins the next, and nothing else does."""
END_OF_TEXT_ID = 0
SMALLEST_VOCAB = 257  # 256 bytes and the special token
LARGEST_VOCAB = 65535  # ids are stored as uint16

LONGEST_WORD = 300
"""Characters. A longer run without a break is cut while the tokenizer is trained: each merge reads the whole of every
word that it occurs in, and one run of 90,000 characters took minutes."""

# Qwen2's expanded pattern. The GPT-2 pattern gives equal ids too, but llama.cpp then drops spaces on the way
# back.
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a tokenizer of at most `vocab_size` ids; fewer where the texts hold too few pairs. Same texts, same
    JSON."""
    if not SMALLEST_VOCAB <= vocab_size <= LARGEST_VOCAB:
        raise ValueError(f"vocab_size must be from {SMALLEST_VOCAB} to {LARGEST_VOCAB}, not {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    parts = pre_tokenizers.Split(Regex(rf"[\s\S]{{{LONGEST_WORD}}}"), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, parts, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Opens a tokenizer.json; ValueError where it is not one of ours."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"{path} is not a readable tokenizer: {error}") from error
    if tokenizer.token_to_id(END_OF_TEXT) != END_OF_TEXT_ID or tokenizer.get_vocab_size() > LARGEST_VOCAB:
        raise ValueError(f"{path} must have {END_OF_TEXT} as id {END_OF_TEXT_ID} and at most {LARGEST_VOCAB} ids")
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode_documents(tokenizer: Tokenizer, texts: list[str]) -> list[NDArray[np.uint16]]:
    """Returns the ids of each text, without the special token: a literal `<|endoftext|>` in a text stays plain
    text."""
    tokenizer.encode_special_tokens = True
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(encoding.ids, dtype=np.uint16) for encoding in encodings]


def token_texts(tokenizer: Tokenizer) -> list[bytes]:
    """Returns the bytes that each id stands for; none for the special token."""
    byte_of = _byte_of_letter()
    tokens = [tokenizer.id_to_token(token) or "" for token in range(tokenizer.get_vocab_size())]
    tokens[END_OF_TEXT_ID] = ""
    return [bytes(byte_of[letter] for letter in token) for token in tokens]


def _byte_of_letter() -> dict[str, int]:
    """The letters that byte-level BPE writes for bytes: printable Latin-1 for itself, the rest from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Returns how many bytes of text each id stands for, (V,); 0 for the special token."""
    return np.array([len(text) for text in token_texts(tokenizer)], dtype=np.int64)


def published_tokenizer(path: Path) -> str:
    """Returns a tokenizer.json that puts the begin-of-text token before a text, as training does; the ids of the text
    itself stay the same."""
    tokenizer = load_tokenizer(path)
    begun = (f"{END_OF_TEXT} $A", f"{END_OF_TEXT} $A {END_OF_TEXT} $B")
    tokenizer.post_processor = processors.TemplateProcessing(*begun, special_tokens=[(END_OF_TEXT, END_OF_TEXT_ID)])
    published: str = tokenizer.to_str()
    return published


def tokenizer_digest(path: Path) -> str:
    """Returns the sha256 of the file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
