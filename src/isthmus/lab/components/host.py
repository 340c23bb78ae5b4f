"""What the components of a compute host share: which host, its namespace, its directory of sockets."""

from collections.abc import Mapping
from pathlib import Path

from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import HostSpec
from isthmus.lab.home import Home
from isthmus.lab.processes import Daemon

SWITCH = "ovs"
INTEGRATION, TUNNEL, EXTERNAL, UNDERLAY = "br-int", "br-tun", "br-ex", "br-phy"


def of(context: Context) -> HostSpec:
    """The host that a unit `SITE/HOST-PART` belongs to."""
    return context.site.host(context.name.rpartition("-")[0])


def unit(context: Context, part: str) -> str:
    """The unit of another part of the same host."""
    return f"{context.site.name}/{of(context).name}-{part}"


def switch_directory(context: Context) -> Path:
    """Where the host's switch keeps its database and its sockets."""
    return context.of(context.site, f"{of(context).name}-{SWITCH}").directory


def ovsdb(context: Context) -> str:
    """The connection to the host's switch database."""
    return f"unix:{switch_directory(context)}/db.sock"


def tools(home: Home, host: HostSpec) -> dict[str, str]:
    """The environment in which `ovs-vsctl`, `ovs-ofctl` and `ovs-appctl` find the host's switch."""
    folder = str(home.unit_directory(f"{host.site}/{host.name}-{SWITCH}"))
    return {"OVS_RUNDIR": folder, "OVS_LOGDIR": folder}


class HostComponent(Component):
    """A component that runs in the namespace of a host instead of the site's."""

    def spawn(
        self, context: Context, argv: list[str], *, env: Mapping[str, str] | None = None
    ) -> Daemon:
        """Start a daemon on the host; tools that it calls find the host's own switch."""
        host = of(context)
        return context.spawn(
            argv,
            env={**tools(context.home, host), **(env or {})},
            namespace=host.namespace,
        )
