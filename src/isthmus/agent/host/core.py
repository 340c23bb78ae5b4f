"""The agent of one compute host: its settings, its switch, and what answers are made of."""

import logging
import time
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from isthmus import errors
from isthmus.agent import looping
from isthmus.agent.host import config, executing, fdb, plugging, ports, switch
from isthmus.agent.host.freezing import service
from isthmus.sites import signing

log = logging.getLogger(__name__)

_TIDY_SECONDS = 2.0
_STOP_SECONDS = 5.0


class HostAgent:
    """What the routes of this agent share; `isthmus.agent.host.holding` gets it too.

    `freezing`: the guards of guests, if they were started already.
    """

    def __init__(self, settings: config.Settings, freezing: service.Freezing | None = None) -> None:
        self.settings = settings
        self.freezing = freezing or service.Freezing(settings)
        self.switch = switch.Switch(settings)
        self.name = signing.host_name(settings.site, settings.host)
        self.gate = signing.Gate(signing.load_secret(settings.secret_file), self.name)
        self.started_at = datetime.now(UTC)
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.probes = plugging.Probes(
            self.switch, settings.state / "probes", settings.probe_seconds
        )
        self.commands = executing.Commands(self.freezing.rounds)
        self._tidier = _Tidier(self.probes)

    def start(self) -> None:
        """Begin to take away what has expired; first what an earlier life left."""
        self._tidier.start()

    def stop(self) -> None:
        """Take all probes away; dead-men stay armed, and commands in guests go on."""
        self.commands.stop()
        self.freezing.stop()
        self._tidier.stop()
        self._tidier.join(_STOP_SECONDS)
        try:
            self.probes.clear()
        except errors.HostError as error:
            log.warning("probes stay until the next start: %s", error)

    @property
    def vtep(self) -> str:
        """The host's end of the tunnels, as far as it is known without asking the switch."""
        return str(self.settings.vtep or self.settings.addresses[0][0])

    def fdb(self, vni: int | None = None) -> dict[str, Any]:
        """The document of `GET /fdb`, with `?vni=` of one network only."""
        tunnel = self.settings.bridges.tunnel
        # Tunnels first: an entry that is newer than the list of tunnels shows its port's number.
        interfaces = self.switch.interfaces(tunnel)
        held = fdb.assemble(self.switch.flows(tunnel), interfaces, vtep=self.vtep)
        return {**self.stamp(), "connected": self.switch.controlled(), **held.document(vni)}

    def ports(self) -> dict[str, Any]:
        """The document of `GET /ports`."""
        interfaces = self.switch.interfaces(self.settings.bridges.integration)
        return {**self.stamp(), "ports": ports.document(interfaces, self.switch.ports())}

    def status(self) -> dict[str, Any]:
        """The document of `GET /status`."""
        return {
            **self.stamp(),
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "version": metadata.version("isthmus"),
            "vtep": self.vtep,
        }

    def stamp(self) -> dict[str, Any]:
        """Who says it, and when (seconds of the Unix epoch)."""
        return {"site": self.settings.site, "host": self.settings.host, "at": time.time()}


class _Tidier(looping.Loop):
    """Takes away probes that are over."""

    def __init__(self, probes: plugging.Probes) -> None:
        super().__init__("probes", _TIDY_SECONDS)
        self._probes = probes
        self._trouble = ""

    def tick(self) -> None:
        try:
            self._probes.tidy(time.time())
            self._trouble = ""
        except errors.HostError as error:
            # The switch may be away for minutes: one line for each reason is enough.
            if str(error) != self._trouble:
                log.warning("probes cannot be taken away yet: %s", error)
            self._trouble = str(error)
