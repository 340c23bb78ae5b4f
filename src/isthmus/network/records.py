"""The statements on the tables of `isthmus_network`: documents by kind and id, and events.

It exists so that SQL stands in one place. It decides nothing, and it opens no connection.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

from isthmus.network.databases import Session
from isthmus.network.remembering import Documents, Kind
from isthmus.network.schema import NAME


class OvertakenError(Exception):
    """The stored document has not the revision that was expected; nothing was changed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that was done. `id` is made where it happened; `subject` is `network`, `site` or
    `address`; `at` is UTC."""

    id: str
    at: datetime.datetime
    site: str
    subject: str
    subject_id: str
    document: Mapping[str, Any]


def everything(session: Session) -> Documents:
    """All documents, of one moment."""
    with session.transaction():
        return Documents({kind: _of_kind(session, kind) for kind in Kind})


def _of_kind(session: Session, kind: Kind) -> dict[str, dict[str, Any]]:
    rows = session.rows(f"SELECT id, document FROM {NAME}.{kind}")  # noqa: S608
    return {str(row["id"]): json.loads(row["document"]) for row in rows}


def put(
    session: Session,
    kind: Kind,
    identity: str,
    document: Mapping[str, Any],
    columns: Mapping[str, Any],
) -> None:
    """Insert a document of revision 1, or replace the predecessor of a later one.

    `columns` are those that the database keeps unique. Raises OvertakenError, DuplicateError.
    """
    revision = int(document["revision"])
    values = {
        **columns,
        "revision": revision,
        "document": json.dumps(document),
        "updated_at": _naive(datetime.datetime.now(datetime.UTC)),
    }
    if revision == 1:
        names, marks = ", ".join(["id", *values]), ", ".join(["%s"] * (len(values) + 1))
        statement = f"INSERT INTO {NAME}.{kind} ({names}) VALUES ({marks})"  # noqa: S608
        session.change(statement, identity, *values.values())
        return
    changes = ", ".join(f"{name} = %s" for name in values)
    statement = f"UPDATE {NAME}.{kind} SET {changes} WHERE id = %s AND revision = %s"  # noqa: S608
    if session.change(statement, *values.values(), identity, revision - 1) != 1:
        raise OvertakenError


def remove(session: Session, kind: Kind, identity: str, revision: int) -> None:
    """Remove a document of this revision; nothing happens if there is none with this id.

    Raises OvertakenError.
    """
    statement = f"DELETE FROM {NAME}.{kind} WHERE id = %s AND revision = %s"  # noqa: S608
    if session.change(statement, identity, revision) == 1:
        return
    if session.rows(f"SELECT id FROM {NAME}.{kind} WHERE id = %s", identity):  # noqa: S608
        raise OvertakenError


def add_event(session: Session, event: Event) -> None:
    """Write an event; one that is there already stays as it is."""
    session.change(
        f"INSERT IGNORE INTO {NAME}.event (id, at, site, subject, subject_id, document)"  # noqa: S608
        " VALUES (%s, %s, %s, %s, %s, %s)",
        event.id,
        _naive(event.at),
        event.site,
        event.subject,
        event.subject_id,
        json.dumps(event.document, default=str),
    )


def events(
    session: Session, subject: str, subject_id: str | None, *, limit: int
) -> tuple[Event, ...]:
    """The newest events, newest first; of one subject when its id is given."""
    where, arguments = "subject = %s", [subject]
    if subject_id is not None:
        where, arguments = "subject = %s AND subject_id = %s", [subject, subject_id]
    statement = f"SELECT * FROM {NAME}.event WHERE {where} ORDER BY at DESC, id LIMIT {limit:d}"  # noqa: S608
    return tuple(_event(row) for row in session.rows(statement, *arguments))


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        id=row["id"],
        at=row["at"].replace(tzinfo=datetime.UTC),
        site=row["site"],
        subject=row["subject"],
        subject_id=row["subject_id"],
        document=json.loads(row["document"]),
    )


def _naive(moment: datetime.datetime) -> datetime.datetime:
    """For a column without a zone; all times in the database are UTC."""
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)
