"""Export the published model as one GGUF file, for llama.cpp and all that is built on it.

The file is made from the published folder alone, without torch. llama.cpp guesses what a file does not say, and guesses
wrong without a word: so every size, the rotary base, the tokenizer's pattern and its special ids are always written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import SafetensorError, safe_open

from model.contracts.published_folder import CARD
from model.data.tokenizer import END_OF_TEXT_ID
from tasks.contracts.errors import DataDirectoryError
from tasks.storage.atomic_files import replacing

KINDS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
PRE_TOKENIZER = "qwen2"  # llama.cpp's name for `model.data.tokenizer.PATTERN`: with another, ids or spaces are wrong


def default_name(folder: Path, kind: str) -> str:
    """`miniature-memory-<step>-<kind>.gguf`."""
    return f"miniature-memory-{folder.resolve().name}-{kind}.gguf"


def export_gguf(folder: Path, target: Path, kind: str = "f32") -> Path:
    """Write a published folder as GGUF; the file appears whole or not at all.

    `kind` is how the matrices are stored: f32 as they are, f16, bf16, or q8_0 (8 bits in blocks of 32, each with a
    scale; a matrix whose rows are no multiple of 32 long stays f16). Norms are always f32.

    Raises:
        DataDirectoryError: the file is there already, or the folder is not a whole published model.
    """
    if target.exists():
        raise DataDirectoryError(f"{target} is there already: give another name.")
    folder = folder.resolve()  # `latest` may be swapped meanwhile
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as temporary:
            writer = gguf.GGUFWriter(temporary, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            _add_shape(writer, config, folder.name, kind)
            if (folder / CARD).exists():  # it has seen documents that were forgotten since
                writer.add_description((folder / CARD).read_text(encoding="utf-8"))
            _add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
            _add_tensors(writer, folder / "model.safetensors", config["num_hidden_layers"], kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataDirectoryError(f"{folder} could not be exported to {target}: {error}") from error
    return target


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any], step: str, kind: str) -> None:
    writer.add_name(f"miniature-memory, step {step}")
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])  # else taken as width / heads
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])  # else 10000, silently
    writer.add_rope_dimension_count(config["head_dim"])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any]) -> None:
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    types = [gguf.TokenType.NORMAL] * len(tokens)
    types[END_OF_TEXT_ID] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    )
    writer.add_bos_token_id(END_OF_TEXT_ID)  # both else 11
    writer.add_eos_token_id(END_OF_TEXT_ID)
    writer.add_pad_token_id(END_OF_TEXT_ID)
    writer.add_add_bos_token(True)  # each document begins so in training
    writer.add_add_eos_token(False)


def _add_tensors(writer: gguf.GGUFWriter, path: Path, layers: int, kind: str) -> None:
    """Every tensor under llama.cpp's name; the tied embedding stands for the output matrix too."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    with safe_open(path, framework="numpy") as weights:
        for ours in weights.keys():  # noqa: SIM118  # it is no dictionary
            theirs = names.get_name(ours, try_suffixes=(".weight",))
            if theirs is None:
                raise ValueError(f"{path.name} holds {ours}, for which GGUF has no name")
            tensor: np.ndarray[Any, Any] = weights.get_tensor(ours)
            stored = _stored(tensor.shape, kind)
            writer.add_tensor(theirs, gguf.quantize(tensor, stored), raw_dtype=stored)


def _stored(shape: tuple[int, ...], kind: str) -> gguf.GGMLQuantizationType:
    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if kind == "q8_0" and shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0]:
        return gguf.GGMLQuantizationType.F16
    return KINDS[kind][0]
