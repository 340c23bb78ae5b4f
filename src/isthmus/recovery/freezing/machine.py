"""What to do next in a round of freezing: a pure machine over the ledger and what was seen.

It exists so that every way through a round can be tried without a guest: `decide` is called with
what was seen since the last time, and says what to do now. It talks to nobody and reads no clock.

Its promises, which the tests attack over crashes, lost answers and slow storage:

- A guest is asked to freeze only after the dead-men of *all* guests of the round are armed.
- Levels freeze in ascending order, each only after the one before was seen frozen.
- Snapshots are asked for only while all guests were seen frozen and no deadline has passed.
- Thaw goes in descending order of levels. A guest that was asked and does not answer holds nobody
  else back; it is asked again until its dead-man must have thawed it.
- A dead-man that fired, a guest that did not freeze or was thawed by somebody else, a snapshot that
  failed and a controller that restarted all void the round for good. Refuse rather than degrade.
- Every path ends with no guest held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from isthmus.recovery.freezing.ledger import (
    Entry,
    EntryState,
    FreezeLedger,
    Instant,
    RoundPhase,
    names,
)

THAW_RESERVE_S = 0.5
"""Kept of the deadline for the thaw: verified thaws of three guests take 0.2 to 0.3 s."""

GRACE_S = 15.0
"""How long after its deadline a guest is asked for its state before it is left to its dead-man. We
count a deadline from our request, the host from its answer, which may take `atom.ARM_S`; and the
dead-man promises its deadline + 1 s."""


class Guest(StrEnum):
    """What a guest says about its file systems; UNKNOWN: nothing; GONE: it does not run (any more), so
    that nothing in it waits for a thaw."""

    FROZEN = "frozen"
    THAWED = "thawed"
    UNKNOWN = "unknown"
    GONE = "gone"


_SETTLED = (Guest.THAWED, Guest.GONE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a host said about one guest of the round.

    `fired`: its dead-man has thawed it, or has tried. `was_frozen`: answer to a thaw: whether the
    guest was still frozen then; None where the host cannot tell, which proves nothing. `error`: why the request failed.
    """

    armed: bool
    guest: Guest
    fired: bool = False
    was_frozen: bool | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observations:
    """All that was seen since the last decision.

    `reports` by server; `silent`: hosts that did not answer, and why. `snapshots`: True when all are
    taken; the reason when they are not. `disarmed`: hosts that have disarmed the round.
    """

    reports: Mapping[str, Report] = dataclasses.field(default_factory=dict)
    silent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    snapshots: bool | str | None = None
    disarmed: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """Arm the dead-men of these guests on one host, for the round's `deadline_s` from now."""

    host: str
    entries: tuple[Entry, ...]
    deadline_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze:
    """Freeze these guests of one host and read their status back, within `timeout_s`."""

    host: str
    entries: tuple[Entry, ...]
    timeout_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TakeSnapshots:
    """Snapshots of all volumes of the group, within `timeout_s`."""

    timeout_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thaw:
    """Thaw these guests of one host and read their status back."""

    host: str
    entries: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disarm:
    """Disarm the round's dead-men of one host."""

    host: str


Action = Arm | Freeze | TakeSnapshots | Thaw | Disarm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The ledger as it is now, what to do, and whether the ledger must be on disk before that."""

    ledger: FreezeLedger
    actions: tuple[Action, ...] = ()
    save_first: bool = False

    @property
    def done(self) -> bool:
        return self.ledger.phase is RoundPhase.DONE


def resumed(ledger: FreezeLedger) -> FreezeLedger:
    """The ledger that a controller finds after a crash: void, and every guest may be held.

    What the lost controller did after it last saved the ledger is not known. In ARMING it had asked
    nobody to freeze, because the ledger is saved at the end of that phase.
    """
    if ledger.phase is RoundPhase.DONE:
        return ledger
    asked = ledger.phase is not RoundPhase.ARMING
    entries = tuple(
        dataclasses.replace(entry, asked=entry.asked or asked, tries=0) for entry in ledger.entries
    )
    ledger = dataclasses.replace(
        ledger, entries=entries, phase=RoundPhase.THAWING, disarm_asked=False, disarmed=()
    )
    return voided(ledger, "the controller was restarted in the middle of the round")


def voided(ledger: FreezeLedger, reason: str) -> FreezeLedger:
    """The ledger with a reason why its data must not be used; the first reason stays."""
    return dataclasses.replace(ledger, void_reason=ledger.void_reason or reason)


def decide(ledger: FreezeLedger, seen: Observations | None, now: Instant) -> Decision:
    """Fold what was seen into the ledger and say what to do now. `seen` None: nothing yet."""
    if seen is not None:
        ledger = _folded(ledger, seen, now)
    before = ledger.phase
    ledger = _moved(ledger, now)
    ledger, actions = _ACTIONS[ledger.phase](ledger, now)
    # Whoever finds the ledger after a crash trusts ARMING to mean that nobody was asked to freeze.
    crossed = before is RoundPhase.ARMING and ledger.phase is not RoundPhase.ARMING
    ended = ledger.phase is RoundPhase.DONE
    return Decision(ledger=ledger, actions=actions, save_first=seen is None or crossed or ended)


def _folded(ledger: FreezeLedger, seen: Observations, now: Instant) -> FreezeLedger:
    before = ledger
    entries = tuple(_seen(entry, before, seen, now) for entry in before.entries)
    ledger = dataclasses.replace(before, entries=entries)
    for entry in before.entries:
        wrong = _wrong(entry, before, seen)
        if wrong:
            ledger = voided(ledger, wrong)
    if seen.snapshots is True:
        ledger = dataclasses.replace(ledger, snapshots_taken=True, snapshots_taken_at=now)
        if _left(ledger, now) <= 0:
            ledger = voided(ledger, "the deadline passed before all snapshots were taken")
    elif seen.snapshots:
        ledger = voided(ledger, f"snapshots failed: {seen.snapshots}")
    disarmed = tuple(sorted({*ledger.disarmed, *seen.disarmed}))
    return dataclasses.replace(ledger, disarmed=disarmed)


def _seen(entry: Entry, ledger: FreezeLedger, seen: Observations, now: Instant) -> Entry:
    """What an answer says about a guest; silence while thawing is counted."""
    report = seen.reports.get(entry.server_id)
    if ledger.phase is RoundPhase.THAWING:
        asked = report is not None or entry.host in seen.silent
        return _thaw_seen(entry, report, now) if asked and entry.held else entry
    if report is None:
        return entry
    if entry.state is EntryState.PLANNED and report.armed:
        return dataclasses.replace(entry, state=EntryState.ARMED)
    # An answer of a guest that was not asked says nothing about our freeze.
    if entry.state is EntryState.ARMED and entry.asked and report.guest is Guest.FROZEN:
        return dataclasses.replace(entry, state=EntryState.FROZEN, frozen_at=now)
    return entry


def _thaw_seen(entry: Entry, report: Report | None, now: Instant) -> Entry:
    if report is not None and report.was_frozen:
        entry = dataclasses.replace(entry, let_go=True)
    if report is None or report.guest not in _SETTLED:
        return dataclasses.replace(entry, tries=entry.tries + 1)
    ours = entry.let_go or report.guest is Guest.THAWED
    state = EntryState.THAWED if ours and not report.fired else EntryState.VOID
    return dataclasses.replace(entry, state=state, thawed_at=now)


def _wrong(entry: Entry, ledger: FreezeLedger, seen: Observations) -> str | None:
    """Why what was seen of a guest voids the round."""
    report = seen.reports.get(entry.server_id)
    if report is None:
        silent = seen.silent.get(entry.host)
        early = ledger.phase in (RoundPhase.ARMING, RoundPhase.FREEZING)
        return f"{entry.name} on host {entry.host}: {silent}" if silent and early else None
    if report.fired:
        return f"the dead-man of {entry.name} fired"
    if ledger.phase is RoundPhase.ARMING:
        return _not_armed(entry, report)
    if ledger.phase is RoundPhase.FREEZING and entry.asked and report.guest is not Guest.FROZEN:
        return f"{entry.name} could not be frozen: {report.error or f'it is {report.guest}'}"
    if ledger.phase is RoundPhase.THAWING and entry.held and not entry.let_go:
        return _not_let_go(entry, report)
    return None


def _not_let_go(entry: Entry, report: Report) -> str | None:
    """A guest that is thawed but was not frozen until we thawed it may have written meanwhile."""
    if report.was_frozen is True or (report.guest not in _SETTLED and report.was_frozen is None):
        return None
    return f"{entry.name} was not frozen any more when we thawed it"


def _not_armed(entry: Entry, report: Report) -> str | None:
    if not report.armed:
        return f"the dead-man of {entry.name} was not armed: {report.error or 'no reason is given'}"
    if report.guest is not Guest.THAWED:
        return f"{entry.name} is {report.guest} before the round: {report.error or 'no reason'}"
    return None


def _moved(ledger: FreezeLedger, now: Instant) -> FreezeLedger:
    """The ledger in the phase that follows from it; several steps at once if need be."""
    while (following := _following(ledger, now)) is not ledger.phase:
        ledger = dataclasses.replace(ledger, phase=following)
    return ledger


def _following(ledger: FreezeLedger, now: Instant) -> RoundPhase:
    early = (RoundPhase.ARMING, RoundPhase.FREEZING, RoundPhase.SNAPSHOTTING)
    if ledger.phase in early and (ledger.void_reason or ledger.snapshots_taken):
        return RoundPhase.THAWING
    states = {entry.state for entry in ledger.entries}
    if ledger.phase is RoundPhase.ARMING and states == {EntryState.ARMED}:
        return RoundPhase.FREEZING
    if ledger.phase is RoundPhase.FREEZING and states == {EntryState.FROZEN}:
        return RoundPhase.SNAPSHOTTING
    if ledger.phase is RoundPhase.THAWING and not any(entry.held for entry in ledger.entries):
        return RoundPhase.DISARMING
    if ledger.phase is RoundPhase.DISARMING and _disarmed(ledger, now):
        return RoundPhase.DONE
    return ledger.phase


def _disarmed(ledger: FreezeLedger, now: Instant) -> bool:
    """A dead-man that is still armed after its deadline has nothing left to do."""
    over = ledger.disarm_asked and _left(ledger, now) < -GRACE_S
    return ledger.armed_from is None or set(ledger.hosts) <= set(ledger.disarmed) or over


def _left(ledger: FreezeLedger, now: Instant) -> float:
    """Seconds until the first dead-man may fire."""
    armed = ledger.armed_from
    return ledger.deadline_s if armed is None else now.left(armed, ledger.deadline_s)


Step = tuple[FreezeLedger, tuple[Action, ...]]


def _arm(ledger: FreezeLedger, now: Instant) -> Step:
    wanting = [each for each in ledger.entries if each.state is EntryState.PLANNED]
    ledger = _changed(
        ledger,
        lambda entry: dataclasses.replace(entry, armed_at=now),
        {each.server_id for each in wanting},
    )
    actions = tuple(
        Arm(host=host, entries=entries, deadline_s=ledger.deadline_s)
        for host, entries in _by_host(wanting)
    )
    return ledger, actions


def _freeze(ledger: FreezeLedger, now: Instant) -> Step:
    left = _left(ledger, now) - THAW_RESERVE_S
    if left <= 0:
        return _give_up(ledger, now, "there was no time left to freeze all guests")
    waiting = [each for each in ledger.entries if each.state is EntryState.ARMED]
    level = min(each.level for each in waiting)
    ledger = _changed(
        ledger,
        lambda entry: dataclasses.replace(entry, asked=True, freeze_asked_at=now),
        {each.server_id for each in waiting if each.level == level and not each.asked},
    )
    asked = [each for each in ledger.entries if each.state is EntryState.ARMED and each.asked]
    actions = tuple(
        Freeze(host=host, entries=entries, timeout_s=left) for host, entries in _by_host(asked)
    )
    return ledger, actions


def _snapshot(ledger: FreezeLedger, now: Instant) -> Step:
    left = _left(ledger, now) - THAW_RESERVE_S
    if left <= 0:
        return _give_up(ledger, now, "there was no time left for the snapshots")
    if ledger.snapshots_asked:
        return _give_up(ledger, now, "nothing was heard of the snapshots")
    return dataclasses.replace(ledger, snapshots_asked=True), (TakeSnapshots(timeout_s=left),)


def _give_up(ledger: FreezeLedger, now: Instant, reason: str) -> Step:
    ledger = _moved(voided(ledger, reason), now)
    return _ACTIONS[ledger.phase](ledger, now)


def _thaw(ledger: FreezeLedger, now: Instant) -> Step:
    held = [each for each in ledger.entries if each.held]
    if _left(ledger, now) < -GRACE_S and all(each.tries for each in held):
        return _leave_to_dead_men(ledger, now)
    # Who has been asked in vain is asked again, but does not hold back those below it.
    fresh = [each.level for each in held if each.tries == 0]
    level = max(fresh, default=min(each.level for each in held))
    asked = [each for each in held if each.level >= level]
    return ledger, tuple(Thaw(host=host, entries=entries) for host, entries in _by_host(asked))


def _leave_to_dead_men(ledger: FreezeLedger, now: Instant) -> Step:
    held = [each for each in ledger.entries if each.held]
    ledger = _changed(
        ledger,
        lambda entry: dataclasses.replace(entry, state=EntryState.VOID, verified=False),
        {each.server_id for each in held},
    )
    return _give_up(
        ledger,
        now,
        f"nobody could say whether {names(held)} is thawed when its deadline had passed",
    )


def _disarm(ledger: FreezeLedger, now: Instant) -> Step:
    waiting = (host for host in ledger.hosts if host not in ledger.disarmed)
    ledger = dataclasses.replace(ledger, disarm_asked=True)
    return ledger, tuple(Disarm(host=host) for host in waiting)


def _nothing(ledger: FreezeLedger, now: Instant) -> Step:
    return ledger, ()


_ACTIONS: Mapping[RoundPhase, Callable[[FreezeLedger, Instant], Step]] = {
    RoundPhase.ARMING: _arm,
    RoundPhase.FREEZING: _freeze,
    RoundPhase.SNAPSHOTTING: _snapshot,
    RoundPhase.THAWING: _thaw,
    RoundPhase.DISARMING: _disarm,
    RoundPhase.DONE: _nothing,
}


def _changed(
    ledger: FreezeLedger, change: Callable[[Entry], Entry], servers: Iterable[str]
) -> FreezeLedger:
    which = frozenset(servers)
    entries = tuple(
        change(entry) if entry.server_id in which else entry for entry in ledger.entries
    )
    return dataclasses.replace(ledger, entries=entries)


def _by_host(entries: Iterable[Entry]) -> list[tuple[str, tuple[Entry, ...]]]:
    hosts: dict[str, list[Entry]] = {}
    for entry in entries:
        hosts.setdefault(entry.host, []).append(entry)
    return [(host, tuple(found)) for host, found in hosts.items()]
