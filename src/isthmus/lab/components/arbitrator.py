"""garbd: the third vote of the identity cluster, in a site that holds no node, so that no single site takes two votes along."""

from isthmus.identity import config
from isthmus.lab import errors
from isthmus.lab.components import identity_db, mariadb
from isthmus.lab.components.base import Component, Context

NAME = config.ARBITRATOR


class Arbitrator(Component):
    def needs(self, context: Context) -> list[str]:
        # After all nodes: two members that join at the same time restart each other's view changes, on a busy machine
        # for a minute.
        return [f"{site.name}/{identity_db.NAME}" for site in context.environment.writers]

    def start(self, context: Context) -> None:
        own = context.site.address(identity_db.ARBITRATOR_HOST)
        nodes = [identity_db.address(site) for site in context.environment.writers]
        options = config.arbitrator(address=own, segment=context.site.number, nodes=nodes)
        daemon = context.spawn(["garbd", *(f"--{key}={value}" for key, value in options.items())])
        context.wait(daemon, lambda: _absent(context))

    def test(self, context: Context) -> str:
        if missing := _absent(context):
            raise errors.NotReady(
                what="the arbitrator is not a member", where=context.unit, cause=missing
            )
        return "the writer sites' nodes count the arbitrator as a member"


def _absent(context: Context) -> str | None:
    """None if some living node sees a member more than there are living nodes."""
    nodes = [context.of(site, identity_db.NAME) for site in context.environment.writers]
    seen = "no database node answers"
    for node in nodes:
        if not node.processes() or mariadb.missing(node):
            continue
        rows = mariadb.query(node, "SELECT node_name FROM mysql.wsrep_cluster_members")
        names = sorted(str(row["node_name"]) for row in rows)
        if NAME in names:
            return None
        seen = f"{node.unit} sees {', '.join(names) or 'no member'}"
    return seen
