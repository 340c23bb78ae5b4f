"""Two little sites in memory, and what a keeper needs around it.

The tests here are about threads: who looks when, what waits for what. What is decided is tested with
the reconciler, and whether Neutron does it, in the lab.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import conditions
from isthmus.engine.config import Timing
from isthmus.engine.keeping import Keeper
from isthmus.engine.observing import Observer
from isthmus.network import actions, partition, views
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.neutrons import Outcome, Result
from isthmus.network.views import Network, Origin, Port, SiteView, Subnet

PROJECT = "vnf"


def declaration(**changes: object) -> StretchedNetwork:
    plain: dict[str, object] = {
        "id": "6f9619ff-8b86-4011-b42d-00c04fc964ff",
        "name": "backup",
        "project_id": PROJECT,
        "cidr": "10.50.0.0/24",
        "vni": 4000,
        "sites": ("paris", "lyon"),
        "pools": {
            "paris": (("10.50.0.1", "10.50.0.63"),),
            "lyon": (("10.50.0.64", "10.50.0.127"),),
        },
    }
    return StretchedNetwork(**{**plain, **changes})  # type: ignore[arg-type]


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Threads answer within milliseconds; a loaded machine may take seconds."""
    conditions.wait_for("what the engine shall do", condition, seconds)


class Site:
    """One site's Neutron in memory. `silent`: a sentence, and it does not answer; `hold` set, and
    whole looks wait for `released`."""

    _numbers = itertools.count(1)

    def __init__(self, name: str) -> None:
        self.name = name
        self.network: Network | None = None
        self.subnet: Subnet | None = None
        self.ports: dict[str, Port] = {}
        self.silent: str | None = None
        self.refuses = False
        self.hold = False
        self.released = threading.Event()
        self.looks = {"whole": 0, "narrow": 0}

    def boot(self, port_id: str, number: int, vtep: str = "10.99.2.31") -> Port:
        assert self.network
        port = Port(
            id=port_id,
            network_id=self.network.id,
            mac=f"fa:16:3e:02:00:{number:02x}",
            ips=(f"10.50.0.{number}",),
            vtep_ip=vtep,
            status="ACTIVE",
            device_owner="compute:nova",
        )
        self.ports[port_id] = port
        return port

    @property
    def origins(self) -> set[str]:
        return {port.device_id for port in self.ports.values() if port.ours}

    def view(self, wanted: StretchedNetwork) -> SiteView:
        self.looks["whole"] += 1
        seen = self._seen()
        if self.hold:
            self.released.wait(10)
        return seen

    def refresh(
        self, view: SiteView, wanted: StretchedNetwork, origins: Iterable[Origin]
    ) -> SiteView:
        self.looks["narrow"] += 1
        asked = frozenset(each.port_id for each in origins)
        seen = self._seen()
        return seen if not seen.good else dataclasses.replace(seen, only=asked)

    def _seen(self) -> SiteView:
        if self.silent:
            return views.silent(self.name, 0.0, self.silent)
        return SiteView(
            site=self.name,
            seen_at=time.time(),
            network=self.network,
            subnets=(self.subnet,) if self.subnet else (),
            ports=tuple(self.ports.values()),
        )

    def apply(self, wanted: StretchedNetwork, planned: Sequence[actions.Action]) -> list[Outcome]:
        if self.silent or self.refuses:
            result = Result.FAILED if self.silent else Result.REFUSED
            return [Outcome(action=each, result=result) for each in planned]
        for each in planned:
            self._do(each)
        return [Outcome(action=each, result=Result.DONE) for each in planned]

    def _do(self, action: actions.Action) -> None:
        match action:
            case actions.CreateNetwork():
                self.network = Network(
                    id=f"{self.name}-network",
                    name=action.name,
                    project_id=action.project_id,
                    vni=action.vni,
                    mtu=action.mtu,
                    tags=frozenset(action.tags),
                    description=action.description,
                )
            case actions.CreateSubnet():
                self.subnet = Subnet(
                    id=f"{self.name}-subnet",
                    network_id=f"{self.name}-network",
                    project_id=action.project_id,
                    name=action.name,
                    cidr=action.cidr,
                    pools=action.pools,
                    gateway=action.gateway,
                    dhcp=action.dhcp,
                    tags=frozenset(action.tags),
                )
            case actions.CreatePort():
                port_id = f"{self.name}-{next(self._numbers)}"
                self.ports[port_id] = Port(
                    id=port_id,
                    network_id=action.network_id or "",
                    mac=action.mac,
                    ips=action.ips,
                    vtep_ip=action.vtep,
                    remote_vtep=action.vtep,
                    status="ACTIVE",
                    device_owner=views.REMOTE_OWNER,
                    device_id=str(action.origin),
                    name=action.name,
                )
            case actions.DeletePort():
                self.ports.pop(action.port_id, None)
            case actions.DeleteSubnet():
                self.subnet = None
            case actions.DeleteNetwork():
                self.network = None
            case _:
                raise AssertionError(f"not expected here: {action}")


class World:
    """The engine of paris, without its engine: what a keeper needs."""

    site = "paris"

    def __init__(self, **timing: float) -> None:
        self.started_at = time.time()
        self.timing = Timing(**{"peer_timeout_seconds": 0.5, "reconcile_seconds": 60.0, **timing})
        self.sites = {name: Site(name) for name in ("paris", "lyon")}
        self.lost_sites: frozenset[str] = frozenset()
        self.forgotten: list[StretchedNetwork] = []
        self.lags: list[float] = []
        self._observers: dict[str, Observer] = {}

    @property
    def neutron_sites(self) -> frozenset[str]:
        return frozenset(self.sites)

    def observer(self, site: str) -> Observer:
        if site not in self._observers:
            self._observers[site] = Observer(site, lambda: self.sites[site])
            self._observers[site].start()
        return self._observers[site]

    def neutron(self, site: str | None = None) -> Site:
        return self.sites[site or self.site]

    def hearing(self) -> partition.Hearing:
        everybody = frozenset({"paris", "lyon", "madrid"})
        return partition.Hearing(own="paris", engines=everybody, heard=everybody)

    def finished(self, wanted: StretchedNetwork) -> None:
        self.forgotten.append(wanted)

    def applied(self, lag: float) -> None:
        self.lags.append(lag)

    def keeper(self, wanted: StretchedNetwork | None = None) -> Keeper:
        keeper = Keeper(wanted or declaration(), self)  # type: ignore[arg-type]
        keeper.start()
        return keeper

    def stop(self) -> None:
        for each in self._observers.values():
            each.stop()
        for site in self.sites.values():
            site.released.set()
