"""Text from a model. No cache of keys and values: at these sizes a sample costs less than the code would."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from model.data.tokenizer import END_OF_TEXT_ID
from model.network.gpt import GPT


@torch.no_grad()
def sample(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
) -> str:
    """Returns the prompt and up to `max_tokens` more tokens, ending early at the end of a document.

    Temperature 0 takes the likeliest token; an empty prompt starts a document. Raises ValueError on a
    negative temperature or a top_k below 1.
    """
    if temperature < 0 or top_k < 1:
        raise ValueError(f"temperature must be at least 0 and top_k at least 1, not {temperature} and {top_k}")
    tokenizer.encode_special_tokens = True
    ids = [END_OF_TEXT_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    device = model.embed_tokens.weight.device
    generator = torch.Generator().manual_seed(seed)
    for _ in range(max_tokens):
        context = torch.tensor([ids[-model.config.block_size :]], device=device)  # (1, T)
        logits = model.logits(model.features(context)[0, -1]).float().cpu()  # (V,)
        token = _choose(logits, temperature, top_k, generator)
        if token == END_OF_TEXT_ID:
            break
        ids.append(token)
    text: str = tokenizer.decode(ids[1:])
    return text


def _choose(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    best, ids = logits.topk(min(top_k, len(logits)))  # (K,)
    return int(ids[torch.multinomial((best / temperature).softmax(-1), 1, generator=generator)])
