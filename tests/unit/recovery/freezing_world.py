"""A world of guests, hosts with dead-men and storage, in which requests get lost and time passes.

It stands in for no daemon: it is the model against which the machine's promises are judged, because
it knows at every moment which guests are really frozen. What happens is drawn from one seed: a round
needs hundreds of draws, for each of which Hypothesis would take longer than the round.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable, Iterable

from isthmus.recovery.freezing import machine
from isthmus.recovery.freezing.ledger import Entry, FreezeLedger, Instant, RoundPhase
from isthmus.recovery.freezing.machine import Guest, Observations, Report

START = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
DEADLINE = 10.0


@dataclasses.dataclass
class GuestWorld:
    frozen: bool = False
    armed_until: float | None = None
    fired: bool = False
    frozen_since: float | None = None


class World:
    """What really happens. `seed` chooses what goes wrong; `trouble` False: nothing does."""

    def __init__(self, seed: int, ledger: FreezeLedger, *, trouble: bool = True) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.trouble = trouble
        self.time = 0.0
        self.guests = {entry.server_id: GuestWorld() for entry in ledger.entries}
        self.levels = {entry.server_id: entry.level for entry in ledger.entries}
        self.saved: FreezeLedger | None = None
        self.snapshot_span: tuple[float, float] | None = None
        self.thaws: list[tuple[str, bool]] = []

    def instant(self) -> Instant:
        return Instant(
            wall=START + datetime.timedelta(seconds=self.time), monotonic=self.time, boot="boot"
        )

    def chance(self, *, of: int) -> bool:
        """Whether one of `of` cases of trouble happens."""
        return self.trouble and self.random.randrange(of) == 0

    def pass_time(self) -> None:
        slow = self.chance(of=8)
        self.time += self.random.uniform(0.01, 6.0 if slow else 0.2)
        for guest in self.guests.values():
            if guest.armed_until is not None and self.time >= guest.armed_until:
                guest.armed_until = None
                guest.fired = True
                self._thawed(guest)

    def _thawed(self, guest: GuestWorld) -> None:
        guest.frozen = False
        guest.frozen_since = None

    def somebody_thaws(self) -> None:
        for guest in self.guests.values():
            if guest.frozen and self.chance(of=40):
                self._thawed(guest)

    def act(self, action: machine.Action) -> Observations:
        self.pass_time()
        self.somebody_thaws()
        match action:
            case machine.Arm():
                return self._on_host(action.host, action.entries, self._arm)
            case machine.Freeze():
                return self._on_host(action.host, action.entries, self._freeze)
            case machine.Thaw():
                return self._on_host(action.host, action.entries, self._thaw)
            case machine.Disarm():
                return self._disarm(action.host)
            case machine.TakeSnapshots():
                return self._snapshots()

    def _on_host(
        self, host: str, entries: Iterable[Entry], do: Callable[[Entry], Report]
    ) -> Observations:
        if self.chance(of=25):
            return Observations(silent={host: "the request was lost"})
        reports = {entry.server_id: do(entry) for entry in entries}
        self.pass_time()
        if self.chance(of=25):
            return Observations(silent={host: "the answer was lost"})
        return Observations(reports=reports)

    def _report(self, entry: Entry, **more: object) -> Report:
        guest = self.guests[entry.server_id]
        says = Guest.FROZEN if guest.frozen else Guest.THAWED
        if self.chance(of=30):
            says = Guest.UNKNOWN
        armed = guest.armed_until is not None or guest.fired
        return Report(armed=armed, guest=says, fired=guest.fired, **more)  # type: ignore[arg-type]

    def _arm(self, entry: Entry) -> Report:
        guest = self.guests[entry.server_id]
        if not self.chance(of=20):
            guest.armed_until = self.time + DEADLINE
        return self._report(entry)

    def _freeze(self, entry: Entry) -> Report:
        guest = self.guests[entry.server_id]
        everybody_armed = all(
            each.armed_until is not None or each.fired for each in self.guests.values()
        )
        assert everybody_armed, "asked to freeze before all dead-men were armed"
        lower = [
            name for name, level in self.levels.items() if level < self.levels[entry.server_id]
        ]
        assert all(self.was_seen_frozen(name) for name in lower), "frozen out of order"
        refused = self.chance(of=20) or guest.armed_until is None
        if not refused and not guest.frozen:
            guest.frozen, guest.frozen_since = True, self.time
        return self._report(entry)

    def was_seen_frozen(self, server_id: str) -> bool:
        """Frozen now, or it was and its dead-man or somebody else let it go."""
        entry = next(each for each in self.now.entries if each.server_id == server_id)
        return entry.frozen_at is not None

    def _thaw(self, entry: Entry) -> Report:
        guest = self.guests[entry.server_id]
        if self.chance(of=15):
            return self._report(entry, error="the guest agent is silent")
        was = guest.frozen
        self._thawed(guest)
        return self._report(entry, was_frozen=was)

    def _disarm(self, host: str) -> Observations:
        if self.chance(of=10):
            return Observations(silent={host: "the request was lost"})
        mine = [self.guests[each.server_id] for each in self.now.entries if each.host == host]
        if any(guest.frozen for guest in mine):
            return Observations(silent={host: "a guest is frozen"})
        for guest in mine:
            guest.armed_until = None
        return Observations(disarmed=frozenset({host}))

    def _snapshots(self) -> Observations:
        began = self.time
        self.pass_time()
        if self.chance(of=10):
            return Observations(snapshots="no space left")
        self.snapshot_span = (began, self.time)
        self.frozen_in_snapshots = all(
            guest.frozen_since is not None and guest.frozen_since <= began
            for guest in self.guests.values()
        )
        return Observations(snapshots=True)

    def run(self, ledger: FreezeLedger, *, ticks: int = 2000) -> FreezeLedger:
        """Drive a round as the atom does, with crashes of the controller."""
        seen: Observations | None = None
        for _ in range(ticks):
            decision = machine.decide(ledger, seen, self.instant())
            ledger = self.now = decision.ledger
            if decision.save_first:
                self.saved = ledger
            if decision.done:
                return ledger
            self.check_thaw_order(decision)
            seen = self.perform(decision.actions)
            if seen is None:
                assert self.saved is not None
                # As after a real crash: what was saved is read back, and nothing else is known.
                saved = FreezeLedger.from_document(self.saved.to_document())
                ledger = self.now = machine.resumed(saved)
        raise AssertionError(f"the round did not end: {ledger}")

    def check_thaw_order(self, decision: machine.Decision) -> None:
        asked = [each for each in decision.actions if isinstance(each, machine.Thaw)]
        for entry in (entry for action in asked for entry in action.entries):
            above = (each for each in decision.ledger.entries if each.level > entry.level)
            assert all(not each.held or each.tries for each in above), "thawed out of order"
        if any(isinstance(each, machine.TakeSnapshots) for each in decision.actions):
            assert decision.ledger.void_reason is None
            assert decision.ledger.phase is RoundPhase.SNAPSHOTTING

    def perform(self, actions: Iterable[machine.Action]) -> Observations | None:
        """What was seen of the actions; None: the controller died in the middle of them."""
        seen = Observations()
        self.pass_time()
        for action in actions:
            if self.chance(of=30):
                return None
            one = self.act(action)
            seen = Observations(
                reports={**seen.reports, **one.reports},
                silent={**seen.silent, **one.silent},
                snapshots=one.snapshots if one.snapshots is not None else seen.snapshots,
                disarmed=seen.disarmed | one.disarmed,
            )
        return None if self.chance(of=40) else seen
