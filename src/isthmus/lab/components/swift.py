"""Swift, the remote store of backups and manifests: proxy, account, container and object server of one site, one zone, one copy.

Real Swift and not Ceph's gateway: what protects a site must not lie on the same kind of storage as what it protects, and
Cinder's backups of snapshots are incremental with Swift.
"""

import shutil
from pathlib import Path

from isthmus.identity import config
from isthmus.lab import errors, inside
from isthmus.lab.components import memcached, swift_config, swift_rings
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context, python, script
from isthmus.lab.components.swift_config import PORT, SERVERS
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.running import run

NAME = "swift"

_RING_SECONDS = 120.0


class Swift(Component):
    def needs(self, context: Context) -> list[str]:
        return [f"{context.site.name}/memcached"]

    def start(self, context: Context) -> None:
        site, folder = context.site, context.directory
        prepare(folder, site.front, suffix=context.template.secret("swift-hash"))
        text = swift_config.proxy(
            folder=folder,
            address="0.0.0.0",  # noqa: S104 - of the site's namespace: its front and its management address
            memcached=memcached.endpoint(context),
            identity=f"http://{site.front}:{config.IDENTITY_PORT}/v3",
            public_identity=f"http://{site.management}:{config.IDENTITY_PORT}/v3",
            region=site.name,
            password=context.template.secret(NAME),
        )
        context.write("proxy-server.conf", text)
        daemons = [context.spawn(command(folder, kind)) for kind in (*SERVERS, "proxy")]
        context.wait(daemons[-1], lambda: _missing(context), deadline=LONG_START_DEADLINE)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(what="Swift does not answer", where=context.unit, cause=missing)
        return "its four servers answer"


def sites(environment: Environment) -> list[SiteSpec]:
    """The sites that have a remote store."""
    return [site for site in environment.sites if NAME in site.components]


def url(site: SiteSpec) -> str:
    """What the project's id is appended to, as seen from any site."""
    return f"http://{site.front}:{PORT}/v1/AUTH_"


def prepare(folder: Path, address: str, *, suffix: str) -> None:
    """Write what the three storage servers read, and the rings unless they are there."""
    device = folder / "devices" / swift_rings.DEVICE
    device.mkdir(parents=True, exist_ok=True)
    _write(folder / "swift.conf", swift_config.hashes(suffix))
    for kind in SERVERS:
        text = swift_config.server(kind, folder=folder, address=address)
        _write(folder / f"{kind}-server.conf", text)
    if not all((folder / f"{kind}.ring.gz").exists() for kind in SERVERS):
        words = [python(), "-m", "isthmus.lab.components.swift_rings", str(folder), address]
        run(words, timeout=_RING_SECONDS)
    shutil.rmtree(device / "tmp", ignore_errors=True)


def command(folder: Path, kind: str) -> list[str]:
    """One of Swift's servers in the foreground; what it logs goes to the console."""
    return [script(f"swift-{kind}-server"), str(folder / f"{kind}-server.conf"), "--verbose"]


def missing(namespace: str, address: str) -> str | None:
    """None if all four servers answer."""
    ports = (*SERVERS.values(), PORT)
    asked = (inside.missing(namespace, address, port, "/healthcheck") for port in ports)
    return next(filter(None, asked), None)


def _missing(context: Context) -> str | None:
    return missing(context.site.namespace, context.site.front)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
