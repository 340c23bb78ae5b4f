"""Which checkpoints may go, so that no chain of backups ever loses a part.

It exists as one pure function over all checkpoints of a group. A checkpoint goes as a whole or not
at all: as long as one of its backups is in the chain of one that stays, it stays too and can still
be returned to. Nothing is deleted here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus.recovery.checkpoints import Checkpoint, Phase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """`delete`: in this order, so that increments go before what they stand on. `held`: older than
    what the policy keeps, but needed."""

    delete: tuple[Checkpoint, ...]
    keep: tuple[Checkpoint, ...]
    held: tuple[Checkpoint, ...]

    @property
    def backups(self) -> tuple[str, ...]:
        """The backups to delete, in order."""
        return tuple(each.backup_id for one in self.delete for each in one.backups)


def judge(
    checkpoints: Sequence[Checkpoint], keep: int, pinned: frozenset[str] = frozenset()
) -> Verdict:
    """What to delete. `keep`: how many available ones stay; `pinned`: IDs of those that an operation
    is using.

    Invariants: the `keep` newest available ones stay; so does whatever is being created, and every
    part of every chain of what stays; the order of `delete` never leaves an increment without its
    parent. What is void or in error goes once something newer is available, because until then it
    may be all that tells what happened.
    """
    newest = sorted(checkpoints, key=lambda each: each.seq, reverse=True)
    good = [each for each in newest if each.phase is Phase.AVAILABLE]
    last_good = good[0].seq if good else 0
    chosen = {each.id for each in good[:keep]} | pinned
    chosen |= {each.id for each in newest if each.phase is Phase.CREATING}
    chosen |= {
        each.id
        for each in newest
        if each.phase in (Phase.VOID, Phase.ERROR) and each.seq > last_good
    }
    needed = _needed(newest, chosen)
    return Verdict(
        delete=tuple(each for each in newest if each.id not in needed),
        keep=tuple(each for each in newest if each.id in chosen),
        held=tuple(each for each in newest if each.id in needed - chosen),
    )


def _needed(checkpoints: Sequence[Checkpoint], chosen: set[str]) -> set[str]:
    """The chosen ones and, again and again, those that hold a part of one of their chains."""
    needed = set(chosen)
    while True:
        parts = {
            part
            for each in checkpoints
            if each.id in needed
            for backup in each.backups
            for part in backup.chain
        }
        more = {
            each.id
            for each in checkpoints
            if each.id not in needed and any(b.backup_id in parts for b in each.backups)
        }
        if not more:
            return needed
        needed |= more
