"""Rows of operations, their steps, and the things that they make."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from isthmus.store.tables import Operation, Step, Thing

Document = Mapping[str, Any]


def insert(session: orm.Session, row: Operation) -> None:
    """A new operation; TakenError when the id or the request key is known already."""
    session.add(row)
    session.flush()


def document(session: orm.Session, operation_id: str) -> dict[str, Any] | None:
    """The document of an operation."""
    asked = sa.select(Operation.document).where(Operation.id == operation_id)
    return session.execute(asked).scalar()


def by_key(session: orm.Session, request_key: str) -> dict[str, Any] | None:
    """The operation that was made for a request."""
    asked = sa.select(Operation.document).where(Operation.request_key == request_key)
    return session.execute(asked).scalar()


def replace(
    session: orm.Session,
    operation_id: str,
    *,
    revision: int,
    phase: str,
    outcome: str | None,
    document: Document,
) -> bool:
    """Store the successor of `revision`; False when that is not what is stored any more."""
    changed = session.execute(
        sa.update(Operation)
        .where(Operation.id == operation_id, Operation.revision == revision)
        .values(phase=phase, outcome=outcome, document=dict(document), revision=revision + 1)
        .execution_options(synchronize_session=False)
    )
    return bool(changed.rowcount == 1)  # type: ignore[attr-defined]


def documents(
    session: orm.Session,
    *,
    group_id: str | None = None,
    phases: Collection[str] | None = None,
    limit: int = 200,
) -> list[dict[str, Any]]:
    """Documents of operations, the newest first."""
    asked = sa.select(Operation.document)
    if group_id is not None:
        asked = asked.where(Operation.group_id == group_id)
    if phases is not None:
        asked = asked.where(Operation.phase.in_(sorted(phases)))
    return list(session.scalars(asked.order_by(Operation.requested_at.desc()).limit(limit)))


def put_step(session: orm.Session, row: Step) -> None:
    """How far a step is now."""
    session.merge(row)


def step(session: orm.Session, operation_id: str, part: str, name: str) -> Step | None:
    """One step, if it was begun."""
    return session.get(Step, (operation_id, part, name))


def steps(session: orm.Session, operation_id: str) -> list[Step]:
    """All steps of an operation that were begun."""
    found = session.scalars(sa.select(Step).where(Step.operation_id == operation_id)).all()
    session.expunge_all()
    return list(found)


def intend(session: orm.Session, row: Thing) -> None:
    """Write down that a thing will be made, unless that is written already."""
    known = session.scalars(
        sa.select(Thing).where(
            Thing.operation_id == row.operation_id,
            Thing.kind == row.kind,
            Thing.site == row.site,
            Thing.name == row.name,
        )
    ).first()
    if known is None:
        session.add(row)


def set_thing(session: orm.Session, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Change what is known of a thing; `key`: columns that name it."""
    named = [getattr(Thing, column) == value for column, value in key.items()]
    session.execute(
        sa.update(Thing).where(*named).values(**values).execution_options(synchronize_session=False)
    )


def things(session: orm.Session, operation_id: str) -> list[Thing]:
    """The things of an operation, in the order in which they were begun."""
    asked = sa.select(Thing).where(Thing.operation_id == operation_id).order_by(Thing.sequence)
    found = session.scalars(asked).all()
    session.expunge_all()
    return list(found)
