"""Clears what Prefect remembers of what is forgotten: stored results, artifacts, logs, parameters, states, events.

A server that answers is asked through its API. Whether one does or not, its SQLite file is then opened, where it lies
on this machine: the API reaches no events and no free pages. A flow run of ours whose records mention it goes as
a whole, with its task runs, states and logs, since Prefect cannot change them; our own reports keep its numbers.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH
from sqlalchemy.engine import make_url

from flows.prefect_server.configured import answers
from flows.prefect_server.housekeeping import FLOW, LOG, OURS, PAGE, RESULTS, artifacts_of, delete_artifacts
from tasks.forget.erasure import ErasureReport
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub import blank_out
from tasks.forget.scrub_reports import SAMPLE, cut_values

T = TypeVar("T")

BUSY_SECONDS = 60.0  # a server that writes gives way within them
LOGS = (LOG, LOG.with_name("server.log"))  # as the README has them; systemd keeps its own
EVENTS_WRITTEN_SECONDS = 7.0  # a server gathers events for five, and writes them then
ABOUT = re.compile(r"prefect\.flow(?:-run)?\.([0-9a-f-]{36})")
TEXT_TYPES = ("VARCHAR", "TEXT", "JSON")
OUR_FLOWS = "SELECT id FROM flow WHERE name = :flow"
OUR_RUNS = f"SELECT id FROM flow_run WHERE flow_id IN ({OUR_FLOWS})"


def forget_in_prefect(matcher: ReferenceMatcher, since: str | None, dry: bool) -> ErasureReport:
    """Like `tasks.forget.scrub.scrub_files`, which explains the arguments. Notes a server's errors, and never fails."""
    report = ErasureReport()
    url, here = PREFECT_API_URL.value(), _database()
    asked = bool(url) and answers(url)
    with _tolerating("Prefect's stored results", matcher, report):
        report.counts["stored results"] = _forget_results(matcher, dry)
    with _tolerating("the logs of worker and server", matcher, report):
        report.counts["logs"] = sum(blank_out(path, matcher, dry) for path in LOGS if path.is_file())
    if asked:
        with _tolerating(f"the Prefect server at {url}", matcher, report), get_client(sync_client=True) as client:
            here = here if here and _is_of(here, client) else None
            if not (dry and here):  # a dry run counts once, where more can be seen
                _forget_in_server(client, matcher, since, dry, report)
    if here:
        with _tolerating(f"Prefect's database {here}", matcher, report):
            _forget_in_database(here, matcher, since, dry, report)
    elif asked:
        report.unreached.append(
            f"the database behind {url} is not on this machine: of its events and its free pages nothing is known "
            "(Prefect drops events after PREFECT_SERVER_EVENTS_RETENTION_PERIOD)"
        )
    if url and not asked and not (here and _is_here(url)):
        report.unreached.append(f"no Prefect server answers at {url}: start it and forget the same again")
    return report


@contextmanager
def _tolerating(what: str, matcher: ReferenceMatcher, report: ErasureReport) -> Iterator[None]:
    """Note an error and go on: an erasure must not fail because of what Prefect answers or its next version keeps."""
    try:
        yield
    except Exception as error:
        because = f"{type(error).__name__}: {matcher.cut(str(error))[:200]}"
        report.unreached.append(f"{what} ({because}). Stop the Prefect server and forget the same again")


def _is_here(url: str) -> bool:
    return any(f"//{host}" in url for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"))


def _database() -> Path | None:
    """Returns Prefect's SQLite file; None where it has none on this machine."""
    found = make_url(PREFECT_API_DATABASE_CONNECTION_URL.value() or "sqlite://")
    path = Path(found.database or "") if found.drivername.startswith("sqlite") else Path()
    return path if found.database and path.is_file() else None


def _is_of(database: Path, client: SyncPrefectClient) -> bool:
    """Whether it is the file of this server: whether both know the same flow."""
    with closing(_open(database)) as db:
        known = {row[0] for row in db.execute(OUR_FLOWS, {"flow": FLOW})}
    return {str(one.id) for one in client.read_flows(flow_filter=OURS)} <= known


def _forget_results(matcher: ReferenceMatcher, dry: bool) -> int:
    """Delete cached results of `tasks.prefect_tasks`. Without one, an interrupted night fetches its pages again."""
    number = 0
    for path in [path for name in RESULTS for path in PREFECT_LOCAL_STORAGE_PATH.value().glob(name)]:
        if path.is_file() and _plain(path.read_text(encoding="utf-8", errors="replace")) in matcher:
            number += 1
            if not dry:
                path.unlink()
    return number


# -- through the API -------------------------------------------------------------------------------------


def _forget_in_server(
    client: SyncPrefectClient, matcher: ReferenceMatcher, since: str | None, dry: bool, report: ErasureReport
) -> None:
    own, runs = str(flow_run.id), list(_all(client.read_flow_runs, flow_filter=OURS))
    # First of all: when an artifact is deleted, the server repeats in an event what the one before it says.
    for run in runs:
        report.counts["artifacts"] += _cut_artifacts(client, run, matcher, since, dry)
    for run in runs:
        if not any(_plain(text) in matcher for text in _texts(client, run)):
            continue
        if str(run.id) == own:
            report.unreached.append("this very flow run mentions it: delete it in Prefect when it has ended")
            continue
        report.counts["flow runs"] += 1
        if not dry:
            delete_artifacts(client, run)
            client.delete_flow_run(run.id)
    if not dry:
        time.sleep(EVENTS_WRITTEN_SECONDS)


def _all(read: Callable[..., list[T]], **which: Any) -> Iterator[T]:
    """Yields all that the server has, page by page."""
    offset = 0
    while page := read(**which, limit=PAGE, offset=offset):
        yield from page
        offset += len(page)


def _texts(client: SyncPrefectClient, run: FlowRun) -> Iterator[str]:
    """Yields all that the server tells of a run, except its artifacts."""
    yield run.model_dump_json()
    yield from (state.model_dump_json(exclude={"data"}) for state in client.read_flow_run_states(run.id))
    logs = filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[run.id]))
    yield from (log.message for log in _all(client.read_logs, log_filter=logs))
    of_run = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    for task in _all(client.read_task_runs, flow_run_filter=of_run):
        yield task.model_dump_json(exclude={"state": {"data"}})
        if task.run_count > 1:
            yield from (state.model_dump_json(exclude={"data"}) for state in client.read_task_run_states(task.id))


def _cut_artifacts(
    client: SyncPrefectClient, run: FlowRun, matcher: ReferenceMatcher, since: str | None, dry: bool
) -> int:
    number = 0
    for artifact in client.read_artifacts(artifact_filter=artifacts_of(run), limit=PAGE):
        samples = since is not None and artifact.created is not None and artifact.created.isoformat() >= since
        data = cut_values(artifact.data, matcher, samples)
        description = matcher.cut(artifact.description or "")
        if data != artifact.data or description != (artifact.description or ""):
            number += 1
            if not dry:
                client.update_artifact(artifact.id, ArtifactUpdate(data=data, description=description))
    return number


# -- in the database -------------------------------------------------------------------------------------


def _open(database: Path) -> sqlite3.Connection:
    db = sqlite3.connect(database, isolation_level=None, timeout=BUSY_SECONDS)
    db.execute("PRAGMA foreign_keys = ON")  # so that a run takes its states and task runs along
    db.execute("PRAGMA secure_delete = ON")
    return db


def _forget_in_database(
    database: Path, matcher: ReferenceMatcher, since: str | None, dry: bool, report: ErasureReport
) -> None:
    """Safe beside a server that is running: SQLite lets one write at a time."""
    with closing(_open(database)) as db:
        db.create_function("refers", 1, lambda value: _plain(value) in matcher, deterministic=True)
        db.execute("BEGIN IMMEDIATE")
        counts = _clear_tables(db, matcher, since)
        db.execute("ROLLBACK" if dry else "COMMIT")
        report.counts += counts
        if not dry:
            db.execute("VACUUM")
            if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("its write-ahead log, which holds what was deleted, is being read")


def _clear_tables(db: sqlite3.Connection, matcher: ReferenceMatcher, since: str | None) -> Counter[str]:
    """Delete or change the rows that refer to it. Called inside a transaction."""
    counts: Counter[str] = Counter()
    runs = [(run,) for run in _runs_that_refer(db)]
    counts["flow runs"] = len(runs)
    db.executemany("DELETE FROM flow_run WHERE id = ?", runs)
    for table in ("log", "artifact"):
        db.executemany(f"DELETE FROM {table} WHERE flow_run_id = ?", runs)
    # Logs of runs that were deleted before.
    gone = "flow_run_id IS NULL OR flow_run_id NOT IN (SELECT id FROM flow_run)"
    counts["log lines"] = db.execute(f"DELETE FROM log WHERE ({gone}) AND {_refers(db, 'log')}").rowcount
    for table in ("artifact", "artifact_collection"):
        counts["artifacts"] += _cut_rows(db, table, matcher, since)
    db.execute("DELETE FROM artifact_collection WHERE latest_id NOT IN (SELECT id FROM artifact)")
    events = [(event,) for event in _events(db, since)]
    counts["events"] = len(events)
    db.executemany("DELETE FROM events WHERE id = ?", events)
    db.executemany("DELETE FROM event_resources WHERE event_id = ?", events)
    return counts


def _events(db: sqlite3.Connection, since: str | None) -> list[str]:
    """Events that refer to it or repeat a report's samples, except other flows' events. Ours may be deleted by now."""
    others = {row[0] for row in db.execute("SELECT id FROM flow WHERE name <> :flow", {"flow": FLOW})}
    others |= {row[0] for row in db.execute(f"SELECT id FROM flow_run WHERE id NOT IN ({OUR_RUNS})", {"flow": FLOW})}
    samples = "instr(payload, :sample) AND occurred >= :day" if since is not None else "0"
    found = db.execute(
        f"SELECT id, resource || related FROM events WHERE {_refers(db, 'events')} OR ({samples})",
        {"sample": SAMPLE, "day": (since or "")[:10]},
    )
    return [row[0] for row in found if not others.intersection(ABOUT.findall(row[1]))]


def _runs_that_refer(db: sqlite3.Connection) -> set[str]:
    """Our runs of which a row, or one of their task runs, refers to it; except the run that we are in."""
    parts = [f"SELECT id FROM flow_run WHERE {_refers(db, 'flow_run')}"]
    for table in ("flow_run_state", "flow_run_input", "task_run", "log"):
        parts.append(f"SELECT flow_run_id FROM {table} WHERE {_refers(db, table)}")
    states = f"SELECT task_run_id FROM task_run_state WHERE {_refers(db, 'task_run_state')}"
    parts.append(f"SELECT flow_run_id FROM task_run WHERE id IN ({states})")
    found = db.execute(
        f"SELECT id FROM flow_run WHERE id IN ({OUR_RUNS}) AND id IN ({' UNION '.join(parts)})", {"flow": FLOW}
    )
    return {row[0] for row in found} - {str(flow_run.id)}


def _refers(db: sqlite3.Connection, table: str) -> str:
    """Returns the condition that a text of the row refers to it; 0 where this version of Prefect has no such text."""
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[2].partition("(")[0] in TEXT_TYPES]
    return "(" + (" OR ".join(f"refers({column})" for column in columns) or "0") + ")"


def _cut_rows(db: sqlite3.Connection, table: str, matcher: ReferenceMatcher, since: str | None) -> int:
    number = 0
    query = (
        f"SELECT id, created, data, description FROM {table} WHERE flow_run_id IN ({OUR_RUNS}) OR flow_run_id IS NULL"
    )
    for row, created, data, description in db.execute(query, {"flow": FLOW}).fetchall():
        # SQLite has "2026-11-22 03:00:00.123"; the day alone is compared, so that no sample is overlooked.
        samples = since is not None and str(created)[:10] >= since[:10]
        value = json.loads(data) if isinstance(data, str) else data  # a progress is a number to SQLite
        cut, described = cut_values(value, matcher, samples), matcher.cut(description or "")
        if cut != value:
            db.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (json.dumps(cut), row))
        if described != (description or ""):
            db.execute(f"UPDATE {table} SET description = ? WHERE id = ?", (described, row))
        number += cut != value or described != (description or "")
    return number


def _plain(text: Any) -> Any:
    """JSON as it reads, without escapes; anything else as it is."""
    if isinstance(text, str) and text[:1] in ("{", "[", '"') and "\\" in text:
        try:
            return json.dumps(json.loads(text), ensure_ascii=False)
        except ValueError:
            return text
    return text
