"""Grow: search -> render -> extract -> raw -> clean -> dedup -> tokenize, each on what is new."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tasks.browser.chromium import INSTALL
from tasks.contracts.records import Dropped, Extracted, Hit, Page
from tasks.extract.stage import read_ahead
from tasks.extract.worker_pool import Extractor
from tasks.raw.stage import store
from tasks.raw.validate import validate
from tasks.render.stage import Renderer
from tasks.run_context import RunContext
from tasks.search.frontier import VisitResult
from tasks.search.stage import Searcher, follow
from tasks.stages import Stages
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed, prepare_tokenizer
from tasks.web.blocklists import open_blocklists


def collect_pages(night: RunContext, stages: Stages) -> None:
    """Ask the sources, then visit what is due, batch by batch, until the night's bound is reached."""
    settings, record = night.settings, night.record
    blocklists = open_blocklists(settings.search, night.layout, record.say)
    night.frontier.apply_blocklists(blocklists, time.time())
    left = settings.search.max_pages
    with (
        _demo_site(night),
        Extractor(settings.extract) as extractor,
        Renderer(
            settings,
            night.layout,
            night.derivation.db,
            blocklists=blocklists,
            fetched=partial(read_ahead, extractor=extractor),
        ) as renderer,
    ):
        ask_sources(night, stages)
        while hits := night.frontier.due(min(settings.render.batch, left), time.time(), night.began):
            with record.stage("render"):
                pages = stages.render(hits, renderer)
            with record.stage("extract"):
                extracted = stages.extract(pages, extractor)
                _keep(night, hits, pages, extracted)
            left -= len(hits)
            count_stopped(night)
            record.progress("collect", settings.search.max_pages - left, settings.search.max_pages)
    count_stopped(night)
    say_what_is_missing(night)


def count_stopped(night: RunContext) -> None:
    """What a blocklist names, or was forgotten, has its outcome without a visit."""
    for reason, number in night.frontier.take_exclusions().items():
        night.record.count("collect", reason, number)


def say_what_is_missing(night: RunContext) -> None:
    """Why a night brought less than it should have, where the user can do something about it."""
    record, sources = night.record, night.settings.search.sources
    counts = record.stages["collect"].counts if "collect" in record.stages else {}
    if not sources:
        record.say("no sources: the profile names none in [[search.sources]], so nothing is collected")
    for source in sources:
        if source.url and (stopped := night.frontier.blocklists.find(source.url)):
            record.say(f"{source.name} is a source, but a blocklist stops it ({stopped})")
    if number := sum(night.frontier.suppressed.covers(source.url) for source in sources if source.url):
        record.say(f"{number} source(s) of the profile were forgotten, and are not asked: take them out of it")
    if hosts := night.frontier.dead_hosts(night.began):
        record.say(f"no answer from {', '.join(hosts)}: check the network and the address; asked again later")
    if counts.get("browser_missing"):
        record.say(f"{counts['browser_missing']} page(s) need Chromium, which does not start here: {INSTALL}")


def ask_sources(night: RunContext, stages: Stages) -> None:
    """Put tonight's questions to search engines, feeds, sitemaps, lists and sites; their hits go to the frontier."""
    record = night.record
    with record.stage("search"), Searcher(night.settings, night.layout, night.frontier) as searcher:
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


def _keep(night: RunContext, hits: list[Hit], pages: list[Page | Dropped], extracted: list[Extracted]) -> None:
    """Store the texts, then give each hit its outcome: in this order, so that a kill in between doubles nothing."""
    outcomes = store(extracted, night.corpus, night.settings.tokenize.validation_fraction)
    visits = []
    for hit, page, result, outcome in zip(hits, pages, extracted, outcomes, strict=True):
        links = follow(hit, result.links, night.settings.search.sources)
        visits.append(VisitResult.of(hit, page, result, links, outcome))
        night.record.count("collect", outcome)
    night.frontier.record_visits(visits, time.time())


@contextmanager
def _demo_site(night: RunContext) -> Iterator[None]:
    """Serve the demo site meanwhile, where the profile asks for it. Its log is `reports/demo_site.log`."""
    if not night.settings.demo.serve:
        yield
        return
    from tasks.demo_site import DemoSite

    demo = night.settings.demo
    with DemoSite(port=demo.port, night=demo.night, log_path=night.layout.reports / "demo_site.log") as site:
        night.record.say(f"demo site: {len(site.articles)} articles at {site.url}, on this machine only")
        yield


def validate_new(night: RunContext) -> None:
    """Read the new raw files back and hold them against the ledger."""
    with night.record.stage("validate"):
        night.derivation.start_workers()  # they are there when the texts are to be cleaned
        documents = night.corpus.unchecked()
        number = validate(documents, night.layout.raw)
        if number:
            night.corpus.set_position("validated", documents[-1]["seq"] + 1)
            night.record.count("validate", "whole", number)


def clean_new(night: RunContext, stages: Stages) -> None:
    """Clean what is new, and keep what is good and not there yet, in ledger order."""
    with night.record.stage("clean"):
        if message := night.derivation.apply_rules():
            night.record.say(message)
    while True:
        with night.record.stage("clean"):
            if not night.derivation.anything_uncleaned():
                return
            cleaned = stages.clean(night)
        with night.record.stage("dedup"):
            for _, verdict in stages.dedup(night, cleaned):
                if isinstance(verdict, Dropped):
                    night.record.count(verdict.stage, verdict.reason)
                else:
                    night.record.count("dedup", "kept")


def tokenize_new(night: RunContext, stages: Stages) -> None:
    """Append what is newly kept to the token files, after training or freezing the tokenizer where it is time."""
    with night.record.stage("tokenize"):
        for message in prepare_tokenizer(night.layout, night.corpus, night.settings.tokenize):
            night.record.say(message)
        meta = open_processed(night.layout, night.derivation.rules_of_cleaned(), night.corpus.digest_of_forgotten())
        if meta is None:
            return
        encoder = Encoder(night.layout.tokenizer)
        while night.corpus.kept(meta.next_seq, 1):
            before = meta
            meta = stages.tokenize(night, meta, encoder)
            night.record.count("tokenize", "documents", meta.documents - before.documents)
            night.record.count("tokenize", "train_tokens", meta.train_tokens - before.train_tokens)
            night.record.count("tokenize", "val_tokens", meta.val_tokens - before.val_tokens)
