"""Documents that people declare (groups, policies, plans), and what is known of checkpoints.

A change says which revision it was made from, and is refused when somebody else was first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from isthmus.store.tables import Checkpoint, Group, Policy, RecoveryPlan

Document = dict[str, Any]
Table = type[Group] | type[Policy] | type[RecoveryPlan]


def insert(
    session: orm.Session, table: Table, *, id: str, name: str, scope: str, document: Document
) -> None:
    """A new one of revision 1; TakenError when its id, or its name in the scope, is taken."""
    session.add(table(id=id, name=name, scope=scope, revision=1, document=document))
    session.flush()


def replace(
    session: orm.Session, table: Table, *, id: str, revision: int, name: str, document: Document
) -> bool:
    """Store the successor of `revision`; False when that is not what is stored any more."""
    changed = session.execute(
        sa.update(table)
        .where(table.id == id, table.revision == revision)
        .values(name=name, document=document, revision=revision + 1)
        .execution_options(synchronize_session=False)
    )
    return bool(changed.rowcount == 1)  # type: ignore[attr-defined]


def remove(session: orm.Session, table: Table, id: str) -> bool:
    """Forget one; whether it was there."""
    gone = session.execute(sa.delete(table).where(table.id == id))
    return bool(gone.rowcount)  # type: ignore[attr-defined]


def rows(
    session: orm.Session, table: Table, *, scope: str | None = None
) -> list[tuple[str, int, Document]]:
    """Id, revision and document of all, by name."""
    asked = sa.select(table.id, table.revision, table.document).order_by(table.name)
    if scope is not None:
        asked = asked.where(table.scope == scope)
    return [(row[0], row[1], row[2]) for row in session.execute(asked)]


def put_checkpoint(
    session: orm.Session,
    *,
    id: str,
    group_id: str,
    sequence: int,
    phase: str,
    document: Mapping[str, Any],
) -> None:
    """Store what is known of a checkpoint now; TakenError when another has its sequence number."""
    known = session.get(Checkpoint, id)
    session.merge(
        Checkpoint(
            id=id,
            group_id=group_id,
            sequence=sequence,
            phase=phase,
            revision=known.revision + 1 if known else 1,
            document=dict(document),
        )
    )
    session.flush()


def checkpoints(
    session: orm.Session, *, group_id: str | None = None, phases: Collection[str] | None = None
) -> list[Document]:
    """Documents of checkpoints, the newest of each group first."""
    asked = sa.select(Checkpoint.document)
    if group_id is not None:
        asked = asked.where(Checkpoint.group_id == group_id)
    if phases is not None:
        asked = asked.where(Checkpoint.phase.in_(sorted(phases)))
    order = asked.order_by(Checkpoint.group_id, Checkpoint.sequence.desc())
    return list(session.scalars(order))


def checkpoint(session: orm.Session, id: str) -> Document | None:
    """The document of one checkpoint."""
    return session.execute(sa.select(Checkpoint.document).where(Checkpoint.id == id)).scalar()


def last_sequence(session: orm.Session, group_id: str) -> int:
    """The highest sequence number that a checkpoint of the group ever had here, 0 for none."""
    asked = sa.select(sa.func.max(Checkpoint.sequence)).where(Checkpoint.group_id == group_id)
    return int(session.execute(asked).scalar() or 0)


def forget_checkpoint(session: orm.Session, id: str) -> None:
    """Forget one; nothing happens if it is not there."""
    session.execute(sa.delete(Checkpoint).where(Checkpoint.id == id))
