"""Grow: search -> render -> extract -> raw -> clean -> dedup -> tokenize, each on what is new."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.demo_site import DemoSite
from model.tokenizer import load_tokenizer
from tasks import prefect_tasks as stages
from tasks.extractor import Extractor
from tasks.frontier import Visit
from tasks.night import Night
from tasks.records import Dropped, Extracted, Hit, Page
from tasks.render import Renderer
from tasks.search import follow
from tasks.store import store
from tasks.tokenize import open_processed, prepare_tokenizer
from tasks.validate import validate


def collect_pages(night: Night) -> None:
    """Ask the sources, then visit what is due, batch by batch, until the night's bound is reached."""
    settings, record = night.settings, night.record
    with record.stage("search"):
        for source in settings.search.sources:
            hits = stages.search(source)
            record.count("search", source.provider, len(hits))
            night.frontier.add(hits, time.time())
    left = settings.search.max_pages
    with (
        _demo_site(night),
        Renderer(settings, night.layout, night.derivation.db) as renderer,
        Extractor(settings.extract) as extractor,
    ):
        while hits := night.frontier.due(min(settings.render.batch, left), time.time(), night.began):
            with record.stage("render"):
                pages = stages.render(hits, renderer)
            with record.stage("extract"):
                extracted = stages.extract(pages, extractor)
                _keep(night, hits, pages, extracted)
            left -= len(hits)
            record.progress("collect", settings.search.max_pages - left, settings.search.max_pages)


def _keep(night: Night, hits: list[Hit], pages: list[Page | Dropped], extracted: list[Extracted]) -> None:
    """Store the texts, then give each hit its outcome: in this order, so that a kill in between doubles nothing."""
    outcomes = store(extracted, night.corpus, night.settings.tokenize.validation_fraction)
    visits = []
    for hit, page, result, outcome in zip(hits, pages, extracted, outcomes, strict=True):
        links = follow(hit, result.links, night.settings.search.sources)
        visits.append(Visit.of(hit, page, result, links, outcome))
        night.record.count("collect", outcome)
    night.frontier.finish(visits, time.time())


@contextmanager
def _demo_site(night: Night) -> Iterator[None]:
    """Serve the demo site meanwhile, where the profile asks for it. Its log is `reports/demo_site.log`."""
    if not night.settings.demo.serve:
        yield
        return
    demo = night.settings.demo
    with DemoSite(port=demo.port, night=demo.night, log_path=night.layout.reports / "demo_site.log") as site:
        night.record.say(f"demo site: {len(site.articles)} articles at {site.url}, on this machine only")
        yield


def validate_new(night: Night) -> None:
    """Read the new raw files back and hold them against the ledger."""
    with night.record.stage("validate"):
        documents = night.corpus.unchecked()
        number = validate(documents, night.layout.raw)
        if number:
            night.corpus.set_position("validated", documents[-1]["seq"] + 1)
            night.record.count("validate", "whole", number)


def clean_new(night: Night) -> None:
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


def tokenize_new(night: Night) -> None:
    """Append what is newly kept to the token files, after training or freezing the tokenizer where it is time."""
    with night.record.stage("tokenize"):
        for message in prepare_tokenizer(night.layout, night.corpus, night.settings.tokenize):
            night.record.say(message)
        meta = open_processed(night.layout, night.derivation.rules)
        if meta is None:
            return
        tokenizer = load_tokenizer(night.layout.tokenizer)
        while night.corpus.kept(meta.next_seq, 1):
            before = meta
            meta = stages.tokenize(night, meta, tokenizer)
            night.record.count("tokenize", "documents", meta.documents - before.documents)
            night.record.count("tokenize", "train_tokens", meta.train_tokens - before.train_tokens)
            night.record.count("tokenize", "val_tokens", meta.val_tokens - before.val_tokens)
