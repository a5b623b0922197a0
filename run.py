"""miniature-memory on the command line. `python run.py` runs one night; `python run.py --help` lists all commands."""

from __future__ import annotations

import argparse
import codecs
import errno
import importlib
import io
import json
import logging
import os
import select
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from tasks.contracts.errors import DataDirectoryError, MiniatureMemoryError, SettingsError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.printable import escaped
from tasks.contracts.profiles import load_settings, parse_override
from tasks.contracts.settings import Settings
from tasks.processes.surroundings import give_home, open_standard_streams
from tasks.report import ending
from tasks.report.terminal import Terminal, show, show_traceback
from tasks.web.user_proxy import keep_loopback_direct

INTERRUPTED, TERMINATED, READER_GONE = (128 + signum for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE))
STEPS = ("collection", "validation", "cleaning", "preparation", "training")
STEP_COMMANDS = dict(zip(("collect", "validate", "clean", "prepare", "train"), STEPS, strict=True))
PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal shows our own lines
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",  # of a server that died, too
    "PREFECT_CLIENT_MAX_RETRIES": "3",  # each twice as long after the one before: 15 s in all
    "PREFECT_CLI_WRAP_LINES": "false",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill` and systemd send it. Like Ctrl-C it first ends the browser and the training child."""


asked_to_stop: list[KeyboardInterrupt] = []  # what signals raised: some libraries make errors of their own of it


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong use, 75 another run has the lock, 141 the reader is gone."""
    options = parse_arguments(arguments)
    try:
        status = int(options.run(options) or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except Exception as error:
        return _stopped(asked_to_stop[-1]) if asked_to_stop else _failed(error, options)


def _stopped(stop: KeyboardInterrupt) -> int:
    show("stopped; the next run goes on from here", file=sys.stderr)
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def _failed(error: Exception, options: argparse.Namespace) -> int:
    """Says in a line what went wrong, and returns the exit status. What nobody thought of is raised again."""
    if isinstance(error, MiniatureMemoryError):
        show(f"error: {error}", file=sys.stderr)
        return error.exit_status
    if not isinstance(error, sqlite3.DatabaseError | OSError):
        raise error
    if isinstance(error, BrokenPipeError) and nobody_reads():
        return READER_GONE
    show(f"error: {_explain(error, options.data_dir)}", file=sys.stderr)
    return 1


def nobody_reads() -> bool:
    """Returns whether the reader of what is printed went away, as in `run.py stats | head -1`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # an error is told in any case
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_unwritten() -> None:
    """Flushes what was printed. What cannot be written is dropped: Python would complain of it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def escape(error: UnicodeError) -> tuple[str, int]:
    """Writes what the terminal's encoding lacks as JSON writes it, such as \\u00e9: JSON stays JSON."""
    assert isinstance(error, UnicodeEncodeError)
    return escaped(error.object[error.start : error.end]), error.end


def _explain(error: Exception, data_dir: str | None) -> str:
    """Returns what a failure of the disk or the database means for the user."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "disk is full" in str(error):
        return f"no space left ({error}). Make room and run again: everything stored is intact."
    if isinstance(error, sqlite3.DatabaseError):
        return f"{find_data_directory(data_dir, to_read=True).database} {_explain_database(error)}"
    return f"{error}. Everything stored is intact; fix the cause and run again."


def _explain_database(error: sqlite3.DatabaseError) -> str:
    """Returns the end of a sentence about the state database. Only damage costs it, and no failure costs a document."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"is damaged ({error}). The next run sets it aside and makes it anew; no document is lost."
        case sqlite3.SQLITE_READONLY:
            return "is of an earlier version, and cannot be written here: run a night where it can be"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"is in use by another program ({error}). Let it finish, then run again."
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"cannot be opened ({error}). Mend its permissions, then run again: nothing is lost."
        case _:
            return f"cannot be used now ({error}). Fix the cause and run again: nothing is lost."


# -- the night and its steps -----------------------------------------------------------------------------


def run_night(options: argparse.Namespace) -> None:
    """Runs all steps but the skipped ones."""
    skipped = {step for step in STEPS if getattr(options, f"skip_{step}")}
    # A person who skips a data step wants to work on the data that is there.
    if skipped & {"validation", "cleaning", "preparation"} and not options.collect:
        skipped.add("collection")
    _run([step for step in STEPS if step not in skipped], options, needs_prefect=True)


def run_step(options: argparse.Namespace) -> None:
    """Runs one step of the night alone."""
    if getattr(options, "scan", False):
        _scan(options)
    _run([STEP_COMMANDS[options.command]], options, needs_prefect=False)


def _run(steps: list[str], options: argparse.Namespace, *, needs_prefect: bool) -> None:
    """Runs the steps and shows what they did."""
    settings, layout = _open(options)  # fails on a bad profile before anything starts
    with closing(Terminal()) as terminal:
        report, died = _run_steps(steps, options, settings, layout, terminal, needs_prefect)
    if options.json:
        show(json.dumps(report, ensure_ascii=False))
    else:
        width = shutil.get_terminal_size((ending.WIDEST, 24)).columns
        show(ending.as_text(report, layout.reports / report["run"], width), end="")
    if died:  # Prefect's threads would try for minutes to tell it their last words
        sys.stdout.flush()
        os._exit(0)


def _run_steps(
    steps: list[str],
    options: argparse.Namespace,
    settings: Settings,
    layout: Layout,
    terminal: Terminal,
    needs_prefect: bool,
) -> tuple[dict[str, Any], bool]:
    """Runs the steps in a Prefect flow where a server answers or is needed, else as plain functions.

    Returns:
        The run's record; whether the server died.
    """
    from flows.prefect_server.configured import configured_url, trouble_with

    prepare_prefect(layout)
    url = configured_url()
    trouble = trouble_with(url) if url else ""
    if trouble:
        terminal.message(f"PREFECT_API_URL ({url}) {trouble}: the run goes on without it")
    is_there = bool(url) and not trouble
    report, died = None, False
    if is_there or needs_prefect:
        report, died = _run_flow(steps, options, layout, terminal, is_there)
    if report is None:
        from flows.steps import run_steps
        from tasks import stages

        report = run_steps(settings, layout, steps, stages, terminal, lambda markdown: None).as_dict()
    return report, died


def _run_flow(
    steps: list[str], options: argparse.Namespace, layout: Layout, terminal: Terminal, is_there: bool
) -> tuple[dict[str, Any] | None, bool]:
    """Uses the server that is there, or starts one that ends with this process.

    Returns:
        The run's record, None where it is not done; whether the server died.
    """
    import httpx

    from flows.prefect_server.ephemeral import short_server

    _require_no_lock(layout)
    with stop_held_back():
        importlib.import_module("prefect")
    log = layout.state / "prefect_server.log"
    server: AbstractContextManager[Callable[[], None]] = nullcontext(lambda: None) if is_there else short_server(log)
    with server as wait_for_server:
        # These imports and the server's start take two seconds each, at the same time.
        from prefect.exceptions import ObjectNotFound

        from flows.grow_and_train import grow_and_train
        from tasks.prefect_tasks import tell

        tell.terminal = terminal
        logging.raiseExceptions = False  # else each log line that a dead server does not take is noise in the terminal
        wait_for_server()
        wanted = {step: step in steps for step in STEPS}
        before = set(layout.reports.glob("*"))
        try:
            # Called directly, a flow that returns a state returns the state's data.
            report: Any = grow_and_train(options.profile, str(layout.root), _overrides(options), **wanted)
        except (httpx.HTTPError, ObjectNotFound) as error:  # Prefect's client has tried again and again
            why = str(error).strip().partition("\n")[0]
            terminal.message(f"Prefect's server is gone ({why}): the run goes on without it")
            return _finished(set(layout.reports.glob("*")) - before), True
    return dict(report), False


def _finished(folders: set[Path]) -> dict[str, Any] | None:
    """Returns the record of a run that was done when Prefect's server could no longer be told so."""
    for path in (folder / "report.json" for folder in folders):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if record.get("outcome") == "done":
            return record
    return None


def _require_no_lock(layout: Layout) -> None:
    """Fails at once where another run has the lock. The flow takes the lock itself, but only after Prefect's start."""
    from tasks.storage.run_lock import writer_lock

    with writer_lock(layout.lock, "start"):
        pass


def prepare_prefect(layout: Layout) -> None:
    """Sets what Prefect reads when it is imported; the user's own values win. Raises SettingsError (proxies)."""
    keep_loopback_direct()
    give_home(layout.state / "home")
    for name, value in PREFECT.items():
        os.environ.setdefault(name, value)


# -- data ------------------------------------------------------------------------------------------------


def run_add(options: argparse.Namespace) -> None:
    """Stores text from the user's own disk in raw/, like any other text."""
    from flows.add import add_files, find_files

    files = find_files([Path(path) for path in options.paths])
    settings, layout = _open(options)
    with closing(Terminal()) as terminal:
        counts = add_files(files, settings, layout, terminal)
    show(", ".join(f"{number} {reason}" for reason, number in sorted(counts.items())) or "no files")


def _scan(options: argparse.Namespace) -> None:
    from flows.add import add_unregistered

    settings, layout = _open(options)
    number = add_unregistered(settings, layout, Terminal())
    show(f"added {number} file(s) found under {layout.raw} to the ledger")


def run_stats(options: argparse.Namespace) -> None:
    from tasks.report.stats import as_text, collect_stats, refused

    layout = find_data_directory(options.data_dir, to_read=True)
    if options.reason:
        for document in refused(layout, options.reason):
            where = f"raw/{document['path']}" if document["path"] else f"document {document['seq']}"
            line = f"{where}  {document['url']}  {document['detail'] or ''}".rstrip()
            show(json.dumps(document, ensure_ascii=False) if options.json else line)
        return
    stats = collect_stats(layout)
    if options.plots is not None:
        from tasks.report.corpus_plots import draw_corpus

        written = draw_corpus(stats, Path(options.plots or layout.reports / "corpus"))
        plots = f"{len(written)} plots in {written[0].parent}" if written else "no documents yet, so no plots"
        show(plots, file=sys.stderr)
    show(json.dumps(stats, ensure_ascii=False, indent=2) if options.json else as_text(stats))


def run_trace(options: argparse.Namespace) -> int:
    from tasks.report.trace import as_text, trace, url_of_token

    with _value_errors_as_ours():
        layout = find_data_directory(options.data_dir, to_read=True)
        found = trace(url_of_token(options.target, layout), layout)
    show(json.dumps(found, ensure_ascii=False, indent=2) if options.json else as_text(found))
    return 0 if found["known"] else 1


def run_verify(options: argparse.Namespace) -> int:
    """Names what is damaged; what is only missing a digest, or can be lost, is named too. Changes nothing."""
    from tasks.maintain.verify import Checked, verify
    from tasks.raw.ledger import require_no_unfinished_erasure
    from tasks.storage.run_lock import reader_lock, writer_lock

    layout = find_data_directory(options.data_dir, to_read=True)
    checked, began = Checked(), time.monotonic()
    with writer_lock(layout.lock, "verify") if layout.is_writable() else reader_lock(layout.lock):
        require_no_unfinished_erasure(layout)
        findings = list(verify(layout, checked))
    seconds = max(time.monotonic() - began, 1e-3)
    for one in findings:
        show(f"{'DAMAGED' if one.is_damage else 'note'}: {one}")
    damaged = sum(one.is_damage for one in findings)
    show(f"{damaged} damaged" if damaged else "all is as it was written")
    megabytes = checked.bytes / 1e6
    show(f"read {len(checked.files):,} files, {megabytes:,.1f} MB, at {megabytes / seconds:,.0f} MB/s")
    return 1 if damaged else 0


def _recover_ledger(layout: Layout) -> None:
    from tasks.raw import ledger

    ledger.require_no_unfinished_erasure(layout)
    for message in ledger.recover(layout) if layout.is_writable() else ():
        show(f"mended: {message}", file=sys.stderr)


def _require_whole_ledger(layout: Layout) -> None:
    """Compares the ledger with the digests that the state holds, where it can be read."""
    from tasks.raw.catalog import Catalog
    from tasks.storage.state_db import open_state_to_read

    if layout.database.exists():
        with suppress(sqlite3.DatabaseError), closing(open_state_to_read(layout.database)) as db:
            Catalog(layout, db).require_whole_ledger()


def run_rebuild(options: argparse.Namespace) -> None:
    from tasks.derive.rebuild import rebuild
    from tasks.storage.run_lock import writer_lock

    settings, layout = _open(options)
    with writer_lock(layout.lock, "rebuild"):
        _recover_ledger(layout)
        _require_whole_ledger(layout)
        meta = rebuild(settings, layout, Path(options.to))
    tokens = f"{meta.documents} documents, {meta.train_tokens + meta.val_tokens} tokens" if meta else "no tokens yet"
    show(f"rebuilt into {options.to}: {tokens}")


def run_forget(options: argparse.Namespace) -> int:
    """Removes a page, a domain or a document for good. Returns 1 where something could not be searched."""
    from flows.forget import forget
    from tasks.forget.request import Request, as_text

    request = Request(options.url, options.domain, options.seq, options.keep_copies, options.retrain, options.dry_run)
    settings, layout = _open(options)
    _require_no_lock(layout)
    prepare_prefect(layout)
    from flows.prefect_server.erase import forget_in_prefect

    with closing(Terminal()) as terminal:
        result = forget(request, settings, layout, terminal, forget_in_prefect)
    show(json.dumps(result.as_dict(), ensure_ascii=False) if options.json else as_text(result))
    return 1 if result.unreached else 0


# -- the model -------------------------------------------------------------------------------------------


@contextmanager
def _value_errors_as_ours() -> Iterator[None]:
    """Turns a ValueError about the user's input into the error that `main` shows in one line."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(str(error)) from error


def run_sample(options: argparse.Namespace) -> None:
    """Prints text as it is written."""
    # Read when numpy is imported. Products of one row are bound by memory: a second thread would only wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from model.data.tokenizer import load_tokenizer
    from model.publishing.sample import Sampling, load_decoder, sample

    layout = find_data_directory(options.data_dir, to_read=True)
    folder = _published(layout).resolve()  # one model, even if another comes meanwhile
    with _value_errors_as_ours():
        how = Sampling(options.tokens, options.temperature, options.top_k, options.seed, options.ignore_end)
        decoder, tokenizer = load_decoder(folder), load_tokenizer(folder / "tokenizer.json")
    for piece in sample(decoder, tokenizer, options.prompt, how):
        show(piece, end="", flush=True)
    show()


def run_export(options: argparse.Namespace) -> None:
    layout = find_data_directory(options.data_dir, to_read=True)
    if options.format != "gguf" and options.to is None:
        raise SettingsError(f"export {options.format} needs --to PATH: a new folder (hf) or file (dataset).")
    if options.format == "dataset":
        from tasks.export.dataset import export_dataset

        number = export_dataset(layout, Path(options.to))
        show(f"exported {number} documents to {options.to}: open it with pandas.read_parquet")
        return
    folder = _published(layout).resolve()  # one model, even if another one is published meanwhile
    if options.format == "gguf":
        from tasks.export.gguf import default_name, export_gguf

        target = export_gguf(folder, Path(options.to or default_name(folder, options.dtype)), options.dtype)
        show(f"exported to {target}: run it with llama-cli -m {target} -no-cnv -p 'The '")
        return
    target = Path(options.to)
    if target.exists() and any(target.iterdir()):
        raise DataDirectoryError(f"{target} is not empty: give export --to a new folder.")
    shutil.copytree(folder, target, dirs_exist_ok=True)
    show(f"exported to {target}: open it with transformers.AutoModelForCausalLM.from_pretrained({str(target)!r})")


def _published(layout: Layout) -> Path:
    folder = layout.models / "latest"
    if not folder.exists():
        raise DataDirectoryError(f"{layout.models} holds no published model yet: run a night first (python run.py).")
    return folder


# -- reports, profile, machine ---------------------------------------------------------------------------


def run_report(options: argparse.Namespace) -> None:
    layout = find_data_directory(options.data_dir, to_read=True)
    runs = sorted(path.parent.name for path in layout.reports.glob("*/report.json"))
    name = options.run_id or (runs[-1] if runs else "")
    folder = layout.reports / name
    if not name or not (folder / "report.json").is_file():
        known = f"Known: {', '.join(runs[-5:])}." if runs else "No run has been reported yet."
        raise DataDirectoryError(f"no report {name!r} in {layout.reports}. {known}")
    show((folder / ("report.json" if options.json else "report.md")).read_text(encoding="utf-8"), end="")


def run_init(options: argparse.Namespace) -> None:
    from tasks.maintain.profile_template import write_profile

    path = Path(options.path)
    write_profile(path)
    show(f"wrote {path}: change it as you like. Run a night of it with: python run.py --profile {path}")


def run_doctor(options: argparse.Namespace) -> int:
    from flows.prefect_server.examine import examine_prefect
    from tasks.maintain.doctor import examine

    findings = examine(options.data_dir, options.profile)
    with suppress(MiniatureMemoryError, OSError):  # of what is wrong with the proxies or the directory there is a line
        prepare_prefect(find_data_directory(options.data_dir, to_read=True))
        findings += examine_prefect()
    if options.json:
        show(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        show("\n".join(f"{'ok  ' if one.fine else 'FIX '} {one.what}: {one.says}" for one in findings))
    return 0 if all(finding.fine for finding in findings) else 1


# -- arguments -------------------------------------------------------------------------------------------


def _open(options: argparse.Namespace) -> tuple[Settings, Layout]:
    return load_settings(options.profile, _overrides(options)), find_data_directory(options.data_dir)


def text(value: str) -> str:
    """Returns an argument whose bytes are text, in the locale's encoding or in UTF-8; others are refused."""
    try:
        value.encode()
    except UnicodeEncodeError:  # Python keeps bytes that the locale cannot read as surrogates
        try:
            return os.fsencode(value).decode()
        except UnicodeDecodeError as error:
            raise argparse.ArgumentTypeError(f"{value!a} is no UTF-8") from error
    return value


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    bounds = {"train.steps": options.steps, "train.minutes": options.minutes}
    given = {name: value for name, value in bounds.items() if value is not None}
    return dict(map(parse_override, options.set)) | given


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    return make_parser().parse_args(arguments)


def make_parser(width: int | None = None) -> argparse.ArgumentParser:
    """Returns the whole command line. Options that many commands share may stand before or after the command."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Grow a text dataset and train a small GPT on it. Without a command: one night.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=width),
    )
    parser.set_defaults(run=run_night, profile="nightly", data_dir=None, set=[], steps=None, minutes=None, json=False)
    for action in _shared_options()._actions:
        parser._add_action(action)
    for step in STEPS:
        parser.add_argument(f"--skip-{step}", action="store_true", help=f"skip {step}")
    parser.add_argument("--collect", action="store_true", help="collect even though another step is skipped")

    _add_commands(parser)
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], help: str) -> Callable[..., Any]:
        added = commands.add_parser(name, parents=[_shared_options()], help=help, description=help)
        added.set_defaults(run=run)
        return added.add_argument

    command("collect", run_step, "search, render and extract pages; store their text")
    argument = command("validate", run_step, "read the new raw files back")
    argument("--scan", action="store_true", help="first add text files that you put under raw/")
    command("clean", run_step, "clean new texts and compare them with all that are kept")
    command("prepare", run_step, "turn newly kept texts into tokens")
    command("train", run_step, "train one chunk and publish the model")

    argument = command("add", run_add, "add text, Markdown or HTML files of your own")
    argument("paths", nargs="+", metavar="PATH", help="files or folders")
    argument = command("stats", run_stats, "show what the data directory holds, in numbers")
    argument("--reason", type=text, metavar="NAME", help="list the documents that ended for this reason instead")
    argument("--plots", nargs="?", const="", metavar="DIR", help="also draw them, as PNG (reports/corpus)")
    argument = command("trace", run_trace, "show what happened to one page, from search to tokens")
    argument("target", type=text, metavar="URL|FILE:TOKEN", help="a page, or a place such as train.bin:123456")
    command("verify", run_verify, "compare everything on disk with what was written")
    argument = command("rebuild", run_rebuild, "derive cleaned/ and processed/ from raw/ alone, into a new folder")
    argument("--to", required=True, metavar="DIR", help="a new or empty folder")
    argument = command(
        "forget", run_forget, "remove a page, domain or document for good; alone: finish an interrupted one"
    )
    argument("--url", type=text, metavar="URL", help="all texts of this page, requested or reached by a redirect")
    argument("--domain", type=text, metavar="DOMAIN", help="all pages of a domain and of its subdomains")
    argument("--seq", type=int, metavar="N", help="one document, by its number in the ledger")
    argument("--keep-copies", action="store_true", help="keep near copies under other addresses")
    argument("--retrain", action="store_true", help="go back to the newest checkpoint from before it")
    argument("--dry-run", action="store_true", help="list what would be removed, and change nothing")

    argument = command("sample", run_sample, "let the published model write")
    argument("--prompt", type=text, default="The", help="how the text begins, without a space at its end")
    argument("--tokens", type=int, default=200, help="how many tokens to write")
    argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token")
    argument("--top-k", type=int, default=50, help="choose among this many tokens")
    argument("--seed", type=int, default=0, help="same seed, same text")
    argument("--ignore-end", action="store_true", help="write on at the end of a document, until --tokens are written")
    argument = command("export", run_export, "copy the published model, for llama.cpp too, or write the kept texts")
    formats = "hf: a folder for transformers; gguf: a file for llama.cpp; dataset: a Parquet file of the kept texts"
    argument("format", choices=("hf", "gguf", "dataset"), help=formats)
    argument("--to", "--parquet", metavar="PATH", help="a new folder (hf) or file (dataset, gguf: optional)")
    argument("--dtype", choices=("f32", "f16", "bf16", "q8_0"), default="f32", help="gguf: of the matrices")

    argument = command("report", run_report, "show what a night did; the last one by default")
    argument("run_id", nargs="?", metavar="RUN", help="a folder name in reports/")
    argument = command("init", run_init, "write a commented profile of your own")
    argument("path", nargs="?", default="my.toml", metavar="PATH", help="a new .toml file (my.toml)")
    command("doctor", run_doctor, "show what is missing on this machine, and how to fix it")


def _shared_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--profile", metavar="NAME|FILE", help="a name in deployments/, or a TOML file")
    shared.add_argument("--data-dir", metavar="DIR", help="default: MINIATURE_MEMORY_DATA, else data/")
    shared.add_argument("--steps", type=int, help="training steps (train.steps)")
    shared.add_argument("--minutes", type=float, help="bound of the training (train.minutes)")
    shared.add_argument(
        "--set", action="append", type=text, metavar="NAME=VALUE", help="a setting, such as train.seed=7"
    )
    shared.add_argument("--json", action="store_true", help="print JSON")
    return shared


@contextmanager
def stop_held_back() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM take effect at the end of the block alone: Prefect swallows them while it is imported."""
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    if came:
        signal.raise_signal(came[0])


def _interrupt(*_: object) -> None:
    asked_to_stop.append(KeyboardInterrupt())
    raise asked_to_stop[-1]


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the clean-up
    asked_to_stop.append(Terminated())
    raise asked_to_stop[-1]


if __name__ == "__main__":
    open_standard_streams()
    sys.excepthook = lambda kind, error, trace: show_traceback(error)
    threading.excepthook = lambda arguments: show_traceback(arguments.exc_value)
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell has it ignored in the background
        signal.signal(signal.SIGINT, _interrupt)
    codecs.register_error("escaped", escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="escaped")
    try:
        status = main()
    except SystemExit as stop:  # argparse: help, or wrong use
        status = int(stop.code or 0)
    drop_unwritten()
    if status in (INTERRUPTED, TERMINATED):
        # At exit Prefect would wait for a server that is ending. Our own files are all written.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
