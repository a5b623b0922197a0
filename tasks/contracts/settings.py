"""A run is a file: a TOML profile, read into frozen, validated settings.

Every field carries its meaning, unit and bounds, so that the error messages, the settings table in the
docs and the code cannot disagree. Secrets are never settings; they come from the environment.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.addresses import endpoint, is_loopback, is_on_this_machine, is_web_address
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import PROJECT

ENGINES = ("google", "searxng", "brave")
LISTINGS = ("feed", "sitemap")
PROVIDERS = (*ENGINES, *LISTINGS, "site", "urls")
BASE_URLS = {"google": "https://www.google.com", "brave": "https://api.search.brave.com"}


def setting(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its meaning and what is allowed."""
    metadata = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices}
    if isinstance(default, list | dict):
        raise TypeError("settings are immutable: give a tuple")
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of `[[search.sources]]`: where hits come from."""

    provider: str = setting("site", "Who proposes URLs.", choices=PROVIDERS)
    url: str = setting(
        "", "site: the start page, whose links are followed within its host; feed, sitemap: its address."
    )
    urls: tuple[str, ...] = setting((), "urls: the pages to fetch.")
    file: str = setting("", "urls: a file with one URL a line (# starts a comment), relative to the profile.")
    max_depth: int = setting(3, "site: links to follow from the start page.", minimum=0, maximum=100)
    max_urls: int = setting(
        2000, "site: pages of it that are ever asked; feed, sitemap: new addresses taken from one visit.", minimum=1
    )
    base_url: str = setting("", "google, searxng, brave: where it answers; only searxng has no default.")
    hl: str = setting("en", "google, searxng, brave: the language to ask in.")
    lr: str = setting("", "google: the language of the results, such as lang_en.")
    cr: str = setting("", "google: the country of the results, such as countryGB.")
    pause_seconds: float = setting(
        30.0, "google, searxng, brave: least pause between two queries; up to half as much is added.", minimum=0.0
    )
    max_result_pages: int = setting(
        5, "google, searxng, brave: how deep into the result pages of one topic.", minimum=1, maximum=10
    )
    headless: bool = setting(True, "google: false shows the window (it needs a display), which Google trusts more.")

    def __post_init__(self) -> None:
        if self.provider in ("site", *LISTINGS) and not self.url:
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
    def base(self) -> str:
        """Where a search engine answers, without a slash at the end."""
        return (self.base_url or BASE_URLS.get(self.provider, "")).rstrip("/")

    @property
    def opened(self) -> tuple[str, ...]:
        """What the gate opens for a search engine: the user's own choice, often on this machine or in the house."""
        parts = urlsplit(self.base_url)
        if self.provider not in ENGINES or not parts.hostname:
            return ()
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return (f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}",)

    @property
    def name(self) -> str:
        """How reports call it, and what a search engine's cool-down is remembered under."""
        own = self.base if self.provider in ENGINES and self.base != BASE_URLS.get(self.provider) else self.url
        return f"{self.provider} {own}".strip()


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Which URLs are worth a visit."""

    sources: tuple[Source, ...] = setting(
        (), "Where hits come from. Search engines are tried in this order until one answers; all others are asked."
    )
    topics: tuple[str, ...] = setting((), "What search engines are asked for; the least recently asked comes first.")
    queries_per_night: int = setting(
        6, "Result pages asked of search engines in one night (from noon to noon).", minimum=0, maximum=1000
    )
    block_hours: float = setting(
        12.0, "Hours a search engine that blocks us is left alone; doubles with each block, up to a week.", minimum=0.0
    )
    max_pages: int = setting(300, "Pages to visit in one night.", minimum=1, maximum=1_000_000)
    revisit_listing_hours: float = setting(
        20.0,
        "Hours before a start page, a page of links, a feed or a sitemap is asked again (conditionally).",
        minimum=0.0,
    )
    revisit_days: float = setting(30.0, "Days before an article is asked again.", minimum=0.0)
    retry_hours: float = setting(
        6.0, "Hours before what failed is asked again; doubles with each failure.", minimum=0.0
    )
    max_failures: int = setting(5, "Failures in a row after which a URL is given up.", minimum=1, maximum=100)
    blocklists: tuple[str, ...] = setting(
        (),
        "Files of domains and URL patterns, or folders of UT1 such as ut1/adult, that are never asked; "
        "relative to the profile.",
    )
    block_adult: bool = setting(True, "Also never ask what the own short list of adult content names.")
    allow_loopback: tuple[str, ...] = setting(
        (), "Addresses of this machine, each with its port, that may be fetched all the same: 127.0.0.1:8765."
    )

    def __post_init__(self) -> None:
        for text in self.allow_loopback:
            try:
                good = is_loopback(endpoint(text)[0])
            except ValueError:
                good = False
            if not good:
                raise SettingsError(
                    f"search.allow_loopback: {text!r} must be an address of this machine with a port, "
                    "such as '127.0.0.1:8765' or '[::1]:8765'"
                )
        if not all(topic.strip() for topic in self.topics):
            raise SettingsError("search.topics: a topic is empty")
        engines = [source.provider for source in self.sources if source.provider in ENGINES]
        if engines and not self.topics:
            raise SettingsError(f"search.sources: {engines[0]} has nothing to ask for: give search.topics a few topics")


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """How pages are fetched."""

    user_agent: str = setting(
        "miniature-memory/0.1 (a small personal language model; robots.txt obeyed)",
        "How we introduce ourselves, and the name that robots.txt may speak to.",
    )
    contact: str = setting(
        "", "An address where the owners of sites reach you, such as you@example.org; sent along with user_agent."
    )
    delay_seconds: float = setting(2.0, "Pause between two requests to one host, in seconds.", minimum=0.0)
    hosts_at_once: int = setting(
        8, "Hosts asked at the same time; each of them is asked for one page at a time.", minimum=1, maximum=64
    )
    timeout_seconds: float = setting(30.0, "Deadline of one page, in seconds, all redirects included.", minimum=1.0)
    max_page_bytes: int = setting(
        2_000_000, "Larger pages are dropped; bytes after decompression.", minimum=10_000, maximum=50_000_000
    )
    retries: int = setting(2, "Further tries at once when a server fails (a 503, a reset).", minimum=0, maximum=10)
    browser: str = setting(
        "auto",
        "auto: Chromium where a page has no text without it; never; always.",
        choices=("auto", "never", "always"),
    )
    browser_pages: int = setting(100, "Pages after which Chromium is started afresh.", minimum=1)
    browser_megabytes: int = setting(
        300, "Private memory that one page may take in Chromium; then Chromium is ended.", minimum=50, maximum=16_000
    )
    browser_page_megabytes: int = setting(
        10, "What one page may load in Chromium, with its scripts and frames; then the rest is cut.", minimum=1
    )
    cache_megabytes: int = setting(200, "Bound of the page cache; the oldest pages leave first.", minimum=1)
    batch: int = setting(40, "Pages in one task run.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        for name in ("user_agent", "contact"):
            if not (getattr(self, name).isascii() and getattr(self, name).isprintable()):
                raise SettingsError(f"render.{name} is sent in a header: it may have printable ASCII characters alone")

    @property
    def introduction(self) -> str:
        """The header User-Agent: who asks, and whom to tell when it is too much."""
        return f"{self.user_agent} (contact: {self.contact})" if self.contact else self.user_agent


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """How the text is taken from a page."""

    timeout_seconds: float = setting(20.0, "Deadline of one page; then its process is killed.", minimum=0.5)
    memory_megabytes: int = setting(600, "Address space of an extraction process.", minimum=200)
    workers: int = setting(
        0,
        "Extraction processes, at work while other pages come; 0: one a core, two at most.",
        minimum=0,
        maximum=64,
    )
    min_characters: int = setting(200, "Shorter texts are no documents.", minimum=0)
    consensus: bool = setting(
        True, "Let the page's structure complete and trim what trafilatura finds; false takes its fast run as it is."
    )


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """Which texts are good enough. Thresholds suit small corpora; each refusal is counted by its name."""

    min_words: int = setting(50, "Fewer words: too_short (Gopher, MassiveText, has 50).", minimum=0)
    max_words: int = setting(100_000, "More words: too_long (Gopher has 100,000).", minimum=1)
    min_mean_word_length: float = setting(
        1.0, "Below: short_words (Gopher has 3; Chinese, counted by character, has 1).", minimum=0.0
    )
    max_mean_word_length: float = setting(12.0, "Above: long_words (Gopher has 10).", minimum=0.0)
    max_symbol_ratio: float = setting(0.2, "More '#' or ellipses per word: symbols (Gopher has 0.1).", minimum=0.0)
    min_alphabetic_ratio: float = setting(
        0.5, "Fewer words with a letter: not_alphabetic (Gopher has 0.8).", minimum=0.0, maximum=1.0
    )
    max_repeated_line_ratio: float = setting(
        0.5, "More characters in repeated lines: repetitive (Gopher has 0.2).", minimum=0.0, maximum=1.0
    )
    max_ellipsis_line_ratio: float = setting(
        0.3, "More lines that end in an ellipsis: ellipsis_lines (Gopher has 0.3).", minimum=0.0, maximum=1.0
    )
    max_bullet_line_ratio: float = setting(
        0.9, "More lines that begin with a bullet: bullet_lines (Gopher has 0.9).", minimum=0.0, maximum=1.0
    )
    max_short_line_ratio: float = setting(
        1.0,
        "More lines under 30 characters: short_lines (FineWeb has 0.67; lists of terms are fine here).",
        minimum=0.0,
        maximum=1.0,
    )
    min_stopped_line_ratio: float = setting(
        0.0,
        "Fewer lines that end in . ! ? or a quote: unfinished_lines (FineWeb has 0.12; verse and code have none).",
        minimum=0.0,
        maximum=1.0,
    )
    refuse_lorem_ipsum: bool = setting(True, "Dummy text: lorem_ipsum (C4).")
    languages: tuple[str, ...] = setting((), "ISO 639 codes to keep, such as en and de; empty keeps all.")
    min_language_score: float = setting(
        0.4, "Below, the language counts as unsure, and as another one (FineWeb has 0.65).", minimum=0.0, maximum=1.0
    )
    batch: int = setting(2000, "Documents in one task run.", minimum=1, maximum=100_000)
    workers: int = setting(
        0,
        "Processes that clean, 1 for none beside this; 0: two where there is much and a second core.",
        minimum=0,
        maximum=64,
    )


@dataclass(frozen=True, slots=True)
class DedupSettings:
    """When two documents are the same."""

    min_jaccard: float = setting(
        0.7, "Share of common word 3-grams from which a document is a near copy.", minimum=0.05, maximum=1.0
    )


@dataclass(frozen=True, slots=True)
class TokenizeSettings:
    """How text becomes ids."""

    vocab_size: int = setting(
        4096, "Byte-level BPE vocabulary, the special token included.", minimum=300, maximum=65535
    )
    freeze_bytes: int = setting(
        2_000_000, "Kept text at which the tokenizer is trained once more and frozen for ever.", minimum=1
    )
    validation_fraction: float = setting(
        0.02, "Share of documents held out, settled when a document is stored.", minimum=0.0, maximum=0.5
    )
    batch: int = setting(2000, "Documents between two commits.", minimum=1, maximum=100_000)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The model and one night's chunk of training."""

    n_layer: int = setting(4, "Transformer blocks.", minimum=1, maximum=48)
    n_head: int = setting(4, "Attention heads.", minimum=1, maximum=64)
    n_kv_head: int = setting(4, "Key and value heads (fewer: grouped-query attention).", minimum=1, maximum=64)
    n_embd: int = setting(256, "Width.", minimum=16, maximum=4096)
    block_size: int = setting(256, "Context, in tokens.", minimum=8, maximum=8192)
    batch_size: int = setting(16, "Windows in one step.", minimum=1, maximum=4096)
    new_share: float = setting(
        0.4,
        "Share of the windows kept for the newest documents until they were read once; the others are of all text.",
        minimum=0.0,
        maximum=0.9,
    )
    steps: int = setting(1000, "Steps in one night.", minimum=1, maximum=10_000_000)
    minutes: float = setting(0.0, "Bound of the chunk in minutes; 0 leaves it to steps.", minimum=0.0)
    muon_learning_rate: float = setting(0.02, "Full rate of the block matrices (Muon).", minimum=1e-6, maximum=1.0)
    adamw_learning_rate: float = setting(
        0.004, "Full rate of the embeddings and norms (AdamW).", minimum=1e-6, maximum=1.0
    )
    weight_decay: float = setting(0.03, "Decoupled weight decay of the matrices.", minimum=0.0)
    warmup_steps: int = setting(20, "Steps of linear warm-up at the start of a lineage.", minimum=0)
    hold_steps: int = setting(
        1000, "From this step of a lineage on the rates fall, slowly, to a tenth; 0: never.", minimum=0
    )
    average_shares: tuple[float, ...] = setting(
        (0.08, 0.12, 0.18),
        "Running averages, each over about this share of all steps so far; the best is published.",
        minimum=0.001,
        maximum=1.0,
    )
    decay_fraction: float = setting(
        0.0, "Steps of a decay branch that competes too, as a share of the chunk's.", minimum=0.0, maximum=0.3
    )
    checkpoint_seconds: float = setting(180.0, "Seconds between checkpoints within a chunk.", minimum=0.1)
    evaluate_tokens: int = setting(200_000, "Held-out tokens scored at most.", minimum=1000)
    dtype: str = setting(
        "auto",
        "Arithmetic; auto settles it once for a lineage. float16 is for GPUs without bfloat16.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    compile: str = setting("auto", "torch.compile where a compiler is there.", choices=("auto", "off"))
    threads: int = setting(0, "CPU threads; 0 takes all cores.", minimum=0, maximum=256)
    seed: int = setting(1337, "Of initialisation and sampling.", minimum=0, maximum=2**31 - 1)
    prompts: tuple[str, ...] = setting(("The ",), "What the sample in the report begins with.")

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise SettingsError(f"n_embd ({self.n_embd}) must be an even multiple of n_head ({self.n_head})")
        if self.n_head % self.n_kv_head:
            raise SettingsError(f"n_kv_head ({self.n_kv_head}) must divide n_head ({self.n_head})")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The site that the demo profile serves from this machine; no part of a real night."""

    serve: bool = setting(False, "Serve the demo site while the night runs, and collect it.")
    port: int = setting(8765, "Its loopback port.", minimum=1, maximum=65535)
    night: int = setting(3, "How much of it is there: 1, 2 or 3 (all).", minimum=1, maximum=3)


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


def find_profile(name_or_path: str) -> Path:
    """`demo` -> `deployments/demo.toml`; anything with a slash or `.toml` is a path."""
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml" and len(path.parts) == 1:
        path = PROJECT / "deployments" / f"{name_or_path}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in (PROJECT / "deployments").glob("*.toml")))
        raise SettingsError(f"no profile {name_or_path!r} ({path} is not there). Shipped ones: {shipped}.")
    return path


def load_settings(profile: str = "nightly", overrides: dict[str, Any] | None = None) -> Settings:
    """Read a profile. `overrides` are dotted names ("train.steps") with values that win over the file.

    Raises:
        SettingsError: names the file, the field, and what is allowed.
    """
    path = find_profile(profile)
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    values.setdefault("name", re.sub(r"[^\w.-]+", "_", path.stem)[:60])
    for name, value in (overrides or {}).items():
        _put(values, name, value)
    settings: Settings = _build(Settings, values, str(path), "")
    search = _with_absolute_files(settings.search, path.parent)
    if settings.demo.serve:
        start = Source("site", url=f"http://127.0.0.1:{settings.demo.port}/", max_depth=6)
        opened = (*search.allow_loopback, f"127.0.0.1:{settings.demo.port}")
        search = dataclasses.replace(search, sources=(start, *search.sources), allow_loopback=opened)
    return dataclasses.replace(settings, search=search)


def parse_override(text: str) -> tuple[str, Any]:
    """`train.steps=50` -> ("train.steps", 50). The value is TOML; what is no TOML is taken as a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"--set {text!r}: write it as section.field=value, for example train.steps=50")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {dotted}: {section} is no section")
    values[last] = value


def _with_absolute_files(search: SearchSettings, folder: Path) -> SearchSettings:
    sources = tuple(
        dataclasses.replace(source, file=str((folder / Path(source.file).expanduser()).resolve()))
        if source.file
        else source
        for source in search.sources
    )
    blocklists = tuple(str((folder / Path(path).expanduser()).resolve()) for path in search.blocklists)
    return dataclasses.replace(search, sources=sources, blocklists=blocklists)


def _build(kind: Any, values: Any, origin: str, prefix: str) -> Any:
    """A dataclass from a TOML table; every complaint names origin and field."""
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: {prefix.rstrip('.')} must be a table, not {values!r}")
    types_of = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise SettingsError(f"{origin}: unknown setting {prefix}{name}. Allowed here: {', '.join(sorted(fields))}.")
    built = {
        name: _convert(types_of[name], value, fields[name], origin, f"{prefix}{name}") for name, value in values.items()
    }
    try:
        return kind(**built)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {prefix.rstrip('.')}: {error}") from error


def _convert(kind: Any, value: Any, described: dataclasses.Field[Any], origin: str, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, origin, f"{name}.")
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise SettingsError(f"{origin}: {name} must be a list, not {value!r}")
        return tuple(_convert(element, item, described, origin, f"{name}[{i}]") for i, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(kind, types.UnionType) or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SettingsError(f"{origin}: {name} must be {kind.__name__}, not {value!r}")
    _check_bounds(value, described, origin, name)
    return value


def _check_bounds(value: Any, described: dataclasses.Field[Any], origin: str, name: str) -> None:
    minimum, maximum, choices = (described.metadata.get(key) for key in ("minimum", "maximum", "choices"))
    if choices is not None and value not in choices:
        raise SettingsError(f"{origin}: {name} must be one of {', '.join(choices)}, not {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SettingsError(f"{origin}: {name} must be a finite number, not {value!r}")
        if minimum is not None and value < minimum:
            raise SettingsError(f"{origin}: {name} must be at least {minimum}, not {value!r}")
        if maximum is not None and value > maximum:
            raise SettingsError(f"{origin}: {name} must be at most {maximum}, not {value!r}")
