"""The article on pages that do what real pages do: each test is a cause of errors that was found on them."""

from __future__ import annotations

from functools import cache

import lxml.html
import pytest

from tasks.content.consensus import consensus_blocks
from tasks.content.text_blocks import page_blocks, shares_found
from tasks.extract.metadata import read_metadata
from tasks.extract.prepared_tree import prepare
from tasks.extract.worker import parse_page, witness_text
from tasks.extract.written_text import written

URL = "https://a.example/page"
BOATS = "The tide leaves the harbour twice a day, and twice a day the boats lie down on the mud like tired dogs. "
NETS = "Nets are mended in the morning by whoever is awake, with needles of bone that nobody has made for a century. "
LAMPS = "When the lamps are lit along the quay the gulls go quiet at last, and the water can be heard again below. "
OTHER = "Another story altogether begins here with a market square, three bakers and a quarrel about the price of rye. "


def page(body: str, head: str = "<title>Low tide at the old harbour</title>") -> str:
    tree = parse_page(f"<html><head>{head}</head><body>{body}</body></html>")
    titles = read_metadata(tree, URL).titles
    prepare(tree)
    reference, blocks = cache(lambda fast: witness_text(tree, URL, fast=fast)), page_blocks(tree)
    found = consensus_blocks(blocks, titles, lambda fast: shares_found(blocks, reference(fast)))
    return written(found) or reference(False)


def paragraphs(*texts: str) -> str:
    return "".join(f"<p>{text * 3}</p>" for text in texts)


def blocks(body: str) -> list[str]:
    tree = lxml.html.document_fromstring(f"<html><body>{body}</body></html>")
    return [block.text for block in page_blocks(tree)]


def test_the_headline_goes_to_the_title_and_not_into_the_text() -> None:
    text = page(f"<article><h1>Low tide at the old harbour</h1>{paragraphs(BOATS, NETS)}</article>")
    assert text.startswith(BOATS.strip()) and "Low tide" not in text


def test_a_first_sentence_like_the_title_stays() -> None:
    text = page(f"<article><p>Low tide at the old harbour.</p>{paragraphs(BOATS, NETS)}</article>", "<title>x</title>")
    assert text.startswith("Low tide at the old harbour.")


def test_an_article_in_several_parts_of_one_template_is_whole() -> None:
    parts = "".join(
        f'<div class="chunk"><div class="article-body">{paragraphs(text)}</div><aside>Buy!</aside></div>'
        for text in (BOATS, NETS, LAMPS)
    )
    text = page(f"<main>{parts}</main>")
    assert all(part.strip() in text for part in (BOATS, NETS, LAMPS)) and "Buy!" not in text


def test_an_article_that_is_there_twice_is_taken_once() -> None:
    body = paragraphs(BOATS, NETS, LAMPS)
    text = page(f'<div class="post">{body}</div><div class="article-content"><div class="inner">{body}</div></div>')
    assert text.count(NETS.strip()) == 3


def test_paragraphs_beside_the_element_that_holds_most_of_the_article_count() -> None:
    hidden_part = f'<div class="toggle">{paragraphs(NETS, LAMPS, NETS + LAMPS, LAMPS)}</div>'
    text = page(f'<article class="article-content">{paragraphs(BOATS)}{hidden_part}</article>')
    assert text.startswith(BOATS.strip()) and LAMPS.strip() in text


def test_quotations_headings_and_code_between_the_paragraphs_stay() -> None:
    quote = '<div class="embed share"><blockquote class="tweet"><p>So low a tide!</p>A gull</blockquote></div>'
    code = "<pre>tide = {\n    'low': 4,\n}</pre>"
    body = paragraphs(BOATS) + quote + paragraphs(NETS) + "<h2>By lamplight</h2>" + code + paragraphs(LAMPS, LAMPS)
    text = page(f"<article>{body}</article>")
    assert "So low a tide!" in text and "\nBy lamplight\n" in text and "tide = {\n    'low': 4,\n}" in text


@pytest.mark.parametrize(
    "line",
    [
        '<p>Related: <a href="/x">Seven harbours that you should have seen</a></p>',
        '<p><strong>Les også:</strong> <a href="/x">En annen historie om havnen vår</a></p>',
        "<figure><img src=x><figcaption>Boats in the harbour, seen from the old quay</figcaption></figure>",
        '<div class="wp-caption"><p class="wp-caption-text">Boats in the harbour, seen from the quay.</p></div>',
        '<div class="newsletter-box"><p>One letter a month about tides, and no more than that.</p></div>',
        '<div class="AuthorBio"><p>The author has lived by the harbour for many years and has a boat.</p></div>',
        '<p style="display: none">Words that nobody was meant to see on this page at all, ever.</p>',
    ],
)
def test_lines_in_an_article_that_are_not_of_it(line: str) -> None:
    text = page(f"<article>{paragraphs(BOATS)}{line}{paragraphs(NETS, LAMPS)}</article>")
    assert text.count("\n") == 2 and text.startswith(BOATS.strip()) and text.endswith(LAMPS.strip())


@pytest.mark.parametrize(
    "end",
    [
        "<h3>Something to consider</h3>",
        '<p>Follow us on <a href="/t">Twitter</a> and <a href="/f">Facebook</a>.</p>',
        '<p><a href="/more">All our stories about the harbour</a></p>',
        "<p>Additional reporting by Ada Byron</p>",
        '<ul><li><a href="/1">A first story to read</a></li><li><a href="/2">A second one to read</a></li></ul>',
        "<p><b>Sign up for our letter about the tides</b></p><h4>More</h4>",
    ],
)
def test_the_tail_of_an_article_is_cut(end: str) -> None:
    text = page(f"<article>{paragraphs(BOATS, NETS, LAMPS)}{end}</article>")
    assert text.endswith(LAMPS.strip())


def test_a_container_that_holds_the_article_is_no_aside_whatever_its_name() -> None:
    text = page(f'<div class="modal-overlay author-page"><article>{paragraphs(BOATS, NETS, LAMPS)}</article></div>')
    assert all(part.strip() in text for part in (BOATS, NETS, LAMPS))


def test_another_story_below_the_article_is_left_out() -> None:
    below = f'<section class="next-story"><div class="teaser"><p>{OTHER}</p></div></section>'
    text = page(f"<main><article>{paragraphs(BOATS, NETS, LAMPS)}</article>{below}</main>")
    assert OTHER.strip() not in text and LAMPS.strip() in text


def test_a_page_without_prose_has_no_consensus() -> None:
    tree = parse_page("<html><body><main>" + "<p>Short line.</p>" * 20 + "</main></body></html>")
    blocks = page_blocks(tree)
    assert consensus_blocks(blocks, [], lambda fast: shares_found(blocks, "\n".join(["Short line."] * 20))) == []


def test_text_without_spaces_between_words_counts_too() -> None:
    japanese = "港では一日に二度潮が引き、船は疲れた犬のように泥の上に横たわって水を待っています。" * 3
    menu = "<ul>" + "<li><a href=/>港の歴史</a></li>" * 10 + "</ul>"
    text = page(f'<div class="nav">{menu}</div><article><p>{japanese}</p><p>{japanese}</p></article>')
    assert text == f"{japanese}\n{japanese}"


def test_blocks_are_what_a_browser_shows_as_paragraphs() -> None:
    assert blocks("<div>one<p>two</p>three<br>four<br><br>five<hr>six</div>") == [
        "one",
        "two",
        "three\nfour",
        "five",
        "six",
    ]
    assert blocks("<p>a <b>b</b><my-note>c</my-note> d</p>") == ["a bc d"]
    assert blocks("<p>a<span hidden>b</span><span class='sr-only'>c</span><script>d</script>e</p>") == ["ae"]
    assert blocks("<pre>  x\n    y  \n</pre>") == ["  x\n    y"]
    assert blocks("<p>a<!-- b -->c<?d?>e</p>") == ["ace"]


def test_the_cells_of_a_row_are_one_line_and_paragraphs_laid_out_by_a_table_are_not() -> None:
    rows = "<tr><th>Tide<th>Hour</tr><tr><td>low<td><p>four</p></tr>"
    assert blocks(f"<table>{rows}</table>") == ["Tide | Hour", "low | four"]
    assert blocks(f"<table><tr><td><p>one</p><p>two</p><td>{BOATS * 2}</tr></table>") == [
        "one",
        "two",
        (BOATS * 2).strip(),
    ]


def test_links_and_bold_are_counted_in_characters() -> None:
    tree = lxml.html.document_fromstring("<p>read <a href=x>this <b>one</b></a> now</p>")
    block = page_blocks(tree)[0]
    assert (block.link, block.strong, block.size) == (len("this") + len("one"), len("one"), 4)


def test_the_tree_is_only_read() -> None:
    tree = lxml.html.document_fromstring(f"<article><h1>x</h1>{paragraphs(BOATS)}</article>")
    before = lxml.html.tostring(tree)
    page_blocks(tree)
    assert lxml.html.tostring(tree) == before
