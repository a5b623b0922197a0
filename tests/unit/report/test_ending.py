"""The few lines at the end of a run."""

from pathlib import Path
from typing import Any

from tasks.report.ending import as_text

FOLDER = Path("/data/reports/20261129_demo")
SAMPLE = "She was not at all sorry to hear it, and they walked on together to the house. " * 8


def night(**changed: Any) -> dict[str, Any]:
    training = {
        "bits_per_byte": 2.0,
        "bits_per_byte_before": None,
        "uniform_bits_per_byte": 4.0,
        "published": True,
        "step": 700,
        "samples": [{"prompt": prompt, "text": prompt + SAMPLE} for prompt in ("She ", "It ", "We ", "I ")],
    }
    return {
        "outcome": "done",
        "seconds": 372.0,
        "training": training | changed,
        "stages": {
            "search": {"counts": {"site": 1, "new": 1, "google captcha": 1}},
            "collect": {"counts": {"stored": 801, "listing": 40, "unchanged": 2, "robots_forbidden": 1}},
            "clean": {"counts": {"too_short": 6, "long_words": 2}},
            "dedup": {"counts": {"kept": 785, "duplicate_near": 5, "duplicate_exact": 3}},
            "tokenize": {"counts": {"documents": 785, "train_tokens": 2_000_000, "val_tokens": 77_000}},
        },
    }


def test_what_came_what_was_refused_how_good_and_what_next() -> None:
    lines = as_text(night(), FOLDER).splitlines()
    assert lines[0] == "done in 6.2 min"
    assert lines[1] == "came      844 pages, 801 with a new text; 785 kept, 2,077,000 tokens"
    refused = "6 too_short, 5 duplicate_near, 3 duplicate_exact, 2 long_words, 1 for other reasons, google captcha"
    assert " ".join(lines[2:4]).split() == ["refused", *refused.split()]
    good = "how good 2.000 bits a byte of text it has not seen, 50% of a uniform guess, after 700 steps"
    assert good in " ".join(" ".join(lines).split())
    assert sum(line.startswith(("  She ", "  It ", "  We ", "  I ")) for line in lines) == 3
    assert f"The tables: {FOLDER}/report.md" in lines
    assert lines[-1] == "  .venv/bin/python run.py sample --prompt 'She ' --seed 1"
    assert len(lines) < 30


def test_it_fits_a_narrow_terminal() -> None:
    words, paths = as_text(night(), FOLDER, width=40).split("The tables:")
    assert max(map(len, words.splitlines())) <= 40
    assert paths


def test_a_second_night_says_what_it_changed_and_what_is_served() -> None:
    text = " ".join(as_text(night(bits_per_byte_before=2.1), FOLDER).split())
    assert "(before: 2.100)" in text and "stays" not in text
    text = " ".join(as_text(night(bits_per_byte_before=1.9, published=False), FOLDER).split())
    assert "the model served before is better, and stays" in text


def test_a_step_alone_says_what_it_did() -> None:
    report = night() | {"training": {}, "seconds": 46.0}
    text = as_text(report, FOLDER)
    assert text.startswith("done in 46 s\ncame ")
    assert "how good" not in text and "Next" not in text
    report["stages"] = {}
    assert as_text(report, FOLDER) == f"done in 46 s\n\nThe tables: {FOLDER}/report.md\n"


def test_held_out_text_may_be_missing() -> None:
    assert "how good" not in as_text(night(bits_per_byte=None), FOLDER)
