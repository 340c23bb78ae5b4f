"""Connections and transactions; SQLAlchemy's exceptions end here.

A transaction that the database undid because of another one (deadlock, lock wait) is done again,
which is harmless: nothing of it was kept. Everything else that goes wrong is an UnavailableError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc, orm, pool

from isthmus import errors

T = TypeVar("T")

ATTEMPTS = 5
"""How often a transaction is done when others get in its way. More than one collision in a row needs
several engines at one group, which leases prevent."""

CONNECT_SECONDS, ANSWER_SECONDS = 5, 30

_UNDONE = frozenset({1205, 1213, 1020})
"""Lock wait timeout, deadlock, record changed since last read (MariaDB with snapshot isolation)."""

Begun = Callable[[sa.Connection], None]


class TakenError(Exception):
    """A value that must be unique is taken already; nothing was written."""


class Database:
    """The schema of one site. For several threads; each transaction has a session of its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(self, action: Callable[[orm.Session], T]) -> T:
        """Do it in one transaction: whole, or not at all. `action` may be called more than once.

        Raises TakenError, UnavailableError, and what the action raises.
        """
        return self._tried(action)

    def read(self, action: Callable[[orm.Session], T]) -> T:
        """Read in one transaction. Raises UnavailableError."""
        return self._tried(action)

    def now(self) -> float:
        """The time of the database, seconds since 1970: one clock for all engines of the site."""
        return self.read(now)

    def fenced(self, check: Begun) -> Database:
        """The same database, with `check` at the beginning of every transaction, TaskFlow's too.

        What the check raises undoes the transaction, so nothing is ever written without it.
        """
        engine = self.engine.execution_options()
        sa.event.listen(engine, "begin", check)
        return Database(engine)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _tried(self, action: Callable[[orm.Session], T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            with worded(self.engine):
                try:
                    with orm.Session(self.engine) as session, session.begin():
                        return action(session)
                except exc.OperationalError as error:
                    if attempt == ATTEMPTS or not _undone(error):
                        raise
        raise AssertionError("the last attempt returns or raises")


def now(session: orm.Session) -> float:
    """The database's time in a session, seconds since 1970."""
    if session.get_bind().dialect.name == "sqlite":
        return float(session.execute(sa.text(_SQLITE_NOW)).scalar_one())
    return float(session.execute(sa.text("SELECT UNIX_TIMESTAMP(NOW(6))")).scalar_one())


_SQLITE_NOW = "SELECT (julianday('now') - 2440587.5) * 86400.0"


def connect(url: str) -> Database:
    """The database at an SQLAlchemy URL; making it asks nobody. The URL may hold a password and is
    never shown."""
    where = sa.make_url(url)
    if where.get_backend_name() == "sqlite":
        return Database(_sqlite(where))
    times = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        "write_timeout": ANSWER_SECONDS,
    }
    return Database(
        sa.create_engine(
            where,
            connect_args={"charset": "utf8mb4", **times},
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_recycle=3600,
            pool_size=10,
            max_overflow=40,
        )
    )


def _sqlite(where: sa.URL) -> sa.Engine:
    # A pool, because closing the last connection empties the write-ahead log, which costs a sync.
    engine = sa.create_engine(
        where,
        poolclass=pool.QueuePool,
        pool_size=10,
        max_overflow=40,
        connect_args={"timeout": 30, "check_same_thread": False},
    )
    sa.event.listen(engine, "connect", _prepared)
    sa.event.listen(engine, "begin", _immediate)
    return engine


def _prepared(connection: Any, _record: Any) -> None:
    """Leave transactions to us; readers do not wait for writers."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _immediate(connection: sa.Connection) -> None:
    """Take the lock first: a transaction that reads and then writes would otherwise be refused when
    somebody wrote in between."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def worded(engine: sa.Engine) -> Iterator[None]:
    """Turn SQLAlchemy's exceptions into ours."""
    try:
        yield
    except exc.IntegrityError as error:
        raise TakenError(str(error.orig)) from None
    except (exc.SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        raise errors.UnavailableError(
            "the recovery database cannot be used",
            where=_place(engine.url),
            cause=f"{type(cause).__name__}: {cause}".splitlines()[0],
        ) from None


def _place(url: sa.URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    place = url.query.get("unix_socket") or f"{url.host}:{url.port or 3306}"
    return f"database {url.database} at {place}"


def _undone(error: exc.OperationalError) -> bool:
    arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
    return bool(arguments) and (arguments[0] in _UNDONE or "locked" in str(arguments[0]))
