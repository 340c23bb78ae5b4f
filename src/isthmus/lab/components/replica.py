"""An asynchronous GTID replica of one writer site's node, in a replica site: `replica-<writer site>`."""

from typing import Any

from isthmus.identity import config
from isthmus.lab import errors
from isthmus.lab.components import identity_db, mariadb
from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import SiteSpec

PREFIX = "replica-"
_FIRST_HOST = 11
_MOST = 9


def home_of(context: Context) -> SiteSpec:
    """The writer site that this replica follows when all is well."""
    return context.environment.site(context.name.removeprefix(PREFIX))


def address(context: Context) -> str:
    """Replicas of a site are numbered in the order of its component list."""
    replicas = [name for name in context.site.components if name.startswith(PREFIX)]
    if len(replicas) > _MOST:
        raise errors.BadEnvironment(
            source=context.site.name,
            cause=f"{len(replicas)} replicas; a site has addresses for {_MOST}",
        )
    return context.site.address(_FIRST_HOST + replicas.index(context.name))


class Replica(Component):
    def needs(self, context: Context) -> list[str]:
        return [f"{home_of(context).name}/{identity_db.NAME}"]

    def start(self, context: Context) -> None:
        own = address(context)
        index = int(own.rpartition(".")[2]) - _FIRST_HOST
        cnf = config.mariadb_replica(
            address=own,
            server_id=config.replica_server_id(context.site.number, index),
            directory=str(context.directory),
            sizing=mariadb.SIZING,
        )
        mariadb.prepare(context, cnf, context.template.identity)
        daemon = mariadb.spawn(context)
        context.wait(daemon, lambda: mariadb.missing(context), deadline=mariadb.READY_DEADLINE)
        if not mariadb.query(context, "SHOW ALL SLAVES STATUS"):
            self._follow(context)

    def test(self, context: Context) -> str:
        status = _stream(context)
        if status["Slave_IO_Running"] != "Yes" or status["Slave_SQL_Running"] != "Yes":
            raise errors.NotReady(
                what="the replica does not follow",
                where=context.unit,
                cause=f"IO {status['Slave_IO_Running']}: {status['Last_IO_Error']}; "
                f"SQL {status['Slave_SQL_Running']}: {status['Last_SQL_Error']}",
            )
        return f"follows {status['Master_Host']} at {status['Gtid_IO_Pos']}"

    def _follow(self, context: Context) -> None:
        """The data is a copy of the template, so the stream begins where the template was made."""
        mariadb.query(context, "RESET MASTER")
        mariadb.query(context, "SET GLOBAL gtid_slave_pos = %s", (context.template.gtid,))
        mariadb.query(
            context,
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER='repl', MASTER_PASSWORD=%s, "
            "MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=2, MASTER_USE_GTID=slave_pos",
            (
                identity_db.address(home_of(context)),
                config.REPLICATION_PORT,
                context.template.secret("replication"),
            ),
        )
        mariadb.query(context, "START SLAVE")


def _stream(context: Context) -> dict[str, Any]:
    rows = mariadb.query(context, "SHOW ALL SLAVES STATUS")
    if not rows:
        raise errors.NotReady(
            what="the replica has no master",
            where=context.unit,
            cause="SHOW ALL SLAVES STATUS is empty",
        )
    return rows[0]
