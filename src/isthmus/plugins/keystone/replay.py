"""When the queue is replayed, by whom, and what happens when that fails.

``next_step`` is the pure part: what the last attempt came to decides how long to wait and whether a
new entry may cut that wait short. The thread around it makes the attempts. Every process has one;
a file lock lets one process of the host replay at a time, and it is held only while there is
something to replay, so that whoever queues an entry replays it at once.

What is written, and how that is exactly once, is ``delivery``.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_log import log

from isthmus.plugins.keystone import entries, journal, unavailable

LOG = log.getLogger(__name__)

BATCH = 200
FIRST_PAUSE_SECONDS = 0.25
# While another process replays: long enough not to spin, short enough not to be noticed.
BUSY_SECONDS = 0.05
# How soon a process finds what a killed one has left behind.
IDLE_SECONDS = 2.0
# Longer than the agent and the balancer need to take a lagging replica out.
SETTLE_SECONDS = 30.0


class Outcome(enum.StrEnum):
    """What one attempt came to."""

    IDLE = "nothing to replay"
    PROGRESS = "a batch was replayed"
    ELSEWHERE = "another process replays"
    UNREACHABLE = "the writer site cannot be reached"
    REFUSED = "the writer's database refuses"


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do next: wait ``pause`` seconds, or less if an entry arrives and ``wakeable``."""

    failures: int = 0
    pause: float = 0.0
    wakeable: bool = True

    @property
    def reachable(self) -> bool:
        """Whether it is worth waiting for an entry to be replayed."""
        return self.failures == 0


def next_step(step: Step, outcome: Outcome, *, limit: float) -> Step:
    """The step after an attempt.

    After failures the pause doubles up to ``limit`` seconds and new entries do not cut it short:
    otherwise every login at a cut-off site would make a connection attempt that hangs.
    """
    match outcome:
        case Outcome.IDLE:
            # Nothing was tried, so nothing is known about the writer that was not known before.
            return Step(failures=0, pause=IDLE_SECONDS)
        case Outcome.PROGRESS:
            return Step()
        case Outcome.ELSEWHERE:
            return Step(failures=step.failures, pause=BUSY_SECONDS, wakeable=False)
        case Outcome.UNREACHABLE | Outcome.REFUSED:
            pause = min(limit, FIRST_PAUSE_SECONDS * 2**step.failures)
            return Step(failures=min(step.failures + 1, 16), pause=pause, wakeable=False)


Deliver = Callable[[Sequence[entries.Entry]], None]


class Replayer:
    """Replays one journal from one process.

    ``deliver`` applies a batch at the writer, all or nothing; ``position`` says how far this site's
    replica has the queue. Both may raise anything.
    """

    def __init__(
        self,
        queue: journal.Journal,
        *,
        deliver: Deliver,
        position: Callable[[], int],
        backoff_limit: float,
    ) -> None:
        self._journal = queue
        self._deliver = deliver
        self._position = position
        self._limit = backoff_limit
        self._lock_path = queue.path.with_name(queue.path.name + ".replay")
        self._step = Step()
        self._reason = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._attempted = threading.Condition()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run the thread, unless it runs. It is a daemon: whatever is left waits in the file."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="isthmus-replay", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the thread after the attempt that it is making, and return when it has ended.

        A stopped replayer stays stopped; whatever is left waits in the file.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """An entry was queued."""
        self.start()
        self._wake.set()

    def wait(self, sequence: int, timeout: float) -> bool:
        """Whether an entry was replayed within ``timeout`` seconds; gives up when that is vain."""
        try:
            return self._wait(sequence, timeout)
        except journal.JournalUnavailableError:
            return False

    def _wait(self, sequence: int, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._attempted:
            while not self._journal.is_replayed(sequence) and self._step.reachable:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._attempted.wait(remaining):
                    break
        return self._journal.is_replayed(sequence)

    def attempt(self) -> Outcome:
        """One attempt: replay one batch if there is one and nobody else is at it."""
        try:
            if not self._journal.pending(limit=1):
                self._settle()
                return Outcome.IDLE
            with _only(self._lock_path) as held:
                return self._replay() if held else Outcome.ELSEWHERE
        except journal.JournalUnavailableError as error:
            if self._step.failures == 0:
                LOG.warning("The queue of this site cannot be read: %s", error)
            return Outcome.REFUSED

    def _replay(self) -> Outcome:
        batch = self._journal.pending(limit=BATCH)
        if not batch:
            return Outcome.PROGRESS
        outcome = self._deliver_or_say_why(batch)
        if outcome is Outcome.REFUSED and len(batch) > 1:
            # One entry may be to blame; the others must not wait for it.
            batch = batch[:1]
            outcome = self._deliver_or_say_why(batch)
        if outcome is Outcome.PROGRESS:
            self._journal.mark_replayed(batch[-1].sequence, now=time.time())
        return outcome

    def _deliver_or_say_why(self, batch: Sequence[entries.Entry]) -> Outcome:
        try:
            self._deliver(batch)
        except Exception as error:
            cause = unavailable.classify(error)
            if cause is None and len(batch) == 1 and unavailable.rejects_data(error):
                LOG.warning("Entry %d cannot be replayed, set aside: %r", batch[0].sequence, error)
                self._journal.set_aside(batch[0].sequence)
                return Outcome.PROGRESS
            self._log_failure(cause, error)
            return Outcome.UNREACHABLE if cause else Outcome.REFUSED
        self._reason = ""
        return Outcome.PROGRESS

    def _log_failure(self, cause: unavailable.Cause | None, error: Exception) -> None:
        """One line when the reason changes; the agent shows the backlog while it lasts."""
        reason = cause or f"unexpected {type(error).__name__}: {str(error)[:300]}"
        if reason != self._reason:
            LOG.warning("Queued writes wait for the writer site: %s.", reason)
        self._reason = reason

    def _settle(self) -> None:
        """Forget what this site's replica shows by now."""
        before = time.time() - SETTLE_SECONDS
        if not self._journal.unsettled(replayed_before=before):
            return
        try:
            position = self._position()
        except Exception as error:
            LOG.info("Replayed entries are kept, the replica's position is unknown: %r", error)
            return
        self._journal.settle(position, replayed_before=before)

    def _tick(self) -> None:
        self._wake.clear()
        outcome = Outcome.REFUSED
        try:
            outcome = self.attempt()
        except Exception:
            LOG.exception("The replay of queued writes failed in a way nobody foresaw")
        with self._attempted:
            self._step = next_step(self._step, outcome, limit=self._limit)
            self._attempted.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._tick()
            waits = self._wake if self._step.wakeable else self._stopping
            waits.wait(self._step.pause)


@contextlib.contextmanager
def _only(path: Path) -> Iterator[bool]:
    """Whether this process alone may replay now. The kernel frees the lock of a killed process."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise journal.JournalUnavailableError(f"{path}: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)
