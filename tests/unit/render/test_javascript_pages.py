import sqlite3
import threading

from tasks.render.javascript_pages import IN_A_ROW, KEEP_SECONDS, ScriptHosts


def make() -> ScriptHosts:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    return ScriptHosts(db, threading.RLock())


def test_a_host_is_known_once_several_pages_in_a_row_needed_chromium() -> None:
    hosts = make()
    for number in range(IN_A_ROW):
        assert not hosts.knows("a.example", 1000.0 + number)
        hosts.note("a.example", True, 1000.0 + number)
    assert hosts.knows("a.example", 1010.0) and not hosts.knows("b.example", 1010.0)


def test_one_page_with_a_text_of_its_own_begins_the_count_anew() -> None:
    hosts = make()
    for needed in (True, True, False, True):
        hosts.note("a.example", needed, 1000.0)
    assert not hosts.knows("a.example", 1000.0)


def test_the_verdict_expires_and_one_page_renews_or_ends_it() -> None:
    hosts = make()
    for _ in range(IN_A_ROW):
        hosts.note("a.example", True, 1000.0)
    later = 1000.0 + KEEP_SECONDS + 1
    assert not hosts.knows("a.example", later)
    hosts.note("a.example", True, later)
    assert hosts.knows("a.example", later + 1)
    hosts.note("a.example", False, later + KEEP_SECONDS + 2)
    assert not hosts.knows("a.example", later + KEEP_SECONDS + 3)


def test_a_clock_that_was_turned_back_keeps_no_verdict_for_ever() -> None:
    hosts = make()
    for _ in range(IN_A_ROW):
        hosts.note("a.example", True, 1e9)
    assert not hosts.knows("a.example", 1000.0)
