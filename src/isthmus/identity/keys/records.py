"""The statements on the tables of keys: document, boxes, acknowledgements, history.

A session is anything that runs statements: that of an agent or that of an engine, whose errors pass
through. What a document means is `generations`' business.
"""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from isthmus.identity.keys import generations
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.identity.keys.rotating import Change
from isthmus.identity.schema import NAME

LONGEST_TROUBLE = 500


class Session(Protocol):
    """One connection in autocommit mode; both methods raise the errors of their owner."""

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """The rows that a statement finds."""

    def change(self, statement: str, *arguments: object) -> int:
        """Run a statement; how many rows it changed."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """The key of a generation, sealed by one node to another."""

    generation: int
    node: str
    sealer: str
    box: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """A line of the history."""

    at: datetime.datetime
    revision: int
    by: str
    event: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look at the tables finds: the document, all acknowledgements, and the boxes that were
    asked for."""

    state: State
    acks: Mapping[str, Ack]
    boxes: tuple[Box, ...]


def look(session: Session, kind: Kind, node: str | None = None) -> Seen:
    """One state of the database: the boxes of `node`, or none. Raises ValueError for a document that
    cannot be read."""
    session.change("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    try:
        return Seen(
            state=state(session, kind),
            acks=acks(session, kind),
            boxes=boxes(session, kind, node) if node else (),
        )
    finally:
        session.change("ROLLBACK")


def revision(session: Session, kind: Kind) -> int:
    """The revision of the document, 0 if there is none: the cheap question before `look`."""
    rows = session.rows(f"SELECT revision FROM {NAME}.key_state WHERE kind = %s", kind.value)  # noqa: S608
    return int(rows[0]["revision"]) if rows else 0


def state(session: Session, kind: Kind) -> State:
    """The document; one without generations if there is none."""
    rows = session.rows(f"SELECT document FROM {NAME}.key_state WHERE kind = %s", kind.value)  # noqa: S608
    return generations.load(rows[0]["document"]) if rows else State(kind=kind)


def acks(session: Session, kind: Kind) -> dict[str, Ack]:
    """What the nodes said last."""
    rows = session.rows(
        f"SELECT node, revision, digest, at, trouble FROM {NAME}.key_ack WHERE kind = %s",  # noqa: S608
        kind.value,
    )
    return {
        row["node"]: Ack(
            node=row["node"],
            revision=int(row["revision"]),
            digest=row["digest"],
            at=row["at"].replace(tzinfo=datetime.UTC).timestamp(),
            trouble=row["trouble"],
        )
        for row in rows
    }


def boxes(session: Session, kind: Kind, node: str | None = None) -> tuple[Box, ...]:
    """All boxes of a kind, or those for one node."""
    statement = f"SELECT generation, node, sealer, box FROM {NAME}.key_box WHERE kind = %s"  # noqa: S608
    rows = (
        session.rows(statement, kind.value)
        if node is None
        else session.rows(f"{statement} AND node = %s", kind.value, node)
    )
    return tuple(Box(**row) for row in rows)


def sealed(session: Session, kind: Kind) -> set[tuple[int, str]]:
    """Which generation is sealed to which node."""
    rows = session.rows(f"SELECT generation, node FROM {NAME}.key_box WHERE kind = %s", kind.value)  # noqa: S608
    return {(int(row["generation"]), str(row["node"])) for row in rows}


def said(session: Session, kind: Kind, word: uuid.UUID) -> bool:
    """Whether an operator's word was stored, as `store` was told its name."""
    rows = session.rows(
        f"SELECT id FROM {NAME}.key_event WHERE id = %s AND kind = %s",  # noqa: S608
        str(word),
        kind.value,
    )
    return bool(rows)


def store(
    session: Session,
    change: Change,
    made: Iterable[Box] = (),
    *,
    first: bool = False,
    word: uuid.UUID | None = None,
) -> bool:
    """Store a transition with its boxes and its line of history, all or nothing. `first`: there is no
    document yet. `word`: what `said` finds it by.

    False: somebody else was first, and nothing was stored.
    """
    session.change("START TRANSACTION")
    try:
        done = _stored(session, change.state, first=first)
        if done:
            add_boxes(session, change.state.kind, made)
            _tell(session, change, word or uuid.uuid4())
        session.change("COMMIT" if done else "ROLLBACK")
    except BaseException:
        _undo(session)
        raise
    return done


def _undo(session: Session) -> None:
    """A connection that broke has undone it by itself; the error that is under way says more."""
    try:
        session.change("ROLLBACK")
    except Exception:
        return


def _stored(session: Session, after: State, *, first: bool) -> bool:
    text = generations.dump(after)
    if first:
        statement = (
            f"INSERT IGNORE INTO {NAME}.key_state (kind, revision, document, updated_at)"  # noqa: S608
            " VALUES (%s, %s, %s, UTC_TIMESTAMP(6))"
        )
        return session.change(statement, after.kind.value, after.revision, text) == 1
    statement = (
        f"UPDATE {NAME}.key_state SET revision = %s, document = %s, updated_at = UTC_TIMESTAMP(6)"  # noqa: S608
        " WHERE kind = %s AND revision = %s"
    )
    return (
        session.change(statement, after.revision, text, after.kind.value, after.revision - 1) == 1
    )


def add_boxes(session: Session, kind: Kind, made: Iterable[Box]) -> None:
    """Write boxes; one that is there already is replaced. One statement: it may be a transaction of its
    own, and each of these waits for the other writer site."""
    rows = [(kind.value, each.generation, each.node, each.sealer, each.box) for each in made]
    if not rows:
        return
    session.change(
        f"REPLACE INTO {NAME}.key_box (kind, generation, node, sealer, box)"  # noqa: S608
        f" VALUES {', '.join(['(%s, %s, %s, %s, %s)'] * len(rows))}",
        *itertools.chain.from_iterable(rows),
    )


def drop_boxes(session: Session, kind: Kind, superfluous: Collection[tuple[int, str]]) -> None:
    """Remove the boxes of generations for nodes, in one statement."""
    if not superfluous:
        return
    session.change(
        f"DELETE FROM {NAME}.key_box WHERE kind = %s"  # noqa: S608
        f" AND (generation, node) IN ({', '.join(['(%s, %s)'] * len(superfluous))})",
        kind.value,
        *itertools.chain.from_iterable(superfluous),
    )


def _tell(session: Session, change: Change, word: uuid.UUID) -> None:
    session.change(
        f"INSERT INTO {NAME}.key_event (id, kind, at, revision, operator, event)"  # noqa: S608
        " VALUES (%s, %s, UTC_TIMESTAMP(6), %s, %s, %s)",
        str(word),
        change.state.kind.value,
        change.state.revision,
        change.by,
        change.event,
    )


def acknowledge(session: Session, kind: Kind, ack: Ack) -> None:
    """Say what a node has. An older word that arrives late changes nothing."""
    session.change(
        f"INSERT INTO {NAME}.key_ack (kind, node, revision, digest, at, trouble)"  # noqa: S608
        " VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6), %s) ON DUPLICATE KEY UPDATE"
        " digest = IF(VALUES(revision) >= revision, VALUES(digest), digest),"
        " at = IF(VALUES(revision) >= revision, VALUES(at), at),"
        " trouble = IF(VALUES(revision) >= revision, VALUES(trouble), trouble),"
        " revision = GREATEST(VALUES(revision), revision)",
        kind.value,
        ack.node,
        ack.revision,
        ack.digest,
        (ack.trouble or "")[:LONGEST_TROUBLE] or None,
    )


def events(session: Session, kind: Kind, limit: int) -> tuple[Event, ...]:
    """The newest lines of the history, newest first."""
    rows = session.rows(
        f"SELECT at, revision, operator, event FROM {NAME}.key_event WHERE kind = %s"  # noqa: S608
        f" ORDER BY revision DESC, at DESC LIMIT {limit:d}",
        kind.value,
    )
    return tuple(
        Event(
            at=row["at"].replace(tzinfo=datetime.UTC),
            revision=int(row["revision"]),
            by=row["operator"],
            event=row["event"],
        )
        for row in rows
    )
