"""Reading a database's own binary log as it is written, and looking how far its commits can be read.

Nothing is stored and no history is needed: a stream begins where a look has found the end of the log. The driver has no public
way to send the command that opens a stream (COM_BINLOG_DUMP, MariaDB documentation, "Replication protocol"), so that two of its
inner methods are used here, and here only. What an event means is `isthmus.identity.coherence`'s.
"""

import secrets
import struct
import time
from dataclasses import dataclass
from typing import Any

from isthmus.agent import databases
from isthmus.agent.config import Account, Address
from isthmus.identity import coherence

_COM_BINLOG_DUMP = 0x12
# The server says so often that there is nothing new, which is also how often the reader of a quiet stream gets the word.
QUIET_SECONDS = 0.1
# A stream whose server is silent for so long, in spite of that, is given up.
SILENT_SECONDS = 2.0
# What the server has to know of a reader: it wants no checksums, it knows MariaDB's own events (MARIA_SLAVE_CAPABILITY_GTID).
_SETTINGS = (
    "SET @master_binlog_checksum='NONE'",
    "SET @mariadb_slave_capability=4",
    f"SET @master_heartbeat_period={int(QUIET_SECONDS * 1e9)}",
)
_HEADER = struct.Struct("<IBIIIH")
_ARTIFICIAL = 0x20
# In front of a table map's names: 6 bytes of id, 2 of flags. In front of a statement's: see `_statement`.
_TABLE_MAP_NAMES = 8
_QUERY_HEAD = struct.Struct("<IIBHH")

# Which server it is: whoever reads through a load balancer can tell the databases of a site apart by it. Replicas differ in their
# server id, the nodes of one cluster in their GTID domain or their address.
IDENTITY = "SELECT CONCAT_WS('|', @@GLOBAL.server_id, @@GLOBAL.gtid_domain_id, @@hostname, @@bind_address, @@port, @@datadir) AS i"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: its type, where it ends in the log (None: the server made it up), what a table map or a statement names."""

    kind: int
    at: coherence.Place | None
    schema: str = ""
    statement: str = ""

    @property
    def touches(self) -> bool:
        return coherence.touches(self.kind, schema=self.schema, statement=self.statement)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look that began at `asked_at` (`clock`): whoever reads from now on sees the log up to `file`, `offset`."""

    asked_at: float
    file: str
    offset: int

    @property
    def place(self) -> coherence.Place:
        return coherence.place(self.file, self.offset)


def clock() -> float:
    """Seconds since the host was started, also while it slept: the same for all processes of the host."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unfit(session: databases.Session) -> str | None:
    """Why this server's binary log does not tell all of its changes, or None."""
    rows = session.rows("SELECT @@GLOBAL.log_bin AS log_bin, @@GLOBAL.log_slave_updates AS applied")
    if not rows[0]["log_bin"]:
        return "it writes no binary log (log_bin)"
    if not rows[0]["applied"]:
        return "what it applies is not in its binary log (log_slave_updates)"
    return None


def identity(session: databases.Session) -> str:
    """The server's identity, as `isthmus.plugins.keystone` asks it over its own connections."""
    return str(session.value(IDENTITY))


def look(session: databases.Session) -> Look:
    """How far a reader that begins now sees; needs no right."""
    asked_at = clock()
    session.change("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    rows = session.rows("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'")
    session.change("ROLLBACK")
    found = {str(row["Variable_name"]).lower(): str(row["Value"]) for row in rows}
    try:
        file, offset = found["binlog_snapshot_file"], int(found["binlog_snapshot_position"])
        coherence.place(file, offset)
    except (KeyError, ValueError) as error:
        raise databases.DatabaseError(
            f"{session.address}: it does not say how far its commits are in the log", answered=True
        ) from error
    return Look(asked_at=asked_at, file=file, offset=offset)


class Stream(databases.Session):
    """A connection that gets the binary log from a place on; the account needs REPLICATION SLAVE."""

    def __init__(self, address: Address, account: Account) -> None:
        super().__init__(address, account, SILENT_SECONDS)
        self._file = ""

    def open(self, start: Look) -> None:
        """Ask for everything behind `start`."""
        for setting in _SETTINGS:
            self.change(setting)
        self._file = start.file
        # A server ends a stream when another reader calls itself by the same number.
        number = secrets.randbelow(2**31) + 2**31
        request = struct.pack("<IHI", start.offset, 0, number) + start.file.encode()
        with databases.translated(self.address):
            driver: Any = self._connection
            driver._execute_command(_COM_BINLOG_DUMP, request)

    def next(self) -> Event:
        """The next event; a quiet server sends one in `QUIET_SECONDS`. Raises `databases.DatabaseError` when the stream ends."""
        with databases.translated(self.address):
            # The first byte says that this is no error and no end.
            driver: Any = self._connection
            packet: bytes = driver._read_packet().get_all_data()
            if packet[:1] != b"\x00":
                raise ValueError("the server has ended the stream")
            try:
                return self._event(packet[1:])
            except struct.error as error:
                raise ValueError("the server sent a broken event") from error

    def _event(self, content: bytes) -> Event:
        _, kind, _, _, offset, flags = _HEADER.unpack_from(content)
        body = content[_HEADER.size :]
        if kind == coherence.Kind.ROTATE:
            (start,) = struct.unpack_from("<Q", body)
            self._file = body[8:].decode("utf-8", "replace").rstrip("\x00")
            return Event(kind=kind, at=coherence.place(self._file, start))
        at = coherence.place(self._file, offset) if offset and not flags & _ARTIFICIAL else None
        if kind == coherence.Kind.TABLE_MAP:
            length = body[_TABLE_MAP_NAMES]
            name = body[_TABLE_MAP_NAMES + 1 : _TABLE_MAP_NAMES + 1 + length]
            return Event(kind=kind, at=at, schema=name.decode("utf-8", "replace"))
        if kind == coherence.Kind.QUERY:
            return Event(kind=kind, at=at, statement=_statement(body))
        return Event(kind=kind, at=at)


def _statement(body: bytes) -> str:
    """The text of a statement: behind the fixed head come the status variables, the default schema and a zero byte."""
    _, _, schema, _, variables = _QUERY_HEAD.unpack_from(body)
    return body[_QUERY_HEAD.size + variables + schema + 1 :].decode("utf-8", "replace")
