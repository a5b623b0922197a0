"""Raw text is written as docs/raw-text.md says, and code comes out whole, whatever program shows it."""

from __future__ import annotations

import re
from pathlib import Path

import lxml.html
import pytest

from tasks.content.text_blocks import page_blocks
from tasks.extract.prepared_tree import prepare
from tasks.extract.worker import read_page
from tasks.extract.written_text import written
from tests.support.loopback import PARAGRAPH

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "raw-text.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+?)\n.*?```html\n(.*?)```\n\n```text\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
CODE = "def flashes(times):\n    count = 0\n\n    for time in times:\n        count += 1\n    return count"
LINES = CODE.split("\n")


def text_of(body: str) -> str:
    tree = lxml.html.document_fromstring(f"<html><body>{body}</body></html>")
    prepare(tree)
    return written(page_blocks(tree))


@pytest.mark.parametrize(("html", "text"), [one[1:] for one in EXAMPLES], ids=[one[0] for one in EXAMPLES])
def test_the_examples_of_the_page(html: str, text: str) -> None:
    assert text_of(html) == text


def test_the_page_has_an_example_in_each_chapter() -> None:
    assert len(EXAMPLES) == PAGE.count("\n## ") == 6


def rows(numbered: str, code: str) -> str:
    return "".join(f"<tr>{numbered.format(n)}{code.format(line)}</tr>" for n, line in enumerate(LINES, 1))


NUMBERS = "\n".join(str(n + 1) for n in range(len(LINES)))
SPANS = "".join(f'<span class="line">{line}</span>' for line in LINES)
PROGRAMS = {
    "plain": f"<pre>{CODE}</pre>",
    "Pygments, inline numbers": "<div class='highlight'><pre><span></span>"
    + "\n".join(f'<span class="linenos">{n}</span>{line}' for n, line in enumerate(LINES, 1))
    + "\n</pre></div>",
    "Pygments, a table": f'<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>{NUMBERS}'
    f'</pre></div></td><td class="code"><div><pre>{CODE}\n</pre></div></td></tr></table>',
    "Rouge": '<div class="highlight"><pre class="highlight"><code><table class="rouge-table"><tbody><tr><td class='
    f'"rouge-gutter gl"><pre class="lineno">{NUMBERS}\n</pre></td><td class="rouge-code"><pre>{CODE}\n</pre></td></tr>'
    "</tbody></table></code></pre></div>",
    "Chroma": '<div class="chroma"><table class="lntable"><tr><td class="lntd"><pre><code>'
    + "".join(f'<span class="lnt">{n + 1}\n</span>' for n in range(len(LINES)))
    + f'</code></pre></td><td class="lntd"><pre><code>{CODE}</code></pre></td></tr></table></div>',
    "highlight.js": '<pre><code class="hljs"><table class="hljs-ln">'
    + rows('<td class="hljs-ln-numbers" data-line-number="{}"></td>', '<td class="hljs-ln-code">{}</td>')
    + "</table></code></pre>",
    "Prism": f'<div class="code-toolbar"><pre class="line-numbers language-python"><code>{CODE}<span aria-hidden='
    '"true" class="line-numbers-rows"><span></span><span></span></span></code></pre>'
    '<div class="toolbar"><span>Python</span><button>Copy</button></div></div>',
    "Shiki": '<pre class="shiki"><code>'
    + "\n".join(f'<span class="line"><span>{line}</span></span>' for line in LINES)
    + "</code></pre>",
    "spans without line breaks": f"<pre><code>{SPANS}</code></pre>",
    "Docusaurus": '<div class="codeBlockContent"><pre class="prism-code language-python"><code>'
    + "".join(f'<span class="token-line"><span class="token plain">{line}</span><br></span>' for line in LINES)
    + '</code></pre><div class="buttonGroup"><button title="Copy">Copy</button></div></div>',
    "lines as div": "<pre>" + "".join(f'<div class="token-line">{line}</div>' for line in LINES) + "</pre>",
    "a number before each line": "<pre><div>"
    + "".join(f"<div><div>{n}</div><div>{line}</div></div>" for n, line in enumerate(LINES, 1))
    + "</div></pre>",
    "prettify": '<pre class="prettyprint"><ol class="linenums">\n'
    + "\n".join(f'<li class="L{n}">{line}</li>' for n, line in enumerate(LINES))
    + "</ol></pre>",
    "GitHub": '<table class="js-file-line-container">\n'
    + rows('<td class="blob-num" data-line-number="{}"></td>\n', '<td class="blob-code">{}</td>\n')
    + "</table>",
    "SyntaxHighlighter": '<div class="syntaxhighlighter python"><table><tr><td class="gutter">'
    + "".join(f'<div class="line number{n + 1}">{n + 1}</div>' for n in range(len(LINES)))
    + '</td><td class="code"><div class="container">'
    + "".join(f'<div class="line"><code>{line.replace(" ", "&nbsp;") or "&nbsp;"}</code></div>' for line in LINES)
    + "</div></td></tr></table></div>",
    "Crayon": f'<div class="crayon-syntax"><textarea>{CODE}</textarea><table class="crayon-table"><tr><td class="crayon'
    + '-nums"><div>'
    + "".join(f'<div class="crayon-num">{n + 1}</div>' for n in range(len(LINES)))
    + '</div></td><td class="crayon-code"><div class="crayon-pre">'
    + "".join(f'<div class="crayon-line">{line or "&nbsp;"}</div>' for line in LINES)
    + "</div></td></tr></table></div>",
    "Doxygen": '<div class="fragment">'
    + "".join(
        f'<div class="line"><a id="l{n}"></a><span class="lineno">  {n}</span>{line}</div>\n'
        for n, line in enumerate(LINES, 1)
    )
    + "</div>",
    "CodeMirror": '<div class="CodeMirror-code">'
    + "".join(
        f'<div><div class="CodeMirror-linenumber">{n}</div><pre class="CodeMirror-line"><span>{line or "&#8203;"}'
        "</span></pre></div>"
        for n, line in enumerate(LINES, 1)
    )
    + "</div>",
    "mdBook": '<pre><pre class="playground"><div class="buttons"><button>Copy</button></div><code class='
    f'"language-rust"><span class="boring">#![allow(unused)]\n</span>{CODE}\n<span class="boring">}}</span>'
    "</code></pre></pre>",
    "a box with a label": '<div class="code-block"><div class="header">python</div><pre><code class="language-python">'
    f'{CODE}</code></pre><span class="copy">Copied!</span></div>',
    "code without pre": "<p><code>" + "<br>".join(line.replace(" ", "&nbsp;") for line in LINES) + "</code></p>",
}


@pytest.mark.parametrize("html", PROGRAMS.values(), ids=list(PROGRAMS))
def test_code_is_whole_whatever_program_shows_it(html: str) -> None:
    assert text_of(f"<p>Before.</p>{html}<p>After.</p>") == f"Before.\n\n{CODE}\n\nAfter."


@pytest.mark.parametrize("consensus", [True, False])
def test_the_prepared_page_is_what_both_ways_of_extraction_read(consensus: bool) -> None:
    figure = f'<figure class="highlight"><table><tr><td class="gutter"><pre>{NUMBERS}</pre><td class="code"><pre>{CODE}'
    formula = '<math display="block"><annotation encoding="application/x-tex">a^2</annotation></math>'
    body = f"<p>{PARAGRAPH}</p>" * 2 + figure + "</pre></table></figure>" + f"<p>{PARAGRAPH} {formula}</p>" * 2
    page = f"<html><body><article>{body}</article></body></html>".encode()
    text = read_page(page, "https://a.example/", None, "text/html", consensus=consensus).text
    code = CODE if consensus else CODE.replace("\n\n", "\n")  # trafilatura writes no empty lines
    assert code in text and "$$a^2$$" in text and "1\n2" not in text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            '<i class="MathJax_Preview">x</i><span class="MathJax">x2</span><script type="math/tex">x^2</script>',
            "$x^2$",
        ),
        ('<mjx-container display="true"><mjx-math>x2</mjx-math><math alttext="x^2"></math></mjx-container>', "$$x^2$$"),
        ('<img class="formulaInl" alt="$ x $">', "$x$"),
        ("<math><msqrt><mi>a</mi><mo>+</mo><mn>1</mn></msqrt></math>", r"$\sqrt{a+1}$"),
        ("<math><mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr></mtable></math>", "$a & b$"),
        ('<img class="photo" alt="a gull">', ""),
    ],
)
def test_formulas(html: str, text: str) -> None:
    assert text_of(f"<p>{html}</p>") == text


def test_links_around_text_are_not_code_labels_and_listings_keep_their_links() -> None:
    listing = '<pre><a href="a">a</a>  1 kB\n<a href="b">b</a>  2 kB</pre>'
    tree = lxml.html.document_fromstring(f"<html><body>{listing}</body></html>")
    prepare(tree)
    (block,) = page_blocks(tree)
    assert block.link == 2 and block.text == "a  1 kB\nb  2 kB"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<h2>Tides <a href="/tides#x">of the year</a></h2>', "Tides of the year"),
        ('<h2><a class="anchor" href="#tides">Tides</a></h2>', "Tides"),
        ('<h2>Tides <a class="anchor" href="#tides">Link to this heading</a></h2>', "Tides"),
        ("<h3>Tides <button>Edit</button></h3>", "Tides"),
        ('<nav><button aria-expanded="false">Menu</button></nav><p>a</p>', "a"),
        ('<div><button aria-controls="x">Who?</button><p id="x">You.</p></div>', "Who?\nYou."),
        ('<h2>Tides</h2><span class="mw-editsection">[<a href="/e">edit</a>]</span><p>a</p>', "Tides\na"),
        ("<table><tr><th>a<td>one<br>two<p>three</p></tr></table>", "a | one two three"),
        ("<ul><li><p>one<br>two</p></ul>", "- one two"),
        ("<details><summary>More</summary><p>Text</p></details>", "More\nText"),
    ],
)
def test_headings_labels_and_cells(html: str, text: str) -> None:
    assert text_of(html) == text


@pytest.mark.parametrize(
    "many",
    [
        '<h2>{}</h2>|<a class="anchor" href="#x">link</a>',
        "<h2>{}</h2>|<button>b</button>",
        "<p>{}</p>|x <math><mi>a</mi></math>",
        "<p><ruby>{}</ruby></p>|a<rt>b</rt>",
        "<table><tr><th>h</th></tr><tr>{}</tr></table>|<td>a<td>",
        "<div class=highlight>{}</div>|<pre><b>a</b></pre><span>copy</span>",
    ],
)
def test_long_pages_cost_what_they_weigh(many: str) -> None:
    """Each of these took minutes in a first version, whose edits copied the text before them."""
    around, one = many.split("|", 1)
    assert text_of(around.format(one * 20_000)) is not None


def test_parts_that_react_sends_later_stand_in_their_place() -> None:
    page = (
        "<h1>Tides</h1><p>Before the code.</p><template id='B:0'></template><p>After the code.</p>"
        "<div hidden id='S:0'><pre>tide()</pre><template id='P:1'></template></div>"
        "<div hidden id='S:1'><p>Inner.</p></div>"
    )
    assert text_of(page) == "Tides\nBefore the code.\n\ntide()\n\nInner.\nAfter the code."
    assert text_of("<p>One.</p><template id='B:0'></template><div hidden id='S:9'>Late.</div>").startswith("One.")
    # A part that holds its own place, which React does not write, stays where it is.
    assert text_of("<div hidden id='S:0'><p>In <b><template id='B:0'></template>itself.</b></p></div>") == "In itself."


def test_footnotes_and_admonitions_are_part_of_the_text_and_other_asides_stay_so() -> None:
    tree = lxml.html.document_fromstring(
        "<aside class='footnote-list brackets'><aside class='footnote brackets'><p>1. Of tides.</p></aside></aside>"
        "<aside role='note'>Mind the mud.</aside><aside class='related'>Also read</aside>"
    )
    prepare(tree)
    assert [aside.text for aside in tree.iter("aside")] == ["Also read"]
