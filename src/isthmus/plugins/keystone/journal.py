"""The site's durable queue: an SQLite file that all Keystone processes of a host share.

An entry is safe when ``append`` returns (WAL, ``synchronous=FULL``). It stays in the file until it
has been replayed at the writer site *and* this site's own replica has shown that replay, because
until then the entry is what this site must add to the replica's answer (the overlay).

Layout, also for the agent (which only reads)::

    entry(sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, user_id TEXT,
          recorded_at REAL,      -- seconds since the epoch, never decreasing with sequence
          event TEXT,            -- JSON of a revocation event, else empty
          replayed_at REAL,      -- when the writer site had it, NULL = pending
          aside INTEGER)         -- 1 = the writer's database refuses this entry itself
    queue(id TEXT)               -- identity of this file: sequences count from 1 in a new file

Processes and threads: one connection for each thread and process. A connection that was inherited
over ``fork`` is neither used nor closed, as SQLite demands. This module knows nothing of Keystone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.plugins.keystone import entries

BUSY_SECONDS = 5.0
# Counting is cheap but not free, so the limit is checked once in so many appends.
_LIMIT_EVERY = 64

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS entry (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL, user_id TEXT NOT NULL, recorded_at REAL NOT NULL,
        event TEXT NOT NULL, replayed_at REAL, aside INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX IF NOT EXISTS entry_pending ON entry (replayed_at, sequence)",
    "CREATE INDEX IF NOT EXISTS entry_user ON entry (user_id, sequence)",
    "CREATE INDEX IF NOT EXISTS entry_revocation ON entry (sequence) WHERE kind = 'revocation'",
    "CREATE TABLE IF NOT EXISTS queue (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT)",
)
_COLUMNS = "sequence, kind, user_id, recorded_at, event"
_PENDING = "replayed_at IS NULL AND aside = 0"


class JournalUnavailableError(Exception):
    """The queue's file cannot be used: disk full, read-only, damaged. Nothing was queued."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """How much waits for the writer site; ``oldest_at`` in seconds since the epoch."""

    pending: int
    oldest_at: float | None
    aside: int


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """The revocations as one connection last read them, and the file's state at that time."""

    version: tuple[int, int]
    entries: tuple[entries.Entry, ...]


class Journal:
    """The queue of one file.

    Invariants: an appended entry is seen by every process at once; sequences are never
    used twice in a file; times never decrease with the sequence; a revocation leaves the file only
    by ``settle``.
    """

    def __init__(self, path: str | Path, *, limit: int = 100_000) -> None:
        self.path = Path(path)
        self._limit = limit
        self._inherited: list[Any] = []
        self._last = _Snapshot(version=(-1, -1), entries=())
        self._renew()

    def append(self, kind: entries.Kind, *, now: float, user_id: str = "", event: str = "") -> int:
        """Store an entry durably and return its sequence.

        ``now`` is seconds since the epoch. Raises JournalUnavailableError; then nothing is stored.
        """
        with self._usable() as connection, _transaction(connection):
            newest = connection.execute("SELECT max(recorded_at) FROM entry").fetchone()[0]
            cursor = connection.execute(
                "INSERT INTO entry (kind, user_id, recorded_at, event) VALUES (?, ?, ?, ?)",
                (kind.value, user_id, max(now, newest or now), event),
            )
            sequence = int(cursor.lastrowid or 0)
            if sequence % _LIMIT_EVERY == 0:
                self._enforce_limit(connection)
        return sequence

    def pending(self, limit: int = 200) -> tuple[entries.Entry, ...]:
        """The oldest entries that the writer site does not have, in order of sequence."""
        with self._usable() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM entry WHERE {_PENDING} ORDER BY sequence LIMIT ?",  # noqa: S608
                (limit,),
            ).fetchall()
        return tuple(map(_entry, rows))

    def revocations(self) -> tuple[entries.Entry, ...]:
        """Every revocation in the file: what to add to a replica's answer that may lack them.

        Replayed ones are among them until they are settled; ``entries.after`` with the replica's
        own position leaves out what it holds. Never raises: if the file cannot be read any more,
        what this process saw last still holds.
        """
        try:
            with self._usable() as connection:
                return self._read_revocations(connection)
        except JournalUnavailableError:
            return self._last.entries

    def revocations_seen(self) -> tuple[int, int]:
        """Another value after any process has queued a revocation: the newest one's sequence, and how many there are.

        Raises JournalUnavailableError.
        """
        with self._usable() as connection:
            found = self._read_revocations(connection)
        return (found[-1].sequence if found else 0), len(found)

    def of_user(self, user_id: str) -> tuple[entries.Entry, ...]:
        """Every entry of a user in the file, like ``revocations``; none if it cannot be read."""
        query = f"SELECT {_COLUMNS} FROM entry WHERE user_id = ? ORDER BY sequence"  # noqa: S608
        try:
            with self._usable() as connection:
                return tuple(map(_entry, connection.execute(query, (user_id,)).fetchall()))
        except JournalUnavailableError:
            return ()

    def mark_replayed(self, through: int, *, now: float) -> None:
        """The writer site has every entry up to and including this sequence."""
        with self._usable() as connection, _transaction(connection):
            connection.execute(
                f"UPDATE entry SET replayed_at = ? WHERE {_PENDING} AND sequence <= ?",  # noqa: S608
                (now, through),
            )

    def is_replayed(self, sequence: int) -> bool:
        """Whether the writer site has this entry (or it has been settled)."""
        with self._usable() as connection:
            row = connection.execute(
                "SELECT replayed_at FROM entry WHERE sequence = ?", (sequence,)
            ).fetchone()
        return row is None or row[0] is not None

    def set_aside(self, sequence: int) -> None:
        """This entry cannot be replayed; it still holds at this site and blocks no other."""
        with self._usable() as connection, _transaction(connection):
            connection.execute("UPDATE entry SET aside = 1 WHERE sequence = ?", (sequence,))

    def unsettled(self, *, replayed_before: float) -> int:
        """How many entries were replayed before that time and wait to be settled."""
        with self._usable() as connection:
            row = connection.execute(
                "SELECT count(*) FROM entry WHERE replayed_at < ?", (replayed_before,)
            ).fetchone()
        return int(row[0])

    def settle(self, position: int, *, replayed_before: float) -> None:
        """Forget entries that the replica shows (``position``) and that were replayed long ago.

        The age matters where a balancer may send the next read to another replica that lags.
        """
        with self._usable() as connection, _transaction(connection):
            connection.execute(
                "DELETE FROM entry WHERE sequence <= ? AND replayed_at < ?",
                (position, replayed_before),
            )

    def backlog(self) -> Backlog:
        """How much is pending, since when, and how many entries were set aside."""
        with self._usable() as connection:
            pending, oldest = connection.execute(
                f"SELECT count(*), min(recorded_at) FROM entry WHERE {_PENDING}"  # noqa: S608
            ).fetchone()
            aside = connection.execute("SELECT count(*) FROM entry WHERE aside = 1").fetchone()[0]
        return Backlog(pending=pending, oldest_at=oldest, aside=aside)

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that no other queue file has."""
        with self._usable() as connection:
            return str(connection.execute("SELECT id FROM queue").fetchone()[0])

    def _renew(self) -> None:
        """Start afresh in this process, and keep what was inherited from being collected."""
        self._inherited.append(getattr(self, "_local", None))
        self._process = os.getpid()
        self._opening = threading.Lock()
        self._local = threading.local()

    @contextlib.contextmanager
    def _usable(self) -> Iterator[sqlite3.Connection]:
        if self._process != os.getpid():
            self._renew()
        try:
            if getattr(self._local, "connection", None) is None:
                with self._opening:
                    self._local.connection = _open(self.path)
            yield self._local.connection
        except (sqlite3.Error, OSError) as error:
            raise JournalUnavailableError(f"{self.path}: {error}") from error

    def _read_revocations(self, connection: sqlite3.Connection) -> tuple[entries.Entry, ...]:
        # data_version counts the commits of other connections, total_changes those of this one, so
        # an unchanged pair means an unchanged file and the validation of a token reads no rows.
        seen = connection.execute("PRAGMA data_version").fetchone()[0], connection.total_changes
        snapshot = getattr(self._local, "snapshot", None)
        if snapshot is None or snapshot.version != seen:
            query = f"SELECT {_COLUMNS} FROM entry WHERE kind = 'revocation' ORDER BY sequence"  # noqa: S608
            rows = connection.execute(query).fetchall()
            snapshot = _Snapshot(version=seen, entries=tuple(map(_entry, rows)))
            self._local.snapshot = self._last = snapshot
        return snapshot.entries

    def _enforce_limit(self, connection: sqlite3.Connection) -> None:
        count = connection.execute(f"SELECT count(*) FROM entry WHERE {_PENDING}").fetchone()[0]  # noqa: S608
        for kind in entries.DROP_ORDER:
            excess = count - self._limit
            if excess <= 0:
                return
            count -= connection.execute(
                "DELETE FROM entry WHERE sequence IN (SELECT sequence FROM entry"  # noqa: S608
                f" WHERE {_PENDING} AND kind = ? ORDER BY sequence LIMIT ?)",
                (kind.value, excess),
            ).rowcount


def _entry(row: tuple[Any, ...]) -> entries.Entry:
    sequence, kind, user_id, recorded_at, event = row
    return entries.Entry(
        sequence=sequence,
        kind=entries.Kind(kind),
        user_id=user_id,
        recorded_at=recorded_at,
        event=event,
    )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, making it first if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite gives its side files the mode of the main file, so the mode is settled before the first
    # connection. The descriptor may be closed here because no connection of this process is open
    # yet: closing one later would drop SQLite's own locks.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'queue'"
    if connection.execute(tables).fetchone()[0] == 1:
        return
    with _transaction(connection):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT OR IGNORE INTO queue VALUES (1, ?)", (uuid.uuid4().hex,))
