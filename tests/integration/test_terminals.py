"""Every kind of terminal, with the real command: ASCII, a reader that goes away, arguments that are no text."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.tokenizer import train_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_export import publish
from tasks.contracts.paths import PROJECT

TEXT = "Das Gef\u00fchl \u2014 na\u00efve \U0001f642 " * 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a report and an untrained model that writes any byte."""
    data = tmp_path_factory.mktemp("data")
    tokenizer = train_tokenizer([TEXT], 257)
    tokenizer.save(str(data / "tokenizer.json"))
    config = GPTConfig(257, 64, 1, 2, 2, 32, 16, 32)
    torch.manual_seed(0)
    publish(data / "models", 1, config, dict(GPT(config).state_dict()), data / "tokenizer.json", {})
    folder = data / "reports" / "20261129-1"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"text": TEXT}, ensure_ascii=False), encoding="utf-8")
    (folder / "report.md").write_text(TEXT, encoding="utf-8")
    return data


def run(data: Path, *arguments: str | bytes, stdout: Any = subprocess.PIPE, **variables: str) -> tuple[int, bytes, str]:
    command = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(data), *arguments]
    environment = os.environ | variables
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=60, check=False)
    return done.returncode, done.stdout or b"", done.stderr.decode()


PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
ENCODINGS = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, PLAIN_C]


@pytest.mark.parametrize("variables", ENCODINGS, ids=str)
def test_what_a_terminal_cannot_show_is_escaped(data: Path, variables: dict[str, str]) -> None:
    prompt = "Gef\u00fchl \U0001f642"
    status, out, err = run(data, "sample", "--prompt", prompt, "--tokens", "200", "--ignore-end", **variables)
    assert (status, err) == (0, "")
    encoding = variables.get("PYTHONIOENCODING", "utf-8" if variables == {"LC_ALL": "C"} else "ascii")
    shown = {"ascii": "Gef\\u00fchl \\ud83d\\ude42", "latin-1": "Gef\u00fchl \\ud83d\\ude42", "utf-8": prompt}
    assert out.decode(encoding).startswith(shown[encoding])

    status, out, err = run(data, "--json", "report", **variables)
    assert (status, err) == (0, "") and json.loads(out.decode(encoding)) == {"text": TEXT}


@pytest.mark.parametrize("command", [["sample", "--tokens", "2000"], ["report"], ["doctor"]], ids=str)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_went_away_is_told_by_the_status_alone(data: Path, command: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    status, _, err = run(data, *command, stdout=writing, PYTHONUNBUFFERED=unbuffered)
    os.close(writing)
    assert (status, err) == (141, "")


@pytest.mark.parametrize("command", [["sample", "--tokens", "3"], ["stats"]], ids=str)
def test_without_standard_output_nothing_is_wrong(data: Path, command: list[str]) -> None:
    words = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(data), *command]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], capture_output=True, timeout=60, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_the_first_line_is_enough(data: Path) -> None:
    sample = f"{sys.executable} {PROJECT / 'run.py'} --data-dir {data} sample --tokens 5000 --ignore-end"
    command = f"set -o pipefail; {sample} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, b"") and done.stdout.startswith(b"The")


def test_a_full_disk_is_one_line(data: Path) -> None:
    with open("/dev/full", "wb") as full:
        status, _, err = run(data, "report", stdout=full)
    assert status == 1 and err.startswith("error: no space left") and err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["--help"], ["sample", "--help"], ["forget", "--help"], ["report"], ["doctor"]], ids=str
)
def test_a_narrow_terminal(data: Path, command: list[str]) -> None:
    status, out, err = run(data, *command, COLUMNS="40")
    assert status in ((0, 1) if command == ["doctor"] else (0,)) and out and not err
    if "--help" in command:
        assert max(map(len, out.decode().splitlines())) <= 80


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.1"])
def test_a_temperature_that_is_none_is_one_line(data: Path, value: str) -> None:
    status, out, err = run(data, "sample", f"--temperature={value}")
    assert (status, out, err.count("\n")) == (2, b"", 1) and "temperature" in err


@pytest.mark.parametrize("command", [["sample", "--prompt"], ["trace"], ["forget", "--url"], ["--set"]], ids=str)
def test_an_argument_that_is_no_utf8_is_named(data: Path, command: list[str]) -> None:
    status, out, err = run(data, *command, b"Gef\xfchl=1")
    assert (status, out) == (2, b"") and "is no UTF-8" in err.splitlines()[-1] and "Traceback" not in err
