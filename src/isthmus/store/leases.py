"""Rows of leases: read, and compared and set. Who may have one is decided by `isthmus.operations`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from isthmus.store.tables import Lease


def row(session: orm.Session, subject: str) -> Lease | None:
    """The lease of a subject."""
    return session.get(Lease, subject, populate_existing=True)


def insert(session: orm.Session, lease: Lease) -> None:
    """The first lease of a subject; TakenError at the end of the statement if there is one."""
    session.add(lease)
    session.flush()


def replace(session: orm.Session, lease: Lease, *, epoch: int, owner: str) -> bool:
    """Set the row if it still has this epoch and owner; whether it was set."""
    values = {
        "epoch": lease.epoch,
        "owner": lease.owner,
        "operation_id": lease.operation_id,
        "expires_at": lease.expires_at,
    }
    changed = session.execute(
        sa.update(Lease)
        .where(Lease.subject == lease.subject, Lease.epoch == epoch, Lease.owner == owner)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    return bool(changed.rowcount == 1)  # type: ignore[attr-defined]


def stands(connection: sa.Connection, subject: str, *, epoch: int, owner: str) -> bool:
    """Whether the lease is still this one; it stays so until the transaction ends."""
    found = connection.execute(
        sa.select(Lease.epoch)
        .where(Lease.subject == subject, Lease.epoch == epoch, Lease.owner == owner)
        .with_for_update(read=True)
    )
    return found.first() is not None
