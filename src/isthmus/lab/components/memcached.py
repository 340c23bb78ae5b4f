"""memcached: the cache of one site's Keystone and of its services' token middleware. Never shared between sites."""

from isthmus.lab import errors, inside
from isthmus.lab.components.base import Component, Context

HOST = 4
PORT = 11211


def endpoint(context: Context) -> str:
    """host:port of the site's memcached."""
    return f"{context.site.address(HOST)}:{PORT}"


class Memcached(Component):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        host = context.site.address(HOST)
        daemon = context.spawn(
            [
                "memcached",
                "-u",
                "memcache",
                "-l",
                host,
                "-p",
                str(PORT),
                "-m",
                "32",
                "-c",
                "256",
                "-t",
                "1",
            ]
        )
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="memcached does not answer", where=context.unit, cause=missing
            )
        return "memcached answers its version"


def _missing(context: Context) -> str | None:
    try:
        with inside.connect(
            context.site.namespace, context.site.address(HOST), PORT, timeout=1.0
        ) as stream:
            stream.sendall(b"version\r\n")
            answer = stream.recv(64)
    except OSError as error:
        return str(error)
    return None if answer.startswith(b"VERSION") else f"unexpected answer {answer!r}"
