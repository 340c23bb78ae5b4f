"""The audit trail: what was done, by whom, when; rows are added and never changed.

Each row carries the digest of the row before it, so that a row that was altered, removed or slipped
in shows. Who can write the database can still replace the whole end of the trail; keep copies of its
last digest elsewhere if that matters (`isthmus operation audit` shows it).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import orm

from isthmus.operations import documents
from isthmus.store import audit, databases, tables

START = audit.START


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One row. `subject`: the id of the operation or group; `document`: JSON, never a secret."""

    at: float
    subject: str
    document: Mapping[str, Any]
    previous: str = START
    digest: str = ""

    def sealed(self, previous: str) -> str:
        """The digest of this row after that predecessor."""
        return documents.digest(
            [previous, documents.written(self.at), self.subject, dict(self.document)]
        )


def broken(entries: Iterable[Entry], start: str = START) -> str | None:
    """Where the trail is broken, in words; None when it is whole. `start`: the digest of the row
    before the first of the entries."""
    previous = start
    for number, entry in enumerate(entries, 1):
        if entry.previous != previous:
            return f"before entry {number} of {documents.written(entry.at)}, entries are missing"
        if entry.digest != entry.sealed(previous):
            return f"entry {number} of {documents.written(entry.at)} was altered"
        previous = entry.digest
    return None


def note(session: orm.Session, subject: str, at: float, did: str, by: str, **facts: Any) -> None:
    """Add a row within a transaction."""
    entry = Entry(at=at, subject=subject, document={"did": did, "by": by, **facts})
    audit.append(session, at=entry.at, subject=subject, document=entry.document, seal=entry.sealed)


def entries(
    database: databases.Database, subject: str | None = None, *, after: int = 0
) -> list[Entry]:
    """All rows in their order. Raises UnavailableError."""
    found: list[Entry] = []
    while True:
        page = database.read(
            lambda session, last=after: audit.rows(session, subject, after=last)  # type: ignore[misc]
        )
        found += [_entry(row) for row in page]
        if len(page) < audit.PAGE:
            return found
        after = page[-1].sequence


def _entry(row: tables.AuditEntry) -> Entry:
    return Entry(
        at=row.at,
        subject=row.subject,
        document=row.document,
        previous=row.previous,
        digest=row.digest,
    )
