"""Nova of one site: API, conductor, scheduler; and the compute service of each host, `HOST-compute`."""

import importlib.util
import sysconfig
from pathlib import Path

from isthmus.lab import errors, inside
from isthmus.lab.components import (
    cinder,
    debian_modules,
    libvirt,
    local_db,
    mariadb,
    memcached,
    nova_config,
    placement,
    rabbitmq,
    service_config,
)
from isthmus.lab.components import host as hosting
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context, script
from isthmus.lab.components.host import HostComponent
from isthmus.lab.components.service_config import COMPUTE_PORT

NAME = "nova"
CONDUCTOR, SCHEDULER = "nova-conductor", "nova-scheduler"
PART = "compute"

_FRESH_SECONDS = 30
_ROW = (
    "SELECT COALESCE(last_seen_up, created_at) >= UTC_TIMESTAMP() - INTERVAL %s SECOND AS fresh"
    " FROM nova.services WHERE `binary` = %s AND host = %s AND deleted = 0"
)
# The scheduler looks for new hosts every few seconds; until then it knows one from Placement and cannot use it.
_MAPPING = "SELECT host FROM nova_api.host_mappings WHERE host = %s"
_PROVIDER = "SELECT name FROM placement.resource_providers WHERE name = %s"


class Nova(Component):
    """The API."""

    def needs(self, context: Context) -> list[str]:
        return _needs(context)

    def start(self, context: Context) -> None:
        path = configure(context, host=context.site.name, address=context.site.front)
        server = service_config.gunicorn(
            "nova.wsgi.osapi_compute:application", port=COMPUTE_PORT, threads=8
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn(
            [script("gunicorn")],
            env={
                "OS_NOVA_CONFIG_DIR": str(path.parent),
                # The first one is taken for the pipeline, whatever the second one says.
                "OS_NOVA_CONFIG_FILES": f"api-paste.ini;{path.name}",
                **debian_modules.environment(context.home),
            },
        )
        context.wait(daemon, lambda: _missing(context), deadline=LONG_START_DEADLINE, interval=0.25)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(what="Nova does not answer", where=context.unit, cause=missing)
        return "answers the version document"


class NovaService(Component):
    """Conductor or scheduler, by its name."""

    def needs(self, context: Context) -> list[str]:
        # Both end at once when they cannot log in, which they do through the front, or do not find Placement.
        needed = (placement.NAME, "haproxy")
        return [*_needs(context), *(f"{context.site.name}/{name}" for name in needed)]

    def start(self, context: Context) -> None:
        host = context.site.name
        path = configure(context, host=host, address=context.site.front)
        began = cinder.mariadb_now(context)
        daemon = context.spawn(
            [script(context.name), "--config-file", str(path)],
            env=debian_modules.environment(context.home),
        )
        context.wait(
            daemon,
            lambda: _silent(context, context.name, host, since=began),
            deadline=LONG_START_DEADLINE,
            interval=0.5,
        )

    def test(self, context: Context) -> str:
        if missing := _silent(context, context.name, context.site.name):
            raise errors.NotReady(
                what=f"{context.name} does not work", where=context.unit, cause=missing
            )
        return "reports to Nova's database"


class NovaCompute(HostComponent):
    """The compute service of a host. Its guests outlive it."""

    def needs(self, context: Context) -> list[str]:
        parts = (libvirt.PART, hosting.SWITCH)
        services = (placement.NAME, CONDUCTOR, "haproxy")
        return [
            *(hosting.unit(context, part) for part in parts),
            *(f"{context.site.name}/{name}" for name in services),
        ]

    def start(self, context: Context) -> None:
        host = hosting.of(context)
        (context.directory / "instances").mkdir(parents=True, exist_ok=True)
        path = configure(context, host=host.name, address=host.address)
        began = cinder.mariadb_now(context)
        daemon = self.spawn(
            context,
            libvirt.inside(context, [script("nova-compute"), "--config-file", str(path)]),
            env={**debian_modules.environment(context.home), "TMPDIR": str(context.directory)},
        )
        context.wait(
            daemon,
            lambda: _silent(context, "nova-compute", host.name, since=began) or _unusable(context),
            deadline=LONG_START_DEADLINE,
            interval=0.5,
        )

    def test(self, context: Context) -> str:
        host = hosting.of(context).name
        if missing := _silent(context, "nova-compute", host) or _unusable(context):
            raise errors.NotReady(
                what="the host takes no servers", where=context.unit, cause=missing
            )
        return "reports to Nova and offers its room to Placement"


def configure(context: Context, *, host: str, address: str) -> Path:
    """Write nova.conf and api-paste.ini of this unit and return the first one's path."""
    site, folder, secret = context.site, context.directory, context.template.secret
    (folder / "lock").mkdir(parents=True, exist_ok=True)
    ours = importlib.util.find_spec("isthmus.plugins.nova") is not None
    paste = context.write("api-paste.ini", nova_config.pipeline(_paste().read_text(), quiesce=ours))
    path = folder / "nova.conf"
    where, password = local_db.address(site), secret("nova-database")
    on_host = context.name in {f"{name}-{PART}" for name in site.hosts}
    told = nova_config.Compute(
        site=site,
        host=host,
        address=address,
        database=None if on_host else service_config.database(NAME, password, where),
        api_database=None
        if on_host
        else service_config.database(NAME, password, where, schema="nova_api"),
        transport=rabbitmq.url(context.of(site, rabbitmq.NAME)),
        password=secret(NAME),
        memcached=memcached.endpoint(context),
        directory=str(folder),
        path=str(path),
        paste=str(paste),
        log_file=str(context.home.log(f"{context.unit}-service")),
        privsep_helper=script("privsep-helper"),
        secret_uuid=cinder.secret_uuid(context),
    )
    return context.write(path.name, nova_config.conf(told))


def _needs(context: Context) -> list[str]:
    return [f"{context.site.name}/{name}" for name in (local_db.NAME, rabbitmq.NAME)]


def _missing(context: Context) -> str | None:
    site = context.site
    return inside.missing(site.namespace, site.front, COMPUTE_PORT, "/")


def _silent(context: Context, binary: str, host: str, *, since: str | None = None) -> str | None:
    """None if the service has reported of late (since a time of the database, if one is given)."""
    database = context.of(context.site, local_db.NAME)
    query, first = _ROW, str(_FRESH_SECONDS)
    if since is not None:
        query, first = query.replace("UTC_TIMESTAMP() - INTERVAL %s SECOND", "%s"), since
    rows = mariadb.query(database, query, (first, binary, host))
    return None if rows and rows[0]["fresh"] else "it has not reported to Nova's database"


def _unusable(context: Context) -> str | None:
    """None if Placement and the scheduler know the host, by the name that it has in its own namespace."""
    database = context.of(context.site, local_db.NAME)
    name = hosting.of(context).name
    if not mariadb.query(database, _PROVIDER, (name,)):
        return "Placement does not know it"
    known = mariadb.query(database, _MAPPING, (name,))
    return None if known else "the scheduler has not mapped it to a cell"


def _paste() -> Path:
    """The pipeline file that Nova's distribution installs."""
    path = Path(sysconfig.get_path("data")) / "etc" / "nova" / "api-paste.ini"
    if not path.is_file():
        raise errors.BadHost(missing=[f"{path} is missing"], remedy="make setup")
    return path
