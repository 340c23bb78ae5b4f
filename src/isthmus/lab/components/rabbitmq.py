"""RabbitMQ of one site: the message bus of its Neutron. Nothing of it crosses the WAN.

Accounts come from a definitions file, so that a start needs no call of `rabbitmqctl` (half a second each).
"""

import base64
import hashlib
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from isthmus.lab import errors, inside
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context

HOST = 6
PORT = 5672
NAME = "rabbitmq"
USER = "isthmus"
VHOST = "neutron"

# The one library that is named like a plugin.
_PRELAUNCH = "rabbitmq_prelaunch"

T = TypeVar("T")


def address(context: Context) -> str:
    """Where the site's broker answers."""
    return context.site.address(HOST)


def url(context: Context) -> str:
    """The transport URL of oslo.messaging. Holds the password."""
    password = context.template.secret("messaging")
    return f"rabbit://{USER}:{password}@{address(context)}:{PORT}/{VHOST}"


class RabbitMq(Component):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        for folder in (context.directory, context.directory / "home", context.directory / "data"):
            folder.mkdir(parents=True, exist_ok=True)
            _give(folder)
        _link_libraries(context.directory / "plugins")
        definitions = _definitions(context.template.secret("messaging"))
        path = context.write("definitions.json", json.dumps(definitions), owner=NAME)
        context.write("rabbitmq.conf", _configuration(context, str(path)), owner=NAME)
        command = ["setpriv", "--reuid", NAME, "--regid", NAME, "--clear-groups"]
        daemon = context.spawn(
            [*command, "/usr/lib/rabbitmq/bin/rabbitmq-server"], env=_environ(context)
        )
        context.wait(daemon, lambda: _missing(context), deadline=LONG_START_DEADLINE, interval=0.25)

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="the broker does not answer", where=context.unit, cause=missing
            )
        return "a client logs in, declares a queue and gets its own message back"


def ask(context: Context, work: Callable[[Any], T]) -> T:
    """Do `work` with a channel of the site's broker; raises OSError when the broker does not answer or refuses."""
    # Imported here: only these tests speak AMQP, and every command loads this module.
    import amqp  # type: ignore[import-untyped]

    def connected() -> T:
        with amqp.Connection(
            host=f"{address(context)}:{PORT}",
            userid=USER,
            password=context.template.secret("messaging"),
            virtual_host=VHOST,
            connect_timeout=2,
            read_timeout=5,
            write_timeout=5,
        ) as connection:
            return work(connection.channel())

    try:
        return inside.within(context.site.namespace, connected)
    except amqp.AMQPError as error:
        raise OSError(f"the broker refuses: {error}") from error


def _missing(context: Context) -> str | None:
    try:
        ask(context, _round_trip)
    except OSError as error:
        return str(error)
    return None


def _round_trip(channel: Any) -> None:
    import amqp

    queue = channel.queue_declare(exclusive=True).queue
    channel.basic_publish(amqp.Message("there and back"), routing_key=queue)
    if channel.basic_get(queue, no_ack=True) is None:
        raise OSError("the broker lost a message")


def _link_libraries(folder: Path) -> None:
    """Show the broker its own libraries and none of its plugins.

    They lie in one directory, and the broker reads what every plugin is before it begins: a third of its start.
    """
    folder.mkdir(exist_ok=True)
    for library in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/plugins/*"):
        plugin = library.name.startswith("rabbitmq_") and not library.name.startswith(_PRELAUNCH)
        link = folder / library.name
        if not plugin and not link.is_symlink():
            link.symlink_to(library)


def _environ(context: Context) -> dict[str, str]:
    folder = context.directory
    return {
        "HOME": str(folder / "home"),
        "RABBITMQ_NODENAME": f"{context.site.name}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "data"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PLUGINS_DIR": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "data" / "pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        # The script becomes the broker instead of waiting beside it.
        "RUNNING_UNDER_SYSTEMD": "true",
        # One scheduler that does not spin while it waits: a broker of the lab is idle most of the time.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none +S 1:1",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def _configuration(context: Context, definitions: str) -> str:
    return "\n".join(
        [
            f"listeners.tcp.1 = {address(context)}:{PORT}",
            f"load_definitions = {definitions}",
            "log.console.level = warning",
            "",
        ]
    )


def _definitions(password: str) -> dict[str, object]:
    """The one account and its virtual host; RabbitMQ's own account `guest` is not made then."""
    return {
        "users": [
            {
                "name": USER,
                "password_hash": hashed(password, os.urandom(4)),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
        ],
        "vhosts": [{"name": VHOST}],
        "permissions": [
            {"user": USER, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        ],
    }


def hashed(password: str, salt: bytes) -> str:
    """A password as RabbitMQ keeps it: base64 of four bytes of salt and the SHA-256 of salt and password."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _give(path: Path) -> None:
    account = pwd.getpwnam(NAME)
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o700)
