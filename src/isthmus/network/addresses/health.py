"""What probes of a target say about it: pure.

It exists so that one lost packet moves no address, and one lucky one moves none back. Probing is
the host agent's (`isthmus.agent.host.checking`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from isthmus.network.addresses.declarations import Check


class Health(enum.StrEnum):
    """What is known of a target."""

    UNKNOWN = "unknown"
    """It was not probed often enough, or its gateway does not answer."""
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The run of equal results at the end, and what it has led to. `since`: when `health` changed,
    by the clock of the one who probes."""

    health: Health = Health.UNKNOWN
    since: float = 0.0
    good: int = 0
    bad: int = 0
    reason: str = "not probed yet"


def probed(record: Record, check: Check, fault: str | None, now: float) -> Record:
    """The record after one more probe; `fault` says in words why it failed, None: it did not.

    A target of which nothing is known yet is judged by its first probe.
    """
    first = record.health is Health.UNKNOWN
    good = record.good + 1 if fault is None else 0
    bad = 0 if fault is None else record.bad + 1
    record = replace(record, good=good, bad=bad, reason=fault or "")
    if good >= (1 if first else check.rise) and record.health is not Health.HEALTHY:
        return replace(record, health=Health.HEALTHY, since=now)
    if bad >= check.fall and record.health is not Health.UNHEALTHY:
        return replace(record, health=Health.UNHEALTHY, since=now)
    return record
