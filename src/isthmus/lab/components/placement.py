"""Placement of one site: where Nova's scheduler learns which host has room."""

from isthmus.identity import config
from isthmus.lab import errors, inside
from isthmus.lab.components import local_db, memcached, service_config
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context, script
from isthmus.lab.components.service_config import PLACEMENT_PORT

NAME = "placement"


class Placement(Component):
    def needs(self, context: Context) -> list[str]:
        return [f"{context.site.name}/{local_db.NAME}"]

    def start(self, context: Context) -> None:
        context.write("placement.conf", _configuration(context))
        server = service_config.gunicorn(
            "placement.wsgi.api:application", port=PLACEMENT_PORT, threads=4
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn(
            [script("gunicorn")], env={"OS_PLACEMENT_CONFIG_DIR": str(context.directory)}
        )
        context.wait(daemon, lambda: _missing(context), deadline=LONG_START_DEADLINE, interval=0.25)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="Placement does not answer", where=context.unit, cause=missing
            )
        return "answers the version document"


def _missing(context: Context) -> str | None:
    site = context.site
    return inside.missing(site.namespace, site.front, PLACEMENT_PORT, "/")


def _configuration(context: Context) -> str:
    site, secret = context.site, context.template.secret
    url = service_config.database(NAME, secret("placement-database"), local_db.address(site))
    return config.ini(
        {
            "DEFAULT": {
                "log_file": str(context.home.log(f"{context.unit}-service")),
                "use_stderr": "false",
            },
            "placement_database": {"connection": url, "max_pool_size": 4},
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": service_config.checks_tokens(
                site, NAME, secret(NAME), memcached.endpoint(context)
            ),
        }
    )
