"""What the cells of colab.ipynb call. Until `install` has run, nothing but the standard library is imported.

None of the packages that came with the machine is changed: what it lacks goes into a folder of our own, into which this
kernel and its children look first. A plain `pip install` cannot promise that, whatever its constraints: Colab (its
published list of August 2026) has python-slugify 8, and prefect 3.8.8 wants 9.
"""

from __future__ import annotations

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
    from packaging.requirements import Requirement

    from tasks.contracts.paths import Layout

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PROJECT / "requirements-colab.txt"
# Not even a second version beside them: the training runs on the torch that fits the machine's GPU.
AS_THEY_ARE = ("torch", "numpy", "pandas")
CHROME = "https://dl.google.com/linux/direct/google-chrome-stable_current_amd64.deb"
PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


class NotebookError(Exception):
    """Speaks to the notebook's user, and says what to do next."""


# -- packages --------------------------------------------------------------------------------------------


def install(requirements: Path = REQUIREMENTS, folder: Path | None = None) -> None:
    """Make all requirements importable, changing nothing that is installed.

    Raises:
        NotebookError: pip could not, or a package that was there is another one now.
    """
    folder = folder or Path.home() / ".cache" / "miniature-memory" / f"packages-{platform.python_version()}"
    stamp, digest = folder / "complete", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if folder.exists() and not (stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(folder)  # an interrupted pip, or the requirements of another version
    before = versions(folder)
    _look_first_into(folder)
    if missing := unmet(requirements):
        print(f"installing {', '.join(missing)} and what they need, into {folder}", flush=True)
        _pip_install(requirements, before, folder)
        if missing := unmet(requirements):
            raise NotebookError(f"pip succeeded, but still not there: {', '.join(missing)}.")
        stamp.write_text(digest)
    after = versions(folder)
    if changed := [f"{name} {version}" for name, version in before.items() if after.get(name) != version]:
        raise NotebookError(f"preinstalled packages are not as they were: {', '.join(changed)}. Use a fresh machine.")
    _say_what_stands_beside(before, folder)


def versions(without: Path | None = None) -> dict[str, str]:
    """Name and version of each installed package, as imports find them; our own folder can be left out."""
    found: dict[str, str] = {}
    for one in distributions(path=[path for path in sys.path if Path(path) != without]):
        found.setdefault(_name(one), one.version)
    return found


def unmet(requirements: Path) -> list[str]:
    """The lines that what is installed does not satisfy."""
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in requirements.read_text().splitlines())
    here = versions()
    return [str(one) for one in map(Requirement, filter(None, lines)) if not _is_met(one, here)]


def _is_met(requirement: Requirement, here: dict[str, str]) -> bool:
    version = here.get(_normal(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _pip_install(requirements: Path, before: dict[str, str], folder: Path) -> None:
    """Ask pip what is to be added to what is there, then put just that into our folder."""
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
        raise NotebookError(f"pip cannot install what is missing; nothing was changed.\n{done.stderr[-2000:].strip()}")


def _look_first_into(folder: Path) -> None:
    """In this kernel and in its children: the Prefect server, the training, the extraction."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]


def _say_what_stands_beside(before: dict[str, str], folder: Path) -> None:
    """Another version of something that is there; trouble only where the kernel has loaded the machine's already."""
    for one in distributions(path=[str(folder)]):
        name = _name(one)
        if name not in before:
            continue
        modules = {file.parts[0].removesuffix(".py") for file in one.files or () if file.suffix == ".py"}
        if old := [module for module in modules if _is_loaded_from_elsewhere(module, folder)]:
            raise NotebookError(f"{old[0]} was loaded before: restart the session (menu Runtime), then run all again.")
        print(f"{name} {before[name]} stays as it is; this notebook uses {one.version}")
    print(f"all packages are there; of the {len(before)} preinstalled ones none was changed")


def _is_loaded_from_elsewhere(module: str, folder: Path) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not Path(file).is_relative_to(folder)


def _name(distribution: Distribution) -> str:
    return _normal(distribution.metadata["Name"] or "")


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


# -- Chromium --------------------------------------------------------------------------------------------


def find_chromium() -> None:
    """Use the Chromium that is there, or install one that is no snap; a night goes on without one, too."""
    from tasks.browser.chromium import find_binaries

    if find_binaries().chromium is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt_get("update")
        if "ID=debian" in Path("/etc/os-release").read_text().splitlines():
            _apt_get("install", "chromium-headless-shell", "chromium-driver")
        elif platform.machine() == "x86_64":
            _install_chrome()  # Ubuntu's own package is a stub that asks for a snap
    found = find_binaries()
    if found.chromium is None:
        print("no Chromium could be had: Selenium tries once more when a page needs it; else such pages are left out")
    else:
        print(f"{found.chromium}, driver: {found.driver or 'fetched by Selenium when the first page needs it'}")


def _install_chrome() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "chrome.deb"
        Path(temporary).chmod(0o755)  # apt reads it as another user
        try:
            with urllib.request.urlopen(CHROME, timeout=60) as answer, open(package, "wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            print(f"{CHROME} cannot be fetched: {error}")
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
    """The data directory, filled from the newest snapshot where it is empty; and the folder of the snapshots.

    That is None where there is none: then nothing outlives this machine.
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
    if not wanted:
        print("no snapshots: what is made here lasts as long as this machine")
        return None
    folder = Path(wanted).expanduser()
    if "MyDrive" not in folder.parts:
        return folder
    mount = Path(*folder.parts[: folder.parts.index("MyDrive")])
    try:
        importlib.import_module("google.colab.drive").mount(str(mount))
    except Exception as error:  # whatever it was: without a Drive the night is still worth having
        print(f"no Drive ({error})")
    if (mount / "MyDrive").is_dir():
        return folder
    print("no snapshots, since no Drive is mounted: what is made here lasts as long as this machine")
    return None


def save(layout: Layout, folder: Path | None) -> None:
    """A snapshot, where there is a folder for it and something to keep."""
    from tasks.export.snapshot import holds_data
    from tasks.export.snapshot import save as save_snapshot

    if folder is None or not holds_data(layout):
        return
    saved = save_snapshot(layout, folder)
    print(f"snapshot {saved.number}: {saved.files} files, {saved.bytes_written / 1e6:.1f} MB of them new, in {folder}")


def upload(layout: Layout, profile: str) -> None:
    """Ask for text files and take them in as `run.py add` does."""
    import run

    # The same folder every time: a document is known by its address and its text, and so is never taken in twice.
    folder = layout.root / "uploads"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        before = Path.cwd()
        os.chdir(temporary)  # Colab leaves a copy in the working directory
        try:
            received: dict[str, bytes] = importlib.import_module("google.colab.files").upload()
        finally:
            os.chdir(before)
    for name, content in received.items():
        (folder / Path(name).name).write_bytes(content)
    if received and run.main(["--profile", profile, "--data-dir", str(layout.root), "add", str(folder)]) != 0:
        raise NotebookError("the files were not taken in: see above.")
    shutil.rmtree(folder)


# -- the night -------------------------------------------------------------------------------------------


class Display:
    """Shows messages and progress in one output of a cell, which changes in place."""

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
        bars = [(f"{what}: {done:,} of {of:,} {detail}", done, of) for what, (done, of, detail) in self.bars.items()]
        drawn = [
            f'<div><progress value="{done}" max="{of}"></progress> {html.escape(label)}</div>'
            for label, done, of in bars
        ]
        lines = "\n".join(self.lines)
        return {
            "text/html": f"<pre>{html.escape(lines)}</pre>{''.join(drawn)}",
            "text/plain": "\n".join([lines, *(label for label, _, _ in bars)]),
        }


def night(layout: Layout, profile: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One night in this kernel: the same flow that Prefect schedules elsewhere. Returns its record."""
    for name, value in PREFECT.items():
        os.environ.setdefault(name, value)
    from flows.grow_and_train import grow_and_train
    from tasks.prefect_tasks import tell

    shown = Display()
    tell.terminal = shown
    try:
        # Called directly, a flow that returns a state gives the state's data.
        record: Any = grow_and_train(profile, str(layout.root), settings)
    finally:
        tell.terminal = None
        shown.draw()
    return dict(record)


def report(layout: Layout) -> Any:
    """The last night's report, for the notebook to show."""
    return _ipython().Markdown(max(layout.reports.glob("*/report.md")).read_text(encoding="utf-8"))


def plots(layout: Layout) -> Any:
    """Documents, bits per byte and reasons over all nights, as a picture."""
    from tasks.report.night_plots import draw_nights

    picture = layout.reports / "nights.png"
    if not draw_nights(layout, picture):
        raise NotebookError("the plots could not be drawn: is matplotlib there?")
    return _ipython().Image(data=picture.read_bytes())


def _ipython() -> Any:
    """What draws in a notebook; it comes with every one, and gives no types."""
    return importlib.import_module("IPython.display")
