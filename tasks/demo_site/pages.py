"""The site's looks: articles among all that no reader comes for, index pages, and odd files."""

import html
import json
import re

from tasks.demo_site.articles import SECTIONS, Article, Part
from tasks.demo_site.markup import inline, to_html

SITE_NAME = "Lantern Library"
COOKIE_NOTICE = "We use cookies to remember your choices and to measure how this site is used."
PER_INDEX_PAGE = 30

_STYLE = """\
body{font:17px/1.6 Georgia,serif;margin:0;color:#222;background:#fdfcf8}
.site-header,.site-footer{background:#23395b;color:#fff;padding:.8rem 2rem}
.site-header a,.site-footer a{color:#fff}
.site-nav ul{display:flex;gap:1.5rem;list-style:none;padding:0}
.layout{display:flex;gap:3rem;padding:1rem 2rem}
main{max-width:46rem;min-width:0}aside{max-width:16rem;font-size:.85rem}
pre{background:#f1eee6;padding:.6rem;overflow:auto}
.cookie-banner{position:fixed;bottom:0;width:100%;background:#fff3c4;padding:.6rem 2rem}
"""

# An app shell as single-page sites have it: nothing to read until this has run.
_APP_SCRIPT = """\
const element = (name, text) => Object.assign(document.createElement(name), {textContent: text});
const slug = document.currentScript.dataset.slug;
fetch(`/api/${slug}.json`).then(answer => answer.json()).then(page => {
  document.title = page.title + " | Lantern Library";
  const article = element("article", "");
  article.append(element("h1", page.title), element("time", page.published));
  for (const paragraph of page.paragraphs) article.append(element("p", paragraph));
  const main = element("main", "");
  main.append(article);
  const home = Object.assign(element("a", "Home"), {href: "/"});
  const nav = element("nav", "");
  nav.append(home);
  const footer = element("footer", "Made with care and JavaScript.");
  document.getElementById("app").replaceChildren(nav, main, footer);
});
"""

ROBOTS = """\
# The reading room is for members; everything else is for everybody.
User-agent: *
Disallow: /private/
"""


def article_page(article: Article, related: list[Article]) -> str:
    """A whole article. `related` must not change as the site grows, or old pages would look new."""
    if article.variant == "app":
        return _app_shell(article)
    day = f"{article.published:%Y-%m-%d}"
    body = "\n".join(_part(part, article.markdown) for part in article.parts)
    links = "\n".join(f"<li>{_link(other)}</li>" for other in related)
    content = f"""\
<main id="content">
<article>
<header>
<h1>{_text(article.title)}</h1>
<p class="byline">Published <time datetime="{day}">{article.published:%d %B %Y}</time> in \
<a href="/{article.section}/">{SECTIONS[article.section]}</a></p>
</header>
<div class="article-body">
{body}
</div>
</article>
</main>
<aside class="sidebar">
<h2>You may also like</h2>
<ul class="related">
{links}
</ul>
<form action="/subscribe" method="post"><label>Our monthly letter <input type="email"></label></form>
</aside>"""
    head = f"""\
<meta name="date" content="{day}">
<meta property="article:published_time" content="{article.published.isoformat()}">
<meta property="og:type" content="article">
<meta name="dcterms.rights" content="{html.escape(article.rights)}">
"""
    # The charset of a latin-1 page is told by its header alone, as on old sites.
    return _page(article.title, article.summary, content, head, charset=article.variant != "latin1")


def article_json(article: Article) -> str:
    """What the script of a JavaScript page fetches."""
    chunks = [chunk for part in article.parts for chunk in part.text.strip().split("\n\n")]
    paragraphs = [" ".join(chunk.split()) for chunk in chunks]
    page = {"title": article.title, "published": f"{article.published:%Y-%m-%d}", "paragraphs": paragraphs}
    return json.dumps(page, ensure_ascii=False)


def index_pages(articles: list[Article]) -> dict[str, str]:
    """Every index page by its path: the front page, its followers, and the same for each section."""
    pages = _listing("/", "Everything we keep", articles, _ODDS)
    for section, title in SECTIONS.items():
        pages |= _listing(f"/{section}/", title, [a for a in articles if a.section == section], "")
    return pages


def plain_page(title: str, text: str) -> str:
    """A page in the site's frame that is no article: the private corner, an error."""
    return _page(title, title, f'<main id="content"><h1>{_text(title)}</h1>\n{to_html(text)}</main>')


_ODDS = """\
<section class="odds"><h2>Also here</h2>
<ul>
<li><a href="/files/handbook.pdf">The reader's handbook (PDF)</a></li>
<li><a href="/old/knives.html">Our most read article</a></li>
<li><a href="/notes/this-was-never-written">An article that was taken down</a></li>
<li><a href="/private/">The members' reading room</a></li>
</ul></section>"""


def _listing(base: str, title: str, articles: list[Article], extra: str) -> dict[str, str]:
    total = max(1, -(-len(articles) // PER_INDEX_PAGE))
    paths = [base if number == 1 else f"{base}page/{number}" for number in range(1, total + 1)]
    pages = {}
    for number, path in enumerate(paths, 1):
        shown = articles[(number - 1) * PER_INDEX_PAGE : number * PER_INDEX_PAGE]
        rows = "\n".join(f"<li>{_link(one)} <small>{one.published:%d %b %Y}</small></li>" for one in shown)
        near = {1, 2, number - 1, number, number + 1, total}
        turns = " ".join(f'<a href="{to}">{n}</a>' for n, to in enumerate(paths, 1) if n in near)
        content = f"""\
<main id="content">
<h1>{_text(title)}</h1>
<ul class="listing">
{rows}
</ul>
<nav class="pagination" aria-label="Pages">{turns}</nav>
{extra if number == 1 else ""}
</main>"""
        heading = title if number == 1 else f"{title}, page {number} of {total}"
        kind = '<meta property="og:type" content="website">\n'
        pages[path] = _page(heading, f"{heading}: the list", content, kind)
    return pages


def _page(title: str, description: str, content: str, head: str = "", charset: bool = True) -> str:
    sections = "\n".join(f'<li><a href="/{key}/">{name}</a></li>' for key, name in SECTIONS.items())
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
{'<meta charset="utf-8">' if charset else ""}
<title>{_text(title)} | {SITE_NAME}</title>
<meta name="description" content="{html.escape(description)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<div id="cookie-consent" class="cookie-banner" role="dialog" aria-label="Cookies">
<p>{COOKIE_NOTICE}</p> <button type="button" onclick="this.parentNode.remove()">Accept all</button></div>
<header class="site-header"><a class="logo" href="/">{SITE_NAME}</a>
<nav class="site-nav"><ul>
<li><a href="/">Home</a></li>
{sections}
</ul></nav></header>
<div class="layout">
{content}
</div>
<footer class="site-footer"><p>{SITE_NAME}, a small site of borrowed words. Read on in peace.</p></footer>
</body>
</html>
"""


def _app_shell(article: Article) -> str:
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{SITE_NAME}</title>
<link rel="icon" href="data:,">
</head>
<body>
<noscript>You need to enable JavaScript to run this app.</noscript>
<div id="app"></div>
<script data-slug="{article.slug}">
{_APP_SCRIPT}</script>
</body>
</html>
"""


def _part(part: Part, markdown: bool) -> str:
    heading = f"<h{part.level}>{html.escape(part.heading)}</h{part.level}>\n" if part.heading else ""
    return heading + to_html(part.text, markdown)


def _link(article: Article) -> str:
    return f'<a href="{article.path}">{_text(article.title)}</a>'


def _text(title: str) -> str:
    """A title without its markup: titles are links here, and a link inside a link is none."""
    return re.sub(r"<[^>]*>", "", inline(title))


def pdf(line: str) -> bytes:
    """The smallest honest PDF: one page, one line, a cross-reference table that is right."""
    text = f"BT /F1 18 Tf 72 720 Td ({line}) Tj ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
