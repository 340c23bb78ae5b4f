"""Orders about freezes, carried out: arm, freeze, thaw, disarm, tell.

What several orders do at once to one guest is kept apart by a lock for each guest; what other
processes do (the watchdog, Nova) is not, and need not be: a thaw is always harmless here, and a freeze
is only sent by this process, after the intent was written down.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.agent.host.freezing import (
    deciding,
    entries,
    guarding,
    guests,
    ledger,
    libvirts,
    refusals,
    telling,
    watchdog,
)
from isthmus.agent.host.freezing.entries import Entry, Guest

log = logging.getLogger(__name__)

FREEZE_SECONDS = 10.0
"""The longest that a guest may take to flush; VSS and QEMU's agent for Windows give up then, too."""

_AT_ONCE = 16
_RETIRE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One guest to be armed."""

    domain: str
    server_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach guests, for this process and for its watchdogs, which get `environment` besides."""

    libvirt: str | None
    sockets: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Rounds:
    """All freezes of this host. For several threads.

    Invariant: whenever this process sends a freeze, its entry was flushed to the disk, names this
    process, and is guarded by a thread here and by a process beside.
    """

    def __init__(self, book: ledger.Ledger, access: Access, *, longest_seconds: float) -> None:
        self._book, self._access, self._longest = book, access, longest_seconds
        libvirt = libvirts.quick(access.libvirt) if access.libvirt else None
        self.guests = guests.Guests(libvirt, access.sockets)
        self._me = entries.process()
        self._guards: dict[str, guarding.Guard] = {}
        self._watchdogs: dict[str, list[watchdog.Watchdog]] = collections.defaultdict(list)
        self._locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        self._arming = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "freeze")

    # --- the life of the agent

    def adopt(self) -> None:
        """Take over what an earlier life of this agent has armed; first of all, guard it."""
        found, bad = self._book.entries()
        for domain, wrong in bad.items():
            log.error("the entry of %s cannot be read, its watchdog goes on: %s", domain, wrong)
        now = entries.moment()
        for entry in found.values():
            if self._settled(entry) and deciding.over(entry, now):
                # Thawing again now could end a freeze of somebody else.
                self._book.disarm(entry)
                continue
            if entry.freezer and not entry.freezer.alive:
                entry = dataclasses.replace(entry, freezer=None)
                self._book.note(entry)
            log.warning("%s: armed for round %s by an earlier life", entry.domain, entry.round)
            self._guard(entry)
        for round_id in {each.round for each in found.values() if each.remaining(now) > 0}:
            # It may have a watchdog from then; two do no harm.
            self._pool.submit(self._watch_again, round_id)

    def tidy(self) -> None:
        """Bury watchdogs that ended, and take away entries that nobody guards any more."""
        for round_id, children in list(self._watchdogs.items()):
            alive = [each for each in children if each.alive]
            self._watchdogs[round_id] = alive
            if not alive:
                self._watchdogs.pop(round_id, None)
        for domain, guard in list(self._guards.items()):
            if guard.over and not guard.is_alive():
                self._retire(domain, guard.round)
                self._guards.pop(domain, None)
        self._book.tidy()

    def stop(self) -> None:
        """End the threads; what is armed stays armed, for the watchdogs and the next life."""
        for guard in self._guards.values():
            guard.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- orders

    def arm(
        self, round_id: str, epoch: int, orders: Sequence[Order], deadline_s: float
    ) -> dict[str, Any]:
        """Arm guests for a round; on the disk and guarded when this returns. All or none.

        `deadline_s` counts from the answer. A guest that this round has armed already stays as it is.
        Raises BusyError (a guest cannot be armed), UsageError and `errors.HostError`.
        """
        if not 1.0 <= deadline_s <= self._longest:
            raise errors.InputError(
                "guests cannot be armed", cause=f"deadline_s has to be 1 to {self._longest:g} s"
            )
        with self._arming:
            new = self._new(round_id, epoch, orders, deadline_s)
            written: list[Entry] = []
            try:
                for entry in new:
                    written.append(entry)
                    self._book.arm(entry)
                if new:
                    self._watch(round_id)
                for entry in [_starting_now(each, deadline_s) for each in new]:
                    self._book.arm(entry)
                    self._guard(entry)
            except (errors.HostError, OSError) as error:
                for entry in written:
                    self._book.disarm(entry)
                raise refusals.cannot_arm(round_id, error) from error
        return self.document(round_id)

    def freeze(self, round_id: str, domains: Sequence[str] | None) -> list[dict[str, Any]]:
        """Freeze armed guests in parallel; one result for each, with its error if there is one."""
        return self._each(round_id, domains, self._freeze)

    def thaw(self, round_id: str, domains: Sequence[str] | None) -> list[dict[str, Any]]:
        """Thaw guests in parallel; one result for each. The dead-man stays armed."""
        return self._each(round_id, domains, self._thaw)

    def disarm(self, round_id: str) -> dict[str, Any]:
        """Take the dead-man away from all guests of a round, if all say that they are thawed.

        Raises BusyError; nothing is disarmed then. What is not armed (any more) is as good.
        """
        found = self._of(round_id)
        reasons = list(self._pool.map(self._refuse_disarm, found))
        if causes := [reason for reason in reasons if reason]:
            raise refusals.still_armed(round_id, causes)
        for entry in found:
            self._book.disarm(entry)
        return {
            "round": round_id,
            "disarmed": [each.domain for each in found],
            "fired": telling.fired(self._book.outcomes(round_id=round_id)),
        }

    def document(self, round_id: str | None = None) -> dict[str, Any]:
        """What is armed, with what each guest says now, and what dead-men did in the last day."""
        found, bad = self._book.entries()
        wanted = [each for each in found.values() if round_id in (None, each.round)]
        said = list(self._pool.map(lambda each: self.guests.status(each.domain), wanted))
        outcomes = self._book.outcomes(round_id=round_id or "*")
        now = entries.moment()
        freezes = [
            telling.entry(each, guest, outcomes, now, watched=self._watched(each.round))
            for each, guest in zip(wanted, said, strict=True)
        ]
        unreadable = {} if round_id else bad
        return {"freezes": freezes, "fired": telling.fired(outcomes), "unreadable": unreadable}

    def holds(self, domain: str) -> str | None:
        """The round whose window a guest is in, from the arming to the disarming or the deadline."""
        entry = self._book.entry(domain)
        return entry.round if entry and entry.remaining(entries.moment()) > 0 else None

    # --- arming

    def _new(
        self, round_id: str, epoch: int, orders: Sequence[Order], deadline_s: float
    ) -> list[Entry]:
        """The entries to write; raises BusyError if one of them cannot be."""
        now = entries.moment()
        # Until the watchdog stands, the deadline lies further off; then it is set.
        ahead = deadline_s + watchdog.START_SECONDS
        wanted = [
            Entry(
                round=round_id,
                epoch=epoch,
                domain=each.domain,
                server_id=each.server_id,
                boot_id=now.boot_id,
                deadline=now.boottime + ahead,
                armed_wall=now.wall,
                deadline_wall=now.wall + ahead,
            )
            for each in orders
        ]
        found = {each.domain: self._book.entry(each.domain) for each in wanted}
        for entry in found.values():
            if entry and entry.round == round_id and entry.remaining(now) <= 0:
                raise refusals.not_armed(
                    round_id, [f"{entry.domain}: the deadline has passed, it is void"]
                )
        new = [each for each in wanted if not _armed(found[each.domain], round_id)]
        said = self._pool.map(lambda each: self.guests.status(each.domain), new)
        reasons = [
            deciding.refuse_arm(each, found[each.domain], self._epoch(each.domain), guest, now)
            for each, guest in zip(new, said, strict=True)
        ]
        if causes := [reason for reason in reasons if reason]:
            raise refusals.not_armed(round_id, causes)
        return new

    def _epoch(self, domain: str) -> int:
        return max((each.epoch for each in self._book.outcomes(domain)), default=0)

    def _guard(self, entry: Entry) -> None:
        guard = guarding.Guard(
            entry, self._book, self.guests, by=ledger.AGENT, rivals=self._all_watchdogs
        )
        self._guards[entry.domain] = guard
        guard.start()

    def _watch(self, round_id: str) -> None:
        access = self._access
        child = watchdog.start(
            self._book,
            round_id,
            libvirt=access.libvirt,
            sockets=access.sockets,
            environment=access.environment,
        )
        self._watchdogs[round_id].append(child)

    def _watch_again(self, round_id: str) -> None:
        try:
            self._watch(round_id)
        except (errors.HostError, OSError):
            log.exception("round %s has no second watchdog; this agent guards it", round_id)

    def _all_watchdogs(self) -> list[entries.Process]:
        return [each.process for children in list(self._watchdogs.values()) for each in children]

    def _watched(self, round_id: str) -> list[int]:
        return [each.process.pid for each in self._watchdogs.get(round_id, []) if each.alive]

    def _settled(self, entry: Entry) -> bool:
        """Whether a guard has seen the guest thawed after the deadline."""
        outcomes = self._book.outcomes(entry.domain, entry.round)
        return any(each.late is not None for each in outcomes)

    def _retire(self, domain: str, round_id: str) -> None:
        entry = self._book.entry(domain)
        if entry and entry.round == round_id and deciding.over(entry, entries.moment()):
            log.info("%s: round %s is over", domain, round_id)
            self._book.disarm(entry)

    # --- freezing

    def _of(self, round_id: str, domains: Sequence[str] | None = None) -> list[Entry]:
        """The entries of a round, all or the named ones; raises UsageError for one that is not."""
        mine = {k: each for k, each in self._book.entries()[0].items() if each.round == round_id}
        if missing := sorted(set(domains or ()) - mine.keys()):
            raise errors.UsageError(
                f"round {round_id[:40]} has not armed {', '.join(missing)[:200]}",
                unchanged="nothing was frozen or thawed",
            )
        return [each for each in mine.values() if domains is None or each.domain in domains]

    def _each(
        self,
        round_id: str,
        domains: Sequence[str] | None,
        act: Callable[[Entry], dict[str, Any]],
    ) -> list[dict[str, Any]]:
        found = self._of(round_id, domains)
        if not found:
            raise errors.UsageError(f"round {round_id[:40]} has armed no guest on this host")
        return list(self._pool.map(lambda each: self._alone(each, act), found))

    def _alone(self, entry: Entry, act: Callable[[Entry], dict[str, Any]]) -> dict[str, Any]:
        """Do one thing to a guest, by what is on the disk when its turn has come."""
        with self._locks[entry.domain]:
            began = time.monotonic()
            current = self._book.entry(entry.domain)
            armed = current is not None and current.round == entry.round
            if current is None or not armed:
                result: dict[str, Any] = {"guest": Guest.UNKNOWN, "error": "it was disarmed"}
            else:
                result = act(current)
            seconds = round(time.monotonic() - began, 4)
        return {
            "domain": entry.domain,
            "server_id": entry.server_id,
            "armed": armed,
            "fired": bool(self._book.outcomes(entry.domain, entry.round)),
            "seconds": seconds,
            **result,
        }

    def _freeze(self, entry: Entry) -> dict[str, Any]:
        now = entries.moment()
        fired = bool(self._book.outcomes(entry.domain, entry.round))
        if reason := deciding.refuse_freeze(entry, now, fired=fired):
            return {"guest": self.guests.status(entry.domain), "error": reason}
        # From here on the guards know who may freeze the guest. A disk that is busy with snapshots of
        # others must not lengthen their window, and guests do not outlive a loss of power: no flush.
        entry = dataclasses.replace(entry, freezer=self._me)
        self._book.note(entry)
        count, error = 0, None
        try:
            limit = min(FREEZE_SECONDS, entry.remaining(entries.moment()))
            count = self.guests.freeze(entry.domain, max(0.1, limit))
            guest = Guest.FROZEN
        except guests.GuestError as failure:
            error = str(failure)
            # Nova may have frozen it in this round, or an order that came twice did: guarded as well.
            guest = self.guests.status(entry.domain)
        frozen = guest is Guest.FROZEN
        after = entries.moment()
        self._note(entry, freezer=None, frozen_wall=after.wall if frozen else None)
        if entry.remaining(after) <= 0 or guest is Guest.UNKNOWN:
            return self._undo(entry, error)
        return {"guest": guest, "filesystems": count, "error": None if frozen else error}

    def _undo(self, entry: Entry, error: str | None) -> dict[str, Any]:
        """A freeze that came too late, or of which nothing is known."""
        thawed = self._thaw(entry)
        late = f"{entry.domain}: the freeze was not done before the deadline"
        return {**thawed, "error": error or late}

    def _thaw(self, entry: Entry) -> dict[str, Any]:
        count: int | None = None
        error = None
        try:
            count = self.guests.thaw(entry.domain)
        except guests.GuestError as failure:
            error = str(failure)
        # A guest agent that counts what it let go has thawed before it answers. The members before it
        # wait for this, and every question costs a turn in the guest. One that let nothing go is asked.
        guest = Guest.THAWED if count else self.guests.status(entry.domain)
        now = entries.moment().wall
        if guest in deciding.SETTLED:
            error = None
            self._note(entry, thawed_wall=now)
        window = None if entry.frozen_wall is None else round(now - entry.frozen_wall, 4)
        return {
            "guest": guest,
            "was_frozen": None if count is None else count > 0,
            "filesystems": count,
            "frozen_seconds": window,
            "error": error,
        }

    def _note(self, entry: Entry, **changes: Any) -> None:
        current = self._book.entry(entry.domain)
        if current and current.round == entry.round:
            self._book.note(dataclasses.replace(current, **changes))

    def _refuse_disarm(self, entry: Entry) -> str | None:
        guest = self.guests.status(entry.domain)
        alive = bool(entry.freezer and entry.freezer.alive)
        return deciding.refuse_disarm(entry, guest, freezer_alive=alive)


def _armed(entry: Entry | None, round_id: str) -> bool:
    return entry is not None and entry.round == round_id


def _starting_now(entry: Entry, deadline_s: float) -> Entry:
    now = entries.moment()
    return dataclasses.replace(
        entry,
        deadline=now.boottime + deadline_s,
        armed_wall=now.wall,
        deadline_wall=now.wall + deadline_s,
    )
