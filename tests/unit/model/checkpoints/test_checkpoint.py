"""Checkpoints and publication under torn writes, flipped bits and kills."""

import json
import os
from pathlib import Path

import pytest
import torch

from model.checkpoints.checkpoint import (
    Checkpoint,
    checkpoints_to_keep,
    load_checkpoint,
    load_newest_whole,
    prune_checkpoints,
    save_checkpoint,
)
from model.contracts.erasure_marks import LATEST
from model.contracts.step_folders import checkpoint_folders
from model.data.tokenizer import train_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_export import load_published, publish, published

TINY = GPTConfig(260, 8, 1, 1, 1, 8, 8, 8)


def checkpoint(step: int) -> Checkpoint:
    torch.manual_seed(step)
    weights = {"embed_tokens.weight": torch.randn(4, 3)}
    return Checkpoint(
        step,
        weights,
        {name: value / 2 for name, value in weights.items()},
        {"momentum.a": torch.randn(2, 2), "step.b": torch.tensor(float(step))},
        torch.get_rng_state(),
        {"generation": "g", "curve": [(1, 0.1)]},
    )


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved = checkpoint(5)
    loaded = load_checkpoint(save_checkpoint(tmp_path, saved))
    assert loaded.step == 5 and loaded.metadata["generation"] == "g"
    for name in ("weights", "ema", "optimizer"):
        theirs, ours = getattr(loaded, name), getattr(saved, name)
        assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in ours)
    assert torch.equal(loaded.random, saved.random)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "random.safetensors", "metadata.json"])
@pytest.mark.parametrize("damage", ["torn", "flipped", "missing", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path, name: str, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        place = content.index(b'"step": 2') + 8 if name == "metadata.json" else len(content) - 3
        content[place] ^= 1  # in the metadata: step 2 becomes step 3, and is still JSON
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(bytes({"torn": content[: len(content) // 2], "flipped": content, "empty": b""}[damage]))
    loaded, damaged = load_newest_whole(tmp_path)
    assert loaded is not None and loaded.step == 1
    assert [one.name for one in damaged] == ["step_2"] and name in damaged[0].reason
    assert damaged[0].moved_to == "step_2.damaged" and (tmp_path / "step_2.damaged").is_dir()
    assert load_newest_whole(tmp_path)[1] == []  # said once


def test_a_half_written_checkpoint_is_swept_and_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    (tmp_path / ".step_2.tmp").mkdir()
    (tmp_path / ".step_2.tmp" / "model.safetensors").write_bytes(b"half")
    loaded, damaged = load_newest_whole(tmp_path)
    assert loaded is not None and loaded.step == 1
    assert [one.name for one in damaged] == [".step_2.tmp"] and not (tmp_path / ".step_2.tmp").exists()


def test_the_metadata_is_the_last_file_of_a_folder_that_is_renamed_when_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    rename, fsync = os.rename, os.fsync

    def synced(descriptor: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        order.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    save_checkpoint(tmp_path, checkpoint(3))
    assert order[-4:] == ["metadata.json", ".step_3.tmp", "rename", tmp_path.name] and len(order) == 7


def test_retention_keeps_the_newest_and_thins_the_old(tmp_path: Path) -> None:
    assert checkpoints_to_keep(list(range(0, 1001, 100)), 3, 4) == {1000, 900, 800, 700, 500, 200, 100}
    assert checkpoints_to_keep([1, 2], 3, 0) == {1, 2}
    for step in (0, 1, 2, 3, 4):
        save_checkpoint(tmp_path, checkpoint(step))
    prune_checkpoints(tmp_path, 1, 1)
    assert list(checkpoint_folders(tmp_path)) == [3, 4]
    assert load_newest_whole(tmp_path)[1] == []


@pytest.fixture
def tokenizer_path(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    train_tokenizer([], 260).save(str(path))
    return path


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(GPT(TINY).state_dict())


def test_publication_swaps_whole_models_and_keeps_a_few(tmp_path: Path, tokenizer_path: Path) -> None:
    models = tmp_path / "models"
    for step in (10, 20, 30, 40):
        publish(models, step, TINY, weights(step), tokenizer_path, {"bits_per_byte": 1.0}, keep=2)
        record = published(models)
        assert record is not None and record["step"] == step
        assert os.readlink(models / LATEST) == str(step)  # relative: the data folder may move
    assert sorted(path.name for path in models.iterdir()) == ["30", "40", "latest"]
    loaded = load_published(models / LATEST).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights(40).items())
    publish(models, 40, TINY, weights(7), tokenizer_path, {}, keep=2)  # the same step again, other weights
    assert torch.equal(load_published(models / LATEST).state_dict()["norm.weight"], weights(7)["norm.weight"])


def test_what_latest_points_to_outlives_retention(tmp_path: Path, tokenizer_path: Path) -> None:
    models = tmp_path / "models"
    for step in (50, 60, 10):  # a lineage that fell back
        publish(models, step, TINY, weights(step), tokenizer_path, {}, keep=1)
    assert sorted(path.name for path in models.iterdir()) == ["10", "60", "latest"]


def test_a_publication_killed_half_way_leaves_the_old_model_served(
    tmp_path: Path, tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    publish(models, 1, TINY, weights(1), tokenizer_path, {})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("rename", "replace"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, name, killed)
            publish(models, 2, TINY, weights(2), tokenizer_path, {})
        record = published(models)
        assert record is not None and record["step"] == 1
    publish(models, 2, TINY, weights(2), tokenizer_path, {})
    record = published(models)
    assert record is not None and record["step"] == 2
    assert sorted(path.name for path in models.iterdir()) == ["1", "2", "latest"]


def test_a_broken_published_folder_is_said(tmp_path: Path, tokenizer_path: Path) -> None:
    folder = publish(tmp_path / "models", 1, TINY, weights(1), tokenizer_path, {})
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a whole published model"):
        load_published(folder)
    (folder / "miniature_memory.json").write_text(json.dumps([])[:1], encoding="utf-8")
    assert published(tmp_path / "models") is None
