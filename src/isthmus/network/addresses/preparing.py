"""Makes ready in one site what its addresses need: gateways, reservations, address pairs.

It exists so that a move costs no building: in every site the gateway stands before it is needed. It
is slow (Neutron is asked) and never on the way of a lease. What stands is left standing while
Neutron or a declaration cannot be read; only a declaration that says that its address is being
deleted takes anything away.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from isthmus import errors
from isthmus.network.addresses import findings, gateway_ports, links, members
from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.findings import Code, Finding
from isthmus.network.addresses.health import Health
from isthmus.network.addresses.links import Host
from isthmus.network.addresses.neutron_objects import Objects, RefusedError
from isthmus.network.addresses.policy import Standing
from isthmus.outcomes import Outcome

LOG = logging.getLogger(__name__)

TICK_SECONDS = 1.0
LOOK_SECONDS = 20.0
"""How often an address that is ready is looked at again."""
RETRY_SECONDS = 3.0
SILENT_SECONDS = 5.0
"""How long a gateway's host may be silent before another host gets the gateway."""
PREPARE_SECONDS = 15.0
"""How long an agent may take to build a gateway."""


class Home(Protocol):
    """What is needed of the service."""

    @property
    def hosts(self) -> Mapping[str, Host]: ...
    def declared(self) -> tuple[ServiceAddress, ...]: ...
    def standings(self, address: str) -> dict[str, Standing]: ...
    def prepared(
        self,
        addresses: tuple[ServiceAddress, ...],
        places: Mapping[str, tuple[str | None, str]],
        clean: frozenset[str],
    ) -> None: ...


@dataclasses.dataclass(kw_only=True)
class Place:
    """What is known of one address here. `due`: when to look again (monotonic seconds)."""

    declared: ServiceAddress
    host: str | None = None
    reason: str = "not prepared yet"
    findings: tuple[Finding, ...] = ()
    due: float = 0.0
    clean: bool = False


class Preparer(threading.Thread):
    """See the module."""

    def __init__(self, engine: Any, home: Home) -> None:
        super().__init__(name="preparing addresses", daemon=True)
        self._engine, self._home = engine, home
        self._places: dict[str, Place] = {}
        self._woken = threading.Event()
        self._stopping = False

    def findings(self, address: str) -> tuple[Finding, ...]:
        """What is wrong here with an address."""
        place = self._places.get(address)
        return place.findings if place else ()

    def standings(self) -> dict[str, Standing]:
        """What this site says of addresses that need no steward."""
        return {
            name: Standing(
                place=f"{self._engine.site}/-",
                ready=False,
                health=Health.UNKNOWN,
                clean=place.clean,
            )
            for name, place in dict(self._places).items()
            if place.declared.kind is Kind.VRRP
        }

    def wake(self) -> None:
        """Look at all addresses now."""
        for place in dict(self._places).values():
            place.due = 0.0
        self._woken.set()

    def hurry(self, address: str) -> None:
        """The gateway of an address has vanished from its host."""
        place = self._places.get(address)
        if place is not None and place.due > time.monotonic() + RETRY_SECONDS:
            place.due = 0.0
            self._woken.set()

    def stop(self) -> None:
        self._stopping = True
        self._woken.set()

    def run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                self._tick()
            except Exception:
                LOG.exception("an error in the engine itself; preparing addresses goes on")
            self._woken.wait(TICK_SECONDS)

    def _tick(self) -> None:
        declared = self._home.declared()
        mine = [each for each in declared if self._engine.site in each.targets]
        for address in self._places.keys() - {each.id for each in mine}:
            del self._places[address]
        for each in mine:
            place = self._places.setdefault(each.id, Place(declared=each))
            if place.declared != each:
                place.declared, place.due = each, 0.0
            self._look(place)
        self._home.prepared(
            declared,
            {name: (place.host, place.reason) for name, place in self._places.items()},
            frozenset(name for name, place in self._places.items() if place.clean),
        )
        for each in mine:
            if each.deleting:
                self._finish(each)
        try:
            self._tidy()
        except errors.IsthmusError as error:
            LOG.info("a gateway that is not needed stands still: %s", error)

    def _look(self, place: Place) -> None:
        now = time.monotonic()
        moved = place.declared.kind is Kind.MOVED and not place.declared.deleting
        if moved and self._host(place) != place.host:
            place.due = 0.0
        if now < place.due:
            return
        objects = Objects(self._engine.session, self._engine.site)
        try:
            place.findings = self._prepare(place, objects)
        except errors.IsthmusError as error:
            refused = isinstance(error, RefusedError)
            place.findings = (_trouble(place.declared, self._engine.site, error, refused=refused),)
            if place.host is None or refused:
                place.reason = str(error)
            LOG.info("%s is not ready here: %s", place.declared.name, error)
        good = not place.reason and not place.findings
        place.due = time.monotonic() + (LOOK_SECONDS if good else RETRY_SECONDS)

    def _prepare(self, place: Place, objects: Objects) -> tuple[Finding, ...]:
        address = place.declared
        if address.deleting:
            self._remove(place, objects)
            return ()
        if address.kind is Kind.VRRP:
            place.reason = ""
            return members.ensure(address, objects)
        host = self._host(place)
        if host is None:
            place.host, place.reason = None, "no host agent of this site answers"
            return ()
        physical = self._engine.config.networks.physical_network
        made = gateway_ports.ensure(address, objects, host, physical)
        if made.spec is not None:
            timeout = PREPARE_SECONDS
            path = f"/addresses/{address.id}"
            self._engine.hosts.call("PUT", host, path, made.spec, timeout)
            place.host, place.reason = host, made.reason
        else:
            place.reason = made.reason
        return made.findings

    def _host(self, place: Place) -> str | None:
        """Where the gateway is to stand: where it stands, as long as that host answers."""
        wanted = place.declared.hosts.get(self._engine.site)
        if wanted:
            return wanted if wanted in self._home.hosts else None
        now = time.monotonic()
        current = self._home.hosts.get(place.host or "")
        if current is not None and current.heard.lately(now, SILENT_SECONDS):
            return place.host
        # Hosts are asked seldom until there is an address to hold.
        patience = SILENT_SECONDS if place.host else 2 * links.IDLE_SECONDS
        heard = [n for n, link in self._home.hosts.items() if link.heard.lately(now, patience)]
        # After a restart of the engine: rather where it stands than where it would be built.
        heard.sort(key=lambda name: place.declared.id not in self._home.hosts[name].reports)
        return next(iter(heard), place.host)

    def _tidy(self) -> None:
        """Take gateways away that stand where they should not: on a host that was silent when the
        gateway went to another one. Two of them would share one port of Neutron."""
        fresh = self._engine.store.freshness.error is None
        for host, link in self._home.hosts.items():
            for address in dict(link.reports) if link.heard.lately(time.monotonic()) else ():
                place = self._places.get(address)
                stray = fresh if place is None else place.host not in (None, host)
                if stray:
                    LOG.info("the gateway of %s on %s is taken away", address, host)
                    self._release(host, address)

    def _release(self, host: str, address: str) -> None:
        path = f"/addresses/{address}"
        self._engine.hosts.call("DELETE", host, path, None, PREPARE_SECONDS)

    def _remove(self, place: Place, objects: Objects) -> None:
        address = place.declared
        place.reason = "the address is being deleted"
        if address.kind is Kind.VRRP:
            members.remove(address, objects)
        else:
            for host in self._home.hosts:
                self._release(host, address.id)
            gateway_ports.remove(address, objects)
        place.clean = True

    def _finish(self, address: ServiceAddress) -> None:
        """Forget the declaration when every site is rid of the address."""
        standings = self._home.standings(address.id) | self.standings_of(address.id)
        waiting = set(address.targets) - self._engine.lost_sites
        if all(site in standings and standings[site].clean for site in waiting):
            try:
                self._engine.store.remove_address(address.to_document())
            except errors.IsthmusError as error:
                LOG.info("%s is not forgotten yet: %s", address.name, error)
            else:
                LOG.info("%s is deleted in all sites", address.name)
                self._engine.declared()

    def standings_of(self, address: str) -> dict[str, Standing]:
        """This site's own word, where it has no steward that says it."""
        place = self._places[address]
        own = Standing(
            place=f"{self._engine.site}/-",
            ready=False,
            health=Health.UNKNOWN,
            clean=place.clean,
        )
        return {self._engine.site: own}


def _trouble(
    address: ServiceAddress, site: str, error: errors.IsthmusError, *, refused: bool
) -> Finding:
    return findings.Finding(
        code=Code.REFUSED if refused else Code.GATEWAY,
        outcome=Outcome.ERROR if refused else Outcome.WARN,
        address=address.name,
        site=site,
        summary=f"what {address.name} needs in {site} cannot be prepared",
        cause=str(error),
        remedy=error.next_command or "it is tried again every few seconds",
    )
