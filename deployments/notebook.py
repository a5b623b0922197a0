"""What the cells of colab.ipynb call. Saved copies of the notebook call it too: keep the names of its functions.

Until `install` has run, this imports only the standard library. `install` changes no package of the machine: missing
ones go into a folder of our own, which this kernel and its children search first. A plain `pip install` cannot promise
that, whatever its constraints: Colab (its list of August 2026) has python-slugify 8, and prefect 3.8.8 needs 9.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.contracts.paths import Layout

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PROJECT / "requirements-colab.txt"
# Nor does our folder get a second version of these: training uses the torch that fits the machine's GPU.
AS_THEY_ARE = ("torch", "numpy", "pandas")
CHROME = "https://dl.google.com/linux/direct/google-chrome-stable_current_amd64.deb"


class NotebookError(Exception):
    """Tells the notebook's user what went wrong and what to do next."""


# -- packages --------------------------------------------------------------------------------------------


def install(requirements: Path = REQUIREMENTS, folder: Path | None = None) -> None:
    """Makes all requirements importable and changes no installed package.

    Raises:
        NotebookError: pip failed, or an installed package changed.
    """
    folder = folder or Path.home() / ".cache" / "miniature-memory" / f"packages-{platform.python_version()}"
    stamp, digest = folder / "complete", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if folder.exists() and not (stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(folder)  # pip was interrupted, or the requirements have changed
    before = versions(folder)
    _look_first_into(folder)
    if missing := unmet(requirements):
        print(f"installing {', '.join(missing)} and what they need, into {folder}", flush=True)
        _pip_install(requirements, before, folder)
        if missing := unmet(requirements):
            raise NotebookError(f"pip succeeded, but these are still missing: {', '.join(missing)}.")
        stamp.write_text(digest)
    after = versions(folder)
    if changed := [f"{name} {version}" for name, version in before.items() if after.get(name) != version]:
        raise NotebookError(f"these preinstalled packages have changed: {', '.join(changed)}. Use a fresh machine.")
    _report_second_versions(before, folder)


def versions(without: Path | None = None) -> dict[str, str]:
    """Returns the version of each installed package, as imports find it; leaves out the folder `without`."""
    found: dict[str, str] = {}
    for one in distributions(path=[path for path in sys.path if Path(path) != without]):
        found.setdefault(_name(one), one.version)
    return found


def unmet(requirements: Path) -> list[str]:
    """Returns the requirements that no installed package meets."""
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in requirements.read_text().splitlines())
    installed = versions()
    missing = []
    for one in map(Requirement, filter(None, lines)):
        version = installed.get(_normal(one.name))
        if version is None or not one.specifier.contains(version, prereleases=True):
            missing.append(str(one))
    return missing


def _pip_install(requirements: Path, before: dict[str, str], folder: Path) -> None:
    """Asks pip which packages are missing, then installs only those into our folder."""
    with tempfile.TemporaryDirectory() as temporary:
        pins, report = Path(temporary) / "constraints.txt", Path(temporary) / "report.json"
        pins.write_text("".join(f"{name}=={before[name]}\n" for name in AS_THEY_ARE if name in before))
        _pip("--dry-run", "--report", str(report), "-r", str(requirements), "-c", str(pins))
        metadata = [one["metadata"] for one in json.loads(report.read_text())["install"]]
        exact = [f"{one['name']}=={one['version']}" for one in metadata]
        if exact:
            _pip("--no-deps", "--upgrade", "--target", str(folder), *exact)
    importlib.invalidate_caches()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotebookError(f"pip cannot install what is missing; it changed nothing.\n{done.stderr[-2000:].strip()}")


def _look_first_into(folder: Path) -> None:
    """Searches the folder first, in this kernel and in its children: Prefect's server, training, extraction."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]


def _report_second_versions(before: dict[str, str], folder: Path) -> None:
    """Prints which packages are there twice now. Fails where the kernel has already loaded the machine's version."""
    for one in distributions(path=[str(folder)]):
        name = _name(one)
        if name not in before:
            continue
        modules = {file.parts[0].removesuffix(".py") for file in one.files or () if file.suffix == ".py"}
        for module in modules:
            file = getattr(sys.modules.get(module), "__file__", None)
            if file and not Path(file).is_relative_to(folder):
                raise NotebookError(
                    f"{module} was loaded before: restart the session (menu Runtime), then run all again."
                )
        print(f"{name} {before[name]} stays as it is; this notebook uses {one.version}")
    print(f"all packages are there; none of the {len(before)} preinstalled ones has changed")


def _name(distribution: Distribution) -> str:
    return _normal(distribution.metadata["Name"] or "")


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


# -- Chromium --------------------------------------------------------------------------------------------


def find_chromium() -> None:
    """Finds Chromium or installs one that is no snap. A night also runs without one."""
    from tasks.browser.chromium import find_binaries

    if find_binaries().chromium is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt_get("update")
        if "ID=debian" in Path("/etc/os-release").read_text().splitlines():
            _apt_get("install", "chromium-headless-shell", "chromium-driver")
        elif platform.machine() == "x86_64":
            _install_chrome()  # Ubuntu's own package is a stub that asks for a snap
    found = find_binaries()
    if found.chromium is None:
        print("found no Chromium: Selenium tries again when a page needs one; else the night leaves such pages out")
    else:
        print(f"{found.chromium}, driver: {found.driver or 'Selenium downloads it when the first page needs it'}")


def _install_chrome() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "chrome.deb"
        Path(temporary).chmod(0o755)  # apt reads it as another user
        try:
            with urllib.request.urlopen(CHROME, timeout=60) as answer, open(package, "wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            print(f"cannot download {CHROME}: {error}")
            return
        _apt_get("install", str(package))


def _apt_get(*arguments: str) -> None:
    command = ["apt-get", "-qq", "-y", "--no-install-recommends", *arguments]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"{' '.join(command)}: {error}")


# -- data ------------------------------------------------------------------------------------------------


def on_colab() -> bool:
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ImportError:
        return False


def open_data(data: str | None, snapshots: str | None) -> tuple[Layout, Path | None]:
    """Returns the data directory and the folder of the snapshots; restores the newest one into an empty directory.

    The folder is None where there are no snapshots: then all data ends with this machine.
    """
    from tasks.contracts.paths import find_data_directory
    from tasks.export.snapshot import holds_data, restore

    layout = find_data_directory(data or ("/content/miniature-memory-data" if on_colab() else None))
    folder = _snapshot_folder(snapshots)
    if holds_data(layout):
        print(f"going on with {layout.root}")
    elif folder and (snapshot := restore(folder, layout)):
        find_data_directory(layout.root)  # the empty folders too
        print(f"restored snapshot {snapshot.number} of {snapshot.made} from {folder}")
    else:
        print(f"beginning in {layout.root}")
    return layout, folder


def _snapshot_folder(wanted: str | None) -> Path | None:
    folder = Path(wanted or "").expanduser()
    if wanted and "MyDrive" not in folder.parts:
        return folder
    if wanted:
        mount = Path(*folder.parts[: folder.parts.index("MyDrive")])
        try:
            importlib.import_module("google.colab.drive").mount(str(mount))
        except Exception as error:  # whatever it is: the night is worth its time without a Drive
            print(f"cannot mount the Drive: {error}")
        if (mount / "MyDrive").is_dir():
            return folder
    print("no snapshots: all data ends with this machine")
    return None


def save(layout: Layout, folder: Path | None) -> None:
    """Saves a snapshot where there is a folder for it and data to keep."""
    from tasks.export.snapshot import holds_data
    from tasks.export.snapshot import save as save_snapshot

    if folder is None or not holds_data(layout):
        return
    saved = save_snapshot(layout, folder)
    print(f"snapshot {saved.number}: {saved.files} files, {saved.bytes_written / 1e6:.1f} MB of them new, in {folder}")


def upload(layout: Layout, profile: str) -> None:
    """Asks for text files and adds them as `run.py add` does."""
    import run

    # Always the same folder: address and text identify a document, so no document is added twice.
    folder = layout.root / "uploads"
    folder.mkdir(exist_ok=True)
    # Colab leaves a copy in the working directory.
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        received: dict[str, bytes] = importlib.import_module("google.colab.files").upload()
    for name, content in received.items():
        (folder / Path(name).name).write_bytes(content)
    if received and run.main(["--profile", profile, "--data-dir", str(layout.root), "add", str(folder)]) != 0:
        raise NotebookError("the files were not added: see above.")
    shutil.rmtree(folder)


# -- the night -------------------------------------------------------------------------------------------


class Display:
    """Shows messages and progress in one output of a cell and updates it in place."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, tuple[int, int, str]] = {}
        self.drawn = 0.0
        self.handle = _ipython().display(self._bundle(), raw=True, display_id=True)

    def message(self, text: str) -> None:
        self.lines.append(text)
        self.draw()

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        self.bars[what] = (done, of, detail)
        if time.monotonic() - self.drawn >= 0.5:
            self.draw()

    def draw(self) -> None:
        self.drawn = time.monotonic()
        self.handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        """Returns the output as HTML and as plain text."""
        text = "\n".join(self.lines)
        bundle = {"text/html": f"<pre>{html.escape(text)}</pre>", "text/plain": text}
        for what, (done, of, detail) in self.bars.items():
            label = f"{what}: {done:,} of {of:,} {detail}"
            bar = f'<progress value="{done}" max="{of}"></progress>'
            bundle["text/html"] += f"<div>{bar} {html.escape(label)}</div>"
            bundle["text/plain"] += f"\n{label}"
        return bundle


def night(layout: Layout, profile: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Runs one night in this kernel: the same flow that Prefect schedules elsewhere. Returns its record."""
    import run

    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    run.prepare_prefect(layout)
    from flows.grow_and_train import grow_and_train
    from tasks.prefect_tasks import tell

    shown = Display()
    tell.terminal = shown
    try:
        # Called directly, a flow that returns a state returns the state's data.
        record: Any = grow_and_train(profile, str(layout.root), settings)
    finally:
        tell.terminal = None
        shown.draw()
    return dict(record)


def report(layout: Layout) -> Any:
    """Returns the last night's report for the notebook to show."""
    return _ipython().Markdown(max(layout.reports.glob("*/report.md")).read_text(encoding="utf-8"))


def plots(layout: Layout) -> Any:
    """Returns a picture of documents, bits per byte and reasons over all nights."""
    from tasks.report.night_plots import draw_nights

    picture = layout.reports / "nights.png"
    if not draw_nights(layout, picture):
        raise NotebookError("cannot draw the plots: is matplotlib installed?")
    return _ipython().Image(data=picture.read_bytes())


def _ipython() -> Any:
    """Returns the module that draws in a notebook. Every notebook has it; it has no types."""
    return importlib.import_module("IPython.display")
