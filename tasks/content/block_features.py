"""What is seen of each block of a page, as names such as `words<12` or `in footer`, each of which has a weight.

Four things are seen of a block: itself, the elements around it, all that one template made, and its neighbours. Of each
it counts how much of it stands in trafilatura's text of the page, the reference. The weights are in
`block_weights.tsv`; `benchmarks/learn_blocks.py` learns them from pages with their truth.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tasks.content.text_blocks import Block, BlockElement, tokens_of

# What classes and ids say of the part of the page that they name.
NAMED = {
    "navigation": r"\bnav|menu|breadcrumb|crumbs",
    "footer": r"foot(?!note)|copyright|legal|colophon",
    "header": r"header|masthead|top-?bar|\bhead\b|banner|logo",
    "sidebar": r"side-?bar|\baside\b|widget|rail\b|secondary|complementary",
    "comments": r"comment|\breply|replies|discuss|disqus|respond",
    "related": r"related|recommend|more-(?:from|on|stories|news|posts)|also|popular|trending|similar|suggest|read-?more"
    r"|read-?next|up-?sell|cross-?sell|most-?read|latest|recent",
    "social": r"social|shar(?:e|ing)|follow",
    "consent": r"cookie|consent|gdpr|privacy|onetrust",
    "overlay": r"modal|pop-?up|overlay|lightbox|dialog|drawer|off-?canvas|tooltip|toast|dropdown|flyout",
    "author": r"author|byline|\bbio\b|profile|avatar|user-?(?:name|info)",
    "facts": r"meta\b|date|time|posted|published|categor|\btags?\b|taxonomy|views|stats|count",
    "advert": r"(?:^|[ _-])ad(?:s|vert|box|-?slot)?(?:[ _-]|$)|advert|sponsor|promo|dfp|outbrain|taboola",
    "form": r"newsletter|subscri|sign-?up|log-?in|register|contact-?form|search|filter|sort|facet",
    "content": r"content|article|\bpost\b|post-?(?:body|text)|entry|story|\bbody\b|\btext\b|prose|rich-?text|markdown"
    r"|copy\b|wysiwyg",
    "main": r"\bmain\b|primary|\bpage\b|container|wrapper",
    "product": r"product|price|cart|sku|buy|stock|shipping|quantity|variant|swatch|review|rating|wish",
    "about": r"description|detail|spec|feature|about|overview|summary|intro|excerpt|lead\b|teaser|standfirst|subtitle",
    "card": r"card|tile|item|grid|col\b|col-|list\b|listing|result|row\b|slide|carousel|swiper|gallery",
    "post": r"message|\bpost|topic|thread|answer|question|reply|cooked|bbcode",
    "paging": r"pagin|pager|next|prev|load-?more|\btoc\b|table-of-contents|anchor|skip",
    "hidden": r"hidden|hide|sr-only|screen-?reader|visually|collapse|invisible|print",
    "section": r"hero|cta|jumbotron|section|block|tab|accordion|faq|testimonial|panel",
    "caption": r"caption|credit|figure|image|photo|media|video",
}
NAME_PATTERNS = [(f" {part}", re.compile(pattern)) for part, pattern in NAMED.items()]
AROUND = frozenset(("main", "article", "section", "nav", "footer", "header", "aside", "form", "dialog", "details"))
AROUND |= {"ul", "ol", "dl", "table", "figure", "blockquote"}
# Tags that stand for others, and those that have a name of their own.
ALIKE = {"h6": "h5", "th": "td", "legend": "label", "blockquote": "p"}
ALIKE |= dict.fromkeys(("section", "article", "body", "main"), "div")
TAGS = frozenset(
    ("p", "li", "div", "h1", "h2", "h3", "h4", "h5", "pre", "td", "dt", "dd", "figcaption", "label", "summary")
)
NEAR = 3  # elements from the block upwards whose names count as near
LEVELS = (1, 2, 3, 4)  # elements above a block whose sums are compared
WINDOW = 5  # neighbours on each side
IN_REFERENCE = 0.6  # share of a block's trigrams
ROOT = 0.7  # share of the reference that the root holds: the deepest such element
HEAD = 400  # characters of a block that are searched for words


class Scale:
    """Names for ranges of a number: of edges 2 and 5, `words<2`, `words<5` and `words>=5`."""

    def __init__(self, name: str, *edges: float) -> None:
        self._edges = edges
        self._names = [*(f"{name}<{edge:g}" for edge in edges), f"{name}>={edges[-1]:g}"]

    def __call__(self, number: float) -> str:
        return self._names[bisect_right(self._edges, number)]


SHARES = (0.001, 0.1, 0.3, 0.6, 0.9, 0.99)
WORDS, LINKS = Scale("words", 2, 3, 5, 8, 12, 18, 32, 90), Scale("links", 0.01, 0.2, 0.5, 0.8, 0.99)
STRONG, REPEATS = Scale("strong", 0.01, 0.5, 0.99), Scale("repeats", 1, 2, 5)
FOUND = Scale("found", 0.05, 0.4, 0.6, 0.8, 0.99)  # share of the block in the reference
H1 = Scale("after h1", -10, -3, 0, 1, 2, 4, 8, 19)  # in blocks
FIRST = Scale("after first found", -29, -10, -3, 0, 1, 4, 10, 29)
LAST = Scale("after last found", -29, -10, -3, 0, 1, 4, 10, 29)
TEMPLATE_BLOCKS, TEMPLATE_SHARE = Scale("template blocks", 2, 3, 5, 11, 23, 63), Scale("template", 0.01, 0.05, 0.2, 0.5)
TEMPLATE_WORDS = Scale("template words", 1.5, 3, 7, 15, 31)  # of a block, on average
TEMPLATE_FOUND = Scale("template found", 0.01, 0.2, 0.5, 0.8, 0.98)
TEMPLATE_LINKS = Scale("template links", 0.01, 0.2, 0.5, 0.9)
ABOVE_FOUND = {level: Scale(f"above {level} found", *SHARES) for level in LEVELS}
ABOVE_SHARE = {level: Scale(f"above {level}", 0.005, 0.02, 0.1, 0.3, 0.6, 0.9) for level in LEVELS}  # of the page
ABOVE_WORDS = Scale("above 2 words", 1.5, 3, 7, 15, 31)  # of a block, on average
NEIGHBOUR_FOUND = {at: Scale(f"{at:+} found", 0.05, 0.6, 0.95) for at in (-2, -1, 1, 2)}
NEIGHBOUR_WORDS = {at: Scale(f"{at:+} words", 2, 5, 12, 32, 90) for at in (-2, -1, 1, 2)}
NEIGHBOUR_LINKS = {at: Scale(f"{at:+} links", 0.01, 0.5, 0.9) for at in (-2, -1, 1, 2)}
NEAR_FOUND, NEAR_LINKS = Scale("near found", *SHARES), Scale("near links", 0.01, 0.1, 0.3, 0.6, 0.9)
NEAR_WORDS = Scale("near words", 10, 31, 63, 127, 255)
PAGE_WORDS, PAGE_LINKS = Scale("page words", 127, 255, 511, 1023, 3000), Scale("page links", 0.1, 0.2, 0.35, 0.5, 0.7)
PAGE_FOUND = Scale("page found", 0.02, 0.1, 0.2, 0.4, 0.6, 0.8)
PAGE_FOUND_WORDS = Scale("page found words", 7, 31, 90, 360, 1450)


@dataclass(frozen=True, slots=True)
class BlockFeatures:
    """Names of what is seen of one block. `shared` is one list for all blocks of an element."""

    shared: list[str]
    own: list[str]


@dataclass(slots=True)
class _Sums:
    """Sums over some blocks; `found` and `links` are words."""

    blocks: int = 0
    words: int = 0
    found: float = 0.0
    links: float = 0.0

    def add(self, words: int, found: float, links: float) -> None:
        self.blocks += 1
        self.words += words
        self.found += found
        self.links += links

    def share(self, words: float) -> float:
        return words / self.words if self.words else 0.0


def block_features(
    blocks: Sequence[Block], found: Sequence[float], chosen: set[Block], titles: Iterable[str]
) -> list[BlockFeatures]:
    """Returns what is seen of each block.

    Args:
        blocks: all blocks of the page.
        found: the share of each in the reference (`shares_found`).
        chosen: blocks of the consensus (`consensus.py`).
        titles: all titles of the page.
    """
    if not blocks:
        return []
    page = _Page(blocks, found)
    known = {"".join(tokens_of(title)) for title in titles}
    shared: dict[BlockElement, _OfElement] = {}
    names = _Names()
    result = []
    for at, block in enumerate(blocks):
        element = block.element
        if element not in shared:
            shared[element] = _of_element(element, page, names)
        own = _of_block(at, page, shared[element])
        if chosen:
            own += _of_choice(block in chosen, own[FOUND_AT], own[WORDS_AT])
        if "".join(block.tokens) in known:
            own.append("title")
        result.append(BlockFeatures(shared[element].features, own))
    return result


class _Page:
    """Sums over the page's blocks, by template and by element, and where the reference was found in it."""

    def __init__(self, blocks: Sequence[Block], found: Sequence[float]) -> None:
        self.blocks, self.found = blocks, found
        found_words = [share * block.size for share, block in zip(found, blocks, strict=True)]
        link_words = [block.link_share * block.size for block in blocks]
        self.words_before = list(accumulate((block.size for block in blocks), initial=0))
        self.found_before = list(accumulate(found_words, initial=0.0))
        self.links_before = list(accumulate(link_words, initial=0.0))
        self.words, self.found_words = self.words_before[-1] or 1, self.found_before[-1]
        self.templates: dict[str, _Sums] = {}
        self.elements: dict[BlockElement, _Sums] = {}
        for block, in_reference, in_links in zip(blocks, found_words, link_words, strict=True):
            for sums in (
                self.templates.setdefault(block.element.template, _Sums()),
                *(self.elements.setdefault(element, _Sums()) for element in block.element.upwards()),
            ):
                sums.add(block.size, in_reference, in_links)
        self.repeats = Counter(tuple(block.tokens) for block in blocks)
        enough = ROOT * self.found_words
        wide = [element for element, sums in self.elements.items() if sums.found >= enough > 0]
        self.root = max(wide, key=lambda element: element.depth, default=None)
        located = [at for at, block in enumerate(blocks) if found[at] > IN_REFERENCE and block.size >= 5]
        self.first, self.last = (located[0], located[-1]) if located else (len(blocks), -1)
        self.h1 = next((at for at, block in enumerate(blocks) if block.tag == "h1"), None)
        self.page_found = PAGE_FOUND(self.found_words / self.words)
        links = PAGE_LINKS(self.links_before[-1] / self.words)
        self.features = ["page", PAGE_WORDS(self.words), links, self.page_found, PAGE_FOUND_WORDS(self.found_words)]


class _Names:
    """The parts of a page that names and tags of an element and of those around it speak of."""

    def __init__(self) -> None:
        self._known: dict[BlockElement, tuple[tuple[frozenset[str], ...], frozenset[str], frozenset[str], bool]] = {}
        self._parts: dict[str, frozenset[str]] = {}  # by the names of an element

    def of(self, element: BlockElement) -> tuple[tuple[frozenset[str], ...], frozenset[str], frozenset[str], bool]:
        """Returns the parts of the nearest elements, one set each; of all; the tags of all; whether one is hidden."""
        known = self._known.get(element)
        if known is None:
            own = self._parts_of(element.names)
            near: tuple[frozenset[str], ...] = (own,)
            parts, tags, hidden = own, frozenset((element.tag,)) & AROUND, element.hidden
            if element.parent is not None:
                above = self.of(element.parent)
                near, parts = (own, *above[0][: NEAR - 1]), own | above[1]
                tags, hidden = tags | above[2], hidden or above[3]
            known = self._known[element] = (near, parts, tags, hidden)
        return known

    def _parts_of(self, names: str) -> frozenset[str]:
        if names not in self._parts:
            self._parts[names] = frozenset(part for part, pattern in NAME_PATTERNS if pattern.search(names))
        return self._parts[names]


@dataclass(frozen=True, slots=True)
class _OfElement:
    """What is seen of an element that holds blocks, and three names of it that count together with others."""

    features: list[str]
    template_found: str
    parent_found: str
    words_above: str
    in_root: bool


def _of_element(element: BlockElement, page: _Page, names: _Names) -> _OfElement:
    near, parts, tags, hidden = names.of(element)
    features = [*page.features, *(f"near{part}" for part in frozenset().union(*near))]
    features += [*(f"in{part}" for part in parts), *(f"in <{tag}>" for tag in tags)]
    features += ["hidden"] * hidden + ["quoted"] * element.quoted
    template = page.templates[element.template]
    template_found = TEMPLATE_FOUND(template.share(template.found))
    number, words = TEMPLATE_BLOCKS(template.blocks), TEMPLATE_WORDS(template.words / template.blocks)
    features += [number, words, f"{number}, {words}", template_found, TEMPLATE_SHARE(template.words / page.words)]
    features.append(TEMPLATE_LINKS(template.share(template.links)))
    above, levels = element, []
    for level in LEVELS:
        above = above.parent or above
        sums = page.elements[above]
        levels.append((ABOVE_FOUND[level](sums.share(sums.found)), sums))
        features += [levels[-1][0], ABOVE_SHARE[level](sums.words / page.words)]
    parent_found = levels[0][0]
    features.append(f"{parent_found}, {page.page_found}")
    words_above = ABOVE_WORDS(levels[1][1].words / levels[1][1].blocks)
    in_root = page.root is not None and page.root.holds(element)
    return _OfElement(features, template_found, parent_found, words_above, in_root)


FOUND_AT, WORDS_AT = 0, 1  # in the names of a block


def _of_block(at: int, page: _Page, around: _OfElement) -> list[str]:
    block = page.blocks[at]
    found, words, links = FOUND(page.found[at]), WORDS(block.size), LINKS(block.link_share)
    tag = ALIKE.get(block.tag, block.tag)
    tag = f"<{tag if tag in TAGS else 'other'}>"
    last = LAST(at - page.last)
    features = [found, words, links, tag, last, FIRST(at - page.first), STRONG(block.strong_share)]
    features += [f"{found}, {words}", f"{found}, {around.parent_found}", f"{found}, {around.template_found}"]
    features += [f"{found}, {page.page_found}", f"{found}, {last}", f"{tag}, {found}", f"{tag}, {words}"]
    features += [f"{words}, {links}", f"{around.words_above}, {words}"]
    features.append(H1(at - page.h1) if page.h1 is not None else "no h1")
    features.append(REPEATS(page.repeats[tuple(block.tokens)] - 1))
    if around.in_root:
        features += [f"in root, {words}", f"in root, {found}"]
    if page.first <= at <= page.last:
        features += ["between", f"between, {found}"]
    return features + _of_text(block.text) + _of_neighbours(at, page)


def _of_text(text: str) -> list[str]:
    end, head = text[-1], text[:HEAD].lower()
    features = ["ends a sentence" if end in ".!?…。！？" else "ends open" if end.isalnum() else "ends with a sign"]
    if "©" in head or "copyright" in head or "rights reserved" in head:
        features.append("copyright")
    if "cookie" in head:
        features.append("cookie")
    if any(sign in head for sign in "$€£¥₹"):
        features.append("price")
    return features


def _of_neighbours(at: int, page: _Page) -> list[str]:
    blocks, features = page.blocks, []
    for step, name in NEIGHBOUR_FOUND.items():
        other = at + step
        if 0 <= other < len(blocks):
            neighbour = blocks[other]
            features += [name(page.found[other]), NEIGHBOUR_WORDS[step](neighbour.size)]
            features.append(NEIGHBOUR_LINKS[step](neighbour.link_share))
            if abs(step) == 1 and neighbour.element.template == blocks[at].element.template:
                features.append(f"{step:+} same template")
        else:
            features.append(f"{step:+} none")
    start, stop = max(0, at - WINDOW), min(len(blocks), at + WINDOW + 1)
    words = max(1, page.words_before[stop] - page.words_before[start])
    features.append(NEAR_FOUND((page.found_before[stop] - page.found_before[start]) / words))
    features.append(NEAR_LINKS((page.links_before[stop] - page.links_before[start]) / words))
    return [*features, NEAR_WORDS(words)]


def _of_choice(is_chosen: bool, found: str, words: str) -> list[str]:
    if is_chosen:
        return ["chosen", f"chosen, {words}", f"chosen, {found}"]
    return [f"not chosen, {found}", f"not chosen, {words}"]
