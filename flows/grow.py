"""Grow: search -> render -> extract -> raw -> clean -> dedup -> tokenize, each on what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tasks.browser.chromium import INSTALL
from tasks.contracts.errors import DerivedDamagedError, ProcessedDamagedError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Extracted, Hit, Page
from tasks.contracts.settings import DemoSettings
from tasks.derive.patrol import patrol_cleaned, patrol_processed
from tasks.extract.second_reading import is_better, is_unsure
from tasks.extract.stage import prefetch
from tasks.extract.worker_pool import Extractor
from tasks.raw.stage import hold_back_known_bodies, store
from tasks.raw.validate import validate
from tasks.render.stage import Renderer, render_again
from tasks.run_context import RunContext
from tasks.search.frontier import VisitResult
from tasks.search.stage import Searcher, follow
from tasks.search.times_ahead import mend_times_ahead
from tasks.stages import Stages
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed
from tasks.tokenize.tokenizer_record import prepare_tokenizer
from tasks.web.blocklists import open_blocklists
from tasks.web.border import Border
from tasks.web.user_proxy import read_proxies

TRACEBACKS = "tracebacks.txt"  # in the report's folder


def collect_pages(run: RunContext, stages: Stages) -> None:
    """Ask the sources, then visit what is due, batch by batch, until the night's bound is reached."""
    settings, record = run.settings, run.record
    blocklists = open_blocklists(settings.search, run.layout, record.say)
    run.frontier.apply_blocklists(blocklists, time.time())
    for scheme, proxy in read_proxies().by_scheme.items():
        record.say(f"pages by {scheme} are asked through {proxy}")
    left = settings.search.max_pages
    border = Border(run.layout.reports / record.run_id / TRACEBACKS)
    with ExitStack() as opened:
        opened.enter_context(demo_site(settings.demo, run.layout, record.say))
        extractor = opened.enter_context(Extractor(settings.extract, border))
        # A page is extracted as soon as it is fetched, while others are under way; `extract` collects the results.
        fetched = partial(prefetch, extractor=extractor)
        renderer = opened.enter_context(
            Renderer(settings, run.layout, run.derivation.db, blocklists=blocklists, fetched=fetched, border=border)
        )
        opened.callback(lambda: say_what_was_unforeseen(run, border))
        run.catalog.readings.learn_from_page_cache()
        ask_sources(run, stages, border)
        while hits := run.frontier.due(min(settings.render.batch, left), time.time(), run.began):
            with record.stage("render"):
                pages = stages.render(hits, renderer)
            with record.stage("extract"):
                extracted = stages.extract(pages, extractor)
            read_unsure_again(run, stages, renderer, extractor, pages, extracted)
            with record.stage("extract"):
                _keep(run, hits, pages, extracted)
            left -= len(hits)
            count_stopped(run)
            done = settings.search.max_pages - left
            record.progress("collect", done, done + run.frontier.count_due(left, time.time(), run.began))
    count_stopped(run)
    say_what_is_missing(run)


def say_what_was_unforeseen(run: RunContext, border: Border) -> None:
    """Errors that strangers' bytes raised: each cost its page or source alone, and is worth a report to us."""
    if border.errors:
        run.record.say(
            f"{border.errors} page(s) or source(s) raised an error that nobody thought of: "
            f"each has its outcome, the tracebacks are in {border.file}"
        )


def count_stopped(run: RunContext) -> None:
    """What a blocklist names, or was forgotten, has its outcome without a visit."""
    for reason, number in run.frontier.take_exclusions().items():
        run.record.count("collect", reason, number)


def say_what_is_missing(run: RunContext) -> None:
    """Why a night brought less than it should have, where the user can do something about it."""
    record, sources = run.record, run.settings.search.sources
    counts = record.stages["collect"].counts if "collect" in record.stages else {}
    if not sources:
        record.say("no sources: the profile names none in [[search.sources]], so nothing is collected")
    for source in sources:
        if source.url and (stopped := run.frontier.blocklists.find(source.url)):
            record.say(f"{source.name} is a source, but a blocklist stops it ({stopped})")
    if number := sum(run.frontier.suppressed.covers(source.url) for source in sources if source.url):
        record.say(f"{number} source(s) of the profile were forgotten, and are not asked: take them out of it")
    if hosts := run.frontier.dead_hosts(run.began):
        record.say(f"no answer from {', '.join(hosts)}: check the network and the address; asked again later")
    if counts.get("proxy_failed"):
        record.say(
            f"{counts['proxy_failed']} page(s) could not be asked through the proxy: correct the variable "
            "that names it, or unset it; asked again later"
        )
    if counts.get("browser_missing"):
        record.say(f"{counts['browser_missing']} page(s) need Chromium, which does not start here: {INSTALL}")


def ask_sources(run: RunContext, stages: Stages, border: Border) -> None:
    """Put tonight's questions to search engines, feeds, sitemaps, lists and sites; their hits go to the frontier."""
    record = run.record
    with record.stage("search"), Searcher(run.settings, run.layout, run.frontier, border=border) as searcher:
        if ahead := mend_times_ahead(run.frontier.db, searcher.clock()):
            record.say(ahead)
        for message in searcher.schedule.cooling_messages(searcher.clock()):
            record.say(message)
        while question := searcher.next():
            answer = stages.search(question, searcher)
            new, trouble = searcher.record_result(question, answer)
            record.count("search", question.source.provider, len(answer.hits))
            record.count("search", "new", new)
            if answer.outcome != "results":
                record.count("search", f"{question.source.provider} {answer.outcome}")
            if trouble:
                record.say(trouble)


def read_unsure_again(
    run: RunContext,
    stages: Stages,
    renderer: Renderer,
    extractor: Extractor,
    pages: list[Page | Dropped],
    extracted: list[Extracted],
) -> None:
    """Let Chromium show each page of whose text the extractor is not sure; its reading takes the place of a worse one.

    Not where a text of this very body is stored: nothing would come of it.
    """
    unsure = {
        number: page
        for number, (page, result) in enumerate(zip(pages, extracted, strict=True))
        if isinstance(page, Page)
        and is_unsure(result)
        and run.catalog.readings.of_body(page.hit.url, page.body_sha256) is None
        and renderer.may_show_more(page)
    }
    if not unsure:
        return
    with run.record.stage("render"):
        shown = render_again(list(unsure.values()), renderer)
    with run.record.stage("extract"):
        for number, page, second in zip(unsure, shown, stages.extract(shown, extractor), strict=True):
            better = is_better(second, extracted[number])
            run.record.count("extract", "read_again_better" if better else "read_again_no_better")
            if better:
                pages[number], extracted[number] = page, second


def _keep(run: RunContext, hits: list[Hit], pages: list[Page | Dropped], extracted: list[Extracted]) -> None:
    """Store the texts, then give each hit its outcome: in this order, so that a kill in between doubles nothing."""
    extracted = hold_back_known_bodies(extracted, run.catalog)
    outcomes = store(extracted, run.catalog, run.settings.tokenize.validation_fraction)
    visits = []
    for hit, page, result, outcome in zip(hits, pages, extracted, outcomes, strict=True):
        links = follow(hit, result.links, run.settings.search.sources)
        visits.append(VisitResult.of(hit, page, result, links, outcome))
        run.record.count("collect", outcome)
    run.frontier.record_visits(visits, time.time())


@contextmanager
def demo_site(demo: DemoSettings, layout: Layout, say: Callable[[str], None]) -> Iterator[None]:
    """Serve the demo site meanwhile, where the profile asks for it. Its log is `reports/demo_site.log`."""
    if not demo.serve:
        yield
        return
    from tasks.demo_site import DemoSite, NovelsError

    log = layout.reports / "demo_site.log"
    try:
        site = DemoSite(demo.port, log, demo.night, Path(demo.novels) if demo.novels else None)
    except NovelsError as error:
        say(f"the demo site has no novels: {error}")
        site = DemoSite(demo.port, log, demo.night)
    with site:
        say(f"demo site: {len(site.articles)} articles at {site.url}, on this machine only")
        yield


def validate_new(run: RunContext) -> None:
    """Read the new raw files back and hold them against the ledger."""
    with run.record.stage("validate"):
        run.derivation.prefetch()  # meanwhile other processes normalize the first texts
        documents = run.catalog.unchecked()
        number = validate(documents, run.layout.raw)
        if number:
            run.catalog.set_position("validated", documents[-1]["seq"] + 1)
            run.record.count("validate", "whole", number)


def clean_new(run: RunContext, stages: Stages) -> None:
    """Clean what is new, and keep what is good and not there yet, in ledger order.

    What is compared with is checked as it is read: where it is damaged, all is derived again.
    """
    try:
        _clean_waiting(run, stages)
    except DerivedDamagedError as error:
        _discard_derived(run, error)
        _clean_waiting(run, stages)


def _discard_derived(run: RunContext, error: DerivedDamagedError) -> None:
    run.derivation.discard()
    run.record.say(f"mended: {error}")


def _clean_waiting(run: RunContext, stages: Stages) -> None:
    record, rules, derivation = run.record, run.settings, run.derivation
    with record.stage("clean"):
        if message := derivation.apply_rules():
            record.say(message)
        patrol_cleaned(derivation)
        batch = derivation.next_batch()
    while batch:
        with record.stage("clean"):
            cleaned = stages.clean(batch, rules.clean, derivation.site_lines)
        with record.stage("dedup"):
            commit = partial(derivation.commit, batch)
            verdicts = stages.dedup(cleaned, derivation.index, rules.dedup.min_jaccard, derivation.pool, commit)
            for verdict in verdicts:
                if isinstance(verdict, Dropped):
                    record.count(verdict.stage, verdict.reason)
                else:
                    record.count("dedup", "kept")
        with record.stage("clean"):
            batch = derivation.next_batch()


def tokenize_new(run: RunContext, stages: Stages) -> None:
    """Append what is newly kept to the token files, after training or freezing the tokenizer where it is time.

    Where what is read or appended to is damaged, it is derived again first.
    """
    try:
        _tokenize_waiting(run, stages)
    except ProcessedDamagedError as error:
        run.record.say(f"mended: {error}")
        token_files.reset(run.layout)
        _tokenize_waiting(run, stages)
    except DerivedDamagedError as error:
        _discard_derived(run, error)
        _clean_waiting(run, stages)
        _tokenize_waiting(run, stages)


def _tokenize_waiting(run: RunContext, stages: Stages) -> None:
    layout, record, derivation = run.layout, run.record, run.derivation
    with record.stage("tokenize"):
        for message in prepare_tokenizer(layout, run.catalog, run.settings.tokenize):
            record.say(message)
        patrol_processed(derivation)
        manifest = open_processed(layout, derivation.rules_of_cleaned(), run.catalog.digest_of_forgotten())
        if manifest is None:
            return
        encoder = Encoder(layout.tokenizer)
        while documents := derivation.next_kept(manifest.next_seq):
            before, append = manifest, partial(token_files.append, layout, manifest, documents)
            manifest = stages.tokenize(documents, encoder, append)
            for count in ("documents", "train_tokens", "val_tokens"):
                record.count("tokenize", count, getattr(manifest, count) - getattr(before, count))
