"""One page, one key: how URLs are compared, named and grouped by site."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from w3lib.url import canonicalize_url

from tasks.contracts.addresses import PLAIN

# What campaigns add to a link; the page is the same without it.
LOCAL = "local"  # the site of files from the user's own disk
TRACKERS = re.compile(r"^(utm_\w+|gclid|dclid|fbclid|msclkid|mc_cid|mc_eid|igshid|yclid|_ga|ref_src)$", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=20_000)  # sites repeat their links on every page
def url_key(url: str) -> str:
    """Returns the canonical form: sorted query, no fragment, no default port, no campaign parameters."""
    if PLAIN.fullmatch(url):
        return url
    parts = urlsplit(canonicalize_url(url.strip(), keep_fragments=False))
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port and parts.port != DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{parts.port}"
    # A legacy encoding is kept byte for byte: what is no UTF-8 must not become the same U+FFFD for every query.
    named = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    query = urlencode([(k, v) for k, v in named if not TRACKERS.match(k)], errors="surrogateescape")
    return urlunsplit((parts.scheme, host, parts.path or "/", query, ""))


def former_key(url: str) -> str:
    """Returns the key that data directories know from before queries in legacy encodings had a key each."""
    parts = urlsplit(url_key(url))
    return urlunsplit(parts._replace(query=urlencode(parse_qsl(parts.query, keep_blank_values=True))))


def url_id(url: str) -> str:
    """Returns twelve hexadecimal digits that stand for a URL in file names."""
    return hashlib.sha256(url_key(url).encode()).hexdigest()[:12]


def site_of(url: str) -> str:
    """Returns the host (with a port that is not the default one); LOCAL for files of the user's own disk."""
    if urlsplit(url).scheme == "file":
        return LOCAL
    return urlsplit(url_key(url)).netloc.lower()


def site_slug(site: str) -> str:
    """Returns a site as a folder name: short, and safe on every file system."""
    slug = re.sub(r"[^a-z0-9.-]+", "_", site.lower()).strip("._-") or "unknown"
    if len(slug) > 60:
        slug = f"{slug[:50]}_{hashlib.sha256(site.encode()).hexdigest()[:8]}"
    return slug
