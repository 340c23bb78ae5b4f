"""The dead-man's files: whole or not there, readable by nobody else, and honest about what is broken."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from isthmus.agent.host.freezing import entries, ledger
from isthmus.agent.host.freezing.entries import Entry, EntryError, Outcome, Process

ENTRY = Entry(
    round="5e4f.1", epoch=3, domain="instance-00000001", server_id="s1", boot_id="b",
    deadline=100.0, armed_wall=1.0, deadline_wall=11.0, freezer=Process(pid=1, start=2),
)  # fmt: skip


def outcome(by: str, wall: float = 5.0, domain: str = "instance-00000001") -> Outcome:
    return Outcome(round="5e4f.1", domain=domain, epoch=3, by=by, fired_wall=wall, attempts=1)


@pytest.fixture
def book(tmp_path: Path) -> ledger.Ledger:
    return ledger.Ledger(tmp_path / "freezes")


def test_what_is_armed_is_read_back_as_it_was_written(book: ledger.Ledger) -> None:
    book.arm(ENTRY)
    assert book.entry("instance-00000001") == ENTRY
    assert book.entries() == ({"instance-00000001": ENTRY}, {})
    book.disarm(ENTRY)
    assert book.entry("instance-00000001") is None


def test_the_files_are_nobody_elses(book: ledger.Ledger) -> None:
    book.arm(ENTRY)
    for path in [book.directory, *book.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_write_that_was_interrupted_leaves_the_old_entry(
    book: ledger.Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.arm(ENTRY)

    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="No space left"):
        book.arm(Entry(**{**ENTRY.__dict__, "deadline": 1.0}))
    assert book.entry("instance-00000001") == ENTRY


@pytest.mark.parametrize("text", ["", "{", "[]", '{"round": "1"}', '{"freezer": 3}'])
def test_an_entry_that_cannot_be_read_is_named_and_does_not_hide_the_others(
    book: ledger.Ledger, text: str
) -> None:
    book.arm(ENTRY)
    (book.directory / "armed" / "broken.json").write_text(text)
    good, bad = book.entries()
    assert list(good) == ["instance-00000001"]
    assert list(bad) == ["broken"]
    with pytest.raises(EntryError):
        book.entry("broken")


def test_each_guard_writes_its_own_record(book: ledger.Ledger) -> None:
    book.record(outcome(ledger.WATCHDOG, 6.0))
    book.record(outcome(ledger.AGENT, 5.0))
    book.record(outcome(ledger.AGENT, 7.0, "instance-0000000"))
    found = book.outcomes("instance-00000001", "5e4f.1")
    assert [each.by for each in found] == ["agent", "watchdog"]
    assert len(book.outcomes()) == 3


def test_old_records_go(book: ledger.Ledger) -> None:
    book.record(outcome(ledger.AGENT))
    [path] = (book.directory / "fired").iterdir()
    os.utime(path, (1.0, 1.0))
    book.tidy()
    assert book.outcomes() == []


def test_a_process_is_told_from_one_that_got_its_number() -> None:
    me = entries.process()
    assert me.alive
    assert not Process(pid=me.pid, start=me.start + 1).alive
    assert not Process(pid=2**22 + 1, start=1).alive
