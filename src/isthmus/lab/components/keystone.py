"""Keystone of one site: under gunicorn, with the site kit's drivers and entry point."""

from pathlib import Path

from isthmus.identity import config
from isthmus.lab import errors, inside
from isthmus.lab.components import memcached, service_config
from isthmus.lab.components.base import Component, Context, script

HOST = 2
NAME = "keystone"
KEY_REPOSITORIES = ("fernet-keys", "credential-keys")

# One process may be busy hashing a password (a quarter of a second of CPU); the other goes on checking tokens.
WORKERS = 2
THREADS = 4


def queue(context: Context) -> Path:
    """The durable queue of writes that wait for the writer site."""
    return context.directory / "queue.sqlite"


def gunicorn(application: str, *, address: str, port: int) -> str:
    """gunicorn.conf.py of a Keystone: ours, and the stock ones that it is compared with."""
    return service_config.gunicorn(
        application,
        address=address,
        port=port,
        workers=WORKERS,
        threads=THREADS,
        # Loads the application once and forks, which halves the CPU of a start.
        preload=True,
        timeout=120,
    )


class Keystone(Component):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        text = config.keystone(
            site=context.site.name,
            database_password=context.template.secret("keystone"),
            front=context.site.front,
            memcached=memcached.endpoint(context),
            token_keys=str(context.directory / KEY_REPOSITORIES[0]),
            credential_keys=str(context.directory / KEY_REPOSITORIES[1]),
            queue=str(queue(context)),
            log_file=str(context.home.log(f"{context.unit}-service")),
        )
        context.write("keystone.conf", text)
        server = gunicorn(
            "isthmus.plugins.keystone.wsgi:application",
            address=context.site.address(HOST),
            port=config.IDENTITY_PORT,
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn(
            [script("gunicorn")],
            env={"OS_KEYSTONE_CONFIG_DIR": str(context.directory)},
        )
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="Keystone does not answer", where=context.unit, cause=missing
            )
        return "answers the version document"


def _missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, context.site.address(HOST), config.IDENTITY_PORT, "/v3"
    )
