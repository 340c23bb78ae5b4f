"""Readers use this site's replica, writers the writer site; a request reads what it has written.

Stock Keystone ignores ``[database] slave_connection`` because its readers are ``reader``, not
``reader.async_``. One switch of oslo.db, ``synchronous_reader=False``, makes them use it. Since a
replica lags, two things are then needed:

- Within a request: once a request has committed, its further reads go to the writer. The factory
  below chooses the session maker and asks the request's scope; there is nothing to configure and
  nothing to guess about lag.
- For the next request at this site, and for Keystone's caches: Keystone invalidates its cache right
  after the writer session ends, and a reader that comes between would store the old value again,
  for minutes. So a writer's connection, when it returns to the pool after a commit, asks for the
  position of that commit (``@@last_gtid``) and waits, at most ``[isthmus] follow_timeout``, until
  the replica says that it has it. Positions are compared here and not by ``MASTER_GTID_WAIT``,
  because that knows only a replica's own stream: the same two variables are right on an
  asynchronous replica, on a Galera node and on the writer itself.

Also ``max_retries=0``: otherwise oslo.db's first use of the writer's engine tries ten times, ten
seconds apart, and a Keystone that was restarted in a cut-off site would serve nothing for minutes.
"""

from __future__ import annotations

import re
import time
from typing import Any

import sqlalchemy
from keystone.common import sql
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log

from isthmus.plugins.keystone import generation_file, scope

LOG = log.getLogger(__name__)

_COMMITTED = "isthmus_committed"
_SERVER = "isthmus_server"
_PROBE_SECONDS = 0.005
_GTID = re.compile(r"(\d+)-(\d+)-(\d+)")


def positions(text: str | None) -> dict[int, int]:
    """The highest sequence number of each domain in a list of MariaDB GTIDs."""
    found: dict[int, int] = {}
    for domain, _server, sequence in _GTID.findall(text or ""):
        found[int(domain)] = max(found.get(int(domain), 0), int(sequence))
    return found


def reached(wanted: str | None, *reported: str | None) -> bool:
    """Whether a server that reports these positions has applied every GTID in ``wanted``."""
    have = positions(",".join(text or "" for text in reported))
    return all(have.get(domain, 0) >= number for domain, number in positions(wanted).items())


class SiteFactory(enginefacade._TransactionFactory):  # type: ignore[misc]
    """oslo.db's factory, with readers that follow the request's own writes.

    Invariant: after a commit, no read of the same request is answered by the replica.
    """

    def __init__(self, *, follow_timeout: float) -> None:
        super().__init__()
        self._follow_timeout = follow_timeout
        self._observed = False
        self.configure(synchronous_reader=False, max_retries=0)

    def _create_session(self, mode: Any, bind: Any = None) -> Any:
        request = scope.current()
        if request is not None and request.wrote:
            mode = enginefacade._WRITER
        return super()._create_session(mode, bind)

    def _start(self, *arguments: Any, **keywords: Any) -> None:
        super()._start(*arguments, **keywords)
        with self._start_lock:
            if not self._observed:
                self._observed = True
                self._observe()

    def _observe(self) -> None:
        """Attach the events; a site without a replica of its own has nothing to follow."""
        _report_errors(self._writer_engine, scope.Side.WRITER)
        _name_servers(self._writer_engine)
        if self._reader_engine is not self._writer_engine:
            _report_errors(self._reader_engine, scope.Side.READER)
            _name_servers(self._reader_engine)
            _follow_commits(self._writer_engine, self._reader_engine, self._follow_timeout)


def _report_errors(engine: Any, side: scope.Side) -> None:
    """Remember the error of a request: Keystone turns some into answers that do not name it."""

    def remember(context: Any) -> None:
        request = scope.current()
        if request is not None:
            request.error = context.original_exception
            request.side = side

    sqlalchemy.event.listen(engine, "handle_error", remember)


def _name_servers(engine: Any) -> None:
    """Note in the request's scope which servers it uses: a load balancer may have chosen any."""

    def connected(dbapi_connection: Any, record: Any) -> None:
        record.info[_SERVER] = _server(dbapi_connection)

    def taken(_dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        request = scope.current()
        if request is not None:
            request.databases.add(record.info.get(_SERVER))

    sqlalchemy.event.listen(engine, "connect", connected)
    sqlalchemy.event.listen(engine, "checkout", taken)


def _server(dbapi_connection: Any) -> bytes | None:
    """Which server this is; None if it does not say, which only keeps its answers from being kept."""
    try:
        with dbapi_connection.cursor() as cursor:
            cursor.execute(generation_file.IDENTITY)
            identity = cursor.fetchone()[0]
        dbapi_connection.rollback()
    except Exception as error:
        LOG.info("A database does not say which it is: %s", type(error).__name__)
        return None
    return generation_file.digest(str(identity))


def _follow_commits(writer: Any, reader: Any, timeout: float) -> None:
    """Mark a request as soon as it commits, and let it wait for the replica afterwards."""

    def committing(connection: Any) -> None:
        request = scope.current()
        if request is not None:
            # Set before the commit is sent: if the answer is lost, it may have been done.
            request.wrote = True
            connection.info[_COMMITTED] = True

    def returning(dbapi_connection: Any, record: Any, _state: Any) -> None:
        request = scope.current()
        committed = record.info.pop(_COMMITTED, False) and dbapi_connection is not None
        if committed and request is not None and request.follows:
            request.follows = _await_replica(dbapi_connection, reader, timeout)

    sqlalchemy.event.listen(writer, "commit", committing)
    sqlalchemy.event.listen(writer, "reset", returning)


def _await_replica(dbapi_connection: Any, reader: Any, timeout: float) -> bool:
    """Wait until the replica has what this connection committed; a failure costs only freshness."""
    try:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SELECT @@last_gtid")
            wanted = cursor.fetchone()[0]
        if _replica_reaches(reader, wanted, timeout):
            return True
        LOG.info("This site's replica has not applied %s within %.1f s.", wanted, timeout)
    except Exception as error:
        # The write is done and must be answered as done, so nothing may leave from here.
        LOG.info("Cannot tell whether this site's replica has applied a write: %s", type(error))
        scope.forget_error()
    return False


def _replica_reaches(reader: Any, wanted: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    with reader.connect() as connection:
        while True:
            row = connection.exec_driver_sql("SELECT @@gtid_current_pos, @@gtid_binlog_pos").one()
            if reached(wanted, *row):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PROBE_SECONDS)


def install(*, follow_timeout: float) -> None:
    """Give Keystone's context manager the factory. To be called before its first database use."""
    manager = sql.core._get_main_context_manager()
    if manager.is_started:
        raise RuntimeError(
            "Keystone has used its database before Isthmus was installed: the WSGI entry must be "
            "isthmus.plugins.keystone.wsgi:application, and nothing may be loaded before it."
        )
    factory = SiteFactory(follow_timeout=follow_timeout)
    manager.patch_factory(factory)
    # Starts the engines (no connection is made yet) while there is one thread, so that the events
    # are attached before the first request.
    factory.get_writer_engine()
