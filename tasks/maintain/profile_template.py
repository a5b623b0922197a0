"""A profile of the user's own to begin with: `python run.py init my.toml`."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.contracts.errors import SettingsError

PROFILE = """\
# {name}: a profile of miniature-memory. Run a night of it with:
#
#     python run.py --profile {path}
#
# Lines that begin with # are examples: remove the # to use them. `python run.py doctor` tells what is missing on this
# machine. Every setting, its default and what is allowed: DEVELOPER_GUIDE.md.

name = "{name}" # shown in runs and reports

[search]
max_pages = 100 # pages to visit in one night
block_adult = true # a short list of adult content is never asked
# blocklists = ["ut1/adult", "mine.txt"] # more such lists, beside this file: see docs/blocklists.md

# What to ask search engines for. Each night takes the topics that waited longest.
# topics = ["how tides work", "history of lighthouses"]
# queries_per_night = 6 # result pages asked of search engines in one night

# Search engines, the first that answers is taken. They need topics. See docs/search.md before you choose Google.
# [[search.sources]]
# provider = "google"
#
# [[search.sources]]
# provider = "searxng"
# base_url = "http://127.0.0.1:8888"
#
# [[search.sources]]
# provider = "brave" # its key comes from the environment variable BRAVE_API_KEY
# pause_seconds = 2

# A site: its links are followed, within its host.
[[search.sources]]
provider = "site"
url = "https://docs.python.org/3/tutorial/index.html"
max_depth = 2 # links to follow from the start page
max_urls = 500 # pages of it that are ever asked

# A feed (RSS or Atom), or a page that points to one: its new articles each night.
# [[search.sources]]
# provider = "feed"
# url = "https://globalvoices.org/feed/"

# A sitemap, or an index of sitemaps: the latest pages first.
# [[search.sources]]
# provider = "sitemap"
# url = "https://example.org/sitemap.xml"
# max_urls = 50 # new pages of it in one night

# Single pages, here or one a line in a file beside this one.
# [[search.sources]]
# provider = "urls"
# urls = ["https://example.org/one.html"]
# file = "pages.txt"

[render]
# An address at which the owners of sites can reach you; it is sent with each request.
# contact = "you@example.org"
delay_seconds = 2 # pause between two requests to one host; a site that asks for more gets more
browser = "auto" # Chromium where a page has no text without it; or never, or always

[clean]
min_words = 50 # shorter texts are left out

[train]
steps = 1000 # of one night
minutes = 15 # the night's training ends after so many at the latest; 0 leaves it to steps
prompts = ["The"] # what the sample in the report begins with
"""


def write_profile(path: Path) -> None:
    """Write a commented profile, valid as it is.

    Raises:
        SettingsError: there is such a file already, or it cannot be written.
    """
    if path.suffix != ".toml":
        raise SettingsError(f"{path} must end in .toml: that is how `--profile` knows a file from a name")
    text = PROFILE.replace("{name}", _name(path.stem)).replace("{path}", _plain(str(path)))
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise SettingsError(
            f"{path} is there already and stays as it is: give another name, as in `run.py init new.toml`"
        ) from error
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def _name(stem: str) -> str:
    """As a profile may be called."""
    return re.sub(r"[^\w.-]", "_", stem).lstrip(".-")[:60] or "my"


def _plain(path: str) -> str:
    """Safe within a comment."""
    return "".join(sign if sign.isprintable() else "_" for sign in path)
