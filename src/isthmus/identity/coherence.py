"""When a database has changed: what a stream of its binary log and a look at its commits prove together.

The agent follows the local identity database's own binary log, in which everything appears that the database commits or applies
(`log_slave_updates`). Two facts make that a proof, and neither is enough alone:

- the stream says *what* was changed, a moment before or after the change can be read (the server sends an event when it is in the
  log, which may be before the storage engine shows it);
- a look (`START TRANSACTION WITH CONSISTENT SNAPSHOT` and `binlog_snapshot_position`; MariaDB documentation, "Enhancements for
  START TRANSACTION WITH CONSISTENT SNAPSHOT") says how far in the log a reader that begins now sees.

Pure values: no clock, no connection. Moments are seconds of one clock of the caller's choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum

# The only schema whose rows a Keystone's answer is made of. Ours are written twice a second and name no token.
SCHEMA = "keystone"

_PLAIN = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})
_FILE = re.compile(r"\.([0-9]+)$")


class RewoundError(Exception):
    """The log went back: it was reset, or it is another server's. What was known of it means nothing any more."""


@dataclass(frozen=True, order=True)
class Place:
    """A place in a binary log: the number of the file and the offset behind an event."""

    file: int
    offset: int


def place(file: str, offset: int) -> Place:
    """A place as the server names it, `binlog.000012` and an offset; raises ValueError if the name has no number."""
    found = _FILE.search(file)
    if found is None:
        raise ValueError(f"{file!r} is not the name of a binary log")
    return Place(int(found[1]), offset)


class Kind(IntEnum):
    """Event types of MariaDB's binary log that are told apart (its source, `sql/log_event.h`)."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT_DESCRIPTION = 15
    XID = 16
    TABLE_MAP = 19
    WRITE_ROWS_V1 = 23
    UPDATE_ROWS_V1 = 24
    DELETE_ROWS_V1 = 25
    HEARTBEAT = 27
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    ANNOTATE_ROWS = 160
    BINLOG_CHECKPOINT = 161
    GTID = 162
    GTID_LIST = 163
    START_ENCRYPTION = 164
    WRITE_ROWS_COMPRESSED_V1 = 166
    UPDATE_ROWS_COMPRESSED_V1 = 167
    DELETE_ROWS_COMPRESSED_V1 = 168
    WRITE_ROWS_COMPRESSED = 169
    UPDATE_ROWS_COMPRESSED = 170
    DELETE_ROWS_COMPRESSED = 171


# These two can touch Keystone's rows. A row event needs no look of its own: the table was named by the table map before it.
_TELLING = frozenset({Kind.QUERY, Kind.TABLE_MAP})


def touches(kind: int, *, schema: str = "", statement: str = "") -> bool:
    """Whether an event may change what a Keystone answers.

    `schema` is that of a table map. A statement (schema changes, statement format) may name any table, so that all count but those
    that only open or close a transaction. An event of an unknown type counts.
    """
    if kind == Kind.TABLE_MAP:
        return schema == SCHEMA
    if kind == Kind.QUERY:
        return statement.strip().upper() not in _PLAIN
    return kind not in set(Kind) - _TELLING


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of one database.

    `generation`: even while everything that was changed can be read; odd from the moment when a change is on its way until it can.
    `proven_at`: everything that could be read at this moment is counted in `generation`. `read`: how far the stream was read;
    `visible`: how far a reader sees, as last looked; `awaited`: where the change that is on its way stands; `asked`: a look whose
    place the stream has not reached yet, and when it began.

    Invariant: take any reader that looked at `generation` (even), began to read the database after that, and found `generation`
    unchanged afterwards. While `generation` stays the same, what it read is what the database showed at `proven_at` or later.
    """

    generation: int
    proven_at: float
    read: Place
    visible: Place
    awaited: Place | None = None
    asked: tuple[float, Place] | None = None

    @property
    def changing(self) -> bool:
        return self.generation % 2 == 1


def begin(generation: int, asked_at: float, visible: Place) -> State:
    """The state when a stream is opened at `visible`, which a look that began at `asked_at` has found.

    `generation` must be even and never used before: nothing is known of what happened without a stream.
    """
    return State(generation=generation, proven_at=asked_at, read=visible, visible=visible)


def read(state: State, at: Place | None, *, touched: bool) -> State:
    """The state after an event that ends at `at` was read from the stream.

    `at` is None for an event that the server makes up and that stands nowhere; such a one touches nothing. Raises `RewoundError`
    if the event stands before one that was read already (offsets of a file beyond 4 GiB do so too: an event has 32 bits for them).
    """
    if at is not None:
        if at < state.read:
            raise RewoundError(f"the stream went back from {state.read} to {at}")
        state = replace(state, read=at)
    if touched:
        state = _touched(state)
    if state.asked is not None and state.read >= state.asked[1]:
        state = replace(state, proven_at=state.asked[0], asked=None)
    return state


def _touched(state: State) -> State:
    if state.changing:
        return replace(state, awaited=state.read)
    # A look finds places between transactions only, so that one behind an event is behind its whole transaction.
    if state.visible >= state.read:
        return replace(state, generation=state.generation + 2)
    return replace(state, generation=state.generation + 1, awaited=state.read)


def looked(state: State, asked_at: float, visible: Place) -> State:
    """The state after a look that began at `asked_at`; raises `RewoundError` if the log went back."""
    if visible < state.visible:
        raise RewoundError(f"the binary log went back from {state.visible} to {visible}")
    state = replace(state, visible=visible)
    if state.awaited is not None and visible >= state.awaited:
        state = replace(state, generation=state.generation + 1, awaited=None)
    if state.read >= visible:
        return replace(state, proven_at=asked_at, asked=None)
    return replace(state, asked=state.asked or (asked_at, visible))
