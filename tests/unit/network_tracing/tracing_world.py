"""Two sites in one process: Neutrons behind HTTP on the loopback, hosts that remember what is plugged.

Engines reach each other through their real routes. Only what a real host or another reconciler would
do is played: a plugged port becomes ACTIVE and is known in the other site, probes answer each other.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
from fastapi.testclient import TestClient

from isthmus import errors
from isthmus.network import neutrons
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.tracing import api, asking
from isthmus.network.views import REMOTE_OWNER, TAG, network_tag

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))

from loopback_neutron import LoopbackNeutron

NETWORK = StretchedNetwork(
    id="n1",
    name="backbone",
    project_id="p",
    cidr="10.7.0.0/24",
    vni=4001,
    sites=("paris", "lyon"),
    pools={"paris": (("10.7.0.1", "10.7.0.63"),), "lyon": (("10.7.0.64", "10.7.0.127"),)},
)
NETWORK_IDS = {name: f"{name.encode().hex():0<32}" for name in NETWORK.sites}
HOSTS = ("compute1", "compute2")
_NUMBERS = itertools.count(1)


class Neutron(LoopbackNeutron):
    """Also gives ports what a real Neutron gives them: an address of the pool, a MAC, a state."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site, self.tables["agents"] = site, {}
        self.first = 1 if site == "paris" else 64
        network = self.add(
            "networks", id=NETWORK_IDS[site], name="backbone", project_id="p", mtu=1450,
            tags=[TAG, network_tag("n1")], description="",
            **{"provider:segmentation_id": 4001, "provider:network_type": "vxlan"},
        )  # fmt: skip
        self.add(
            "subnets", network_id=network["id"], project_id="p", name="backbone", ip_version=4,
            cidr="10.7.0.0/24", allocation_pools=[], gateway_ip=None, enable_dhcp=False,
            tags=[TAG, network_tag("n1")], description="",
        )  # fmt: skip
        for host in HOSTS:
            self.add("agents", id=host, host=host, alive=True, binary=asking.L2_AGENT)

    def _create(self, table: str, body: Any) -> Any:
        port = body.get("port")
        if port and "mac_address" not in port:
            number = next(_NUMBERS)
            port |= {
                "id": f"{number:08x}-0000-4000-8000-000000000000",
                "mac_address": f"fa:16:3e:00:00:{number:02x}",
                "fixed_ips": [{"ip_address": f"10.7.0.{self.first + number}", "subnet_id": "s"}],
            }
            answer = super()._create(table, body)
            answer["port"] |= {"status": "DOWN", "vtep_ip": self.vtep(port["binding:host_id"])}
            return answer
        return super()._create(table, body)

    def vtep(self, host: str) -> str:
        return f"10.99.{1 if self.site == 'paris' else 2}.3{host[-1]}"

    def probes(self) -> list[dict[str, Any]]:
        ports = self.tables["ports"].values()
        return [port for port in ports if port.get("device_owner") == asking.PROBE_OWNER]


class Hosts:
    """The host agents of one site. `broken`: what raises, by the beginning of the path."""

    def __init__(self, world: World, site: str) -> None:
        self._world, self._site = world, site
        self.names = HOSTS
        self.plugged: dict[str, dict[str, Any]] = {}
        self.broken: dict[tuple[str, str], str] = {}

    def get(self, name: str, path: str, timeout: float = 5.0) -> Any:
        self._refuse(name, path)
        if path.startswith("/ports"):
            mine = {p["port_id"]: p for p in self.plugged.values() if p["host"] == name}
            return {"ports": {key: {"interface": "probe", "local_vlan": 1} for key in mine}}
        neutron = self._world.neutrons[self._site]
        return {"vtep": neutron.vtep(name), "tunnels": {}, "networks": {}, "connected": True}

    def post(self, name: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
        self._refuse(name, path)
        if path == "/underlay":
            good = {"reached": True, "largest": body["size"], "milliseconds": 1.0, "error": None}
            return {"ways": dict.fromkeys(body["to"], good)}
        if path == "/probes":
            self.plugged[body["port_id"][:8]] = {**body, "host": name}
            self._world.plugged(self._site, body["port_id"])
            return {"id": body["port_id"][:8]}
        source = self.plugged[path.split("/")[2]]
        return {"results": {to: self._world.pinged(source, to, body) for to in body["targets"]}}

    def delete(self, name: str, path: str, timeout: float = 5.0) -> Any:
        self._refuse(name, path)
        self.plugged.pop(path.split("/")[2], None)

    def _refuse(self, name: str, path: str) -> None:
        for (host, begin), reason in self.broken.items():
            if host == name and path.startswith(begin):
                raise errors.UnavailableError(reason, where=f"host {name}")


class Peers:
    """The other site's engine, behind its real routes."""

    def __init__(self) -> None:
        self.clients: dict[str, TestClient] = {}
        self.silent: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.clients)

    def post(self, name: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
        if name in self.silent:
            raise errors.UnavailableError("connection refused", where=f"the engine of {name}")
        answer = self.clients[name].post(path, json=json.loads(json.dumps(body)))
        if answer.status_code != 200:
            raise errors.UnavailableError(answer.text, where=f"the engine of {name}")
        return answer.json()

    get = delete = None  # Not used among engines.


class World:
    """Paris and Lyon. `blind`: ports of these sites are not known in the other one."""

    def __init__(self) -> None:
        self.neutrons = {name: Neutron(name) for name in NETWORK.sites}
        self.hosts = {name: Hosts(self, name) for name in NETWORK.sites}
        self.blind: set[str] = set()
        self.lost: set[tuple[str, str]] = set()
        self.widths: dict[str, int] = {}
        self.on_ping: Callable[[], None] = lambda: None
        self.engines = {name: self._engine(name) for name in NETWORK.sites}
        for name, engine in self.engines.items():
            for other, their in self.engines.items():
                if other != name:
                    engine.peers.clients[other] = TestClient(_app(their))

    def _engine(self, name: str) -> Any:
        own, sessions = self, {n: neutron.session for n, neutron in self.neutrons.items()}
        every = {n: neutrons.Neutron(sessions[n], n) for n in NETWORK.sites}
        return SimpleNamespace(
            site=name,
            session=_Session(self.neutrons),
            config=SimpleNamespace(networks=SimpleNamespace(tunnel_overhead=50)),
            store=SimpleNamespace(network=lambda _: NETWORK),
            peers=Peers(),
            hosts=own.hosts[name],
            neutron=lambda site=None: every[site or name],
            require_admin=lambda: None,
            require_reader=lambda: None,
            require_engine=lambda: None,
        )

    def client(self, site: str = "paris") -> TestClient:
        """A person's tool at the engine of a site."""
        return TestClient(_app(self.engines[site]))

    def plugged(self, site: str, port_id: str) -> None:
        """What Neutron's agent and the other site's reconciler do."""
        port = self.neutrons[site].tables["ports"][port_id]
        port["status"] = "ACTIVE"
        for other in NETWORK.sites:
            if other != site and site not in self.blind:
                self.neutrons[other].add(
                    "ports", network_id=NETWORK_IDS[other], device_owner=REMOTE_OWNER,
                    device_id=f"{site}/{port_id}", mac_address=port["mac_address"],
                    fixed_ips=port["fixed_ips"], remote_vtep=port["vtep_ip"], vtep_ip=port["vtep_ip"], status="ACTIVE",
                    name="remote", security_groups=[],
                )  # fmt: skip

    def pinged(self, source: dict[str, Any], to: str, order: Any) -> dict[str, Any]:
        self.on_ping()
        wide = order.get("size", 84) <= self.widths.get(to, 1450)
        received = order.get("count", 3) if wide and (source["ip"], to) not in self.lost else 0
        times = {"min_ms": 0.5, "avg_ms": 0.6, "max_ms": 0.9} if received else {}
        return {"sent": order.get("count", 3), "received": received, **times}

    def left(self) -> list[Any]:
        """Everything that is left of probes."""
        ports = [port for neutron in self.neutrons.values() for port in neutron.probes()]
        return [*ports, *(probe for hosts in self.hosts.values() for probe in hosts.plugged)]


class _Session:
    """One session for all sites, as a real one that reads the catalog."""

    def __init__(self, every: dict[str, Neutron]) -> None:
        self._every = every
        self.auth = next(iter(every.values())).auth

    def get_endpoint(self, *, region_name: str, **_: Any) -> str:
        return self._every[region_name].url

    def request(self, url: str, method: str, **words: Any) -> Any:
        return next(iter(self._every.values())).session.request(url, method, **words)


def _app(engine: Any) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.include_router(api.router(engine))
    return app


@contextmanager
def world() -> Iterator[World]:
    """Two sites that are gone afterwards."""
    made = World()
    try:
        yield made
    finally:
        # Each takes half a second to notice.
        closing = [threading.Thread(target=each.close) for each in made.neutrons.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
