"""What grows in the data directory: digests, bytes, names, keys, tables."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.golden.conftest import OWN, Trained
from tests.golden.support import EXPECTED, WRITE, House, check, read_lines, run_apart, shape, table_rows, tensors

TOLD = ("seq", "path", "bytes", "split", "url", "extractor")
SETTLED = ("config", "seed", "batch_size", "new_share", "cohorts", "first_step", "optimizer", "average_shares")
DIGEST = re.compile(r"[0-9a-f]{64}")


def test_the_own_profile_names_every_setting_that_decides_texts_or_training() -> None:
    settings = {row[0].strip("`") for row in table_rows("settings")}
    for section in ("clean", "dedup", "train", "tokenize"):
        assert {f"{section}.{name}" for name in OWN[section]} == {s for s in settings if s.startswith(f"{section}.")}


def test_rules_digest(house: House) -> None:
    """The Unicode tables belong to the digest, and come with Python."""
    meta = house.record("processed/meta.json")
    name = f"rules_{house.profile.stem}"
    found = {"unicode": unicodedata.unidata_version, "rules": meta["rules"], "generation": meta["generation"]}
    if not WRITE and json.loads((EXPECTED / f"{name}.json").read_text())["unicode"] != found["unicode"]:
        pytest.skip("expected/ was written with another Python's Unicode tables")
    check(name, found)
    assert house.rows("SELECT value FROM positions WHERE name = 'rules'") == [{"value": meta["rules"]}]


def test_rebuild_gives_the_nightly_bytes_and_they_are_the_ones_of_before(house: House, tmp_path: Path) -> None:
    nightly = house.digests("cleaned", "processed")
    house.run("rebuild", "--to", tmp_path / "rebuilt")
    assert house.digests("cleaned", "processed", root=tmp_path / "rebuilt") == nightly
    del nightly["processed/meta.json"]  # names the rules: they have a test of their own
    tokenizer = {name: digest for name, digest in house.digests("raw").items() if name == "raw/tokenizer.json"}
    check(f"bytes_{house.profile.stem}", nightly | tokenizer)


def test_verdict_on_each_document(house: House) -> None:
    query = "SELECT seq, outcome, stage, detail, kept_bytes, language FROM documents ORDER BY seq"
    check(f"verdicts_{house.profile.stem}", [" | ".join(map(str, row.values())) for row in house.rows(query)])


def test_commit_records_of_the_derived_data(house: House) -> None:
    """processed/meta.json and raw/tokenizer.meta.json, with their values but for the rules' digest."""
    meta, tokenizer = house.record("processed/meta.json"), house.record("raw/tokenizer.meta.json")
    for name in ("rules", "generation"):
        assert DIGEST.fullmatch(meta[name])
        meta[name] = name
    check(f"records_{house.profile.stem}", {"processed/meta.json": meta, "raw/tokenizer.meta.json": tokenizer})


def test_ledger_lines_of_local_files_and_names_of_raw_files(default: House) -> None:
    texts = str(default.data.parent / "texts")
    lines = [
        line | {"path": default.masked_paths()[line["path"]]}
        | {name: line[name].replace(texts, "TEXTS") for name in ("url", "final_url", "query")}
        for line in default.ledger()
    ]  # fmt: skip
    whole = [line for line in lines if line["seq"] in (0, 12, 13)]
    check("ledger_of_local_files", {"lines": whole, "documents": [[line[name] for name in TOLD] for line in lines]})
    raw = (default.data / "raw" / "ledger.jsonl").read_text(encoding="utf-8")
    assert raw == "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in default.ledger())


def test_files_of_the_data_directory(trained: Trained) -> None:
    check("files", trained.house.files())


def test_tables_of_the_state_after_working_on_local_files(default: House) -> None:
    check("tables_of_local_files", default.tables())


def test_rows_of_the_table_of_documents(default: House) -> None:
    """nanoGPT's files are documented; this table is ours: seq, offset, length, split."""
    content = (default.data / "processed" / "documents.bin").read_bytes()
    documents = default.record("processed/meta.json")["documents"]
    check("documents_bin", {"bytes_a_row": len(content) // documents, "first_two_rows": content[:48].hex()})


def test_redacted_line_of_a_forgotten_document(default: House, tmp_path: Path) -> None:
    house = House(tmp_path / "data", default.profile)
    shutil.copytree(default.data, house.data)
    options = ("--data-dir", house.data, "--profile", house.profile, "--json", "forget", "--seq", "0")
    planned, done = run_apart(*options, "--dry-run"), run_apart(*options)
    assert (planned.status, done.status) == (0, 0), planned.out + done.out
    line = house.ledger()[0]
    check(
        "forgetting",
        {
            "dry run": shape(json.loads(planned.out)),
            "ledger line": line | {"forgotten": shape(line["forgotten"])},
            "forgotten.jsonl": shape(read_lines(house.data / "raw" / "forgotten.jsonl")),
            "outcomes": {
                row["outcome"]: row["n"]
                for row in house.rows("SELECT outcome, count(*) AS n FROM documents GROUP BY outcome ORDER BY outcome")
            },
        },
    )


def test_what_programs_read(trained: Trained, tmp_path: Path) -> None:
    """`stats --json`, `trace --json`, the columns of the exported dataset."""
    house = trained.house
    kept, copy = house.ledger()[0]["url"], house.ledger()[3]["url"]
    house.run("export", "dataset", "--parquet", tmp_path / "kept.parquet")
    stats = house.json("stats")
    refused = json.loads(house.run("stats", "--json", "--reason", "too_short").out.splitlines()[0])
    check(
        "read_by_programs",
        {
            "stats": shape(stats),
            "documents": stats["documents"],
            "stats --reason": shape(refused),
            "trace of a kept one": shape(house.json("trace", kept)),
            "trace of a copy": shape(house.json("trace", copy)),
            "dataset": [
                f"{field.name}: {field.type}" for field in pyarrow.parquet.read_schema(tmp_path / "kept.parquet")
            ],
        },
    )


def test_record_of_a_chunk_under_way(trained: Trained) -> None:
    chunk = trained.chunk
    assert DIGEST.fullmatch(chunk["generation"])
    check("chunk", chunk | {"generation": "digest"})


def test_checkpoint(trained: Trained) -> None:
    folder = trained.house.data / "checkpoints" / "step_64"
    metadata = json.loads((folder / "metadata.json").read_text())
    check(
        "checkpoint",
        {
            "folders": sorted(path.name for path in folder.parent.iterdir()),
            "files": sorted(path.name for path in folder.iterdir()),
            "metadata.json": shape(metadata),
            "values": {name: metadata[name] for name in SETTLED},
            "model.safetensors": tensors(folder / "model.safetensors"),
            "optimizer.safetensors": tensors(folder / "optimizer.safetensors"),
            "random.safetensors": tensors(folder / "random.safetensors"),
            "curve.jsonl": shape(read_lines(folder.parent / "curve.jsonl")[0]),
            "steps in curve.jsonl": len(read_lines(folder.parent / "curve.jsonl")),
        },
    )


def test_checkpoint_of_the_default_settings(default: House) -> None:
    """All but what would take time, or depends on the processor."""
    small = [word for one in ("n_layer=1", "compile='off'", "dtype='float32'") for word in ("--set", f"train.{one}")]
    default.run(*small, "train", "--steps", "1")
    metadata = default.record("checkpoints/step_1/metadata.json")
    check("checkpoint_of_defaults", {name: metadata[name] for name in SETTLED})


def test_published_model(trained: Trained) -> None:
    models = trained.house.data / "models"
    folder = models / "latest"
    assert folder.is_symlink() and trained.house.run("sample", "--tokens", "5").out.startswith("The")
    fixed = ("config.json", "generation_config.json", "tokenizer_config.json")
    check(
        "published_model",
        {
            "files": sorted(path.name for path in folder.iterdir()),
            **{name: json.loads((folder / name).read_text()) for name in fixed},
            "miniature_memory.json": shape(json.loads((folder / "miniature_memory.json").read_text())),
            "model.safetensors": tensors(folder / "model.safetensors"),
            "anchor.json": shape(json.loads((models / "anchor.json").read_text())),
        },
    )
