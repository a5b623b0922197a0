"""A small real web site for the demo and the tests, made at start from text that is on every machine, and from novels
where they are.

In a test: `with DemoSite(port=0) as site:`. In a shell: `python -m tasks.demo_site`. It imports only the
standard library. `templates/` holds its HTML, `static/` its fixed files, `own_pages.toml` the texts that we wrote.
"""

from tasks.demo_site.articles import Article
from tasks.demo_site.novels import NovelsError
from tasks.demo_site.pages import COOKIE_NOTICE
from tasks.demo_site.server import DemoSite, PortTakenError

__all__ = ["COOKIE_NOTICE", "Article", "DemoSite", "NovelsError", "PortTakenError"]
