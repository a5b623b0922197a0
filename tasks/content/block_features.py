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
from functools import cache, lru_cache
from itertools import accumulate
from operator import attrgetter

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
PRICES = ("$", "€", "£", "¥", "₹")


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
STEPS = (-2, -1, 1, 2)  # from a block to the neighbours that are looked at
NEIGHBOUR_FOUND, NEIGHBOUR_LINKS = Scale("found", 0.05, 0.6, 0.95), Scale("links", 0.01, 0.5, 0.9)
NEIGHBOUR_WORDS = Scale("words", 2, 5, 12, 32, 90)
NEAR_FOUND, NEAR_LINKS = Scale("near found", *SHARES), Scale("near links", 0.01, 0.1, 0.3, 0.6, 0.9)
NEAR_WORDS = Scale("near words", 10, 31, 63, 127, 255)
PAGE_WORDS, PAGE_LINKS = Scale("page words", 127, 255, 511, 1023, 3000), Scale("page links", 0.1, 0.2, 0.35, 0.5, 0.7)
PAGE_FOUND = Scale("page found", 0.02, 0.1, 0.2, 0.4, 0.6, 0.8)
PAGE_FOUND_WORDS = Scale("page found words", 7, 31, 90, 360, 1450)


@dataclass(frozen=True, slots=True)
class BlockFeatures:
    """Names of what is seen of one block. `shared` is one list for all blocks that are alike."""

    shared: list[str]
    own: list[str]


@dataclass(slots=True)
class _Sums:
    """Sums over some blocks; `found` and `links` are words."""

    blocks: int = 0
    words: int = 0
    found: float = 0.0
    links: float = 0.0

    def add(self, blocks: int, words: int, found: float, links: float) -> None:
        self.blocks += blocks
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
    alike = _Alike(page)
    result = []
    for at, block in enumerate(blocks):
        shared, own = alike.names_of(at, block in chosen if chosen else None), _of_place(at, page)
        if "".join(block.tokens) in known:
            own.append("title")
        result.append(BlockFeatures(shared, own))
    return result


class _Page:
    """Sums over the page's blocks, by template and by element, and where the reference was found in it."""

    def __init__(self, blocks: Sequence[Block], found: Sequence[float]) -> None:
        self.blocks, self.found = blocks, found
        self.links = [block.link_share for block in blocks]
        found_words = [share * block.size for share, block in zip(found, blocks, strict=True)]
        link_words = [share * block.size for share, block in zip(self.links, blocks, strict=True)]
        self.words_before = list(accumulate((block.size for block in blocks), initial=0))
        self.found_before = list(accumulate(found_words, initial=0.0))
        self.links_before = list(accumulate(link_words, initial=0.0))
        self.words, self.found_words = self.words_before[-1] or 1, self.found_before[-1]
        self.templates: dict[str, _Sums] = {}
        self.elements: dict[BlockElement, _Sums] = {}
        for block, in_reference, in_links in zip(blocks, found_words, link_words, strict=True):
            for sums in (
                self.templates.setdefault(block.element.template, _Sums()),
                self.elements.setdefault(block.element, _Sums()),
            ):
                sums.add(1, block.size, in_reference, in_links)
        self._add_to_ancestors()
        texts = [tuple(block.tokens) for block in blocks]
        numbers = Counter(texts)
        self.repeats = [numbers[text] - 1 for text in texts]
        enough = ROOT * self.found_words
        wide = [element for element, sums in self.elements.items() if sums.found >= enough > 0]
        self.root = max(wide, key=lambda element: element.depth, default=None)
        located = [at for at, block in enumerate(blocks) if found[at] > IN_REFERENCE and block.size >= 5]
        self.first, self.last = (located[0], located[-1]) if located else (len(blocks), -1)
        self.h1 = next((at for at, block in enumerate(blocks) if block.tag == "h1"), None)
        self.page_found = PAGE_FOUND(self.found_words / self.words)
        links = PAGE_LINKS(self.links_before[-1] / self.words)
        self.features = ["page", PAGE_WORDS(self.words), links, self.page_found, PAGE_FOUND_WORDS(self.found_words)]
        self.beside = [
            _beside(NEIGHBOUR_FOUND(share), NEIGHBOUR_WORDS(block.size), NEIGHBOUR_LINKS(links))
            for block, share, links in zip(blocks, found, self.links, strict=True)
        ]

    def _add_to_ancestors(self) -> None:
        """Adds the sums of each element to those of the element around it, from the innermost outwards."""
        for element in list(self.elements):
            above = element.parent
            while above is not None and above not in self.elements:
                self.elements[above] = _Sums()
                above = above.parent
        for element in sorted(self.elements, key=attrgetter("place"), reverse=True):
            if element.parent is not None:
                own = self.elements[element]
                self.elements[element.parent].add(own.blocks, own.words, own.found, own.links)


@cache  # of some hundred names
def _beside(found: str, words: str, links: str) -> dict[int, list[str]]:
    """Returns the names of a neighbour, by the step that leads to it."""
    return {step: [f"{step:+} {name}" for name in (found, words, links)] for step in STEPS}


class _Names:
    """The parts of a page that names and tags of an element and of those around it speak of."""

    def __init__(self) -> None:
        self._known: dict[BlockElement, tuple[tuple[frozenset[str], ...], set[str]]] = {}

    def of(self, element: BlockElement) -> tuple[tuple[frozenset[str], ...], set[str]]:
        """Returns the parts of the nearest elements, one set each, and what is said of all of them: `in footer`."""
        known = self._known.get(element)
        if known is None:
            own = frozenset[str]().union(*map(_parts_of, element.names.split(" ")))
            near: tuple[frozenset[str], ...] = (own,)
            said = {f"in{part}" for part in own}
            if element.tag in AROUND:
                said.add(f"in <{element.tag}>")
            if element.hidden:
                said.add("hidden")
            if element.parent is not None:
                above = self.of(element.parent)
                near, said = (own, *above[0][: NEAR - 1]), said | above[1]
            known = self._known[element] = (near, said)
        return known


@lru_cache(maxsize=10_000)  # sites repeat their names on every page
def _parts_of(name: str) -> frozenset[str]:
    """Returns the parts of a page that one class or id speaks of."""
    return frozenset(part for part, pattern in NAME_PATTERNS if pattern.search(name))


@dataclass(frozen=True, slots=True)
class _OfElement:
    """What is seen of an element that holds blocks, and three names of it that count together with others."""

    features: list[str]
    template_found: str
    parent_found: str
    words_above: str


class _Alike:
    """The names that blocks have in common: those of their element and those around it, and of their own measures."""

    def __init__(self, page: _Page) -> None:
        self._page = page
        self._named = _Names()
        self._of_templates = {template: _of_template(sums, page) for template, sums in page.templates.items()}
        self._of_elements: dict[tuple[BlockElement | None, str, str, bool], _OfElement] = {}
        self._of_blocks: dict[tuple[int, str, str, str, str, bool, bool | None], list[str]] = {}

    def names_of(self, at: int, is_chosen: bool | None) -> list[str]:
        """Returns the names of a block. `is_chosen`: whether it is in the consensus; None where there is none."""
        page, block = self._page, self._page.blocks[at]
        around = self._around(block.element)
        found, words, links = FOUND(page.found[at]), WORDS(block.size), LINKS(page.links[at])
        in_root = page.root is not None and page.root.holds(block.element)
        key = (id(around), block.tag, found, words, links, in_root, is_chosen)
        if key not in self._of_blocks:
            own = _of_measures(block.tag, found, words, links, around)
            own += [f"in root, {words}", f"in root, {found}"] * in_root
            own.append(f"{found}, {page.page_found}")
            if is_chosen is not None:
                own += _of_choice(is_chosen, found, words)
            self._of_blocks[key] = around.features + own
        return self._of_blocks[key]

    def _around(self, element: BlockElement) -> _OfElement:
        key = (element.parent, element.template, element.names, element.hidden)
        if key not in self._of_elements:
            self._of_elements[key] = _of_element(element, self._page, self._named, self._of_templates[element.template])
        return self._of_elements[key]


def _of_element(element: BlockElement, page: _Page, names: _Names, of_template: list[str]) -> _OfElement:
    near, said = names.of(element)
    features = [*page.features, *(f"near{part}" for part in frozenset().union(*near)), *said, *of_template]
    if element.quoted:
        features.append("quoted")
    above, levels = element, []
    for level in LEVELS:
        above = above.parent or above
        sums = page.elements[above]
        levels.append((ABOVE_FOUND[level](sums.share(sums.found)), sums))
        features += [levels[-1][0], ABOVE_SHARE[level](sums.words / page.words)]
    parent_found = levels[0][0]
    features.append(f"{parent_found}, {page.page_found}")
    words_above = ABOVE_WORDS(levels[1][1].words / levels[1][1].blocks)
    return _OfElement(features, of_template[0], parent_found, words_above)


def _of_template(sums: _Sums, page: _Page) -> list[str]:
    number, words = TEMPLATE_BLOCKS(sums.blocks), TEMPLATE_WORDS(sums.words / sums.blocks)
    features = [TEMPLATE_FOUND(sums.share(sums.found)), number, words, f"{number}, {words}"]
    return [*features, TEMPLATE_SHARE(sums.words / page.words), TEMPLATE_LINKS(sums.share(sums.links))]


def _of_measures(tag: str, found: str, words: str, links: str, around: _OfElement) -> list[str]:
    tag = ALIKE.get(tag, tag)
    tag = f"<{tag if tag in TAGS else 'other'}>"
    features = [found, words, links, tag, f"{found}, {words}", f"{tag}, {found}", f"{tag}, {words}"]
    features += [f"{found}, {around.parent_found}", f"{found}, {around.template_found}"]
    return [*features, f"{words}, {links}", f"{around.words_above}, {words}"]


def _of_choice(is_chosen: bool, found: str, words: str) -> list[str]:
    if is_chosen:
        return ["chosen", f"chosen, {words}", f"chosen, {found}"]
    return [f"not chosen, {found}", f"not chosen, {words}"]


def _of_place(at: int, page: _Page) -> list[str]:
    """Returns the names that a block has of its place on the page, of its text and of its neighbours."""
    block, found, last = page.blocks[at], FOUND(page.found[at]), LAST(at - page.last)
    features = [last, FIRST(at - page.first), f"{found}, {last}", STRONG(block.strong_share), REPEATS(page.repeats[at])]
    features.append(H1(at - page.h1) if page.h1 is not None else "no h1")
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
    if any(map(head.__contains__, PRICES)):
        features.append("price")
    return features


def _of_neighbours(at: int, page: _Page) -> list[str]:
    blocks, features = page.blocks, []
    for step in STEPS:
        other = at + step
        if 0 <= other < len(blocks):
            features += page.beside[other][step]
            if abs(step) == 1 and blocks[other].element.template == blocks[at].element.template:
                features.append(f"{step:+} same template")
        else:
            features.append(f"{step:+} none")
    start, stop = max(0, at - WINDOW), min(len(blocks), at + WINDOW + 1)
    words = max(1, page.words_before[stop] - page.words_before[start])
    features.append(NEAR_FOUND((page.found_before[stop] - page.found_before[start]) / words))
    features.append(NEAR_LINKS((page.links_before[stop] - page.links_before[start]) / words))
    return [*features, NEAR_WORDS(words)]
