"""Every Prefect task, on one screen: a thin wrapper over `tasks.stages`: names, retries, cache keys.

The data stages need no cache, since the ledger and the committed positions know what is done; training must
have none. Search and render are cached by content, under versioned keys, as JSON: hashes and paths, no text.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import State, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote

from tasks import stages
from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.records import Dropped, Hit, Page, from_json, to_json
from tasks.contracts.run_record import Listener
from tasks.render.stage import Renderer
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher

Json = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

# Raise one when what its stage gives for the same input changes.
SEARCH_VERSION = 3
RENDER_VERSION = 2

# Between two drawings of a progress artifact: each is a call to the server.
PROGRESS_SECONDS = 3.0


def _worth_retrying(_task: object, _run: object, state: State[Any]) -> bool:
    """A fault of the world or the disk may pass; what is told to the user in one line does not."""
    return not isinstance(state.result(raise_on_failure=False), MiniatureMemoryError)


OUTSIDE: dict[str, Any] = {
    "retries": 3,
    "retry_condition_fn": _worth_retrying,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
}
CACHED: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "cache_expiration": timedelta(hours=12)}
ON_DISK: dict[str, Any] = {
    "retries": 2,
    "retry_condition_fn": _worth_retrying,
    "retry_delay_seconds": [1, 5],
    "cache_policy": NO_CACHE,
}


def _key(version: int, *parts: Any) -> str:
    return hashlib.sha256(json.dumps([version, *parts], sort_keys=True).encode()).hexdigest()


def _search_key(_: Any, arguments: Json) -> str:
    question: SourceQuery = arguments["question"]
    searcher: Searcher = arguments["searcher"]
    file = Path(question.source.file)
    content = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    # A question names its night and result page, so that a night that was cut asks a search engine once.
    return "search-" + _key(SEARCH_VERSION, str(searcher.layout.root), asdict(question), content)


def _render_key(_: Any, arguments: Json) -> str:
    hits: list[Hit] = arguments["hits"]
    renderer: Renderer = arguments["renderer"]
    # A hit says when it became due, so a later visit of the same page has another key.
    about = [str(renderer.layout.root), renderer.politeness.blocklists.digest]
    return "render-" + _key(RENDER_VERSION, *about, [to_json(hit) for hit in hits])


# No retries: what fails outside is an answer, and asking again at once is what search engines mind.
@task(name="search", cache_key_fn=_search_key, **CACHED)
def _search(question: SourceQuery, searcher: Searcher) -> Json:
    return stages.search(question, searcher).to_json()


@task(name="render", cache_key_fn=_render_key, **OUTSIDE, **CACHED)
def _render(hits: list[Hit], renderer: Renderer) -> list[Json]:
    return [to_json(page) for page in stages.render(hits, renderer)]


def search(question: SourceQuery, searcher: Searcher) -> SourceResult:
    return SourceResult.from_json(_search(question, searcher))


def render(hits: list[Hit], renderer: Renderer) -> list[Page | Dropped]:
    pages = _pages(_render(hits, renderer))
    if all(Path(page.body_path).exists() for page in pages if isinstance(page, Page)):
        return pages
    # A cached result outlives the page cache, which is bounded.
    return _pages(_render.with_options(refresh_cache=True)(hits, renderer))


def _pages(values: list[Json]) -> list[Page | Dropped]:
    return [from_json(one, Page) if one["kind"] == "Page" else from_json(one, Dropped) for one in values]


def _as_task(name: str, stage: Callable[P, R], **options: Any) -> Callable[P, R]:
    """The stage as a task. `quote` says that its arguments hold no futures: Prefect looks for them down to each field
    of each record, which takes half a millisecond a document."""
    run: Callable[..., R] = task(name=name, **options)(stage)

    def call(*arguments: P.args, **named: P.kwargs) -> R:
        assert not named, "stages are called by position"
        return run(*map(quote, arguments))

    return call


extract = _as_task("extract", stages.extract, **ON_DISK)
clean = _as_task("clean", stages.clean, **ON_DISK)
dedup = _as_task("dedup", stages.dedup, **ON_DISK)
tokenize = _as_task("tokenize", stages.tokenize, **ON_DISK)
train_chunk = _as_task("train-chunk", stages.train_chunk, cache_policy=NO_CACHE)


class Teller:
    """Tells Prefect what happens - its log, and an artifact of progress - and the terminal, where there is one."""

    def __init__(self) -> None:
        self.terminal: Listener | None = None
        self.is_heard: Callable[[], bool] = lambda: True  # asked before each drawing: a dead server costs a minute
        self._bars: dict[tuple[str, str], UUID] = {}  # artifact of (flow run, what)
        self._drawn = 0.0

    def message(self, text: str) -> None:
        get_run_logger().info(text)
        if self.terminal:
            self.terminal.message(text)

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        if self.terminal:
            self.terminal.progress(what, done, of, detail)
        if done >= of or time.monotonic() - self._drawn >= PROGRESS_SECONDS:
            self._drawn = time.monotonic()
            if self.is_heard():
                without_failing(lambda: self._draw(what, 100.0 * done / max(of, 1), detail))

    def _draw(self, what: str, percent: float, detail: str) -> None:
        bar = (str(flow_run.id), what)
        if bar in self._bars:
            update_progress_artifact(self._bars[bar], progress=percent, description=f"{what} {detail}")
        else:
            made = create_progress_artifact(progress=percent, key=f"progress-{what}", description=what)
            self._bars[bar] = made  # type: ignore[assignment]  # the sync call gives the id itself


tell = Teller()


def publish_report(markdown: str) -> None:
    """The report as an artifact of the flow run."""
    if not tell.is_heard():
        return
    description = "What the night did."
    without_failing(lambda: create_markdown_artifact(key="report", markdown=markdown, description=description))


def without_failing(show: Callable[[], object]) -> None:
    """What is only shown must not end a night: a server that is away is noted in the log."""
    try:
        show()
    except Exception as error:
        get_run_logger().warning("could not be shown in Prefect: %s", error)
