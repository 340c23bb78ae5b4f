"""A site's own database, for services whose data stays in the site (Glance). Never replicated."""

from isthmus.identity import config
from isthmus.lab import errors
from isthmus.lab.components import mariadb
from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import SiteSpec

HOST = 21
NAME = "local-db"


def address(site: SiteSpec) -> str:
    """Where the site's local database answers."""
    return site.address(HOST)


class LocalDatabase(Component):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        cnf = config.mariadb_local(
            address=address(context.site), directory=str(context.directory), sizing=mariadb.SIZING
        )
        mariadb.prepare(context, cnf, context.template.local)
        daemon = mariadb.spawn(context)
        context.wait(daemon, lambda: mariadb.missing(context), deadline=mariadb.READY_DEADLINE)

    def test(self, context: Context) -> str:
        tables = mariadb.query(context, "SHOW TABLES FROM glance")
        if not tables:
            raise errors.NotReady(
                what="Glance's schema is missing", where=context.unit, cause="no table in glance"
            )
        return f"answers; Glance's schema has {len(tables)} tables"
