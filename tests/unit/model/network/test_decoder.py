"""The network in numpy, with its cache, against the network itself, without one."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.network.config import GPTConfig
from model.network.decoder import Decoder, context_start
from model.network.gpt import GPT

# As small as a real one, and nothing that a mistake would get right: odd heads, grouped queries, another rotary base.
SHAPE = GPTConfig(512, 64, n_layer=4, n_head=6, n_kv_head=2, n_embd=128, head_dim=32, rope_theta=500.0)
TEXT = np.random.default_rng(0).integers(512, size=200).tolist()


@pytest.fixture(scope="module")
def network() -> GPT:
    torch.manual_seed(0)
    network = GPT(SHAPE)
    for parameter in network.parameters():  # the zeroed projections would hide attention, norms of 1 themselves
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return network.eval()


def decoder_of(network: GPT) -> Decoder:
    return Decoder(network.config, {name: value.numpy() for name, value in network.state_dict().items()})


@torch.no_grad()
def logits_without_cache(network: GPT, ids: list[int]) -> torch.Tensor:
    context = ids[context_start(len(ids), network.config.block_size) :]
    logits: torch.Tensor = network(torch.tensor([context]))[0, -1]
    return logits


def close(ours: np.ndarray, theirs: torch.Tensor) -> None:
    assert float(theirs.std()) > 1  # no comparison of zeros
    torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=2e-4, rtol=0)


def test_the_logits_at_every_position_and_past_the_block(network: GPT) -> None:
    decoder = decoder_of(network)
    for length in range(1, len(TEXT) + 1):
        close(decoder.logits(TEXT[:length]), logits_without_cache(network, TEXT[:length]))


def test_a_long_prompt_at_once_and_what_follows_it(network: GPT) -> None:
    decoder = decoder_of(network)
    for length in (40, 41, 64, 65, 150, 151):
        close(decoder.logits(TEXT[:length]), logits_without_cache(network, TEXT[:length]))


def test_what_was_asked_before_changes_nothing(network: GPT) -> None:
    decoder = decoder_of(network)
    for text in (TEXT[:30], TEXT[:30], TEXT[:20], TEXT[1:32], TEXT[:31], [*TEXT[:31], 7, 8, 9]):
        close(decoder.logits(text), logits_without_cache(network, text))
    with pytest.raises(IndexError):
        decoder.logits([*TEXT[:20], 512])  # no such id
    close(decoder.logits(TEXT[:21]), logits_without_cache(network, TEXT[:21]))


def test_greedy_text_is_the_same_past_the_block_too(network: GPT) -> None:
    decoder = decoder_of(network)
    ours, theirs = [0], [0]
    for _ in range(150):
        ours.append(int(decoder.logits(ours).argmax()))
        theirs.append(int(logits_without_cache(network, theirs).argmax()))
    assert ours == theirs and len(set(ours)) > 20


@pytest.mark.parametrize("block", [1, 2, 3, 8, 9, 256])
def test_the_newest_half_stays_when_the_block_is_full(block: int) -> None:
    starts = [context_start(length, block) for length in range(4 * block)]
    assert set(starts[: block + 1]) == {0}
    for length, start in enumerate(starts[block + 1 :], block + 1):
        assert block // 2 <= length - start <= block and start % max(1, block // 2) == 0
    moved = [later - one for one, later in pairwise(starts)]
    assert set(moved) == {0, block // 2 or 1} if block > 3 else True


def test_no_ids_are_no_text(network: GPT) -> None:
    with pytest.raises(ValueError, match="begin-of-text"):
        decoder_of(network).logits([])


def test_reading_a_model_loads_no_torch() -> None:
    script = "import sys, model.publishing.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
