"""Talking to the databases of the replicated schemas, with time limits.

The driver's exceptions end here. It knows connections and statements, not what they mean: that is
`isthmus.network.store` for declarations, `isthmus.identity.keys.records` for keys.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pymysql
import pymysql.cursors

from isthmus import errors

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5
"""A write waits for the certification of the other writer site, over the WAN."""

PERHAPS_UNCHANGED = "nothing, unless the connection broke while the answer was under way"
"""What is unchanged when a write failed."""

DUPLICATE = 1062
DEADLOCKS = frozenset({1205, 1213})
"""Lock wait timeout, deadlock. Galera answers 1213 when another site's change came first."""


class DuplicateError(Exception):
    """A value that must be unique is taken; `key` is the name of the index."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.key = text.rpartition("for key ")[2].strip("'").rpartition(".")[2]


class LostRaceError(Exception):
    """The database undid the transaction because of another one; it may be done again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listener:
    """Where a database is reached, and as whom."""

    host: str
    port: int
    user: str
    password: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return f"database at {self.host}:{self.port}"


class Session:
    """One connection; every statement ends within the time limit.

    Raises UnavailableError, and DuplicateError or LostRaceError for the two answers that a writer
    must expect. A session that raised UnavailableError is of no further use.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        with self._worded():
            self._connection = pymysql.connect(
                host=listener.host,
                port=listener.port,
                user=listener.user,
                password=listener.password,
                autocommit=True,
                charset="utf8mb4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=ANSWER_SECONDS,
                write_timeout=ANSWER_SECONDS,
                cursorclass=pymysql.cursors.DictCursor,
                program_name="isthmus-engine",
            )

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        with self._worded(), self._connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return [dict(row) for row in cursor.fetchall()]

    def change(self, statement: str, *arguments: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        with self._worded(), self._connection.cursor() as cursor:
            return int(cursor.execute(statement, arguments or None))

    def close(self) -> None:
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done inside is done whole or not at all, and sees one state of the database."""
        self.change("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                self.change("ROLLBACK")
            raise
        self.change("COMMIT")

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            self._refuse(error)
        except (OSError, ValueError, IndexError, AttributeError) as error:
            # A server that dies in the middle of an answer makes the driver fail in these ways too.
            raise self._unavailable(str(error)) from None

    def _refuse(self, error: pymysql.Error) -> NoReturn:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        if number == DUPLICATE:
            raise DuplicateError(text) from None
        if number in DEADLOCKS:
            raise LostRaceError(text) from None
        raise self._unavailable(f"{text} ({number})") from None

    def _unavailable(self, cause: str) -> errors.UnavailableError:
        return errors.UnavailableError(
            "the declarations cannot be reached", where=str(self._listener), cause=cause
        )


@contextlib.contextmanager
def opened(
    connect: Callable[[Listener], Session],
    listener: Listener,
    what: str,
    *,
    unchanged: str,
    next_command: str,
) -> Iterator[Session]:
    """A session (`connect` is `Session` or `reader`), closed at the end. An UnavailableError, of the
    connection or of a statement, says `what` could not be done instead of what the driver says."""
    try:
        with contextlib.closing(connect(listener)) as session:
            yield session
    except errors.UnavailableError as error:
        raise errors.UnavailableError(
            what,
            where=error.where,
            cause=error.cause,
            unchanged=unchanged,
            next_command=next_command,
        ) from error


def reader(listener: Listener) -> Session:
    """A session that also reads where a cluster node is alone: old declarations are better than
    none, and nothing here is decided by their being new."""
    session = Session(listener)
    session.change("SET SESSION wsrep_dirty_reads=ON")
    return session
