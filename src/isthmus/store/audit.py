"""Rows of the audit trail: added, read, never changed. What a digest covers is the caller's matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, orm

from isthmus.store.tables import AuditEntry

START = "0" * 64
"""What the first row has for a predecessor."""

ATTEMPTS = 20
"""How often the end of the trail is looked for anew when others append at the same time."""


PAGE = 1000
"""Rows that are read at once."""


def append(
    session: orm.Session,
    *,
    at: float,
    subject: str,
    document: Mapping[str, Any],
    seal: Callable[[str], str],
) -> None:
    """Add a row; `seal` gives its digest for the digest of its predecessor.

    Two rows never have the same predecessor: the second of two writers seals again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        previous = _last(session)
        entry = AuditEntry(
            previous=previous,
            digest=seal(previous),
            at=at,
            subject=subject,
            document=dict(document),
        )
        try:
            with session.begin_nested():
                session.add(entry)
        except exc.IntegrityError:
            if attempt == ATTEMPTS:
                raise
        else:
            return


def _last(session: orm.Session) -> str:
    # The first row is the turnstile: whoever has it locked is the only one to append. Locking the
    # last row instead lets those who waited for it see it though it is not the last any more.
    first = sa.select(AuditEntry.sequence).order_by(AuditEntry.sequence).limit(1)
    session.execute(first.with_for_update())
    newest = sa.select(AuditEntry.digest).order_by(AuditEntry.sequence.desc()).limit(1)
    return session.execute(newest).scalar() or START


def rows(
    session: orm.Session, subject: str | None = None, *, after: int = 0, limit: int = PAGE
) -> list[AuditEntry]:
    """Rows in their order, of one subject or of all, that come after a sequence number."""
    asked = sa.select(AuditEntry).where(AuditEntry.sequence > after)
    if subject is not None:
        asked = asked.where(AuditEntry.subject == subject)
    found = session.scalars(asked.order_by(AuditEntry.sequence).limit(limit)).all()
    session.expunge_all()
    return list(found)
