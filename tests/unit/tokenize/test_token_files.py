"""The token files explain themselves: the README beside them is run as a reader would."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from model.data.tokenizer import train_tokenizer
from tasks.contracts.paths import Layout
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import KeptText, tokenize
from tasks.tokenize.token_files import Manifest

TEXTS = ["The tide turned: na\u00efve \u65e5\u672c.\n", "A second document.\n"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.raw.mkdir()
    train_tokenizer(TEXTS, 300).save(str(layout.tokenizer))
    return layout


def appended(layout: Layout, manifest: Manifest, documents: list[KeptText]) -> Manifest:
    append = lambda ids: token_files.append(layout, manifest, documents, ids)  # noqa: E731
    return tokenize(documents, Encoder(layout.tokenizer), append)


def test_the_lines_of_the_readme_show_the_text(layout: Layout) -> None:
    documents = [KeptText(seq, "train", text) for seq, text in enumerate(TEXTS)]
    appended(layout, Manifest("g", "r", "t", 300, 0, 0, 0, 0), documents)
    with (layout.processed / "train.bin").open("ab") as file:
        file.write(b"\xff\xff")  # of a batch that was cut: it does not count
    (code,) = re.findall("```python\n(.*?)```", (layout.processed / "README.md").read_text(), re.DOTALL)
    command = [sys.executable, "-X", "utf8", "-c", code]
    done = subprocess.run(command, cwd=layout.processed, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "".join(f"{text}<|endoftext|>" for text in TEXTS) + "\n"


def test_the_readme_says_that_val_bin_is_empty_as_long_as_it_is(layout: Layout) -> None:
    manifest = appended(layout, Manifest("g", "r", "t", 300, 0, 0, 0, 0), [KeptText(0, "train", TEXTS[0])])
    readme = layout.processed / "README.md"
    assert "`val.bin` is empty" in readme.read_text() and (layout.processed / "val.bin").stat().st_size == 0
    appended(layout, manifest, [KeptText(1, "validation", TEXTS[1])])
    assert "is empty" not in readme.read_text()
