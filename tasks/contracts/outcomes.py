"""The outcomes that search, render and extract can give a hit, in one place for code, docs and reports."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contracts.printable import one_line
from tasks.contracts.records import Dropped


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an outcome means, and whether the same URL may succeed another night."""

    meaning: str
    retry: bool = False


OUTCOMES: dict[str, Outcome] = {
    # Success.
    "stored": Outcome("a document, stored in raw/"),
    "reextractable": Outcome("the body is that of a stored document, and only today's extractor reads it otherwise"),
    "unchanged": Outcome("the server said that nothing changed since the last visit (304)"),
    # Search and render: it is never asked.
    "blocklisted": Outcome("a blocklist of the profile, or the own one of adult content, names it: never asked"),
    "forgotten": Outcome("forgotten at the user's wish: neither asked for nor stored again"),
    # Render: the page cannot or must not be fetched.
    "robots_forbidden": Outcome("robots.txt forbids it"),
    "robots_unreachable": Outcome("robots.txt could not be read, so nothing may be fetched for now", retry=True),
    "noindex": Outcome("the page asks not to be indexed or not to be used for AI"),
    "reserved": Outcome("it is reserved from text and data mining (TDMRep) or from training (Content-Signal)"),
    "not_found": Outcome("there is no such page (404, 410)"),
    "forbidden": Outcome("the server refuses us (401, 403, 451)"),
    "http_error": Outcome("another refusal of the server (4xx)"),
    "server_error": Outcome("the server failed (5xx, 408)", retry=True),
    "too_many_requests": Outcome("the server asks us to slow down (429)", retry=True),
    "host_cooling": Outcome("the host asked for a longer pause; not asked again before", retry=True),
    "timeout": Outcome("not finished within render.timeout_seconds", retry=True),
    "dead_host": Outcome("no such host, or nothing answers there", retry=True),
    "proxy_failed": Outcome("the user's proxy does not answer, or refuses to ask the host", retry=True),
    "connection_error": Outcome("the connection broke, or the answer was no valid HTTP", retry=True),
    "tls_error": Outcome("the certificate or the encryption is not valid"),
    "redirect_loop": Outcome("redirected in a circle or too often"),
    "bad_redirect": Outcome("redirected to something that is no web address"),
    "bad_url": Outcome("not a valid http or https address"),
    "forbidden_address": Outcome("the address is not on the public internet, or its port is neither 80 nor 443"),
    "unsupported_media_type": Outcome("neither HTML nor plain text"),
    "bad_encoding": Outcome("a compression that was not asked for, or damaged"),
    "too_large": Outcome("larger than render.max_page_bytes"),
    "empty_body": Outcome("an answer without content"),
    "browser_missing": Outcome("the page needs Chromium, which is not installed or does not start", retry=True),
    "browser_failed": Outcome("Chromium hung or died on it, or it took more than render.browser_megabytes", retry=True),
    "unforeseen": Outcome("it raised an error that nobody thought of; the report names its traceback", retry=True),
    # Extract: the page has no text for us.
    "no_text": Outcome("no main text found"),
    "too_short": Outcome("less text than extract.min_characters"),
    "listing": Outcome("mostly links: worth following, not worth keeping"),
    "unreadable": Outcome("a file that cannot be read, or is no text"),
    "extract_timeout": Outcome("extraction passed extract.timeout_seconds and was killed"),
    "extract_failed": Outcome("extraction crashed, or passed extract.memory_megabytes"),
}


class PageRejected(Exception):
    """Carries a named outcome out of a stage's inner functions; the stage turns it into a `Dropped`."""

    def __init__(self, reason: str, detail: str = "", retry_after: float | None = None) -> None:
        assert reason in OUTCOMES, reason
        self.reason = reason
        self.detail = one_line(detail[:300])
        super().__init__(f"{reason}: {self.detail}" if detail else reason)
        self.retry_after = retry_after  # seconds, as the server asked

    @property
    def retry(self) -> bool:
        return OUTCOMES[self.reason].retry

    def dropped(self, stage: str) -> Dropped:
        return Dropped(stage, self.reason, self.detail, self.retry)
