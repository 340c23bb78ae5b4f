"""The consistency level that a checkpoint really reached.

It exists so that a checkpoint is called what it is: the level follows from what was seen, never from
what the policy asked for. Cinder's group snapshots are a loop over volumes on most backends (rbd,
lvm and generic nfs among them), so "group" in a name of the API proves nothing.
"""

from __future__ import annotations

import dataclasses
import enum


class Consistency(enum.StrEnum):
    """What the data of one checkpoint have in common, best first."""

    APP_ORDERED = "app-ordered"
    """All guests were verified frozen, in the declared order, while all snapshots were taken: who
    asked stopped before who answers, so that no answer is on disk without its question."""
    FS_PER_VM = "fs-per-vm"
    """Each guest's file systems were frozen while its own volumes were taken, but not all guests at
    one time, or not in the declared order."""
    CRASH_GROUP = "crash-group"
    """No guest was frozen; the storage took all volumes at one point in time."""
    CRASH_VOLUME = "crash-volume"
    """Each volume is as after a loss of power, each at its own moment."""

    @property
    def rank(self) -> int:
        """0 is best."""
        return list(Consistency).index(self)

    def reaches(self, asked: Consistency) -> bool:
        """Whether this is as good as what was asked for, or better."""
        return self.rank <= asked.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What was verified about one round.

    `frozen_throughout`: servers whose guest was seen frozen before the first snapshot of its volumes
    was asked for and was still frozen when it was thawed after the last. `in_order`: every level was
    seen frozen before the next was asked to freeze. `common`: there was a moment at which all
    guests were frozen and in which all snapshots were taken. `atomic`: the storage itself promises
    one point in time for all volumes.
    """

    servers: frozenset[str]
    frozen_throughout: frozenset[str]
    in_order: bool
    common: bool
    atomic: bool = False


def reached(seen: Seen) -> Consistency:
    """The level that was reached."""
    if seen.servers and seen.servers <= seen.frozen_throughout:
        ordered = seen.in_order and seen.common
        return Consistency.APP_ORDERED if ordered else Consistency.FS_PER_VM
    return Consistency.CRASH_GROUP if seen.atomic else Consistency.CRASH_VOLUME
