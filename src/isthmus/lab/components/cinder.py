"""Cinder of one site: API, scheduler, the volume service on the site's Ceph, and the backup service to the remote store."""

import shutil
import sysconfig
from pathlib import Path

from isthmus.lab import errors, inside
from isthmus.lab.components import (
    ceph,
    cinder_config,
    debian_modules,
    libvirt_config,
    local_db,
    mariadb,
    memcached,
    rabbitmq,
    room,
    service_config,
    swift,
)
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context, script
from isthmus.lab.components.service_config import VOLUME_PORT

NAME = "cinder"
SCHEDULER, VOLUME, BACKUP = "cinder-scheduler", "cinder-volume", "cinder-backup"

# A service that reports every ten seconds and has been silent for three times that does not work.
_FRESH_SECONDS = 30
_INITIALIZED = "Driver initialization completed successfully"
_ROW = (
    "SELECT updated_at >= UTC_TIMESTAMP() - INTERVAL %s SECOND AS fresh FROM cinder.services"
    " WHERE `binary` = %s AND deleted = 0 ORDER BY updated_at DESC LIMIT 1"
)


class Cinder(Component):
    """The API."""

    def needs(self, context: Context) -> list[str]:
        return _needs(context)

    def start(self, context: Context) -> None:
        path = configure(context)
        server = service_config.gunicorn(
            "cinder.wsgi.api:application",
            port=VOLUME_PORT,
            threads=8,
            argv=("--config-file", str(path)),
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn([script("gunicorn")], env=debian_modules.environment(context.home))
        context.wait(daemon, lambda: _missing(context), deadline=LONG_START_DEADLINE, interval=0.25)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(what="Cinder does not answer", where=context.unit, cause=missing)
        return "answers its health check"


class CinderService(Component):
    """Scheduler, volume or backup service, by its name."""

    def needs(self, context: Context) -> list[str]:
        needed = [] if context.name == SCHEDULER else [f"{context.site.name}/{ceph.NAME}"]
        if context.name == BACKUP:
            # It asks the store once what it can, when it starts, and goes on without an answer.
            needed += [f"{site.name}/{swift.NAME}" for site in swift.sites(context.environment)]
        return [*_needs(context), *needed]

    def start(self, context: Context) -> None:
        path = configure(context)
        began = mariadb_now(context)
        log = context.home.log(f"{context.unit}-service")
        told = log.stat().st_size if log.exists() else 0
        argv = [script(context.name), "--config-file", str(path)]
        if context.name != SCHEDULER:
            # Among others os-brick looks for the key of Ceph in this one place, whatever is configured.
            seen = {ceph.cluster(context).etc: Path("/etc/ceph")}
            room.prepare(seen)
            argv = room.enter(argv, mounts=seen)
        daemon = context.spawn(argv, env=debian_modules.environment(context.home))
        context.wait(
            daemon,
            lambda: _silent(context, since=began) or _uninitialized(context, log, told),
            deadline=LONG_START_DEADLINE,
            interval=0.5,
        )

    def test(self, context: Context) -> str:
        if missing := _silent(context):
            raise errors.NotReady(
                what=f"{context.name} does not work", where=context.unit, cause=missing
            )
        return "reports to Cinder's database"


def configure(context: Context) -> Path:
    """Write cinder.conf of this unit and return its path."""
    site, folder, secret = context.site, context.directory, context.template.secret
    for name in ("lock", "conversion", "coordination"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("api-paste.ini", "resource_filters.json"):
        shutil.copy(_shipped(name), folder / name)
    path = folder / "cinder.conf"
    stores = swift.sites(context.environment)
    told = cinder_config.Volumes(
        site=site,
        database=service_config.database(NAME, secret("cinder-database"), local_db.address(site)),
        transport=rabbitmq.url(context.of(site, rabbitmq.NAME)),
        password=secret(NAME),
        memcached=memcached.endpoint(context),
        directory=str(folder),
        path=str(path),
        paste=str(folder / "api-paste.ini"),
        filters=str(folder / "resource_filters.json"),
        log_file=str(context.home.log(f"{context.unit}-service")),
        privsep_helper=script("privsep-helper"),
        secret_uuid=secret_uuid(context),
        store=swift.url(stores[0]) if stores else None,
        nova_password=secret("nova"),
    )
    return context.write(path.name, cinder_config.conf(told))


def secret_uuid(context: Context) -> str:
    """The name of the key of the site's Ceph; nothing before the cluster was made."""
    cluster = ceph.cluster(context)
    return libvirt_config.secret_uuid(cluster.fsid) if (cluster.folder / "fsid").exists() else ""


def mariadb_now(context: Context) -> str:
    """The time of the site's database, which the services' reports are held against."""
    database = context.of(context.site, local_db.NAME)
    return str(mariadb.value(database, "SELECT UTC_TIMESTAMP()"))


def _needs(context: Context) -> list[str]:
    return [f"{context.site.name}/{name}" for name in (local_db.NAME, rabbitmq.NAME)]


def _missing(context: Context) -> str | None:
    site = context.site
    return inside.missing(site.namespace, site.front, VOLUME_PORT, "/healthcheck")


def _silent(context: Context, *, since: str | None = None) -> str | None:
    """None if the service has reported of late (since a time of the database, if one is given)."""
    database = context.of(context.site, local_db.NAME)
    query, values = _ROW, [str(_FRESH_SECONDS), context.name]
    if since is not None:
        query = query.replace("UTC_TIMESTAMP() - INTERVAL %s SECOND", "%s")
        values[0] = since
    rows = mariadb.query(database, query, tuple(values))
    return None if rows and rows[0]["fresh"] else "it has not reported to Cinder's database"


def _uninitialized(context: Context, log: Path, told: int) -> str | None:
    """None once the volume service has found its Ceph: it reports before that. Only its log tells."""
    if context.name != VOLUME:
        return None
    with log.open(errors="replace") as stream:
        stream.seek(told)
        return None if _INITIALIZED in stream.read() else "it has not found its storage"


def _shipped(name: str) -> Path:
    """A file that Cinder's distribution installs: its pipeline, what users may search for."""
    path = Path(sysconfig.get_path("data")) / "etc" / "cinder" / name
    if not path.is_file():
        raise errors.BadHost(missing=[f"{path} is missing"], remedy="make setup")
    return path
