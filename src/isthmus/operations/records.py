"""Operations in the database: read, made, and changed together with a row of the audit trail.

A change is computed by `machine.advance` from what is stored and written only if nobody else changed
it meanwhile; otherwise it is computed anew, so that two people (or a person and an engine) never
undo each other unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import orm

from isthmus import errors
from isthmus.operations import machine, trail
from isthmus.operations.machine import Event
from isthmus.operations.values import Operation, Phase
from isthmus.store import databases, tables
from isthmus.store import operations as rows

ATTEMPTS = 10


def insert(
    database: databases.Database, operation: Operation, request_key: str | None
) -> Operation:
    """Store a new operation. Returns the one that the same request made before, if it did."""

    def action(session: orm.Session) -> None:
        row = tables.Operation(
            id=operation.id,
            kind=operation.kind,
            group_id=operation.group_id,
            phase=operation.phase,
            outcome=operation.outcome,
            requested_at=operation.requested_at,
            request_key=request_key,
            revision=operation.revision,
            document=operation.to_document(),
        )
        rows.insert(session, row)
        trail.note(
            session,
            operation.id,
            operation.requested_at,
            "requested",
            operation.by.name,
            kind=operation.kind,
            group=operation.group_id,
            origin=operation.origin,
        )

    try:
        database.write(action)
    except databases.TakenError:
        found = None
        if request_key:
            found = database.read(lambda session: rows.by_key(session, request_key))
        if found is None:
            raise errors.BusyError(
                "the operation was not stored",
                cause="its id is taken",
                unchanged="nothing was done",
            ) from None
        return Operation.from_document(found)
    return operation


def read(database: databases.Database, operation_id: str) -> Operation:
    """The operation. Raises UsageError when there is none, UnavailableError."""
    found = database.read(lambda session: rows.document(session, operation_id))
    if found is None:
        raise errors.UsageError(
            f"there is no operation {operation_id!r}",
            cause="this site's engine knows none with that id",
            unchanged="nothing was done",
            next_command="isthmus operation list",
        )
    return Operation.from_document(found)


def listed(
    database: databases.Database,
    *,
    group_id: str | None = None,
    phases: Collection[Phase] | None = None,
    limit: int = 200,
) -> tuple[Operation, ...]:
    """Operations, the newest first."""
    found = database.read(
        lambda session: rows.documents(session, group_id=group_id, phases=phases, limit=limit)
    )
    return tuple(Operation.from_document(each) for each in found)


def change(
    database: databases.Database,
    operation_id: str,
    event: Callable[[Operation], Event],
    *,
    did: str,
    by: str,
    **facts: Any,
) -> Operation:
    """Advance the stored operation by an event, which may depend on it.

    Raises what `machine.advance` raises, UnavailableError, BusyError (others changed it all the
    time).
    """
    for _ in range(ATTEMPTS):
        found = read(database, operation_id)
        happened = event(found)
        changed = machine.advance(found, happened)
        if _replaced(database, found, changed, happened, did=did, by=by, facts=facts):
            return changed
    raise errors.BusyError(
        "the operation was not changed",
        where=operation_id,
        cause="others are changing it",
        unchanged="nothing was changed",
    )


def _replaced(
    database: databases.Database,
    found: Operation,
    changed: Operation,
    event: Event,
    *,
    did: str,
    by: str,
    facts: dict[str, Any],
) -> bool:
    def action(session: orm.Session) -> bool:
        won = rows.replace(
            session,
            found.id,
            revision=found.revision,
            phase=changed.phase,
            outcome=changed.outcome,
            document=changed.to_document(),
        )
        if won:
            ended = {
                "phase": str(changed.phase),
                "outcome": changed.outcome and str(changed.outcome),
            }
            trail.note(session, found.id, event.at, did, by, **ended, **facts)
        return won

    return database.write(action)
