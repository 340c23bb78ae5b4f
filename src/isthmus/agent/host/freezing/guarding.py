"""A guard: one thread that waits for the deadline of one armed guest, and thaws it then.

The same code runs in the agent and in the watchdog of the round. Both fire: a guest that is thawed
twice is thawed, and neither waits for the other, which may be stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable

from isthmus.agent.host.freezing import deciding, entries, guests, ledger
from isthmus.agent.host.freezing.deciding import Do, Seen
from isthmus.agent.host.freezing.entries import Entry, EntryError, Outcome, Process

log = logging.getLogger(__name__)

TRY_SECONDS = 0.35
"""For one way to the guest: both ways and a second round must fit into the second after a deadline."""


class Guard(threading.Thread):
    """Guards `armed` until it is disarmed, or thawed after its deadline and left alone since.

    `rivals`: the processes that guard it too. QEMU serves one client at a time, so one of them that
    was stopped while it spoke with the guest would keep everybody else from it: it is killed.

    Invariant: it ends only after `deciding.decide` said so. What it cannot read it takes for armed:
    the entry that it started with counts then.
    """

    def __init__(
        self,
        armed: Entry,
        book: ledger.Ledger,
        access: guests.Guests,
        *,
        by: str,
        rivals: Callable[[], Iterable[Process]] = tuple,
    ) -> None:
        super().__init__(name=f"guard-{armed.domain}", daemon=True)
        self._armed, self._book, self._access, self._by = armed, book, access, by
        self._rivals = rivals
        self._seen = Seen()
        self._stopping = threading.Event()
        self.outcome: Outcome | None = None
        self.over = False
        """Whether it ended because its guest is settled, and not because it was stopped."""

    @property
    def round(self) -> str:
        return self._armed.round

    def stop(self) -> None:
        """Give up guarding; for the end of the agent, whose watchdogs go on."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._tick():
                    return
            except Exception:
                # Whatever it is, a guard that died would leave its guest frozen.
                log.exception("%s: an error in the guard itself; it goes on", self._armed.domain)
                self._stopping.wait(deciding.NOTICE_SECONDS)

    def _tick(self) -> bool:
        """One step; False at the end."""
        entry = self._entry()
        alive = bool(entry and entry.freezer and entry.freezer.alive)
        step = deciding.decide(entry, self._seen, entries.moment(), freezer_alive=alive)
        self.over = step.do is Do.END
        if step.after:
            self._stopping.wait(step.after)
            if step.do is not Do.WAIT and self._entry() is None:
                return True
        if step.do is Do.THAW:
            self._thaw()
        elif step.do is Do.LOOK:
            self._look()
        return step.do is not Do.END

    def _entry(self) -> Entry | None:
        """What is armed now; None if this round of the domain is not any more."""
        try:
            found = self._book.entry(self._armed.domain)
        except EntryError as error:
            log.warning("%s; guarding by what was armed", error)
            return self._armed
        if found is None or found.round != self._armed.round:
            return None
        self._armed = found
        return found

    def _thaw(self) -> None:
        domain, first = self._armed.domain, self._seen.attempts == 0
        self._seen = Seen(attempts=self._seen.attempts + 1)
        thawed, trouble = self._send_thaw()
        if trouble and self._free_the_line():
            thawed, trouble = self._send_thaw()
        if first:
            log.warning("%s: the deadline of round %s has passed", domain, self._armed.round)
        known = self.outcome or self._fresh()
        filesystems = max(known.filesystems, thawed)
        changed = (known.filesystems, known.trouble) != (filesystems, trouble)
        self.outcome = dataclasses.replace(
            known, attempts=self._seen.attempts, filesystems=filesystems, trouble=trouble
        )
        if first or changed:
            self._record()

    def _send_thaw(self) -> tuple[int, str]:
        """How many file systems were thawed, and what went wrong."""
        try:
            return self._access.thaw(self._armed.domain, TRY_SECONDS), ""
        except guests.GuestError as error:
            return 0, str(error.cause)

    def _free_the_line(self) -> bool:
        """Kill rivals that stand still; whether there was one. Their units start them again."""
        found = [each for each in self._rivals() if each.stopped]
        for each in found:
            log.warning("%s: killing the stopped process %d", self._armed.domain, each.pid)
            with contextlib.suppress(OSError):
                os.kill(each.pid, signal.SIGKILL)
        return bool(found)

    def _look(self) -> None:
        said = self._access.status(self._armed.domain, TRY_SECONDS)
        self._seen = dataclasses.replace(self._seen, said=said)
        known = self.outcome
        if said in deciding.SETTLED and known and known.late is None:
            late = round(-self._armed.remaining(entries.moment()), 3)
            self.outcome = dataclasses.replace(known, late=late, trouble="")
            self._record()
            log.warning("%s: %s, %.3f s after the deadline", self._armed.domain, said, late)

    def _fresh(self) -> Outcome:
        return Outcome(
            round=self._armed.round,
            domain=self._armed.domain,
            epoch=self._armed.epoch,
            by=self._by,
            fired_wall=entries.moment().wall,
            attempts=1,
        )

    def _record(self) -> None:
        """Records must not hinder thaws: a full disk is logged and no more."""
        if self.outcome is None:
            return
        try:
            self._book.record(self.outcome)
        except OSError as error:
            log.error("%s: the record cannot be written: %s", self._armed.domain, error.strerror)  # noqa: TRY400
