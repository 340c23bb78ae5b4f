"""The host's Open vSwitch, asked through its own tools: flows, interfaces, ports.

Every call is a process of its own and finds the sockets anew, so that a restart of the switch needs
no reconnection. Answers are parsed by `flows` and `ovsdb`. It is not for OpenFlow changes: flows
belong to Neutron's agent.
"""

from collections.abc import Sequence
from pathlib import Path

from isthmus import errors
from isthmus.agent.host import config, flows, ovsdb, running

# Neutron's agent allows 1.0, 1.3 and 1.4 on its bridges; a bridge that it has not touched, all.
_OPENFLOW = "OpenFlow13"


class Switch:
    """Open vSwitch of one host. Methods raise `errors.HostError` when it does not answer."""

    def __init__(self, settings: config.Settings) -> None:
        self.database = settings.ovsdb
        self.run_directory: Path = settings.ovs_run
        self.bridges = settings.bridges

    def flows(self, bridge: str) -> tuple[flows.Flow, ...]:
        """All flows of a bridge, with their packet counters."""
        return flows.parse(self.openflow("dump-flows", bridge))

    def openflow(self, command: str, bridge: str, *words: str) -> str:
        """What `ovs-ofctl` prints for one command on a bridge."""
        socket = self.run_directory / f"{bridge}.mgmt"
        if not socket.exists():
            raise errors.HostError(
                f"there is no bridge {bridge}",
                where=str(socket),
                cause="Open vSwitch does not run, or Neutron's agent has not made the bridge yet",
                unchanged="nothing was changed",
            )
        return running.run(
            ["ovs-ofctl", "-O", _OPENFLOW, "--no-names", command, f"unix:{socket}", *words]
        )

    def interfaces(self, bridge: str) -> tuple[ovsdb.Interface, ...]:
        """The interfaces of a bridge, without its own one."""
        names = set(self.vsctl("list-ifaces", bridge).split())
        columns = ",".join(ovsdb.INTERFACE_COLUMNS.split())
        text = self.vsctl("--format=json", f"--columns={columns}", "list", "Interface")
        return tuple(each for each in ovsdb.interfaces(text) if each.name in names)

    def ports(self) -> dict[str, ovsdb.Port]:
        """All ports of all bridges by name."""
        columns = ",".join(ovsdb.PORT_COLUMNS.split())
        return ovsdb.ports(self.vsctl("--format=json", f"--columns={columns}", "list", "Port"))

    def controlled(self) -> bool | None:
        """Whether a controller (Neutron's agent) is connected now; None where none is set."""
        text = self.vsctl("--format=json", "--columns=is_connected", "list", "Controller")
        states = [bool(row["is_connected"]) for row in ovsdb.rows(text)]
        return any(states) if states else None

    def vsctl(self, *words: str) -> str:
        """What `ovs-vsctl` prints. It does not wait for the daemon to do what the database says."""
        return running.run(["ovs-vsctl", f"--db={self.database}", "--no-wait", *words])

    def transact(self, *commands: Sequence[str]) -> None:
        """Several commands of `ovs-vsctl` as one transaction: all or none."""
        words: list[str] = []
        for command in commands:
            words += ["--", *command]
        self.vsctl(*words)
