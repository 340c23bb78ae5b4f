"""The agent of one compute host: its settings, its switch, and what answers are made of."""

import time
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from isthmus.agent.host import config, fdb, ports, switch
from isthmus.sites import signing


class HostAgent:
    """What the routes of this agent share; `isthmus.agent.host.holding` gets it too."""

    def __init__(self, settings: config.Settings) -> None:
        self.settings = settings
        self.switch = switch.Switch(settings)
        self.name = signing.host_name(settings.site, settings.host)
        self.gate = signing.Gate(signing.load_secret(settings.secret_file), self.name)
        self.started_at = datetime.now(UTC)
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def vtep(self) -> str:
        """The host's end of the tunnels, as far as it is known without asking the switch."""
        return str(self.settings.vtep or self.settings.addresses[0][0])

    def fdb(self) -> dict[str, Any]:
        """The document of `GET /fdb`."""
        tunnel = self.settings.bridges.tunnel
        # Tunnels first: an entry that is newer than the list of tunnels shows its port's number.
        interfaces = self.switch.interfaces(tunnel)
        held = fdb.assemble(self.switch.flows(tunnel), interfaces, vtep=self.vtep)
        return {**self._stamp(), **held.document()}

    def ports(self) -> dict[str, Any]:
        """The document of `GET /ports`."""
        interfaces = self.switch.interfaces(self.settings.bridges.integration)
        return {**self._stamp(), "ports": ports.document(interfaces, self.switch.ports())}

    def status(self) -> dict[str, Any]:
        """The document of `GET /status`."""
        return {
            **self._stamp(),
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "version": metadata.version("isthmus"),
            "vtep": self.vtep,
        }

    def _stamp(self) -> dict[str, Any]:
        """Who says it, and when (seconds of the Unix epoch)."""
        return {"site": self.settings.site, "host": self.settings.host, "at": time.time()}
