"""What a setting is: its name, type, default, meaning and bounds. `profiles.py` reads them from a TOML file.

Every field carries its meaning, with its unit, so that error messages, the settings table of the guide and the code
cannot disagree. Secrets are never settings; they come from the environment.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.addresses import endpoint, is_loopback, is_on_this_machine, is_web_address
from tasks.contracts.credentials import Credentials, user_of, without_user
from tasks.contracts.errors import SettingsError
from tasks.contracts.providers import PROVIDERS

Bound = float | None


def setting(default: Any, doc: str, minimum: Bound = None, maximum: Bound = None, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with its meaning and what is allowed; in a list, what is allowed for each item."""
    return field(default=default, metadata={"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices})


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of `[[search.sources]]`: where hits come from."""

    provider: str = setting("site", "Who proposes URLs.", choices=tuple(PROVIDERS))
    url: str = setting("", "site: the start page; its links are followed within its host. feed, sitemap: its address.")
    urls: tuple[str, ...] = setting((), "urls: the pages to fetch.")
    file: str = setting("", "urls: a file with one URL a line (# starts a comment), relative to the profile.")
    max_depth: int = setting(3, "site: links to follow from the start page.", 0, 100)
    max_urls: int = setting(2000, "site: pages of it ever fetched; feed, sitemap: new addresses from one visit.", 1)
    base_url: str = setting("", "google, searxng, brave: its address; only searxng has no default.")
    hl: str = setting("en", "google, searxng, brave: the language to ask in.")
    lr: str = setting("", "google: the language of the results, such as lang_en.")
    cr: str = setting("", "google: the country of the results, such as countryGB.")
    pause_seconds: float = setting(30.0, "google, searxng, brave: pause between queries, made up to 50 % longer.", 0.0)
    max_result_pages: int = setting(5, "google, searxng, brave: result pages of one topic at most.", 1, 10)
    headless: bool = setting(True, "google: false shows the window (it needs a display), which Google trusts more.")
    # Not of the profile: each address with the name and password that stood in it.
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        addresses = (self.url, self.base_url, *self.urls)
        users = dict(self.users) | {without_user(url): user for url in addresses if (user := user_of(url))}
        values = {"url": without_user(self.url), "base_url": without_user(self.base_url), "users": tuple(users.items())}
        for name, value in (values | {"urls": tuple(map(without_user, self.urls))}).items():
            object.__setattr__(self, name, value)
        if (self.provider == "site" or self.kind == "listing") and not self.url:
            what = "its start page" if self.provider == "site" else "its address"
            raise SettingsError(f"a source with provider {self.provider!r} needs url, {what}")
        if self.provider == "urls" and not (self.urls or self.file):
            raise SettingsError("a source with provider 'urls' needs urls or file")
        if self.provider == "searxng" and not self.base_url:
            raise SettingsError("a source with provider 'searxng' needs base_url, the address of an instance")
        for url in (*self.urls, *filter(None, (self.url, self.base_url))):
            if not is_web_address(url):
                raise SettingsError(f"{url!r} is not a web address: it must start with http:// or https://")
        if self.provider == "brave" and urlsplit(self.base).scheme == "http" and not is_on_this_machine(self.base):
            raise SettingsError(
                "a source with provider 'brave' needs a base_url with https://: the key travels with it"
            )

    @property
    def kind(self) -> str:
        """Returns engine, listing or pages."""
        return PROVIDERS[self.provider].kind

    @property
    def base(self) -> str:
        """Returns the address of a search engine, without a slash at the end."""
        return (self.base_url or PROVIDERS[self.provider].base_url).rstrip("/")

    @property
    def opened(self) -> tuple[str, ...]:
        """Returns the endpoint that the egress policy opens: the user chose it, often on this machine or network."""
        parts = urlsplit(self.base_url)
        if self.kind != "engine" or not parts.hostname:
            return ()
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return (f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}",)

    @property
    def name(self) -> str:
        """Returns its name in reports; a search engine's cool-down is stored under it."""
        own = self.base if self.kind == "engine" and self.base != PROVIDERS[self.provider].base_url else self.url
        return f"{self.provider} {own}".strip()


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Which URLs are worth a visit."""

    sources: tuple[Source, ...] = setting(
        (), "Where hits come from. Search engines are tried in this order until one answers; all others are asked."
    )
    topics: tuple[str, ...] = setting((), "What search engines are asked for; the least recently asked comes first.")
    queries_per_night: int = setting(6, "Result pages asked of search engines in one night (noon to noon).", 0, 1000)
    block_hours: float = setting(12.0, "Hours without an engine that blocks us; doubles each time, up to a week.", 0.0)
    max_pages: int = setting(300, "Pages to visit in one night.", 1, 1_000_000)
    revisit_listing_hours: float = setting(
        20.0, "Hours before a start page, list, feed or sitemap is fetched again.", 0.0
    )
    revisit_days: float = setting(30.0, "Days before an article is fetched again.", 0.0)
    retry_hours: float = setting(6.0, "Hours before a failed URL is fetched again; doubles with each failure.", 0.0)
    max_failures: int = setting(5, "Failures in a row after which a URL is given up.", 1, 100)
    blocklists: tuple[str, ...] = setting(
        (),
        "Never fetched: files of domains and URL patterns, or UT1 folders such as ut1/adult, relative to the profile.",
    )
    block_adult: bool = setting(True, "Also never fetch what the project's own short list of adult sites names.")
    allow_loopback: tuple[str, ...] = setting(
        (), "Addresses of this machine that may be fetched, such as 127.0.0.1:8765."
    )

    def __post_init__(self) -> None:
        for text in self.allow_loopback:
            with suppress(ValueError):
                if is_loopback(endpoint(text)[0]):
                    continue
            raise SettingsError(
                f"search.allow_loopback: {text!r} must be an address of this machine with a port, "
                "such as '127.0.0.1:8765' or '[::1]:8765'"
            )
        if not all(topic.strip() for topic in self.topics):
            raise SettingsError("search.topics: a topic is empty")
        engines = [source.provider for source in self.sources if source.kind == "engine"]
        if engines and not self.topics:
            raise SettingsError(f"search.sources: {engines[0]} has nothing to ask for: give search.topics a few topics")

    @property
    def credentials(self) -> Credentials:
        """Returns the names and passwords of all sources."""
        return Credentials(user for source in self.sources for user in source.users)


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """How pages are fetched."""

    user_agent: str = setting(
        "miniature-memory/0.1 (a small personal language model; robots.txt obeyed)",
        "Our name in each request, and the name that robots.txt may speak to.",
    )
    contact: str = setting("", "Where site owners reach you, such as you@example.org; sent along with user_agent.")
    delay_seconds: float = setting(2.0, "Pause between two requests to one host, in seconds.", 0.0)
    hosts_at_once: int = setting(8, "Hosts fetched from at the same time, one page of each at a time.", 1, 64)
    timeout_seconds: float = setting(30.0, "Deadline of one page, in seconds, all redirects included.", 1.0)
    max_page_bytes: int = setting(2_000_000, "Larger pages are dropped; bytes after decompression.", 10_000, 50_000_000)
    retries: int = setting(2, "Further tries at once when a server fails (a 503, a reset).", 0, 10)
    browser: str = setting("auto", "When Chromium runs; auto: pages without text.", choices=("auto", "never", "always"))
    browser_pages: int = setting(100, "Pages after which Chromium starts afresh.", 1)
    browser_megabytes: int = setting(300, "Private memory of one page at which Chromium is ended.", 50, 16_000)
    browser_page_megabytes: int = setting(
        10, "Most that one page loads in Chromium, scripts included; the rest is cut.", 1
    )
    cache_megabytes: int = setting(200, "Bound of the page cache; the oldest pages leave first.", 1)
    batch: int = setting(40, "Pages in one task run.", 1, 1000)

    def __post_init__(self) -> None:
        for name in ("user_agent", "contact"):
            if not (getattr(self, name).isascii() and getattr(self, name).isprintable()):
                raise SettingsError(f"render.{name} is sent in a header: it may have printable ASCII characters alone")

    @property
    def introduction(self) -> str:
        """Returns the header User-Agent: our name, and where site owners reach us."""
        return f"{self.user_agent} (contact: {self.contact})" if self.contact else self.user_agent


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """How the text is taken from a page."""

    timeout_seconds: float = setting(20.0, "Deadline of one page; then its process is killed.", 0.5)
    memory_megabytes: int = setting(600, "Address space of an extraction process.", 200)
    workers: int = setting(0, "Extraction processes; 0: one a core, two at most.", 0, 64)
    min_characters: int = setting(200, "A shorter text is no document.", 0)
    consensus: bool = setting(True, "Complete and trim trafilatura's text by the page's structure; false: leave it.")


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """Which texts are good enough. Thresholds suit small corpora; each refusal is counted by its name."""

    min_words: int = setting(50, "Fewer words: too_short (Gopher, MassiveText, has 50).", 0)
    max_words: int = setting(100_000, "More words: too_long (Gopher: 100,000).", 1)
    min_mean_word_length: float = setting(1.0, "Below: short_words (Gopher: 3; Chinese, by character, has 1).", 0.0)
    max_mean_word_length: float = setting(12.0, "Above: long_words (Gopher: 10).", 0.0)
    max_symbol_ratio: float = setting(0.2, "More '#' or ellipses per word: symbols (Gopher: 0.1).", 0.0)
    min_alphabetic_ratio: float = setting(0.5, "Fewer words with a letter: not_alphabetic (Gopher: 0.8).", 0.0, 1.0)
    max_repeated_line_ratio: float = setting(0.5, "More text in repeated lines: repetitive (Gopher: 0.2).", 0.0, 1.0)
    max_ellipsis_line_ratio: float = setting(0.3, "More lines end in ...: ellipsis_lines (Gopher: 0.3).", 0.0, 1.0)
    max_bullet_line_ratio: float = setting(0.9, "More lines begin with a bullet: bullet_lines (Gopher: 0.9).", 0.0, 1.0)
    # Off by default: lists of terms have short lines; verse and code have no full stops.
    max_short_line_ratio: float = setting(1.0, "More lines under 30 characters: short_lines (FineWeb: 0.67).", 0.0, 1.0)
    min_stopped_line_ratio: float = setting(
        0.0, "Fewer lines end in .!? or a quote: unfinished_lines (FineWeb: 0.12).", 0.0, 1.0
    )
    refuse_lorem_ipsum: bool = setting(True, "Dummy text: lorem_ipsum (C4).")
    languages: tuple[str, ...] = setting((), "ISO 639 codes to keep, such as en and de; empty keeps all.")
    min_language_score: float = setting(0.4, "Below, the language counts as another one (FineWeb: 0.65).", 0.0, 1.0)
    batch: int = setting(2000, "Documents in one task run.", 1, 100_000)
    workers: int = setting(0, "Processes that clean; 1: this one alone; 0: two for much text on two cores.", 0, 64)


@dataclass(frozen=True, slots=True)
class DedupSettings:
    """When two documents are the same."""

    min_jaccard: float = setting(0.7, "Share of common word 3-grams from which a document is a near copy.", 0.05, 1.0)


@dataclass(frozen=True, slots=True)
class TokenizeSettings:
    """How text becomes ids."""

    vocab_size: int = setting(4096, "Byte-level BPE vocabulary, the special token included.", 300, 65535)
    freeze_bytes: int = setting(2_000_000, "Kept text at which the tokenizer is trained a last time, then frozen.", 1)
    validation_fraction: float = setting(0.02, "Share of documents held out, decided on storing.", 0.0, 0.5)
    batch: int = setting(2000, "Documents between two commits.", 1, 100_000)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The model and one night's chunk of training."""

    n_layer: int = setting(4, "Transformer blocks.", 1, 48)
    n_head: int = setting(4, "Attention heads.", 1, 64)
    n_kv_head: int = setting(4, "Key and value heads (fewer: grouped-query attention).", 1, 64)
    n_embd: int = setting(256, "Width.", 16, 4096)
    block_size: int = setting(256, "Context, in tokens.", 8, 8192)
    batch_size: int = setting(16, "Windows in one step.", 1, 4096)
    new_share: float = setting(0.4, "Share of windows for the newest documents, until each was read once.", 0.0, 0.9)
    steps: int = setting(1000, "Steps in one night; 0: as many as this machine makes in the minutes.", 0, 10_000_000)
    minutes: float = setting(0.0, "Bound of the chunk in minutes; 0: steps alone bound it.", 0.0)
    muon_learning_rate: float = setting(0.02, "Full rate of the block matrices (Muon).", 1e-6, 1.0)
    adamw_learning_rate: float = setting(0.004, "Full rate of the embeddings and norms (AdamW).", 1e-6, 1.0)
    weight_decay: float = setting(0.03, "Decoupled weight decay of the matrices.", 0.0)
    warmup_steps: int = setting(20, "Steps of linear warm-up at the start of a lineage.", 0)
    hold_steps: int = setting(1000, "From this step of a lineage on, the rates decay slowly, to a tenth; 0: never.", 0)
    average_shares: tuple[float, ...] = setting(
        (0.08, 0.12, 0.18),
        "Running averages, each over about this share of all steps so far; the best is published.",
        0.001,
        1.0,
    )
    decay_fraction: float = setting(0.0, "Steps of a competing decay branch, as a share of the chunk.", 0.0, 0.3)
    checkpoint_seconds: float = setting(180.0, "Seconds between checkpoints within a chunk.", 0.1)
    evaluate_tokens: int = setting(200_000, "Held-out tokens scored at most.", 1000)
    dtype: str = setting(
        "auto",
        "Arithmetic; auto decides it once for a lineage. float16 is for GPUs without bfloat16.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    compile: str = setting("auto", "torch.compile where a compiler is there.", choices=("auto", "off"))
    threads: int = setting(0, "CPU threads; 0: all cores it may use (mask, cgroup, OMP_NUM_THREADS).", 0, 256)
    seed: int = setting(1337, "Of initialization and sampling.", 0, 2**31 - 1)
    prompts: tuple[str, ...] = setting(("The",), "How the samples in the report begin; a space at an end misleads.")

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise SettingsError(f"n_embd ({self.n_embd}) must be an even multiple of n_head ({self.n_head})")
        if not (self.steps or self.minutes):
            raise SettingsError("steps and minutes are both 0: one of them must bound the night")
        if self.n_head % self.n_kv_head:
            raise SettingsError(f"n_kv_head ({self.n_kv_head}) must divide n_head ({self.n_head})")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The site that the demo profile serves from this machine; no part of a real night."""

    serve: bool = setting(False, "Serve the demo site while the night runs, and collect it.")
    port: int = setting(8765, "Its loopback port.", 1, 65535)
    night: int = setting(3, "How much of it is there: 1, 2 or 3 (all).", 1, 3)
    novels: str = setting("", "File of novels whose chapters are there too (tasks/demo_site/novels.py); empty: none.")


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole profile."""

    name: str = setting("nightly", "The profile's name, shown in runs and reports: letters, digits, . _ -")
    search: SearchSettings = field(default_factory=SearchSettings)
    render: RenderSettings = field(default_factory=RenderSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    clean: CleanSettings = field(default_factory=CleanSettings)
    dedup: DedupSettings = field(default_factory=DedupSettings)
    tokenize: TokenizeSettings = field(default_factory=TokenizeSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    demo: DemoSettings = field(default_factory=DemoSettings)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]{0,59}", self.name):
            raise SettingsError(f"name {self.name!r} must be letters, digits, '.', '_' and '-', 60 at most")
