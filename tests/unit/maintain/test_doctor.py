from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flows.prefect_server.configured import TURN
from flows.prefect_server.examine import examine_prefect
from run import main
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.settings import SearchSettings, Settings, Source
from tasks.maintain import doctor
from tasks.maintain.doctor import (
    Finding,
    Memory,
    Mount,
    examine,
    examine_clock,
    examine_compiler,
    examine_keys,
    examine_memory,
    examine_place,
    examine_proxies,
    memory_limit,
    mount_of,
)

GB = 1_000_000_000


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


def found(findings: list[Finding], what: str) -> Finding:
    (one,) = (finding for finding in findings if finding.what == what)
    return one


def test_a_machine_in_order(layout: Layout) -> None:
    findings = examine(str(layout.root), "nightly")
    names = [finding.what for finding in findings]
    assert {"compiler", "memory", "time zone", "data directory", "disk", "temporary files", "clock"} <= set(names)
    assert found(findings, "clock").fine and found(findings, "data directory").fine


def test_the_compiler_is_the_one_that_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: with clang++ alone, doctor said that training is compiled, and training tried."""
    other = tmp_path / "clang++"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "no g++: training works, but slower (apt-get install g++)" in examine_compiler().says
    monkeypatch.setenv("CXX", "clang++")
    assert examine_compiler().says.startswith(str(other))
    monkeypatch.setenv("CXX", "missing++")
    assert "CXX names no compiler" in examine_compiler().says


@pytest.mark.parametrize(
    ("memory", "swap", "limit", "advice"),
    [
        (Memory(4 * GB, 3 * GB), 0, None, ""),
        (Memory(2 * GB, GB // 2), 2 * GB, None, ""),
        (Memory(2 * GB, GB // 2), 0, None, "add swap"),
        (Memory(GB, GB), 4 * GB, None, "a night takes 2 GB"),
        (Memory(16 * GB, 12 * GB), 0, GB, "1.0 GB for this control group"),
    ],
)
def test_memory(memory: Memory, swap: int, limit: int | None, advice: str) -> None:
    finding = examine_memory(memory, swap, limit)
    assert finding.fine is not bool(advice) and advice in finding.says


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("memory.max", "2147483648\n", 1 << 31),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("none", "", None),
    ],
)
def test_the_memory_of_a_container(tmp_path: Path, name: str, content: str, limit: int | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert memory_limit(tmp_path) == limit


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("")
    now = time.time()
    assert examine_clock([tmp_path / "ledger", tmp_path / "missing"], now).fine
    wrong = examine_clock([tmp_path / "ledger"], now - 400 * 86400)
    assert not wrong.fine and "timedatectl set-ntp true" in wrong.says


def test_a_time_zone_that_is_none(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIATURE_MEMORY_TIMEZONE", "Mars/Olympus")
    finding = found(examine(str(layout.root), "nightly"), "time zone")
    assert not finding.fine and "such as Europe/Rome" in finding.says


def test_proxies() -> None:
    assert examine_proxies({}) == []
    (named,) = examine_proxies({"http_proxy": "http://me:secret@proxy.example:3128"})
    assert named.fine and "proxy.example:3128" in named.says and "secret" not in named.says
    (socks,) = examine_proxies({"ALL_PROXY": "socks5://proxy.example:1080"})
    assert not socks.fine and "SOCKS5 proxies are not supported" in socks.says


def test_keys() -> None:
    brave = Settings(search=SearchSettings(topics=("tides",), sources=(Source("brave"),)))
    assert examine_keys(replace(brave, search=SearchSettings()), {}) == []
    assert examine_keys(brave, {"BRAVE_API_KEY": "k"})[0].fine
    assert examine_keys(brave, {})[0].says == "BRAVE_API_KEY is not set: export it, or take brave out"


@pytest.mark.parametrize(
    ("mount", "advice"),
    [
        (Mount("/", "ext4", ("rw", "relatime")), ""),
        (Mount("/mnt", "nfs4", ("rw",)), "is on a network"),
        (Mount("/mnt", "fuse.sshfs", ("rw",)), "is on a network"),
        (Mount("/mnt", "fuseblk", ("rw",)), ""),
        (Mount("/mnt", "ext4", ("ro", "relatime")), "mount -o remount,rw /mnt"),
    ],
)
def test_where_the_data_lies(layout: Layout, mount: Mount, advice: str) -> None:
    finding = examine_place(layout, mount)
    assert finding.fine is not bool(advice) and advice in finding.says


def test_the_mount_of_a_folder() -> None:
    assert mount_of(Path("/proc/self")).kind == "proc" and mount_of(Path("/proc")).path == "/proc"


def test_a_run_that_is_on_and_a_damaged_state(layout: Layout) -> None:
    layout.database.write_bytes(b"this is no database\n" * 200)
    with open(layout.lock, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        findings = examine(str(layout.root), "nightly")
    assert found(findings, "lock").says.startswith("a run is on")
    assert not found(findings, "state").fine and "move it away" in found(findings, "state").says


def test_prefects_home_database_and_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert [finding.what for finding in examine_prefect()] == ["prefect home"]
    database, turn = tmp_path / "prefect.db", tmp_path / TURN
    with closing(sqlite3.connect(database, isolation_level=None)) as db, open(turn, "wb") as held:
        db.execute("CREATE TABLE flow (id)")
        assert found(examine_prefect(), "prefect database").fine
        db.execute("BEGIN IMMEDIATE")
        fcntl.flock(held, fcntl.LOCK_EX)
        findings = examine_prefect()
        assert "database is locked; another program holds it" in found(findings, "prefect database").says
        assert "is starting a server" in found(findings, "prefect lock").says
    database.write_bytes(b"this is no database\n" * 200)
    assert "Prefect makes a new one" in found(examine_prefect(), "prefect database").says
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert not found(examine_prefect(), "prefect").fine


def test_doctor_itself_stops_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    assert main(["--data-dir", str(tmp_path / "file"), "--profile", "nigthly", "doctor"]) == 1
    out = capsys.readouterr().out
    assert all(f"FIX  {what}: " in out for what in ("proxy", "profile", "data directory"))


def test_a_sandbox_that_cannot_start(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    monkeypatch.setattr(doctor, "sandboxed", lambda: True)
    monkeypatch.setattr(doctor, "without_sandbox_hint", lambda: "; its sandbox needs user namespaces, which x forbids")
    findings = examine(str(layout.root), "nightly")
    if found(findings, "browser").fine:
        assert not found(findings, "sandbox").fine and "user namespaces" in found(findings, "sandbox").says
