"""What is looked at before an operation, for every kind: who owns the group, who is at it already.

Findings of the plan; an ERROR refuses the operation before anything is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from isthmus import errors
from isthmus.operations.kinds import Kind
from isthmus.operations.values import Finding, Level, Operation, Phase
from isthmus.recovery import epochs
from isthmus.recovery import findings as recovery
from isthmus.recovery.declarations import Group
from isthmus.recovery.epochs import Marker
from isthmus.recovery.snapshots import Driver


def owner(site: str, group: Group, latest: Marker | None) -> Iterator[Finding]:
    """Whether the site may run the members, by the epoch marker in the store."""
    own = latest.epoch if latest is not None and latest.site == site else 0
    why = epochs.may_run(site, own, latest)
    if why is not None:
        yield Finding(
            level=Level.ERROR,
            summary=f"site {site} does not own group {group.name} any more",
            cause=why,
            remedy="do not start its members here; their servers run in the other site",
        )


def others(operation: Operation, known: Sequence[Operation]) -> Iterator[Finding]:
    """Operations on the group that have begun and not ended."""
    harmless = (Phase.PLANNING, Phase.AWAITING_APPROVAL, Phase.FINISHED)
    for each in known:
        if each.id == operation.id or each.phase in harmless:
            continue
        stands_back = operation.kind is Kind.FAILOVER and each.kind in (Kind.DRILL, Kind.PROTECT)
        cleans = operation.kind is Kind.CLEANUP
        yield Finding(
            level=Level.WARN if stands_back or cleans else Level.ERROR,
            summary=f"{each.kind} {each.id} of the group is {each.phase}",
            cause="one operation at a time acts on a group",
            remedy="it is cancelled when the failover begins"
            if stands_back
            else f"isthmus operation show {each.id}",
        )


def storage(driver: Callable[[], Driver]) -> Sequence[Finding]:
    """What the driver that `driver` makes says of the storage that it takes snapshots on."""
    try:
        made = driver()
        try:
            return tuple(as_findings(made.findings()))
        finally:
            made.close()
    except errors.IsthmusError as error:
        return (
            Finding(
                level=Level.ERROR,
                summary="no snapshot could be taken",
                cause=str(error),
                remedy=error.next_command or "ask again when the storage answers",
            ),
        )


def as_findings(found: Sequence[recovery.Finding]) -> Iterator[Finding]:
    """Findings of validation in the words of a plan."""
    for each in found:
        servers = f" (needed by {', '.join(each.servers)})" if each.servers else ""
        yield Finding(
            level=Level(each.outcome.value),
            summary=f"{each.subject}: {each.summary}{servers}",
            cause=each.cause,
            remedy=each.remedy,
        )
