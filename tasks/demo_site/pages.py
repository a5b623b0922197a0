"""The site's looks: articles between all that no reader comes for, and index pages. The HTML is in `templates/`."""

import html
import json
import re
from functools import cache
from pathlib import Path
from string import Template

from tasks.demo_site.articles import SECTIONS, Article
from tasks.demo_site.markup import inline, to_html

COOKIE_NOTICE = "We use cookies to remember your choices and to measure how this site is used."
PER_INDEX_PAGE = 30
_TEMPLATES = Path(__file__).with_name("templates")


def article_page(article: Article, related: list[Article]) -> str:
    """Returns a whole article. `related` must not change as the site grows, or old pages would look new."""
    if article.variant == "app":  # as single-page sites have it: no text until its script has run
        return _fill("app.html", slug=article.slug, script=_read("app.js"))
    values = {
        "title": _text(article.title),
        "day": f"{article.published:%Y-%m-%d}",
        "long_day": f"{article.published:%d %B %Y}",
        "published": article.published.isoformat(),
        "section": article.section,
        "section_title": SECTIONS[article.section],
        "rights": html.escape(article.rights),
        "body": "\n".join(
            _heading(part.heading, part.level) + to_html(part.text, article.markdown) for part in article.parts
        ),
        "links": "\n".join(f"<li>{_link(other)}</li>" for other in related),
    }
    head, content = _fill("article_head.html", **values), _fill("article.html", **values)
    # Only the header tells the charset of a latin-1 page, as on old sites.
    return _page(article.title, article.summary, content, head, has_charset=article.variant != "latin1")


def article_json(article: Article) -> str:
    """Returns what the script of a JavaScript page fetches."""
    chunks = [chunk for part in article.parts for chunk in part.text.strip().split("\n\n")]
    paragraphs = [" ".join(chunk.split()) for chunk in chunks]
    page = {"title": article.title, "published": f"{article.published:%Y-%m-%d}", "paragraphs": paragraphs}
    return json.dumps(page, ensure_ascii=False)


def index_pages(articles: list[Article]) -> dict[str, str]:
    """Returns every index page by its path: the front page, the pages after it, and the same for each section."""
    pages = _listing("/", "Everything we keep", articles, _read("odds.html").strip())
    for section, title in SECTIONS.items():
        pages |= _listing(f"/{section}/", title, [a for a in articles if a.section == section], "")
    return pages


def plain_page(title: str, text: str) -> str:
    """Returns a page in the site's frame that is no article: the private corner, an error."""
    return _page(title, title, f'<main id="content"><h1>{_text(title)}</h1>\n{to_html(text)}</main>')


def _listing(base: str, title: str, articles: list[Article], extra: str) -> dict[str, str]:
    total = max(1, -(-len(articles) // PER_INDEX_PAGE))
    paths = [base if number == 1 else f"{base}page/{number}" for number in range(1, total + 1)]
    pages = {}
    for number, path in enumerate(paths, 1):
        shown = articles[(number - 1) * PER_INDEX_PAGE : number * PER_INDEX_PAGE]
        rows = "\n".join(f"<li>{_link(one)} <small>{one.published:%d %b %Y}</small></li>" for one in shown)
        near = {1, 2, number - 1, number, number + 1, total}
        turns = " ".join(f'<a href="{to}">{n}</a>' for n, to in enumerate(paths, 1) if n in near)
        first = extra if number == 1 else ""
        content = _fill("listing.html", title=_text(title), rows=rows, turns=turns, extra=first)
        heading = title if number == 1 else f"{title}, page {number} of {total}"
        kind = '<meta property="og:type" content="website">\n'
        pages[path] = _page(heading, f"{heading}: the list", content, kind)
    return pages


def _page(title: str, description: str, content: str, head: str = "", has_charset: bool = True) -> str:
    return _fill(
        "page.html",
        charset='<meta charset="utf-8">' if has_charset else "",
        title=_text(title),
        description=html.escape(description),
        head=head,
        style=_read("style.css"),
        cookie_notice=COOKIE_NOTICE,
        sections="\n".join(f'<li><a href="/{key}/">{name}</a></li>' for key, name in SECTIONS.items()),
        content=content.strip(),
    )


@cache
def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _fill(name: str, **values: str) -> str:
    return Template(_read(name)).substitute(values)


def _heading(text: str, level: int) -> str:
    return f"<h{level}>{html.escape(text)}</h{level}>\n" if text else ""


def _link(article: Article) -> str:
    return f'<a href="{article.path}">{_text(article.title)}</a>'


def _text(title: str) -> str:
    """Returns a title without its markup: titles are links here, and a link cannot hold another one."""
    return re.sub(r"<[^>]*>", "", inline(title))
