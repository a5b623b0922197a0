"""What is old and disposable goes; nothing else does."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from tasks.contracts.paths import find_data_directory
from tasks.maintain.prune import DAY, prune
from tasks.render.page_cache import PageCache
from tasks.storage.state_db import open_state


def test_old_pictures_go_and_the_figures_stay(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path)
    for name, days in (("old", 100), ("new", 1)):
        for file in ("report.json", "report.md", "nights.png"):
            path = layout.reports / name / file
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}")
            os.utime(path, (time.time() - days * DAY,) * 2)
    (layout.reports / "demo_site.log").write_text("someone asked")
    db = open_state(layout.database)
    assert prune(layout, db, 90) == {"report files": 2}
    left = sorted(str(path.relative_to(layout.reports)) for path in layout.reports.rglob("*") if path.is_file())
    assert left == ["demo_site.log", "new/nights.png", "new/report.json", "new/report.md", "old/report.json"]
    assert prune(layout, db, 90) == {}
    db.close()


def test_a_page_that_nobody_knows_goes(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path)
    db = open_state(layout.database)
    PageCache(db, layout.pages, 10**6)
    known, lost = (hashlib.sha256(word.encode()).hexdigest() for word in ("known", "lost"))
    for digest in (known, lost):
        path = layout.pages / digest[:2] / f"{digest}.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"body")
    db.execute(
        "INSERT INTO pages (url_key, sha256, final_url, status, media_type, rendered, robots, fetched_at, bytes) "
        "VALUES ('a', ?, 'http://a/', 200, 'text/html', 0, '', 0, 4)",
        (known,),
    )
    assert prune(layout, db, 90) == {"pages": 1}
    assert [path.name for path in layout.pages.rglob("*.gz")] == [f"{known}.gz"]
    db.close()
