"""The identity database of a writer site: one Galera node. The other writer site has the second, the arbitrator the third vote."""

from isthmus.identity import config
from isthmus.lab import errors
from isthmus.lab.components import mariadb
from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import Role, SiteSpec

HOST = 11
NAME = "identity-db"
ARBITRATOR_HOST = 10


def address(site: SiteSpec) -> str:
    """Where the node of a writer site answers."""
    return site.address(HOST)


def cluster(context: Context) -> list[str]:
    """Addresses of all members: the nodes of the writer sites and the arbitrator."""
    environment = context.environment
    arbitrators = [
        s.address(ARBITRATOR_HOST) for s in environment.sites if "arbitrator" in s.components
    ]
    return [*(address(site) for site in environment.writers), *arbitrators]


class IdentityDatabase(Component):
    def needs(self, context: Context) -> list[str]:
        # The first node of a fresh cluster creates it, the others join.
        first = context.environment.writers[0]
        return [] if context.site == first else [f"{first.name}/{NAME}"]

    def start(self, context: Context) -> None:
        if context.site.role is not Role.WRITER:
            raise errors.BadEnvironment(
                source=context.unit, cause="identity-db belongs to a site with role writer"
            )
        fresh = mariadb.prepare(context, self._configuration(context), context.template.identity)
        arguments = self._arguments(context, fresh=fresh)
        daemon = mariadb.spawn(context, *arguments)
        context.wait(daemon, lambda: _not_synced(context), deadline=mariadb.READY_DEADLINE)

    def test(self, context: Context) -> str:
        if missing := _not_synced(context):
            raise errors.NotReady(
                what="the node is not part of the cluster", where=context.unit, cause=missing
            )
        size = _status(context, "wsrep_cluster_size")
        return f"Galera node is Synced in a Primary component of {size}"

    def _configuration(self, context: Context) -> str:
        return config.mariadb_writer(
            site=context.site.name,
            segment=context.site.number,
            address=address(context.site),
            cluster=cluster(context),
            sst_password=context.template.secret("sst"),
            directory=str(context.directory),
            sizing=mariadb.SIZING,
        )

    def _arguments(self, context: Context, *, fresh: bool) -> list[str]:
        others = [
            context.of(site, NAME) for site in context.environment.writers if site != context.site
        ]
        alive = [other for other in others if other.processes()]
        if fresh:
            return ["--wsrep-new-cluster"] if not alive else []
        position = mariadb.recovered_position(context)
        if alive:
            return [f"--wsrep_start_position={position}"]
        return self._bootstrap(context, position, others)

    def _bootstrap(self, context: Context, position: str, others: list[Context]) -> list[str]:
        """All nodes are down: the one with the newest position begins the cluster again."""
        for other in others:
            theirs = (
                mariadb.recovered_position(other) if (other.directory / "data").exists() else ":-1"
            )
            if _sequence(theirs) > _sequence(position):
                raise errors.NotReady(
                    what="this node must not begin the cluster",
                    where=context.unit,
                    cause=f"{other.unit} holds newer writes; start it first: isthmus lab fault resume {other.unit}",
                )
        state = context.directory / "data" / "grastate.dat"
        state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
        return ["--wsrep-new-cluster", f"--wsrep_start_position={position}"]


def _sequence(position: str) -> int:
    return int(position.split(",")[0].rpartition(":")[2])


def _status(context: Context, name: str) -> str:
    rows = mariadb.query(context, "SHOW GLOBAL STATUS LIKE %s", (name,))
    return str(rows[0]["Value"]) if rows else ""


def _not_synced(context: Context) -> str | None:
    if missing := mariadb.missing(context):
        return missing
    status = _status(context, "wsrep_cluster_status")
    state = _status(context, "wsrep_local_state_comment")
    return None if (status, state) == ("Primary", "Synced") else f"cluster {status}, node {state}"
