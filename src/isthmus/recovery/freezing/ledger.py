"""The freeze ledger: which guests may be held, by which round, until when.

It exists so that whoever comes after a crash knows every guest that could be frozen, because the
ledger was written before any guest was asked. It is a value: `machine` changes it, `atom` saves it.
Nothing inside the freeze window needs to be saved: what was written before the first freeze already
names all guests.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus import errors
from isthmus.recovery import documents
from isthmus.recovery.declarations import Group
from isthmus.recovery.documents import Moment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instant:
    """A moment by two clocks of this machine. `monotonic` (seconds) counts within one `boot`."""

    wall: Moment
    monotonic: float
    boot: str

    def seconds_since(self, other: Instant) -> float:
        """Seconds from `other` to this; by the wall clock only where the other clock was reset."""
        if self.boot == other.boot:
            return self.monotonic - other.monotonic
        return (self.wall - other.wall).total_seconds()

    def left(self, asked: Instant, seconds: float) -> float:
        """Seconds that are left of `seconds` from `asked`; negative when they have passed."""
        return seconds - self.seconds_since(asked)


class EntryState(enum.StrEnum):
    """What is known about one guest in the round."""

    PLANNED = "planned"
    ARMED = "armed"  # its dead-man is armed and has said so
    FROZEN = "frozen"  # the guest said so, after its dead-man was armed
    THAWED = "thawed"  # the guest said so, after we asked
    VOID = "void"  # not by us: its dead-man fired, or its deadline passed and nobody answers


class RoundPhase(enum.StrEnum):
    """Where a round is on its way."""

    ARMING = "arming"
    FREEZING = "freezing"
    SNAPSHOTTING = "snapshotting"
    THAWING = "thawing"
    DISARMING = "disarming"
    DONE = "done"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One guest. `armed_at`: when its dead-man was *asked* to be armed, by our clock, so that it
    fires no earlier than the round's deadline after that. `asked`: whether it may have been asked to
    freeze. `let_go`: it was frozen until our thaw. `tries`: how often it was asked to thaw without
    saying that it has."""

    server_id: str
    name: str
    host: str
    domain: str
    level: int
    state: EntryState = EntryState.PLANNED
    armed_at: Instant | None = None
    asked: bool = False
    let_go: bool = False
    tries: int = 0
    verified: bool = True
    freeze_asked_at: Instant | None = None
    frozen_at: Instant | None = None
    thawed_at: Instant | None = None

    @property
    def held(self) -> bool:
        """Whether the guest may be frozen, as far as anybody knows."""
        return self.asked and self.state not in (EntryState.THAWED, EntryState.VOID)

    @property
    def window_s(self) -> float | None:
        """Seconds from the request to freeze to the guest's word that it is thawed."""
        if self.freeze_asked_at is None or self.thawed_at is None:
            return None
        return self.thawed_at.seconds_since(self.freeze_asked_at)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreezeLedger:
    """One round of freezing one group.

    Invariants (kept by `machine`): an entry is asked to freeze only after all entries are armed; a
    round with a `void_reason` never loses it and never takes snapshots; `done` only when no entry is
    held.
    """

    round_id: str
    group_id: str
    epoch: int
    deadline_s: float
    entries: tuple[Entry, ...]
    phase: RoundPhase = RoundPhase.ARMING
    snapshots_taken: bool = False
    snapshots_taken_at: Instant | None = None
    snapshots_asked: bool = False
    disarm_asked: bool = False
    disarmed: tuple[str, ...] = ()
    void_reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the snapshots of the round are one point in time of all guests."""
        return (
            self.phase is RoundPhase.DONE
            and self.void_reason is None
            and self.snapshots_taken
            and all(entry.state is EntryState.THAWED for entry in self.entries)
        )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of its guests, each once."""
        return tuple(sorted({entry.host for entry in self.entries}))

    @property
    def armed_from(self) -> Instant | None:
        """When the first of the dead-men was asked to be armed: the one that fires first."""
        armed = [entry.armed_at for entry in self.entries if entry.armed_at is not None]
        return min(armed, key=lambda each: (each.wall, each.monotonic), default=None)

    @property
    def levels(self) -> tuple[int, ...]:
        """Ascending: the order of freezing."""
        return tuple(sorted({entry.level for entry in self.entries}))

    @property
    def unverified(self) -> tuple[Entry, ...]:
        """Guests of which nobody has said that they are thawed; their dead-men have the word."""
        return tuple(entry for entry in self.entries if not entry.verified)

    @property
    def frozen_at(self) -> Instant | None:
        """When the last guest was seen frozen: the point in time of the data."""
        seen = [entry.frozen_at for entry in self.entries if entry.frozen_at is not None]
        if len(seen) < len(self.entries):
            return None
        return max(seen, key=lambda each: each.monotonic)

    @property
    def window_s(self) -> float | None:
        """Seconds from the first request to freeze to the last guest's word that it is thawed."""
        first = [entry.freeze_asked_at for entry in self.entries if entry.freeze_asked_at]
        last = [entry.thawed_at for entry in self.entries if entry.thawed_at]
        if not first or len(last) < len(self.entries):
            return None
        began = min(first, key=lambda each: each.monotonic)
        return max(each.seconds_since(began) for each in last)

    @property
    def stages_s(self) -> dict[str, float]:
        """What the window was spent on, in seconds; empty where it is not known."""
        frozen, taken, window = self.frozen_at, self.snapshots_taken_at, self.window_s
        asked = [entry.freeze_asked_at for entry in self.entries if entry.freeze_asked_at]
        if frozen is None or taken is None or window is None:
            return {}
        freezing = max(frozen.seconds_since(each) for each in asked)
        snapshots = taken.seconds_since(frozen)
        return {
            "freezing": freezing,
            "snapshots": snapshots,
            "thawing": window - freezing - snapshots,
        }

    @property
    def windows_s(self) -> dict[str, float]:
        """Seconds by server, of those that are known."""
        known = ((entry.server_id, entry.window_s) for entry in self.entries)
        return {server_id: window for server_id, window in known if window is not None}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FreezeLedger:
        """From JSON. Raises InputError when it has not the promised shape."""
        try:
            return documents.read(cls, document)
        except documents.ShapeError as error:
            raise errors.InputError(
                "a freeze ledger cannot be read",
                cause=str(error),
                unchanged="it is left as it is; dead-men thaw the guests at their deadline",
            ) from error

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(documents.write(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Where the guest of a server runs."""

    host: str
    domain: str

    @classmethod
    def of(cls, server: Mapping[str, Any]) -> Whereabouts:
        """By what Nova tells an administrator of the server."""
        return cls(
            host=str(server["OS-EXT-SRV-ATTR:host"]),
            domain=str(server["OS-EXT-SRV-ATTR:instance_name"]),
        )


def planned(
    group: Group,
    *,
    round_id: str,
    epoch: int,
    deadline_s: float,
    whereabouts: Mapping[str, Whereabouts],
) -> FreezeLedger:
    """The ledger of a new round. `whereabouts` by server ID; raises KeyError if one is missing."""
    entries = tuple(
        Entry(
            server_id=member.server_id,
            name=member.name,
            host=whereabouts[member.server_id].host,
            domain=whereabouts[member.server_id].domain,
            level=member.level,
        )
        for member in group.members
    )
    return FreezeLedger(
        round_id=round_id, group_id=group.id, epoch=epoch, deadline_s=deadline_s, entries=entries
    )


def names(entries: Iterable[Entry]) -> str:
    """The names of some guests, for a sentence."""
    return ", ".join(sorted(entry.name for entry in entries))
