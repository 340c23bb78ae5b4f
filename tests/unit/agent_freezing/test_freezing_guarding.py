"""One guard and its guest, with whatever stands in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_agent import GuestAgent, serving

from conditions import wait_for
from isthmus.agent.host.freezing import entries, guarding, guests, ledger
from isthmus.agent.host.freezing.entries import Entry

DOMAIN = "instance-00000001"
# An interpreter starts in a tenth of a second; the machine may be busy.
STARTED_SECONDS = 20.0
HOLD = """
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
line.sendall(b'{"execute": "guest-fsfreeze-status"}\\n')
print(line.recv(100), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[GuestAgent]:
    with serving(tmp_path / f"{DOMAIN}.sock") as agent:
        yield agent


@pytest.fixture
def book(tmp_path: Path) -> ledger.Ledger:
    return ledger.Ledger(tmp_path / "freezes")


def armed(book: ledger.Ledger, seconds: float) -> Entry:
    now = entries.moment()
    entry = Entry(
        round="r1", epoch=1, domain=DOMAIN, server_id="s1", boot_id=now.boot_id,
        deadline=now.boottime + seconds, armed_wall=now.wall, deadline_wall=now.wall + seconds,
    )  # fmt: skip
    book.arm(entry)
    return entry


def guard(
    entry: Entry, book: ledger.Ledger, folder: Path, rivals: list[entries.Process] | None = None
) -> guarding.Guard:
    access = guests.Guests(None, (str(folder / "{domain}.sock"),))
    found = guarding.Guard(entry, book, access, by=ledger.AGENT, rivals=lambda: rivals or [])
    found.start()
    return found


@pytest.fixture
def rival(guest: GuestAgent) -> Iterator[subprocess.Popen[bytes]]:
    """Another guard's process that speaks with the guest."""
    words = [sys.executable, "-c", HOLD, str(guest.path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert b"thawed" in child.stdout.readline()
        yield child
        child.kill()


def test_a_rival_that_was_stopped_while_it_held_the_line_is_killed(
    book: ledger.Ledger, guest: GuestAgent, tmp_path: Path, rival: subprocess.Popen[bytes]
) -> None:
    process = entries.process(rival.pid)
    guest.frozen = True
    os.kill(rival.pid, signal.SIGSTOP)
    wait_for("it stands still", lambda: process.stopped, STARTED_SECONDS)
    found = guard(armed(book, 0.2), book, tmp_path, [process])
    wait_for("the guest is thawed", lambda: not guest.frozen, 0.2 + 1.0)
    assert rival.wait(5) == -signal.SIGKILL
    found.stop()


def test_a_rival_that_runs_is_left_alone(
    book: ledger.Ledger, guest: GuestAgent, tmp_path: Path, rival: subprocess.Popen[bytes]
) -> None:
    guest.frozen = True
    found = guard(armed(book, 0.2), book, tmp_path, [entries.process(rival.pid)])
    wait_for("it was tried", lambda: book.outcomes(DOMAIN), 5.0)
    assert rival.poll() is None
    rival.kill()
    wait_for("the guest is thawed", lambda: not guest.frozen, 5.0)
    found.stop()


def test_a_guard_whose_entry_is_taken_away_says_nothing_more_to_the_guest(
    book: ledger.Ledger, guest: GuestAgent, tmp_path: Path
) -> None:
    entry = armed(book, 0.2)
    found = guard(entry, book, tmp_path)
    wait_for("it fired", lambda: any(each.late for each in book.outcomes(DOMAIN)), 5.0)
    book.disarm(entry)
    guest.frozen = True  # By the next round.
    found.join(5.0)
    assert not found.is_alive()
    assert guest.frozen


def test_a_record_that_cannot_be_written_does_not_hinder_the_thaw(
    book: ledger.Ledger, guest: GuestAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    guest.frozen = True
    entry = armed(book, 0.2)
    monkeypatch.setattr(os, "fsync", full)
    found = guard(entry, book, tmp_path)
    wait_for("the guest is thawed", lambda: not guest.frozen, 0.2 + 1.0)
    found.stop()
    found.join(5.0)


def test_an_entry_that_cannot_be_read_is_guarded_as_it_was_armed(
    book: ledger.Ledger, guest: GuestAgent, tmp_path: Path
) -> None:
    guest.frozen = True
    found = guard(armed(book, 0.5), book, tmp_path)
    (book.directory / "armed" / f"{DOMAIN}.json").write_text("{")
    wait_for("the guest is thawed", lambda: not guest.frozen, 0.5 + 1.0)
    found.stop()
