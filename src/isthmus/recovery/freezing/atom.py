"""One round of freezing, from the ledger to the last thaw: the machine's decisions, carried out.

It exists so that the freeze section is *one* step of a checkpoint: nothing is saved, scheduled or
asked of a database while guests are frozen. It decides nothing; `machine` does. Who calls it after a
crash gives it the ledger that was saved, through `machine.resumed`, and it thaws.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from isthmus.recovery.freezing import machine
from isthmus.recovery.freezing.ledger import Entry, FreezeLedger, Instant, RoundPhase
from isthmus.recovery.freezing.machine import Observations, Report
from isthmus.sites import fanout

log = logging.getLogger(__name__)

CALL_S = 3.0
"""Longest wait for one answer of a host. The grace of the machine after a deadline is longer."""

ARM_S = 12.0
"""The same for arming, which waits until a process of its own watches each round of a host. No guest
is frozen yet. What it takes is lost for the round, whose deadline counts from the request."""

PAUSE_S = 0.1
"""Between rounds of questions that brought nothing new."""

_K = TypeVar("_K", bound=Hashable)


class Hosts(Protocol):
    """The agents of the compute hosts. For several threads at once.

    Each method raises IsthmusError when the host does not answer within `timeout_s`, or refuses the
    whole request; a guest that fails is a Report with an `error`. Reports are by server ID.
    """

    def arm(
        self, host: str, ledger: FreezeLedger, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        """Arm the dead-men; they are on the host's disk when this returns."""
        ...

    def freeze(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        """Freeze, and read the status back."""
        ...

    def thaw(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        """Thaw, and read the status back. Asking twice does no harm."""
        ...

    def disarm(self, host: str, round_id: str, timeout_s: float) -> None:
        """Disarm the dead-men; the host refuses while a guest does not say that it is thawed."""
        ...


class Snapshots(Protocol):
    """What happens inside the window. See `isthmus.recovery.snapshots` for the whole driver."""

    def take(self, timeout_s: float) -> None:
        """Take all snapshots, or raise IsthmusError after `timeout_s` at the latest."""
        ...


@dataclasses.dataclass(frozen=True)
class Clock:
    """This machine's clocks."""

    boot: str

    @classmethod
    def of_this_boot(cls) -> Clock:
        return cls(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())

    def now(self) -> Instant:
        wall = datetime.datetime.now(datetime.UTC)
        return Instant(wall=wall, monotonic=time.monotonic(), boot=self.boot)


class Atom:
    """Carries out one round.

    `save` puts the ledger on disk and returns only then; if it raises, the round goes on to its thaw
    where guests may be held, because a database that is down must not hold guests. Invariant: `run`
    returns or raises only when no guest is held, or every dead-man's deadline has passed.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        snapshots: Snapshots,
        save: Callable[[FreezeLedger], None],
        clock: Clock | None = None,
    ) -> None:
        self._hosts, self._snapshots, self._save = hosts, snapshots, save
        self._clock = clock or Clock.of_this_boot()

    def run(self, ledger: FreezeLedger) -> FreezeLedger:
        """The ledger when the round is over; `sound` says whether its snapshots may be used.

        Raises what `save` raised before anything was asked of a host.
        """
        seen: Observations | None = None
        while True:
            decision = machine.decide(ledger, seen, self._clock.now())
            if decision.ledger == ledger and seen is not None:
                time.sleep(PAUSE_S)
            ledger = decision.ledger
            if decision.save_first and not self._saved(ledger):
                ledger = machine.voided(ledger, "the freeze ledger could not be written")
                seen = Observations()
                continue
            if decision.done:
                _log_end(ledger)
                return ledger
            seen = self._perform(ledger, decision.actions)

    def _saved(self, ledger: FreezeLedger) -> bool:
        """Whether the ledger is on disk, or it does not matter any more."""
        try:
            self._save(ledger)
        except Exception:
            if ledger.phase is RoundPhase.ARMING:
                raise
            log.exception("the freeze ledger of round %s could not be written", ledger.round_id)
            return ledger.phase is not RoundPhase.FREEZING
        return True

    def _perform(self, ledger: FreezeLedger, actions: Sequence[machine.Action]) -> Observations:
        """All actions at once; what was seen of them."""
        thaws = [each for each in actions if isinstance(each, machine.Thaw)]
        limit = max((_limit(each) for each in actions), default=CALL_S)
        results = fanout.ask_all(
            {n: self._call(ledger, action) for n, action in enumerate(actions)},
            timeout=limit,
            grace=0.5,
        )
        if thaws and not all(result.ok for result in results.values()):
            # A host that refuses at once would be asked a thousand times a second.
            time.sleep(PAUSE_S)
        return _gathered([(actions[n], result) for n, result in results.items()])

    def _call(
        self, ledger: FreezeLedger, action: machine.Action
    ) -> Callable[[], Mapping[str, Report] | None]:
        hosts, limit = self._hosts, _limit(action)
        match action:
            case machine.Arm(host=host, entries=entries):
                return lambda: hosts.arm(host, ledger, entries, limit)
            case machine.Freeze(host=host, entries=entries):
                return lambda: hosts.freeze(host, ledger.round_id, entries, limit)
            case machine.Thaw(host=host, entries=entries):
                return lambda: hosts.thaw(host, ledger.round_id, entries, limit)
            case machine.Disarm(host=host):
                return lambda: hosts.disarm(host, ledger.round_id, limit)
            case machine.TakeSnapshots():
                return lambda: self._snapshots.take(limit)


def _limit(action: machine.Action) -> float:
    """Seconds an action may take."""
    if isinstance(action, machine.TakeSnapshots):
        return action.timeout_s
    if isinstance(action, machine.Arm):
        return ARM_S
    return min(CALL_S, action.timeout_s) if isinstance(action, machine.Freeze) else CALL_S


def _gathered(
    results: Sequence[tuple[machine.Action, fanout.Result[Mapping[str, Report] | None]]],
) -> Observations:
    reports: dict[str, Report] = {}
    silent: dict[str, str] = {}
    disarmed: set[str] = set()
    snapshots: bool | str | None = None
    for action, result in results:
        if isinstance(action, machine.TakeSnapshots):
            snapshots = result.error or True
        elif result.error is not None:
            silent[action.host] = result.error
        elif isinstance(action, machine.Disarm):
            disarmed.add(action.host)
        else:
            reports.update(result.value or {})
    return Observations(
        reports=reports, silent=silent, disarmed=frozenset(disarmed), snapshots=snapshots
    )


def _log_end(ledger: FreezeLedger) -> None:
    if ledger.sound:
        spent = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in ledger.stages_s.items())
        log.info("round %s: window %.3f s (%s)", ledger.round_id, ledger.window_s or 0.0, spent)
    else:
        log.warning("round %s is void: %s", ledger.round_id, ledger.void_reason)
