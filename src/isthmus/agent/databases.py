"""Talking to MariaDB: every look and every change that the agent makes, with time limits.

The driver's exceptions end here, as `DatabaseError`. No decision is taken here; the questions and
answers are those of `isthmus.identity.replication` and `isthmus.identity.writer`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from isthmus.agent.config import Account, Address
from isthmus.identity import positions, published, replication, writer

# The driver loads `cryptography` for password methods that only MySQL has: 9 MB in every agent.
_UNNEEDED = "cryptography.hazmat.backends"
_loaded = sys.modules.get(_UNNEEDED)
sys.modules[_UNNEEDED] = None  # type: ignore[assignment]
try:
    import pymysql
    import pymysql.cursors
finally:
    del sys.modules[_UNNEEDED]
    if _loaded is not None:
        sys.modules[_UNNEEDED] = _loaded

# A database in the same site answers in milliseconds; one that needs a second is not alive.
LOOK_SECONDS = 1.0
# A write that has to be there soon waits for the certification of the other writer site, over the WAN.
WRITE_SECONDS = 5.0
# Stopping a stream to a dead network waits for its connect to give up (slave_net_timeout, 10 s).
CHANGE_SECONDS = 20.0
# The server forgets a lease whose agent went away without a word after this long.
LEASE_SECONDS = 15


class DatabaseError(Exception):
    """A database did not do what it was asked. `answered`: it spoke, so the process is alive."""

    def __init__(self, text: str, *, answered: bool, number: int = 0) -> None:
        super().__init__(text)
        self.answered = answered
        self.number = number


@contextlib.contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn the driver's errors into `DatabaseError`."""
    try:
        yield
    except pymysql.Error as error:
        raise _error(address, error) from None
    except (OSError, ValueError, IndexError, AttributeError) as error:
        # A server that dies in the middle of an answer makes the driver fail in these ways too.
        raise DatabaseError(f"{address}: {error}", answered=False) from None


def _error(address: Address, error: pymysql.Error) -> DatabaseError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    # 2000 to 2999 are the client's own numbers: no connection, or it was lost.
    return DatabaseError(
        f"{address}: {text} ({number})",
        answered=0 < number < 2000 or number > 2999,
        number=number,
    )


class Session:
    """One connection. Every statement ends within the time limit or raises `DatabaseError`."""

    def __init__(self, address: Address, account: Account, seconds: float = LOOK_SECONDS) -> None:
        self.address = address
        with translated(address):
            self._connection = pymysql.connect(
                host=address.host,
                port=address.port,
                user=account.user,
                password=account.password,
                autocommit=True,
                charset="utf8mb4",
                connect_timeout=LOOK_SECONDS,
                read_timeout=seconds,
                write_timeout=LOOK_SECONDS,
                cursorclass=pymysql.cursors.DictCursor,
                program_name="isthmus-agent",
            )

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        with translated(self.address), self._connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return [dict(row) for row in cursor.fetchall()]

    def change(self, statement: str, *arguments: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        with translated(self.address), self._connection.cursor() as cursor:
            return int(cursor.execute(statement, arguments or None))

    def value(self, statement: str, *arguments: object) -> Any:
        rows = self.rows(statement, *arguments)
        return next(iter(rows[0].values())) if rows else None

    def close(self) -> None:
        with translated(self.address):
            self._connection.close()


def prepare_node(session: Session) -> None:
    """A node that is cut off shall still show what it has; without this it refuses every table."""
    session.change("SET SESSION wsrep_dirty_reads=ON")


def look_at_replica(
    session: Session, master_at: Callable[[Address], str | None]
) -> replication.Replica:
    """Stream, position and heartbeats of an asynchronous replica."""
    status = session.rows("SHOW SLAVE STATUS")
    return replication.Replica(
        applied=positions.parse(str(session.value("SELECT @@GLOBAL.gtid_slave_pos AS p") or "")),
        stream=_stream(status[0], master_at) if status else None,
        heartbeats=heartbeats(session),
    )


def _stream(
    row: Mapping[str, Any], master_at: Callable[[Address], str | None]
) -> replication.Stream:
    connected, applying = row["Slave_IO_Running"] == "Yes", row["Slave_SQL_Running"] == "Yes"
    address = Address(host=str(row["Master_Host"]), port=int(row["Master_Port"]))
    return replication.Stream(
        master=master_at(address),
        connected=connected,
        applying=applying,
        received=positions.parse(str(row["Gtid_IO_Pos"] or "")),
        connect_errno=int(row["Last_IO_Errno"]),
        connect_error=str(row["Last_IO_Error"]),
        apply_errno=int(row["Last_SQL_Errno"]),
        apply_error=str(row["Last_SQL_Error"]),
        stopped=row["Slave_IO_Running"] == "No" and not row["Last_IO_Errno"],
    )


def heartbeats(session: Session) -> tuple[replication.Heartbeat, ...]:
    rows = session.rows("SELECT writer, sequence, written_at FROM isthmus_identity.heartbeat")
    return tuple(
        replication.Heartbeat(
            writer=row["writer"],
            sequence=row["sequence"],
            written_at=row["written_at"].replace(tzinfo=UTC),
        )
        for row in rows
    )


_GALERA = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status',"
    " 'wsrep_local_state_comment', 'wsrep_ready', 'wsrep_cluster_size')"
)


def look_at_node(session: Session, clock: Callable[[], float]) -> tuple[writer.View, str]:
    """A Galera node's own view, and its position as text."""
    status = {row["Variable_name"]: str(row["Value"]) for row in session.rows(_GALERA)}
    facts = session.rows("SELECT @@wsrep_node_name AS name, @@GLOBAL.gtid_binlog_pos AS position")
    # Arbitrators have no address for clients; they must not be counted as writers.
    members = session.rows(
        "SELECT node_name, node_incoming_address AS address FROM mysql.wsrep_cluster_members"
    )
    view = writer.View(
        at=clock(),
        now=datetime.now(UTC),
        name=str(facts[0]["name"]),
        status=status.get("wsrep_cluster_status", ""),
        state=status.get("wsrep_local_state_comment", ""),
        ready=status.get("wsrep_ready") == "ON",
        size=int(status.get("wsrep_cluster_size", 0)),
        members=tuple(sorted(str(m["node_name"]) for m in members if m["address"])),
        # An arbitrator takes part in votes and has no database address.
        arbitrators=tuple(sorted(str(m["node_name"]) for m in members if not m["address"])),
        register=_register(session),
        heartbeats=heartbeats(session),
    )
    return view, str(facts[0]["position"] or "")


def _register(session: Session) -> writer.Register | None:
    rows = session.rows("SELECT site, epoch FROM isthmus_identity.writer WHERE id = 1")
    return writer.Register(site=rows[0]["site"], epoch=rows[0]["epoch"]) if rows else None


def look_at_master(session: Session, clock: Callable[[], float]) -> replication.Master:
    """Whether a master may be followed, and how far it is; needs no right beyond logging in."""
    status = {row["Variable_name"]: str(row["Value"]) for row in session.rows(_GALERA)}
    position = positions.parse(str(session.value("SELECT @@GLOBAL.gtid_binlog_pos AS p") or ""))
    cluster = status.get("wsrep_cluster_status", "")
    state = status.get("wsrep_local_state_comment", "")
    usable = cluster == writer.PRIMARY and state == writer.SYNCED
    return replication.Master(
        at=clock(), usable=usable, position=position, reason="" if usable else f"{cluster}, {state}"
    )


def variables(session: Session) -> dict[str, str]:
    """How the server is set, as far as it may be told; needs no right beyond logging in."""
    rows: list[dict[str, Any]] = []
    for statement, names in (
        (
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN",
            (*published.VARIABLES, published.PROVIDER),
        ),
        ("SHOW GLOBAL STATUS WHERE Variable_name IN", published.STATUSES),
    ):
        places = ", ".join(["%s"] * len(names))
        rows += session.rows(f"{statement} ({places})", *names)
    # Galera's status names are shown as the server spells them, variables in lower case.
    return published.variables({str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows})


def take_lease(session: Session, name: str) -> str | None:
    """Take the right to act on this database for as long as the session lives.

    None: it is ours (also if it was before). Otherwise who has it.
    """
    session.change(f"SET SESSION wait_timeout={LEASE_SECONDS}, innodb_lock_wait_timeout=1")
    lock = f"isthmus-agent:{name}"
    if session.value("SELECT GET_LOCK(%s, 0) AS l", lock) == 1:
        return None
    owner = session.value("SELECT IS_USED_LOCK(%s) AS l", lock)
    return f"another agent holds the lease (connection {owner})"


def claim(session: Session, site: str, epoch: int) -> bool:
    """Take the writes for `site` if the row is still at `epoch`; False: somebody else was first."""
    return _committed(
        session,
        "UPDATE isthmus_identity.writer SET site = %s, epoch = epoch + 1, since = UTC_TIMESTAMP(6)"
        " WHERE id = 1 AND epoch = %s",
        (site, epoch),
        site,
    )


def renew(session: Session, site: str, epoch: int) -> bool:
    """Keep the writes and write the heartbeat in one transaction; False: the row has changed."""
    return _committed(
        session,
        "UPDATE isthmus_identity.writer SET renewals = renewals + 1"
        " WHERE id = 1 AND site = %s AND epoch = %s",
        (site, epoch),
        site,
    )


def _committed(session: Session, statement: str, arguments: tuple[object, ...], site: str) -> bool:
    """The change of the row and the heartbeat, both or neither."""
    session.change("START TRANSACTION")
    if session.change(statement, *arguments) != 1:
        session.change("ROLLBACK")
        return False
    session.change(
        "INSERT INTO isthmus_identity.heartbeat VALUES (%s, 1, UTC_TIMESTAMP(6))"
        " ON DUPLICATE KEY UPDATE sequence = sequence + 1, written_at = UTC_TIMESTAMP(6)",
        site,
    )
    session.change("COMMIT")
    return True


# One statement on the server: an agent that is killed in the middle leaves no stopped replica.
_FOLLOW = """
BEGIN NOT ATOMIC
  STOP SLAVE;
  CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD=%s,
    MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos;
  START SLAVE;
END
"""


def follow(session: Session, master: Address, account: Account) -> None:
    """Make a replica follow the database at `master` from its own position on."""
    session.change(_FOLLOW, master.host, master.port, account.user, account.password)
