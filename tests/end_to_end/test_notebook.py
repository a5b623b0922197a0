"""colab.ipynb, top to bottom, on a stand-in for Colab: twice, with the whole machine lost in between.

The stand-in: a package `google.colab` whose Drive is a folder and whose user uploads one file; a Python whose
preinstalled packages are those of this test's environment, seen through links, except that

- torch says that it is another version. Its code is the same, since another build weighs gigabytes; what is tested is
  that a notebook takes the torch that it finds, and that pip leaves it alone, and both go by what it says.
- some packages are missing, and python-slugify is older than Prefect allows, as on the real Colab. pip finds what is
  missing as wheels, packed again from what is installed here; it is given no network.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient

from deployments.notebook import AS_THEY_ARE, PROJECT, REQUIREMENTS
from tasks.demo_site import DemoSite
from tests.end_to_end.conftest import profile_of
from tests.support.corpora import prose

NBFORMAT: Any = importlib.import_module("nbformat")  # it gives no types
OTHER_TORCH = "2.11.0+cu128"
OTHER_SLUGIFY = "8.0.4"
LACKING = ("protego", "w3lib", "ftfy", "trafilatura")
CELL_SECONDS = 300

DRIVE = """
from pathlib import Path

def mount(mountpoint):
    (Path(mountpoint) / "MyDrive").mkdir(parents=True, exist_ok=True)
    print("Mounted at", mountpoint)
"""
FILES = """
from pathlib import Path

def upload():
    content = Path(__file__).with_name("diary.txt").read_bytes()
    Path("diary.txt").write_bytes(content)  # as Colab does
    return {"diary.txt": content}
"""


@dataclass(frozen=True)
class Colab:
    """The image (what each new machine begins with), the Drive, and the machine that can be lost."""

    root: Path

    @property
    def preinstalled(self) -> Path:
        return self.root / "image" / "preinstalled"

    @property
    def python(self) -> Path:
        return self.root / "image" / "python" / "bin" / "python"

    @property
    def wheels(self) -> Path:
        return self.root / "image" / "wheels"

    @property
    def snapshots(self) -> Path:
        return self.root / "drive" / "MyDrive" / "miniature-memory"

    @property
    def machine(self) -> Path:
        return self.root / "machine"

    @property
    def data(self) -> Path:
        return self.machine / "data"

    @property
    def environment(self) -> dict[str, str]:
        mine = ("PREFECT_", "MINIATURE_MEMORY_", "PIP_", "VIRTUAL_ENV")
        return {name: value for name, value in os.environ.items() if not name.startswith(mine)} | {
            "HOME": str(self.machine / "home"),
            "PYTHONPATH": str(self.root / "image" / "stand_in"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "OMP_NUM_THREADS": "1",
        }

    def ask(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python there."""
        return subprocess.run(
            [self.python, "-c", code],
            env=self.environment | environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=CELL_SECONDS,
        )

    def freeze(self) -> list[str]:
        done = self.ask("from pip._internal.cli.main import main; main(['freeze', '--all'])")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def run_all(self, here: Path, choices: dict[str, Any]) -> str:
        """Every cell, in a kernel that is started in `here`. Returns what the cells printed and showed as text."""
        notebook = NBFORMAT.read(PROJECT / "colab.ipynb", as_version=4)
        at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
        chosen = "\n".join(f"{name} = {value!r}" for name, value in choices.items())
        notebook.cells.insert(at + 1, NBFORMAT.v4.new_code_cell(chosen))
        client = NotebookClient(
            notebook, timeout=CELL_SECONDS, kernel_name="colab", resources={"metadata": {"path": str(here)}}
        )
        client.execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert any("image/png" in output.get("data", ()) for output in outputs), "no plots"
        return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Colab:
    colab = Colab(tmp_path)
    colab.preinstalled.mkdir(parents=True)
    colab.wheels.mkdir()
    (colab.machine / "home").mkdir(parents=True)
    _preinstall(colab)
    venv.create(colab.root / "image" / "python", symlinks=True)
    (own,) = (colab.root / "image" / "python").glob("lib/python*/site-packages")
    (own / "preinstalled.pth").write_text(f"{colab.preinstalled}\n")

    stand_in = tmp_path / "image" / "stand_in" / "google" / "colab"
    stand_in.mkdir(parents=True)
    for name, content in {"__init__": "", "drive": DRIVE, "files": FILES}.items():
        (stand_in / f"{name}.py").write_text(content)
    (stand_in / "diary.txt").write_text(prose(1, words=800))

    spec = tmp_path / "jupyter" / "kernels" / "colab"
    spec.mkdir(parents=True)
    command = [str(colab.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Colab", "language": "python", "env": colab.environment})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MINIATURE_MEMORY_"))]:
        monkeypatch.delenv(name)  # a kernel inherits them
    return colab


def _preinstall(colab: Colab) -> None:
    """Links to what is installed here, but for torch, python-slugify and what is lacking."""
    here = Path(sysconfig.get_paths()["purelib"])
    for name in (*LACKING, "python-slugify"):
        _pack(name, colab.wheels)
    hidden = {file.parts[0] for name in LACKING for file in distribution(name).files or ()}
    pretended = {"torch": OTHER_TORCH, "python-slugify": OTHER_SLUGIFY}
    hidden |= {_dist_info(name) for name in pretended} | {"torch"}
    for path in here.iterdir():
        if path.name not in hidden and path.suffix != ".pth":
            (colab.preinstalled / path.name).symlink_to(path)
    for name, version in pretended.items():
        target = colab.preinstalled / f"{name.replace('-', '_')}-{version}.dist-info"
        shutil.copytree(here / _dist_info(name), target)
        metadata = (target / "METADATA").read_text()
        (target / "METADATA").write_text(re.sub(r"^Version: .*$", f"Version: {version}", metadata, flags=re.MULTILINE))
    torch = colab.preinstalled / "torch"
    torch.mkdir()
    for path in (here / "torch").iterdir():
        (torch / path.name).symlink_to(path)
    (torch / "version.py").unlink()
    said = (here / "torch" / "version.py").read_text()
    (torch / "version.py").write_text(said.replace(distribution("torch").version, OTHER_TORCH))


def _dist_info(name: str) -> str:
    return next(file.parts[0] for file in distribution(name).files or () if file.name == "METADATA")


def _pack(name: str, folder: Path) -> None:
    """The wheel of a package that is installed here."""
    one = distribution(name)
    tag = next(line.removeprefix("Tag: ") for line in (one.read_text("WHEEL") or "").splitlines() if "Tag: " in line)
    stem = f"{one.metadata['Name'].replace('-', '_')}-{one.version}"
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as wheel:
        for file in one.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                wheel.write(str(file.locate()), str(file))


def _repository(target: Path) -> Path:
    """A repository of the project as it is now, committed or not."""
    of_tools = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache")

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {*of_tools(folder, names), *(["data"] if Path(folder) == PROJECT else [])}  # model/data is code

    shutil.copytree(PROJECT, target, ignore=left_out)
    git = ["git", "-C", str(target), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "as it is"]):
        subprocess.run([*git, *command], check=True)
    return target


def _documents(data: Path) -> list[tuple[str, str]]:
    lines = (data / "raw" / "ledger.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    files = {str(path.relative_to(data / "raw")) for path in (data / "raw").rglob("source_*/*.txt")}
    assert files == {entry["path"] for entry in entries}
    return [(entry["url"], entry["sha256"]) for entry in entries]


def _step(data: Path) -> int:
    return int(json.loads((data / "models" / "latest" / "miniature_memory.json").read_text())["step"])


def test_run_all_resumes_on_a_new_machine_and_leaves_its_packages_alone(colab: Colab, tmp_path: Path) -> None:
    preinstalled = colab.freeze()
    assert f"torch=={OTHER_TORCH}" in preinstalled and f"python-slugify=={OTHER_SLUGIFY}" in preinstalled
    assert not {line.partition("==")[0].lower() for line in preinstalled} & set(LACKING)
    repository = _repository(tmp_path / "repository")
    with DemoSite(port=0, night=1) as site:
        site.publish(30)
        profile = tmp_path / "profile.toml"
        profile.write_text(profile_of(site.url))
        choices = {
            "GIT_URL": repository.as_uri(),
            "PROFILE": str(profile),
            "SETTINGS": {"train.steps": 10},
            "DATA": str(colab.data),
            "SNAPSHOTS": str(colab.snapshots),
            "UPLOAD": True,
        }

        shown = colab.run_all(colab.machine, choices)
        for part in ("installing ", f"python-slugify {OTHER_SLUGIFY} stays", "beginning in", "1 stored", "snapshot 1:"):
            assert part in shown
        assert "train: " in shown and "published" in shown, "no progress"
        first, step = _documents(colab.data), _step(colab.data)
        assert len(first) > 25 and step == 10
        assert colab.freeze() == preinstalled
        metadata = json.loads((colab.data / "checkpoints" / "step_10" / "metadata.json").read_text())
        assert OTHER_TORCH in json.dumps(metadata), "it was trained by the torch that was there"

        # The machine is gone; the Drive is what is left. The next one is started from a checkout.
        shutil.rmtree(colab.machine)
        (colab.machine / "home").mkdir(parents=True)
        asked = len(site.requests)
        site.publish(40)
        shown = colab.run_all(shutil.copytree(repository, colab.machine / "project"), choices)
        assert "restored snapshot 1" in shown and "1 unchanged" in shown and "snapshot 2:" in shown
        again = {request.path for request in site.requests[asked:] if request.status == 200}
        known = {url.removeprefix(site.url) for url, _ in first}
        assert not again & {path for path in known if not path.endswith("/")}, "an article that was had is sent again"

    second = _documents(colab.data)
    assert second[: len(first)] == first and len(second) > len(first)
    assert len(set(second)) == len(second)
    assert _step(colab.data) == step + 10
    assert colab.freeze() == preinstalled
    (own,) = (tmp_path / "image" / "python").glob("lib/python*/site-packages")
    assert [path.name for path in own.iterdir()] == ["preinstalled.pth"]


@pytest.mark.parametrize("requirement", ["numpy<1", "torch==2.12.0", "no-such-package-anywhere"])
def test_what_cannot_be_had_without_a_change_is_refused(colab: Colab, tmp_path: Path, requirement: str) -> None:
    before = colab.freeze()
    (tmp_path / "requirements.txt").write_text(f"{requirement}\n")
    code = (
        "from pathlib import Path; from deployments import notebook; "
        f"notebook.install(Path({str(tmp_path / 'requirements.txt')!r}), Path({str(tmp_path / 'own')!r}))"
    )
    done = colab.ask(code, PYTHONPATH=str(PROJECT))
    assert done.returncode == 1 and "NotebookError: pip cannot install what is missing" in done.stderr
    assert re.split("[<=]", requirement)[0] in done.stderr
    assert colab.freeze() == before


def test_the_notebook_asks_for_what_the_project_needs() -> None:
    """Its own list, looser than the lock, must not be forgotten when the project's grows."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    mine = {re.split(r"[\[<>=!~ ]", line)[0]: line for line in lines if line}
    of_torch = {"sympy", "networkx", "jinja2", "fsspec", "filelock", "typing-extensions", "setuptools"}
    assert {re.split(r"[\[<>=!~ ]", line)[0] for line in project} - of_torch <= set(mine)
    assert all(mine[name] == name for name in AS_THEY_ARE), "any version of these will do"
    for trap in ("prefect", "fastapi", "sqlalchemy"):
        assert mine[trap] in project


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((PROJECT / "colab.ipynb").read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert all(len(cell["source"]) <= 12 for cell in cells if cell["cell_type"] == "code")
