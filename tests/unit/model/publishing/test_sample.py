"""Text from a model: streamed, repeatable, ended where asked."""

import inspect
import subprocess

import numpy as np
import pytest

from model.data.tokenizer import END_OF_TEXT_ID, encode_documents, train_tokenizer
from model.network.config import GPTConfig
from model.network.decoder import Array, Decoder
from model.publishing.sample import Sampling, sample

TOKENIZER = train_tokenizer([inspect.getsource(subprocess)], 400)
SHAPE = GPTConfig(400, 8, n_layer=1, n_head=2, n_kv_head=2, n_embd=32, head_dim=16, intermediate_size=32)


class Scripted(Decoder):
    """Writes the given ids, and then the end of the document."""

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.asked = ids, list[list[int]]()

    def logits(self, ids: list[int]) -> Array:  # type: ignore[override]
        self.asked.append(list(ids))
        number = len(self.asked) - 1
        wanted = self.ids[number] if number < len(self.ids) else END_OF_TEXT_ID
        logits = np.zeros(400, np.float32)
        logits[wanted] = 100
        return logits


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    generator = np.random.default_rng(0)
    C, F, head = SHAPE.n_embd, SHAPE.intermediate_size, SHAPE.n_head * SHAPE.head_dim
    shapes = {"self_attn.q_proj": (head, C), "self_attn.k_proj": (head, C), "self_attn.v_proj": (head, C)}
    shapes |= {"self_attn.o_proj": (C, head), "mlp.gate_proj": (F, C), "mlp.up_proj": (F, C), "mlp.down_proj": (C, F)}
    weights = {f"layers.0.{name}.weight": generator.normal(size=shape) for name, shape in shapes.items()}
    norms = {"input_layernorm": C, "post_attention_layernorm": C, "self_attn.q_norm": 16, "self_attn.k_norm": 16}
    weights |= {f"layers.0.{name}.weight": np.ones(size) for name, size in norms.items()}
    weights |= {"embed_tokens.weight": generator.normal(size=(400, C)) * 0.2, "norm.weight": np.ones(C)}
    return Decoder(SHAPE, weights)


def text(decoder: Decoder, prompt: str, how: Sampling) -> str:
    return "".join(sample(decoder, TOKENIZER, prompt, how))


def test_a_sample_repeats_with_its_seed_and_outgrows_the_context(decoder: Decoder) -> None:
    one = text(decoder, "import", Sampling(30, seed=1))
    assert one.startswith("import") and one == text(decoder, "import", Sampling(30, seed=1))
    assert one != text(decoder, "import", Sampling(30, seed=2))
    assert text(decoder, "", Sampling(5, temperature=0)) == text(decoder, "", Sampling(5, top_k=1))


def test_each_piece_comes_when_its_characters_are_whole() -> None:
    written = "naïve 🙂 end"
    (ids,) = encode_documents(TOKENIZER, [written])
    scripted = Scripted(ids.tolist())
    pieces = sample(scripted, TOKENIZER, "A <|endoftext|>", Sampling(50))
    assert next(pieces) == "A <|endoftext|>" and not scripted.asked  # the prompt, before any work
    later = list(pieces)
    assert "".join(later) == written and "🙂" in later and "\ufffd" not in written
    (prompt,) = encode_documents(TOKENIZER, ["A <|endoftext|>"])
    assert scripted.asked[0] == [END_OF_TEXT_ID, *prompt.tolist()]  # a special token in a prompt is plain text


def test_a_character_that_is_cut_is_marked() -> None:
    (ids,) = encode_documents(TOKENIZER, ["🙂"])
    assert len(ids) == 4
    assert text(Scripted(ids.tolist()), "", Sampling(3)) == TOKENIZER.decode(ids[:3].tolist()) == "\ufffd"


def test_the_end_of_a_document_ends_the_text_unless_it_is_ignored() -> None:
    ending = Scripted([300, 301])
    assert text(ending, "", Sampling(9, temperature=0)) == TOKENIZER.decode([300, 301])
    going_on = Scripted([300, 301])
    list(sample(going_on, TOKENIZER, "", Sampling(9, temperature=0.5, ignore_end=True)))
    assert len(going_on.asked) == 9 and END_OF_TEXT_ID not in going_on.asked[-1][1:]


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        Sampling(temperature=temperature)


@pytest.mark.parametrize("wrong", [{"max_tokens": -1}, {"top_k": 0}, {"seed": -1}])
def test_a_number_out_of_range_is_refused_by_its_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_a_very_cold_temperature_takes_the_likeliest(decoder: Decoder) -> None:
    assert text(decoder, "a", Sampling(9, temperature=1e-300)) == text(decoder, "a", Sampling(9, temperature=0))
