"""Keystone of one site: under gunicorn, with the site kit's drivers and entry point."""

from pathlib import Path

from isthmus.identity import config
from isthmus.lab import errors, inside
from isthmus.lab.components import memcached
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


def gunicorn(
    application: str, *, address: str, port: int, workers: int, threads: int, preload: bool = True
) -> str:
    """gunicorn.conf.py: with `preload`, loads the application once and forks, which halves the CPU of a start.

    The file is found in the working directory and names the application, because Keystone would take
    gunicorn's command line for its own.
    """
    return "\n".join(
        [
            f"wsgi_app = '{application}'",
            f"bind = ['{address}:{port}']",
            f"workers = {workers}",
            f"threads = {threads}",
            "worker_class = 'gthread'",
            f"preload_app = {preload}",
            "timeout = 120",
            "graceful_timeout = 5",
            # HAProxy opens a connection per request; an idle one kept open here would only race with its end.
            "keepalive = 0",
            "control_socket_disable = True",
            "",
        ]
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
        address = context.site.address(HOST)
        server = gunicorn(
            "isthmus.plugins.keystone.wsgi:application",
            address=address,
            port=config.IDENTITY_PORT,
            workers=WORKERS,
            threads=THREADS,
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
