"""miniature-memory on the command line. `python run.py` is one night; `python run.py --help` lists the rest."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tasks.contracts.errors import DataDirectoryError, MiniatureMemoryError, SettingsError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.settings import Settings, load_settings, parse_override
from tasks.report.terminal import Terminal

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
STEPS = ("collection", "validation", "cleaning", "preparation", "training")
STEP_COMMANDS = dict(zip(("collect", "validate", "clean", "prepare", "train"), STEPS, strict=True))


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill` and systemd send it. It ends the night as Ctrl-C does: browser and training child go first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong use, 75 another run has the lock."""
    options = parse_arguments(arguments)
    try:
        return int(options.run(options) or 0)
    except MiniatureMemoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except (sqlite3.DatabaseError, OSError) as error:
        print(f"error: {_explain(error, options.data_dir)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("stopped; the next run goes on from here", file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def _explain(error: Exception, data_dir: str | None) -> str:
    """What a failure of the disk or the database means for the user."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "disk is full" in str(error):
        return f"no space left ({error}). Make room and run again: what was stored is whole."
    if isinstance(error, sqlite3.DatabaseError):
        database = find_data_directory(data_dir).database
        return (
            f"{database} cannot be used ({error}). If it is damaged, remove it and run again: "
            "it is made anew, and no document is lost."
        )
    return f"{error}. What was stored is whole; mend the cause and run again."


# -- the night and its steps -----------------------------------------------------------------------------


def run_night(options: argparse.Namespace) -> int:
    """All steps but the skipped ones."""
    skipped = {step for step in STEPS if getattr(options, f"skip_{step}")}
    # Asked to leave out a data step, a person works on what is there.
    if skipped & {"validation", "cleaning", "preparation"} and not options.collect:
        skipped.add("collection")
    return _run([step for step in STEPS if step not in skipped], options, needs_prefect=True)


def run_step(options: argparse.Namespace) -> int:
    """One step of the night alone."""
    if getattr(options, "scan", False):
        _scan(options)
    return _run([STEP_COMMANDS[options.command]], options, needs_prefect=False)


def _run(steps: list[str], options: argparse.Namespace, *, needs_prefect: bool) -> int:
    """Within a Prefect flow where its server answers or is needed; a step alone is as well done without."""
    from flows.prefect_server.configured import answers, configured_url

    settings = load_settings(options.profile, _overrides(options))  # a bad profile is said before anything starts
    layout = find_data_directory(options.data_dir)
    terminal = Terminal()
    _prepare_prefect()
    url = configured_url()
    is_there = bool(url) and answers(url)
    if url and not is_there:
        terminal.message(f"PREFECT_API_URL ({url}) does not answer: the run goes on without it")
    if is_there or needs_prefect:
        report = _run_flow(steps, options, layout, terminal, is_there)
    else:
        report = _run_plainly(steps, settings, layout, terminal)
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print((layout.reports / report["run"] / "report.md").read_text(encoding="utf-8"), end="")
    return 0


def _run_plainly(steps: list[str], settings: Settings, layout: Layout, terminal: Terminal) -> dict[str, Any]:
    from flows.steps import run_steps
    from tasks import stages

    return run_steps(settings, layout, steps, stages, terminal, lambda markdown: None).as_dict()


def _run_flow(
    steps: list[str], options: argparse.Namespace, layout: Layout, terminal: Terminal, is_there: bool
) -> dict[str, Any]:
    """With the server that is there, or one that ends with us."""
    from flows.prefect_server.ephemeral import short_server

    _say_at_once_if_locked(layout)
    with ExitStack() as opened:
        wait_for_server = None if is_there else opened.enter_context(short_server())
        # Imported while it starts: both take two seconds.
        from flows.grow_and_train import grow_and_train
        from tasks.prefect_tasks import tell

        tell.terminal = terminal
        if wait_for_server:
            wait_for_server()
        wanted = {step: step in steps for step in STEPS}
        # Called directly, a flow that returns a state gives the state's data.
        report: Any = grow_and_train(options.profile, str(layout.root), _overrides(options), **wanted)
    return dict(report)


def _say_at_once_if_locked(layout: Layout) -> None:
    """The flow takes the lock itself; asking here spares the start of Prefect."""
    from tasks.storage.run_lock import writer_lock

    with writer_lock(layout.lock, "start"):
        pass


def _prepare_prefect() -> None:
    """Settings that Prefect reads when it is imported: no telemetry, our own lines on the terminal."""
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_CLI_WRAP_LINES": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


# -- data ------------------------------------------------------------------------------------------------


def run_add(options: argparse.Namespace) -> int:
    """Text from the user's own disk, into the truth like any other."""
    from flows.add import add_files, find_files

    files = find_files([Path(path) for path in options.paths])
    settings, layout = _open(options)
    counts = add_files(files, settings, layout, Terminal())
    print(", ".join(f"{number} {reason}" for reason, number in sorted(counts.items())) or "no files")
    return 0


def _scan(options: argparse.Namespace) -> None:
    from flows.add import add_unregistered

    settings, layout = _open(options)
    number = add_unregistered(settings, layout, Terminal())
    print(f"{number} file(s) dropped under {layout.raw} are in the ledger now")


def run_stats(options: argparse.Namespace) -> int:
    from tasks.report.stats import as_text, collect_stats, refused

    layout = find_data_directory(options.data_dir)
    if options.reason:
        for document in refused(layout, options.reason):
            where = f"raw/{document['path']}" if document["path"] else f"document {document['seq']}"
            line = f"{where}  {document['url']}  {document['detail'] or ''}".rstrip()
            print(json.dumps(document, ensure_ascii=False) if options.json else line)
        return 0
    stats = collect_stats(layout)
    if options.plots is not None:
        from tasks.report.corpus_plots import draw_corpus

        written = draw_corpus(stats, Path(options.plots or layout.reports / "corpus"))
        said = f"{len(written)} plots in {written[0].parent}" if written else "no documents yet, so no plots"
        print(said, file=sys.stderr)
    print(json.dumps(stats, ensure_ascii=False, indent=2) if options.json else as_text(stats))
    return 0


def run_trace(options: argparse.Namespace) -> int:
    from tasks.report.trace import as_text, trace, url_of_token

    with _said_plainly():
        layout = find_data_directory(options.data_dir)
        found = trace(url_of_token(options.target, layout), layout)
    print(json.dumps(found, ensure_ascii=False, indent=2) if options.json else as_text(found))
    return 0 if found["known"] else 1


def run_verify(options: argparse.Namespace) -> int:
    from tasks.maintain.verify import verify
    from tasks.raw.catalog import Catalog
    from tasks.storage.run_lock import writer_lock
    from tasks.storage.state_db import open_state

    layout = find_data_directory(options.data_dir)
    with writer_lock(layout.lock, "verify"):
        _mend_ledger(layout)
        db = open_state(layout.database)
        try:
            problems = list(verify(layout, Catalog(layout, db)))
        finally:
            db.close()
    print("\n".join(problems) or "all is as it was written")
    return 1 if problems else 0


def _mend_ledger(layout: Layout) -> None:
    from tasks.raw import ledger

    ledger.require_no_unfinished_erasure(layout)
    for message in ledger.recover(layout):
        print(f"mended: {message}", file=sys.stderr)


def run_rebuild(options: argparse.Namespace) -> int:
    from tasks.derive.derivation import rebuild
    from tasks.storage.run_lock import writer_lock

    settings, layout = _open(options)
    with writer_lock(layout.lock, "rebuild"):
        _mend_ledger(layout)
        meta = rebuild(settings, layout, Path(options.to))
    tokens = f"{meta.documents} documents, {meta.train_tokens + meta.val_tokens} tokens" if meta else "no tokens yet"
    print(f"rebuilt into {options.to}: {tokens}")
    return 0


def run_forget(options: argparse.Namespace) -> int:
    """A page, a domain or a document leaves for good. Fails where something could not be looked into."""
    from flows.forget import forget
    from tasks.forget.request import Request, as_text

    request = Request(options.url, options.domain, options.seq, options.keep_copies, options.retrain, options.dry_run)
    settings, layout = _open(options)
    _say_at_once_if_locked(layout)
    _prepare_prefect()
    from flows.prefect_server.erase import forget_in_prefect

    result = forget(request, settings, layout, Terminal(), forget_in_prefect)
    print(json.dumps(result.as_dict(), ensure_ascii=False) if options.json else as_text(result))
    return 1 if result.unreached else 0


# -- the model -------------------------------------------------------------------------------------------


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What the model package calls a wrong value, as an error of ours."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(str(error)) from error


def run_sample(options: argparse.Namespace) -> int:
    from model.data.tokenizer import load_tokenizer
    from model.publishing.hf_export import load_published
    from model.publishing.sample import sample

    folder = _published(find_data_directory(options.data_dir))
    with _said_plainly():
        text = sample(
            load_published(folder),
            load_tokenizer(folder / "tokenizer.json"),
            options.prompt,
            options.tokens,
            options.temperature,
            options.top_k,
            options.seed,
        )
    print(text)
    return 0


def run_export(options: argparse.Namespace) -> int:
    layout = find_data_directory(options.data_dir)
    if options.format == "gguf":
        return _export_gguf(layout, options)
    if options.to is None:
        raise SettingsError(f"export {options.format} needs --to PATH: a new folder (hf) or file (dataset).")
    target = Path(options.to)
    if options.format == "dataset":
        from tasks.export.dataset import export_dataset

        print(f"exported {export_dataset(layout, target)} documents to {target}: open it with pandas.read_parquet")
        return 0
    folder = _published(layout)
    if target.exists() and any(target.iterdir()):
        raise DataDirectoryError(f"{target} is not empty: give export --to a new folder.")
    shutil.copytree(folder.resolve(), target, dirs_exist_ok=True)
    print(f"exported to {target}: open it with transformers.AutoModelForCausalLM.from_pretrained({str(target)!r})")
    return 0


def _export_gguf(layout: Layout, options: argparse.Namespace) -> int:
    from tasks.export.gguf import default_name, export_gguf

    folder = _published(layout).resolve()  # one model, even if another is published meanwhile
    target = export_gguf(folder, Path(options.to or default_name(folder, options.dtype)), options.dtype)
    print(f"exported to {target}: run it with llama-cli -m {target} -no-cnv -p 'The '")
    return 0


def _published(layout: Layout) -> Path:
    folder = layout.models / "latest"
    if not folder.exists():
        raise DataDirectoryError(f"{layout.models} holds no published model yet: run a night first (python run.py).")
    return folder


# -- the house -------------------------------------------------------------------------------------------


def run_report(options: argparse.Namespace) -> int:
    layout = find_data_directory(options.data_dir)
    runs = sorted(path.parent.name for path in layout.reports.glob("*/report.json"))
    name = options.run_id or (runs[-1] if runs else "")
    folder = layout.reports / name
    if not name or not (folder / "report.json").is_file():
        known = f"Known: {', '.join(runs[-5:])}." if runs else "No run has been reported yet."
        raise DataDirectoryError(f"no report {name!r} in {layout.reports}. {known}")
    print((folder / ("report.json" if options.json else "report.md")).read_text(encoding="utf-8"), end="")
    return 0


def run_init(options: argparse.Namespace) -> int:
    from tasks.maintain.profile_template import write_profile

    path = Path(options.path)
    write_profile(path)
    print(f"{path} is yours to change. One night of it: python run.py --profile {path}")
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    from tasks.maintain.doctor import examine

    findings = examine(options.data_dir)
    if options.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.fine else 'MEND'} {finding.what}: {finding.says}")
    return 0 if all(finding.fine for finding in findings) else 1


# -- arguments -------------------------------------------------------------------------------------------


def _open(options: argparse.Namespace) -> tuple[Settings, Layout]:
    return load_settings(options.profile, _overrides(options)), find_data_directory(options.data_dir)


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    overrides = dict(parse_override(text) for text in options.set)
    if options.steps is not None:
        overrides["train.steps"] = options.steps
    if options.minutes is not None:
        overrides["train.minutes"] = options.minutes
    return overrides


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    return make_parser().parse_args(arguments)


def make_parser(width: int | None = None) -> argparse.ArgumentParser:
    """The whole command line. Options that many commands share may stand before or after the command."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Grow a text dataset and train a small GPT on it. Without a command: one night.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=width),
    )
    parser.set_defaults(run=run_night, profile="nightly", data_dir=None, set=[], steps=None, minutes=None, json=False)
    shared = _shared_options()
    for action in shared._actions:
        parser._add_action(action)
    for step in STEPS:
        parser.add_argument(f"--skip-{step}", action="store_true", help=f"leave {step} out")
    parser.add_argument("--collect", action="store_true", help="collect even though another step is left out")

    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[_shared_options()], help=help, description=help)
        added.set_defaults(run=run)
        return added

    command("collect", run_step, "search, render and extract pages; store their text")
    one = command("validate", run_step, "read the new raw files back")
    one.add_argument("--scan", action="store_true", help="first take in text files dropped under raw/")
    command("clean", run_step, "clean what is new and compare it with all that is kept")
    command("prepare", run_step, "turn what is newly kept into tokens")
    command("train", run_step, "train one chunk and publish the model")
    one = command("add", run_add, "take in text, Markdown or HTML files of your own")
    one.add_argument("paths", nargs="+", metavar="PATH", help="files or folders")
    one = command("stats", run_stats, "what there is, in numbers")
    one.add_argument("--reason", metavar="NAME", help="list the documents that ended for this reason instead")
    one.add_argument("--plots", nargs="?", const="", metavar="DIR", help="also draw them, as PNG (reports/corpus)")
    one = command("trace", run_trace, "the whole way of one page")
    one.add_argument("target", metavar="URL|FILE:TOKEN", help="a page, or a place such as train.bin:123456")
    command("verify", run_verify, "hold everything on disk against what was written")
    one = command("rebuild", run_rebuild, "derive cleaned/ and processed/ from raw/ alone, into a new folder")
    one.add_argument("--to", required=True, metavar="DIR", help="a new or empty folder")
    one = command("forget", run_forget, "remove a page, a domain or a document for good; alone, finish what was cut")
    one.add_argument("--url", metavar="URL", help="all texts of this page, asked or reached by a redirect")
    one.add_argument("--domain", metavar="DOMAIN", help="all pages of a domain and of those below it")
    one.add_argument("--seq", type=int, metavar="N", help="one document, by its number in the ledger")
    one.add_argument("--keep-copies", action="store_true", help="let near copies under other addresses stay")
    one.add_argument("--retrain", action="store_true", help="go back to the newest checkpoint from before it")
    one.add_argument("--dry-run", action="store_true", help="list what would go, and change nothing")
    one = command("sample", run_sample, "let the published model write")
    one.add_argument("--prompt", default="The ", help="how the text begins")
    one.add_argument("--tokens", type=int, default=200, help="how many tokens to write")
    one.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token")
    one.add_argument("--top-k", type=int, default=50, help="choose among so many tokens")
    one.add_argument("--seed", type=int, default=0, help="same seed, same text")
    one = command("export", run_export, "copy the published model, for llama.cpp too, or write the kept texts")
    one.add_argument(
        "format",
        choices=("hf", "gguf", "dataset"),
        help="hf: a folder for transformers; gguf: a file for llama.cpp; dataset: a Parquet file of the kept texts",
    )
    one.add_argument("--to", "--parquet", metavar="PATH", help="a new folder (hf) or file (dataset, gguf: optional)")
    one.add_argument("--dtype", choices=("f32", "f16", "bf16", "q8_0"), default="f32", help="gguf: of the matrices")
    one = command("report", run_report, "what a night did; the last one by default")
    one.add_argument("run_id", nargs="?", metavar="RUN", help="a folder name in reports/")
    one = command("init", run_init, "write a commented profile of your own")
    one.add_argument("path", nargs="?", default="my.toml", metavar="PATH", help="a new .toml file (my.toml)")
    command("doctor", run_doctor, "what is missing on this machine, and how to mend it")
    return parser


def _shared_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--profile", metavar="NAME|FILE", help="a name in deployments/, or a TOML file")
    shared.add_argument("--data-dir", metavar="DIR", help="default: MINIATURE_MEMORY_DATA, else data/")
    shared.add_argument("--steps", type=int, help="training steps (train.steps)")
    shared.add_argument("--minutes", type=float, help="bound of the training (train.minutes)")
    shared.add_argument("--set", action="append", metavar="NAME=VALUE", help="a setting, such as train.seed=7")
    shared.add_argument("--json", action="store_true", help="print JSON")
    return shared


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Terminated


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    status = main()
    if status in (INTERRUPTED, TERMINATED):
        # Prefect would wait at exit for a server that is being taken down; everything of ours is on disk.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
