"""llama.cpp itself, with a file of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest


@contextmanager
def llama_cpp(path: Path) -> Iterator[httpx.Client]:
    """llama.cpp's own server with the file loaded, on a loopback port of its choice, as exact as it can be."""
    xllamacpp = pytest.importorskip("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(path)
    wanted.n_ctx, wanted.n_parallel, wanted.warmup, wanted.port = 256, 1, False, 0
    wanted.cpuparams.n_threads = 1
    wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    wanted.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(wanted)
    with httpx.Client(base_url=server.listening_address, timeout=60) as client:
        yield client


def complete(server: httpx.Client, prompt: list[int] | str, **more: Any) -> dict[str, Any]:
    question = {"prompt": prompt, "temperature": 0.0, "cache_prompt": False, "return_tokens": True, **more}
    answer: dict[str, Any] = server.post("/completion", json=question).json()
    return answer
