from __future__ import annotations

from pathlib import Path

from tasks.clean.boilerplate import SEEN
from tasks.contracts.paths import find_data_directory
from tasks.report.trace import as_text, trace
from tests.support.corpora import NOTICE, document, prose
from tests.support.growth import grow, settings


def test_what_a_page_lost_as_boilerplate_is_shown(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path / "data")
    grow(
        layout, [document(i, f"{prose(i)}{NOTICE}\n", f"https://one.example/{i}") for i in range(SEEN + 1)], settings()
    )
    first, last = (trace(f"https://one.example/{i}", layout) for i in (0, SEEN))
    assert first["documents"][0]["boilerplate"] == {"lines": 0, "characters": 0}
    assert "boilerplate" not in as_text(first)
    assert last["documents"][0]["boilerplate"] == {"lines": 1, "characters": len(NOTICE)}
    assert f"  boilerplate 1 lines removed, {len(NOTICE)} characters" in as_text(last)
