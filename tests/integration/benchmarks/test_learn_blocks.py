"""The learner finds in our own pages what their truth shows, and what it writes is what a night reads."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import learn_blocks
from benchmarks.floor import PAGES, marked_pages
from tasks.content import weights
from tasks.extract.worker import parse_page

# A page's truth as text: the elements that are marked, each a line.
MARKED = "//*[@data-truth='yes']"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "html").mkdir()
    with (folder / "truth.jsonl").open("w", encoding="utf-8") as file:
        for number, page in enumerate(marked_pages()):
            (folder / "html" / f"{number}.html.gz").write_bytes(gzip.compress(page.body))
            kind = page.kind if page.kind not in ("wiki", "reference") else "documentation"
            source = (PAGES / f"{page.name}.html").read_text(encoding="utf-8")
            text = "\n".join("".join(element.itertext()) for element in parse_page(source).xpath(MARKED))
            url = f"https://site{number}.example/page"
            file.write(json.dumps({"id": str(number), "url": url, "kind": kind, "text": text}) + "\n")
    return folder


def test_what_is_learned_tells_text_from_what_is_around_it(folder: Path) -> None:
    examples = [learn_blocks.look(page) for page in learn_blocks.read_pages(folder)]
    learned, tested = ([one for one in examples if (one.part < 3) is half] for half in (True, False))
    tables = learn_blocks.learn(learned)
    assert tables.blocks["in footer"] < -0.1 < 0.1 < tables.blocks["found>=0.99"]
    assert tables.kinds == tuple(sorted(Counter(one.kind for one in learned)))
    found = learn_blocks.tested(tested, tables)
    untaught = learn_blocks.tested(tested, weights.Tables({}, tables.kinds, {}))
    mean = [sum(f1 for f1, _, _ in scores.values()) / len(tested) for scores in (found, untaught)]
    assert len(tested) > 8 and mean[0] > 0.8 and mean[0] > mean[1] + 0.05


def test_the_part_of_a_page_is_its_site_s() -> None:
    assert learn_blocks.site("https://docs.example.co.uk/a") == learn_blocks.site("https://www.example.co.uk/b")
    assert learn_blocks.site("https://a.example.org/") == "example.org"
