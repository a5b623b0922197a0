"""Which blocks are taken: as many as are worth it, each text once, on an article what the consensus found."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from tasks.content.block_features import BlockFeatures, Scale, block_features
from tasks.content.block_odds import probabilities, together, with_text_around
from tasks.content.completion import whole_article, with_gaps_filled
from tasks.content.main_text import CAUTION, Seen, best_choice, candidates, main_text
from tasks.content.page_kind import PROGRAMS, page_claims, page_kind
from tasks.content.speakers import speakers
from tasks.content.text_blocks import page_blocks
from tasks.content.weights import Tables, learned, read_weights, write_weights
from tasks.extract.worker import parse_page, read_page

BOATS = "The tide leaves the harbour twice a day, and twice a day the boats lie down on the mud like tired dogs."
NETS = "Nets are mended in the morning by whoever is awake, with needles of bone that nobody has made for a century."


def blocks_of(body: str) -> list:  # type: ignore[type-arg]
    return page_blocks(parse_page(f"<html><body>{body}</body></html>"))


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_the_best_of_all_choices(seed: int) -> None:
    draw = random.Random(seed)
    odds, sizes = [draw.random() for _ in range(9)], [draw.randint(0, 40) for _ in range(9)]
    candidates = [at for at in range(9) if at != 4]
    expected = CAUTION * sum(odds[at] * sizes[at] for at in candidates)

    def worth(chosen: tuple[int, ...]) -> float:
        return 2 * sum(odds[at] * sizes[at] for at in chosen) / (sum(sizes[at] for at in chosen) + expected)

    best = max(worth(chosen) for number in range(1, 9) for chosen in combinations(candidates, number))
    chosen = best_choice(odds, sizes, candidates)
    assert worth(tuple(chosen)) == pytest.approx(best) and chosen == sorted(chosen) and 4 not in chosen


def test_what_one_template_made_is_taken_or_left_together() -> None:
    posts = "".join(f"<div class=post><p>{text}</p></div>" for text in (BOATS, "Well done.", NETS))
    blocks = blocks_of(f"<div class=thread>{posts}</div><div class=side><p>Follow us on all channels</p></div>")
    odds = together(blocks, [0.9, 0.2, 0.8, 0.1])
    assert odds[0] == odds[1] == odds[2] == pytest.approx(0.6753, abs=1e-4) and odds[3] == pytest.approx(0.1)
    assert best_choice(odds, [block.size for block in blocks], range(4)) == [0, 1, 2]
    # However the sum of a part may be better: none of the three is taken without the others.
    assert best_choice([0.5, 0.5, 0.5, 0.9], [1, 1, 500, 400], range(4)) in ([3], [0, 1, 2, 3])


def test_classes_that_only_one_member_has_do_not_part_a_list() -> None:
    cards = "".join(
        f"<article class='post-{number} post category-{name}'><h2>{text}</h2></article>"
        for number, name, text in ((1, "tides", BOATS), (27, "nets", NETS))
    )
    odds = together(blocks_of(cards), [0.9, 0.1])
    assert odds == pytest.approx([0.5, 0.5])


def test_a_list_is_as_likely_as_the_sentences_around_it() -> None:
    post = f"<div class=post><p>{BOATS}</p><ul><li>A rope</li><li><p>A bucket of tar</p></li></ul></div>"
    blocks = blocks_of(f"{post}<nav><p>Boats</p><ul><li>Home</li></ul></nav>")
    odds = with_text_around(blocks, [0.9, 0.2, 0.2, 0.1, 0.2])
    assert odds[1] == odds[2] == pytest.approx(0.7544, abs=1e-4)
    # One word is too little to judge by, and sentences are not drawn to each other.
    assert [odds[0], *odds[3:]] == [0.9, 0.1, 0.2]


def test_a_list_counts_the_text_around_others_of_its_template() -> None:
    blocks = blocks_of(f"<div class=post>{BOATS}</div><div class=post><ol><li>Is there tar left?</li></ol></div>")
    assert with_text_around(blocks, [0.9, 0.2])[1] > 0.7


def test_what_the_consensus_left_out_of_an_article_comes_back_if_it_is_likely() -> None:
    body = f"<div class=text><p>{NETS}</p><p>{BOATS}</p><ul><li>A rope</li></ul><p>And so on.</p></div>"
    between = "<aside><p>Subscribe to our letter</p></aside>"
    blocks = blocks_of(f"{body}{between}<div class=text><p>{BOATS}</p><p>Share this</p></div>")
    chosen = [1, 3, 5]
    assert whole_article(blocks, [0.96, 0.9, 0.6, 0.9, 0.6, 0.9, 0.9], chosen, range(7)) == [0, 1, 2, 3, 5]
    assert whole_article(blocks, [0.94, 0.9, 0.4, 0.9, 0.95, 0.9, 0.2], chosen, range(7)) == [1, 3, 4, 5]
    assert whole_article(blocks, [0.99, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], chosen, [1, 3, 5]) == chosen


def test_an_article_keeps_what_stands_in_it_before_its_first_sure_block() -> None:
    body = f"<section><p>{NETS}</p></section><section><div><p>{BOATS}</p></div></section>"
    blocks = blocks_of(f"<article>{body}</article><p>A letter to the editor</p>")
    assert whole_article(blocks, [0.93, 0.9, 0.93], [1], range(3)) == [0, 1]
    assert whole_article(blocks, [0.8, 0.9, 0.93], [1], range(3)) == [1]


def test_headings_what_they_lead_to_and_code_inside_come_back() -> None:
    page = f"<h1>Tides</h1><p>{BOATS}</p><h2>Nets</h2><p>{NETS}</p><div>Copy</div><pre>mend()</pre><p>{BOATS}</p>"
    blocks = blocks_of(
        f"<h2>Elsewhere</h2><p>Subscribe to our letter of the harbour now and here</p>{page}<h2>Share</h2>"
    )
    odds = [0.1, 0.1, 0.9, 0.9, 0.1, 0.3, 0.1, 0.1, 0.9, 0.1]
    assert with_gaps_filled(blocks, odds, [3, 8], range(10)) == [2, 3, 8]
    assert with_gaps_filled(blocks, odds, [3, 4, 8], range(10)) == [2, 3, 4, 5, 7, 8]
    assert with_gaps_filled(blocks, odds, [3, 4, 8], [], first=3) == [3, 4, 7, 8]
    odds[5] = 0.1
    assert with_gaps_filled(blocks, odds, [3, 4, 8], range(10)) == [2, 3, 4, 7, 8]


def test_what_a_heading_leads_to_is_a_text_but_not_on_a_product_s_page() -> None:
    blocks = blocks_of(f"<div><h2>Boats of the harbour and their tides</h2></div><p>{BOATS}</p>")
    seen = Seen(blocks, set(), block_features(blocks, [0.0] * len(blocks), set(), []), ["page"])
    weights = {"page": -1.3, "<h2>": 6.0}
    service, product = (Tables(weights, ("product", "service"), {"page": odds}) for odds in ((0.0, 3.0), (3.0, 0.0)))
    assert len(main_text(seen, service).blocks) == 2 and len(main_text(seen, product).blocks) == 1


def test_a_thread_says_who_speaks() -> None:
    posts = "".join(
        f"<div class=post><div class=post-author>{name}</div><div class=user-badge>Member</div><p>{text}</p></div>"
        for name, text in (("Ada", BOATS), ("Ben", NETS), ("Ada", "So it is."))
    )
    online = "".join(f"<div class=online><span class=author>{name}</span></div>" for name in ("Cleo", "Dan"))
    blocks = blocks_of(posts + online)
    texts = [block.text for block in blocks]
    places = [texts.index(text) for text in (BOATS, NETS, "So it is.")]
    assert [texts[at] for at in speakers(blocks, places)] == ["Ada", "Ben", "Ada"]
    assert speakers(blocks, places[:1]) == []  # of three lines, one has a post
    labels = blocks_of(posts.replace("Ada", "Member").replace("Ben", "Member"))
    assert speakers(labels, range(2, len(labels), 3)) == []  # they name nobody


def test_who_speaks_is_written_on_a_forum_alone() -> None:
    posts = "".join(f"<div><div class=author>{name}</div><p>{BOATS} {name}</p></div>" for name in ("Ada", "Ben"))
    blocks = blocks_of(posts)
    seen = Seen(blocks, set(), block_features(blocks, [0.0] * len(blocks), set(), []), ["page"])
    weights = {"page": -3.0, "<p>": 6.0}
    forum, service = (Tables(weights, ("forum", "service"), {"page": odds}) for odds in ((3.0, 0.0), (0.0, 3.0)))
    assert [block.text for block in main_text(seen, forum).blocks] == ["Ada", f"{BOATS} Ada", "Ben", f"{BOATS} Ben"]
    assert [block.text for block in main_text(seen, service).blocks] == [f"{BOATS} Ada", f"{BOATS} Ben"]


def test_documentation_may_repeat_itself() -> None:
    blocks = blocks_of(f"<p>{BOATS}</p><p>{BOATS}</p>")
    odds = [0.5, 0.5]
    assert candidates(blocks, odds) == [0] and candidates(blocks, odds, may_repeat=True) == [0, 1]


def test_of_two_copies_the_likelier_is_a_candidate() -> None:
    blocks = blocks_of(f"<div hidden><p>{BOATS}</p></div><p>{BOATS}</p>")
    assert candidates(blocks, [0.2, 0.9]) == [1]


def test_nothing_is_chosen_of_nothing() -> None:
    assert best_choice([], [], []) == best_choice([0.9], [0], [0]) == []


def test_what_stands_twice_is_a_candidate_once_but_not_code_headings_cells_and_short_words() -> None:
    code = "<pre>value = value + 1 if value else 1</pre>"
    heading = "<h2>What the harbour master has to say</h2>"
    body = f"<p>{BOATS}</p>{code}{heading}<p>Read on here</p>"
    blocks = blocks_of(body + body)
    kept = [blocks[at].text for at in candidates(blocks, [0.5] * len(blocks))]
    assert kept.count(BOATS) == 1
    assert [kept.count(block.text) for block in blocks[1:4]] == [2, 2, 2]


def test_a_scale_names_the_range_of_a_number() -> None:
    words = Scale("words", 2, 5)
    assert [words(number) for number in (0, 1, 2, 4, 5, 99)] == [
        "words<2",
        "words<2",
        "words<5",
        "words<5",
        "words>=5",
        "words>=5",
    ]


def test_probabilities_add_up_the_weights_of_a_block_s_names() -> None:
    blocks = blocks_of(f'<main><p>{BOATS}</p></main><footer class="site-footer"><p>{NETS}</p></footer>')
    features = block_features(blocks, [1.0, 0.0], set(), [])
    assert probabilities(features, {}) == [0.5, 0.5]
    in_main, in_footer = probabilities(features, {"in <main>": 2.0, "in footer": -3.0, "found>=0.99": 1.0})
    assert in_main == pytest.approx(0.9526, abs=1e-4) and in_footer == pytest.approx(0.0474, abs=1e-4)


def test_the_order_of_a_block_s_names_does_not_count() -> None:
    """Names from sets come in another order in each process."""
    weights = {str(number): number / 100 for number in range(-40, 60, 7)}
    names = list(weights)
    one, other = BlockFeatures(names, names), BlockFeatures(names[::-1], sorted(names))
    assert probabilities([one], weights) == probabilities([other], weights)


def test_names_of_the_table_are_names_that_blocks_have() -> None:
    """A name that no block can have is dead weight; one that was renamed would count as 0 without a word."""
    known = learned().blocks
    blocks = blocks_of(f"<main><h1>Low tide</h1><p>{BOATS}</p><p>{NETS}</p></main><footer><p>© 2026</p></footer>")
    for block in block_features(blocks, [0.0, 1.0, 1.0, 0.0], {blocks[1]}, ["Low tide"]):
        missing = [name for name in (*block.shared, *block.own) if name not in known]
        assert len(missing) < 0.1 * len(block.shared + block.own), missing


def test_tables_are_written_with_two_decimals_and_without_what_does_not_count(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "table.tsv"
    write_weights(file, ("wiki", "forum"), {"b": (0.001, -0.004), "a": (1.0, -0.256)})
    assert file.read_text() == "name\twiki\tforum\na\t1.00\t-0.26\n"
    assert read_weights(file) == (("wiki", "forum"), {"a": (1.0, -0.26)})


def test_a_kind_is_said_where_it_is_likelier_than_all_others_together() -> None:
    tables = Tables({}, ("documentation", "forum"), {"program phpbb": (-1.0, 1.0), "path t": (0.0, 0.0)})
    assert page_kind(["program phpbb"], tables) == "forum"
    three = Tables({}, ("article", "forum", "listing"), {"path t": (0.1, 0.0, 0.0)})
    assert page_kind(["path t"], three) == ""


@pytest.mark.parametrize(
    ("program", "kind"), [("mediawiki", "wiki"), ("rustdoc", "reference"), ("mkdocs", "documentation")]
)
def test_the_program_tells_wikis_and_references_from_other_documentation(program: str, kind: str) -> None:
    tables = Tables({}, ("documentation", "forum"), {"page": (3.0, 0.0)})
    assert page_kind(["page", f"program {program}"], tables) == kind


def test_each_sign_of_a_program_is_found_wherever_it_stands() -> None:
    tree = parse_page("<html><body><p>x</p></body></html>")
    for program, signs in PROGRAMS.items():
        for sign in signs:
            assert f"program {program}" in page_claims(tree, f"<p>x{sign.upper()}y</p>", "")
    draw = random.Random(3)
    known = [sign for signs in PROGRAMS.values() for sign in signs]
    for _ in range(200):
        source = "".join(draw.choice(known)[draw.choice((0, 0, 1)) :] for _ in range(20))
        expected = [f"program {name}" for name, signs in PROGRAMS.items() if any(sign in source for sign in signs)]
        claims = page_claims(tree, source, "")
        assert [claim for claim in claims if claim.startswith("program")] == expected


def read(body: str):  # type: ignore[no-untyped-def]
    page = f"<html><head><title>x</title></head><body>{body}</body></html>"
    return read_page(page.encode(), "https://a.example/2026/low-tide", None, "text/html")


def test_confidence_is_high_on_an_article_and_low_where_little_is_a_text() -> None:
    menu = "".join(f'<li><a href="/{name}">{name}</a></li>' for name in ("home", "about", "contact", "login", "cart"))
    article = f"<article><h1>Low tide</h1>{''.join(f'<p>{BOATS} {NETS} {number}</p>' for number in range(6))}</article>"
    sure = read(f"<nav><ul>{menu}</ul></nav>{article}")
    unsure = read(f"<nav><ul>{menu}</ul></nav><div id=app></div><footer>© 2026 All rights reserved</footer>")
    assert sure.confidence > 0.8 and BOATS in sure.text and "contact" not in sure.text
    assert unsure.confidence < 0.5


def test_posts_that_a_forum_shows_to_robots_alone_are_read() -> None:
    posts = "".join(f"<div class='post'><p>{BOATS} {number}</p><p>{NETS}</p></div>" for number in range(4))
    found = read(f"<section id=main></section><noscript><div class='topic-body'>{posts}</div></noscript>")
    assert f"{BOATS} 3" in found.text
