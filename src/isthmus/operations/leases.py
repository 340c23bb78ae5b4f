"""Who may act on a group: decisions about leases, over values.

A lease names its owner (one process of one engine) and an epoch. Whoever takes a lease that is free,
expired or already his own raises the epoch. Whoever acts says with which epoch; an engine that slept
through its lease therefore meets a higher one and is refused, whatever its own clock says.

Invariant (attacked by Hypothesis): of all who ever held the lease of a subject, only the one with the
highest epoch passes `stands`; epochs never repeat and never go back.
"""

from __future__ import annotations

import dataclasses

from isthmus import errors

SECONDS = 15.0
"""How long a lease lasts without being renewed: what a resume by another engine waits at most. It is
renewed three times as often; a garbage collection or a slow disk must not lose it."""


class FencedError(errors.BusyError):
    """The lease is somebody else's now: whoever gets this must touch nothing more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lease:
    """`expires_at` is by the database's clock, seconds since 1970."""

    subject: str
    epoch: int
    owner: str
    operation_id: str
    expires_at: float

    def same(self, other: Lease | None) -> bool:
        """Whether the other one is this very tenure."""
        return other is not None and (self.epoch, self.owner) == (other.epoch, other.owner)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """Somebody wants a lease. `above`: the new epoch has to be higher than this one too, because it
    was seen somewhere else (a marker in a store)."""

    subject: str
    owner: str
    operation_id: str
    now: float
    lasts: float = SECONDS
    above: int = 0


def taken(found: Lease | None, claim: Claim) -> Lease | None:
    """The lease as it will be when the claim is granted; None when somebody else has it."""
    if found is not None and found.owner != claim.owner and claim.now < found.expires_at:
        return None
    return Lease(
        subject=claim.subject,
        epoch=max(found.epoch if found else 0, claim.above) + 1,
        owner=claim.owner,
        operation_id=claim.operation_id,
        expires_at=claim.now + claim.lasts,
    )


def renewed(found: Lease | None, mine: Lease, now: float, lasts: float = SECONDS) -> Lease | None:
    """My lease for longer; None when it is not mine any more. One that has expired and that nobody
    took is still mine: nobody can have acted meanwhile."""
    return dataclasses.replace(mine, expires_at=now + lasts) if mine.same(found) else None


def stands(found: Lease | None, mine: Lease) -> bool:
    """Whether I may still act."""
    return mine.same(found)


def released(mine: Lease) -> Lease:
    """My lease, given back: the row stays for the sake of its epoch."""
    return dataclasses.replace(mine, expires_at=0.0)
