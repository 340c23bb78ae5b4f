"""Neutron of one site: the API under gunicorn, the server that the hosts' agents talk to, and the periodic workers.

Neutron 29 has no `neutron-server` any more: these three are processes of their own.
"""

import importlib.util
import shutil
import sysconfig
from pathlib import Path

from isthmus.identity import config
from isthmus.lab import calling, errors, inside
from isthmus.lab.calling import Call, Client
from isthmus.lab.components import local_db, memcached, neutron_config, rabbitmq, service_config
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context, script

HOST = 5
NAME = "neutron"
RPC = "neutron-rpc"

# Where the agents' calls arrive.
_QUEUE = "q-plugin"


class Neutron(Component):
    """The API."""

    def needs(self, context: Context) -> list[str]:
        return _needs(context)

    def start(self, context: Context) -> None:
        conf = configure(context)
        server = service_config.gunicorn(
            "neutron.wsgi.api:application",
            address=context.site.address(HOST),
            port=config.NETWORK_PORT,
            threads=8,
            timeout=120,
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn(
            [script("gunicorn")],
            env={
                "OS_NEUTRON_CONFIG_DIR": str(conf.parent),
                "OS_NEUTRON_CONFIG_FILES": conf.name,
            },
        )
        context.wait(daemon, lambda: _missing(context), deadline=LONG_START_DEADLINE, interval=0.25)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(what="Neutron does not answer", where=context.unit, cause=missing)
        seen = inside.within(context.site.namespace, lambda: _networks(context))
        if seen.status != 200:
            raise errors.NotReady(what="Neutron refuses", where=context.unit, cause=seen.said)
        return f"lists {len(seen.body['networks'])} networks for a user with a token of this site"


class NeutronRpc(Component):
    """What answers the agents of the hosts."""

    def needs(self, context: Context) -> list[str]:
        return _needs(context)

    def start(self, context: Context) -> None:
        daemon = context.spawn(
            [script("neutron-rpc-server"), "--config-file", str(configure(context))]
        )
        context.wait(
            daemon, lambda: _not_served(context), deadline=LONG_START_DEADLINE, interval=0.5
        )

    def test(self, context: Context) -> str:
        if missing := _not_served(context):
            raise errors.NotReady(
                what="the agents of the hosts get no answer", where=context.unit, cause=missing
            )
        return "takes the calls of the hosts' agents from the broker"


class NeutronPeriodic(Component):
    """What notices that an agent is dead. It serves nobody, so there is nothing to ask it."""

    def needs(self, context: Context) -> list[str]:
        return _needs(context)

    def start(self, context: Context) -> None:
        conf = configure(context)
        daemon = context.spawn([script("neutron-periodic-workers"), "--config-file", str(conf)])
        context.wait(daemon, lambda: None)

    def test(self, context: Context) -> str:
        if not context.processes():
            raise errors.NotReady(
                what="the periodic workers do not run",
                where=context.unit,
                cause=f"no process; see {context.log}",
            )
        return "runs"


def configure(context: Context) -> Path:
    """Write neutron.conf of this unit and return its path."""
    site, environment, folder = context.site, context.environment, context.directory
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_paste(), folder / "api-paste.ini")
    password = context.template.secret("neutron-database")
    text = neutron_config.server(
        site=site,
        peers=[peer for peer in environment.sites if peer != site and peer.hosts],
        database=f"mysql+pymysql://neutron:{password}@{local_db.address(site)}/neutron?charset=utf8mb4",
        transport=rabbitmq.url(context.of(site, rabbitmq.NAME)),
        password=context.template.secret("neutron"),
        memcached=memcached.endpoint(context),
        directory=str(folder),
        paste=str(folder / "api-paste.ini"),
        log_file=str(context.home.log(f"{context.unit}-service")),
        external=environment.external is not None,
        remote_ports=have_remote_ports(),
        nova_password=context.template.secret("nova") if "nova" in site.components else None,
    )
    return context.write("neutron.conf", text)


def have_remote_ports() -> bool:
    """Whether the product's own ML2 drivers are part of this installation."""
    try:
        return importlib.util.find_spec("isthmus.plugins.neutron.mechanism") is not None
    except ModuleNotFoundError:
        return False


def _needs(context: Context) -> list[str]:
    return [f"{context.site.name}/{name}" for name in (local_db.NAME, rabbitmq.NAME)]


def _missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, context.site.address(HOST), config.NETWORK_PORT, "/healthcheck"
    )


def _networks(context: Context) -> Call:
    """What an administrator gets who lists networks; to be called inside the site."""
    login = Client(context.site.front).login(calling.account(context.template, "admin"))
    return Client(context.site.address(HOST)).networks(login.token) if login.token else login


def _not_served(context: Context) -> str | None:
    broker = context.of(context.site, rabbitmq.NAME)
    try:
        declared = rabbitmq.ask(broker, lambda channel: channel.queue_declare(_QUEUE, passive=True))
    except OSError as error:
        return str(error)
    return None if declared.consumer_count else f"nobody takes messages from {_QUEUE}"


def _paste() -> Path:
    """The pipeline file that Neutron's distribution installs."""
    path = Path(sysconfig.get_path("data")) / "etc" / "neutron" / "api-paste.ini"
    if not path.is_file():
        raise errors.BadHost(missing=[f"{path} is missing"], remedy="make setup")
    return path
