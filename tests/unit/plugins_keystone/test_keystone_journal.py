"""The durable queue: nothing lost, nothing twice, whoever is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus.plugins.keystone import entries, replay
from isthmus.plugins.keystone.entries import Entry, Kind
from isthmus.plugins.keystone.journal import Journal, JournalUnavailableError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keystone" / "queue.sqlite"


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the process runs after it."""


class Writer:
    """The writer's database as far as a queue sees it: a batch and its position, or neither."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.position = 0
        self.dies: str | None = None
        self.reachable = True

    def deliver(self, batch: Sequence[Entry]) -> None:
        if not self.reachable:
            raise ConnectionError
        if self.dies == "before the commit":
            raise KilledError
        fresh = entries.after(batch, self.position)
        self.applied += [entry.sequence for entry in fresh]
        self.position = max(self.position, batch[-1].sequence)
        if self.dies == "after the commit":
            raise KilledError
        if self.dies == "answer lost":
            raise ConnectionError


class Site(RuleBasedStateMachine):
    """Appends, replays, kills, lags and heals in any order.

    Invariant: each entry is applied at most once and in order; what is not applied is pending; a
    revocation that the replica does not show is still in the queue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "queue.sqlite"
        self.writer = Writer()
        self.replica = 0
        self.now = 1_800_000_000.0
        self.appended: list[int] = []
        self.revoked: list[int] = []
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.path)
        self.replayer = replay.Replayer(
            self.journal,
            deliver=self.writer.deliver,
            position=lambda: self.replica,
            backoff_limit=1.0,
        )

    @rule(kind=st.sampled_from(Kind), pause=st.integers(-50, 100))
    def append(self, kind: Kind, pause: int) -> None:
        self.now += pause
        sequence = self.journal.append(kind, now=self.now, user_id="a", event="{}")
        self.appended.append(sequence)
        if kind is Kind.REVOCATION:
            self.revoked.append(sequence)

    @rule(dies=st.sampled_from([None, "before the commit", "after the commit", "answer lost"]))
    def replay_once(self, dies: str | None) -> None:
        self.writer.dies = dies
        try:
            self.replayer.attempt()
        except KilledError:
            self.start()
        finally:
            self.writer.dies = None

    @rule()
    def kill(self) -> None:
        self.start()

    @rule(reachable=st.booleans())
    def cut_or_heal(self, reachable: bool) -> None:
        self.writer.reachable = reachable

    @rule()
    def replicate(self) -> None:
        self.replica = self.writer.position

    @rule()
    def settle(self) -> None:
        self.journal.settle(self.replica, replayed_before=float("inf"))

    @precondition(lambda self: self.writer.reachable)
    @rule()
    def drain(self) -> None:
        while self.replayer.attempt() is not replay.Outcome.IDLE:
            pass
        assert self.writer.applied == self.appended

    @invariant()
    def nothing_is_lost_or_applied_twice(self) -> None:
        applied = self.writer.applied
        assert applied == self.appended[: len(applied)]
        pending = [entry.sequence for entry in self.journal.pending(limit=10_000)]
        assert set(self.appended) == set(applied) | set(pending)

    @invariant()
    def a_revocation_holds_until_the_replica_shows_it(self) -> None:
        queued = {entry.sequence for entry in self.journal.revocations()}
        assert {number for number in self.revoked if number > self.replica} <= queued

    @invariant()
    def times_never_decrease(self) -> None:
        times = [entry.recorded_at for entry in self.journal.of_user("a")]
        assert times == sorted(times)

    def teardown(self) -> None:
        self.directory.cleanup()


TestSite = Site.TestCase
TestSite.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_new_file_is_readable_by_its_owner_only(path: Path) -> None:
    Journal(path).append(Kind.LAST_ACTIVE, now=1.0, user_id="a")
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert modes["queue.sqlite"] == 0o600
    assert set(modes.values()) == {0o600}


def test_the_file_is_synchronous_and_write_ahead(path: Path) -> None:
    journal = Journal(path)
    journal.append(Kind.LAST_ACTIVE, now=1.0, user_id="a")
    with journal._usable() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_another_file_has_another_identity(path: Path) -> None:
    first, again = Journal(path).identity, Journal(path).identity
    assert first == again
    assert len(first) == 32
    assert Journal(path.with_name("other")).identity != first


def test_sequences_are_not_used_again_after_settling(path: Path) -> None:
    journal = Journal(path)
    first = journal.append(Kind.LAST_ACTIVE, now=1.0, user_id="a")
    journal.mark_replayed(first, now=2.0)
    journal.settle(first, replayed_before=3.0)
    assert journal.pending() == ()
    assert journal.append(Kind.LAST_ACTIVE, now=4.0, user_id="a") > first


def test_an_entry_set_aside_blocks_nothing_and_still_holds(path: Path) -> None:
    journal = Journal(path)
    bad = journal.append(Kind.REVOCATION, now=1.0, event="{}")
    good = journal.append(Kind.REVOCATION, now=1.0, event="{}")
    journal.set_aside(bad)
    assert [entry.sequence for entry in journal.pending()] == [good]
    assert [entry.sequence for entry in journal.revocations()] == [bad, good]
    assert journal.backlog().aside == 1


def test_a_full_queue_gives_up_the_oldest_logins_first_and_never_a_revocation(
    path: Path,
) -> None:
    journal = Journal(path, limit=100)
    kinds = [Kind.LAST_ACTIVE, Kind.FAILED_AUTH, Kind.REVOCATION]
    for number in range(64 * 3):
        journal.append(kinds[number % 3], now=float(number), user_id="a", event="{}")
    left = journal.pending(limit=1000)
    assert len(left) == 100
    count = {kind: sum(entry.kind is kind for entry in left) for kind in kinds}
    assert count == {Kind.LAST_ACTIVE: 0, Kind.FAILED_AUTH: 36, Kind.REVOCATION: 64}
    for _ in range(128):
        journal.append(Kind.REVOCATION, now=1000.0, event="{}")
    assert journal.backlog().pending == 192


def test_all_appends_of_several_processes_and_threads_are_kept(path: Path) -> None:
    def work() -> None:
        journal = Journal(path)
        threads = [
            threading.Thread(
                target=lambda: [
                    journal.append(Kind.FAILED_AUTH, now=1.0, user_id="a") for _ in range(10)
                ]
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    sequences = [entry.sequence for entry in Journal(path).pending(limit=1000)]
    assert sequences == list(range(1, 91))


def test_a_process_forked_with_an_open_queue_uses_its_own_connection(path: Path) -> None:
    journal = Journal(path)
    journal.append(Kind.FAILED_AUTH, now=1.0, user_id="parent")
    context = multiprocessing.get_context("fork")
    child = context.Process(
        target=lambda: journal.append(Kind.FAILED_AUTH, now=1.0, user_id="child")
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    journal.append(Kind.FAILED_AUTH, now=1.0, user_id="parent")
    assert [entry.user_id for entry in journal.pending()] == ["parent", "child", "parent"]


def test_what_was_appended_survives_kill_9(path: Path) -> None:
    program = (
        "import sys; from isthmus.plugins.keystone.journal import Journal\n"
        "from isthmus.plugins.keystone.entries import Kind\n"
        "journal = Journal(sys.argv[1])\n"
        "while True: print(journal.append(Kind.FAILED_AUTH, now=1.0, user_id='a'), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(20):
        promised = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].split()
    promised = int(rest[-1]) if rest else promised
    kept = [entry.sequence for entry in Journal(path).pending(limit=100_000)]
    assert kept[:promised] == list(range(1, promised + 1))


def unusable_parent(path: Path) -> None:
    path.parent.write_text("this is a file where a directory should be")


def damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 100)


@pytest.mark.parametrize("spoil", [unusable_parent, damaged])
def test_a_queue_that_cannot_be_used_says_so_and_reads_as_empty(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    journal = Journal(path)
    with pytest.raises(JournalUnavailableError):
        journal.append(Kind.REVOCATION, now=1.0, event="{}")
    assert journal.revocations() == ()
    assert journal.of_user("a") == ()


def test_a_full_disk_refuses_the_append_and_keeps_what_was_there(path: Path) -> None:
    journal = Journal(path)
    kept = journal.append(Kind.REVOCATION, now=1.0, event="{}")
    with journal._usable() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailableError, match="full"):
        journal.append(Kind.REVOCATION, now=2.0, event="x" * 100_000)
    assert [entry.sequence for entry in journal.revocations()] == [kept]


def test_revocations_hold_in_a_process_that_can_no_longer_read_the_file(path: Path) -> None:
    journal = Journal(path)
    kept = journal.append(Kind.REVOCATION, now=1.0, event="{}")
    assert len(journal.revocations()) == 1
    with journal._usable() as connection:
        connection.close()
    assert [entry.sequence for entry in journal.revocations()] == [kept]


def test_the_layout_is_what_the_agent_reads(path: Path) -> None:
    Journal(path).append(Kind.FAILED_AUTH, now=17.0, user_id="a")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        query = "SELECT count(*), min(recorded_at) FROM entry WHERE replayed_at IS NULL"
        assert reader.execute(f"{query} AND aside = 0").fetchone() == (1, 17.0)
