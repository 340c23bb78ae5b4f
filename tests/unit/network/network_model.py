"""A Neutron in memory that refuses what Neutron refuses, for attacks on the reconciler.

It carries out actions on its own tables and fails the test when an action touches what is not ours.
It is no stand-in for Neutron anywhere else: the lab tests use real ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from isthmus.network import actions, views
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.views import (
    Network,
    Port,
    Quota,
    SecurityGroup,
    SiteView,
    Subnet,
)

PROJECT = "vnf"
CIDR = "10.50.0.0/24"


class Refused(Exception):
    """What Neutron answers with 4xx."""


def declaration(**changes: object) -> StretchedNetwork:
    plain: dict[str, object] = {
        "id": "6f9619ff-8b86-4011-b42d-00c04fc964ff",
        "name": "backup",
        "project_id": PROJECT,
        "cidr": CIDR,
        "vni": 4000,
        "sites": ("paris", "lyon"),
        "pools": {
            "paris": (("10.50.0.1", "10.50.0.63"),),
            "lyon": (("10.50.0.64", "10.50.0.127"),),
            "nice": (("10.50.0.128", "10.50.0.191"),),
            "brest": (("10.50.0.192", "10.50.0.254"),),
        },
    }
    return StretchedNetwork(**{**plain, **changes})  # type: ignore[arg-type]


class Site:
    """One site's Neutron."""

    _numbers = itertools.count(1)

    def __init__(self, name: str, *, groups: Iterable[str] = ("default",)) -> None:
        self.name = name
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, Port] = {}
        self.groups = {f"{name}-{each}": each for each in groups}
        self.touched: list[actions.Action] = []

    def view(self, wanted: StretchedNetwork, *, seen_at: float = 1000.0) -> SiteView:
        network = self._ours(wanted)
        return SiteView(
            site=self.name,
            seen_at=seen_at,
            network=network,
            subnets=tuple(
                each for each in self.subnets.values() if network and each.network_id == network.id
            ),
            ports=tuple(
                each for each in self.ports.values() if network and each.network_id == network.id
            ),
            security_groups=tuple(
                SecurityGroup(id=key, name=name, project_id=PROJECT)
                for key, name in self.groups.items()
            ),
            same_vni=tuple(
                each
                for each in self.networks.values()
                if each.vni == wanted.vni and each is not network
            ),
            other_subnets=tuple(
                each
                for each in self.subnets.values()
                if each.project_id == PROJECT and not (network and each.network_id == network.id)
            ),
            quota=Quota(limit=-1, used=len(self.ports)),
        )

    def _ours(self, wanted: StretchedNetwork) -> Network | None:
        for each in self.networks.values():
            same = (each.vni, each.project_id) == (wanted.vni, wanted.project_id)
            if same and each.belongs_to(wanted.id):
                return each
        return None

    # --- what people do

    def network_of(self, wanted: StretchedNetwork) -> str:
        network = self._ours(wanted)
        assert network, f"{self.name} has no network yet"
        return network.id

    def boot(self, network_id: str, port_id: str, **values: object) -> Port:
        """A real port; raises Refused when Neutron would."""
        plain: dict[str, object] = {
            "id": port_id,
            "network_id": network_id,
            "ips": (),
            "device_owner": "compute:nova",
            "status": "ACTIVE",
        }
        port = Port(**{**plain, **values})  # type: ignore[arg-type]
        self._check_unique(port)
        self.ports[port.id] = port
        return port

    def change(self, port_id: str, **values: object) -> Port:
        port = dataclasses.replace(self.ports[port_id], **values)  # type: ignore[arg-type]
        self._check_unique(port)
        self.ports[port_id] = port
        return port

    def _check_unique(self, port: Port) -> None:
        for other in self.ports.values():
            if other.id == port.id or other.network_id != port.network_id:
                continue
            if other.mac == port.mac:
                raise Refused(f"MAC {port.mac} in use by {other.id}")
            if set(other.ips) & set(port.ips):
                raise Refused(f"address in use by {other.id}")

    # --- what plans do

    def apply(self, wanted: StretchedNetwork, planned: Iterable[actions.Action]) -> None:
        """Carry out a plan; every refusal is the test's failure."""
        made: str | None = None
        for action in planned:
            self.touched.append(action)
            made = self._do(wanted, action, made) or made

    def _do(self, wanted: StretchedNetwork, action: actions.Action, made: str | None) -> str | None:
        match action:
            case actions.CreateNetwork():
                return self._create_network(action)
            case actions.UpdateNetwork(network_id=key, changes=changes):
                self._own_network(key, wanted)
                self.networks[key] = dataclasses.replace(self.networks[key], **dict(changes))
            case actions.ChangeTags(network_id=key, add=add, remove=remove):
                self._own_network(key, wanted)
                tags = (self.networks[key].tags | set(add)) - set(remove)
                self.networks[key] = dataclasses.replace(self.networks[key], tags=tags)
            case actions.CreateSubnet():
                self._create_subnet(action, action.network_id or made or "")
            case actions.UpdateSubnet(subnet_id=key, changes=changes):
                self._own_subnet(key, wanted)
                self.subnets[key] = _subnet_changed(self.subnets[key], dict(changes))
            case actions.TagSubnet(subnet_id=key, tags=tags):
                self._own_subnet(key, wanted)
                held = self.subnets[key]
                self.subnets[key] = dataclasses.replace(held, tags=held.tags | set(tags))
            case actions.CreatePort():
                self._create_port(action)
            case actions.UpdatePort(port_id=key):
                assert self.ports[key].ours, f"{action} touches a foreign port"
                self._update_port(action)
            case actions.DeletePort(port_id=key):
                assert self.ports[key].ours, f"{action} touches a foreign port"
                del self.ports[key]
            case actions.DeleteSubnet(subnet_id=key):
                self._own_subnet(key, wanted)
                self._refuse_used(lambda port: port.network_id == self.subnets[key].network_id)
                del self.subnets[key]
            case actions.DeleteNetwork(network_id=key):
                self._own_network(key, wanted)
                self._refuse_used(lambda port: port.network_id == key)
                assert not any(each.network_id == key for each in self.subnets.values())
                self.ports = {k: p for k, p in self.ports.items() if p.network_id != key}
                del self.networks[key]
        return None

    def _own_network(self, key: str, wanted: StretchedNetwork) -> None:
        assert self.networks[key].belongs_to(wanted.id), f"network {key} is foreign"

    def _own_subnet(self, key: str, wanted: StretchedNetwork) -> None:
        assert self.subnets[key].belongs_to(wanted.id), f"subnet {key} is foreign"

    def _refuse_used(self, of: object) -> None:
        for port in self.ports.values():
            if of(port) and port.device_owner != "network:dhcp":  # type: ignore[operator]
                raise Refused(f"port {port.id} is still there")

    def _create_network(self, action: actions.CreateNetwork) -> str:
        if any(each.vni == action.vni for each in self.networks.values()):
            raise Refused(f"VNI {action.vni} is in use")
        key = f"{self.name}-network-{next(self._numbers)}"
        self.networks[key] = Network(
            id=key, name=action.name, project_id=action.project_id, vni=action.vni, mtu=action.mtu,
            tags=frozenset(action.tags), description=action.description,
        )  # fmt: skip
        return key

    def _create_subnet(self, action: actions.CreateSubnet, network_id: str) -> None:
        assert network_id in self.networks
        for other in self.subnets.values():
            if other.network_id == network_id and other.cidr == action.cidr:
                raise Refused("subnets overlap")
        key = f"{self.name}-subnet-{next(self._numbers)}"
        self.subnets[key] = Subnet(
            id=key, network_id=network_id, project_id=action.project_id, name=action.name,
            cidr=action.cidr, pools=action.pools, gateway=action.gateway, dhcp=action.dhcp,
            tags=frozenset(action.tags), description=action.description,
        )  # fmt: skip

    def _create_port(self, action: actions.CreatePort) -> None:
        assert action.network_id in self.networks
        assert action.security_groups <= self.groups.keys()
        self.boot(
            action.network_id, f"{self.name}-remote-{next(self._numbers)}",
            mac=action.mac, ips=action.ips, vtep_ip=action.vtep, remote_vtep=action.vtep,
            device_owner=views.REMOTE_OWNER, device_id=str(action.origin), name=action.name,
            security_groups=action.security_groups, address_pairs=action.address_pairs,
        )  # fmt: skip

    def _update_port(self, action: actions.UpdatePort) -> None:
        given = {
            "name": action.name,
            "ips": action.ips,
            "vtep_ip": action.vtep,
            "remote_vtep": action.vtep,
            "security_groups": action.security_groups,
            "address_pairs": action.address_pairs,
        }
        # Whatever is changed, Neutron binds a port that is not bound.
        given["status"] = "ACTIVE"
        self.change(action.port_id, **{k: v for k, v in given.items() if v is not None})


def _subnet_changed(subnet: Subnet, changes: dict[str, object]) -> Subnet:
    names = {"enable_dhcp": "dhcp", "gateway_ip": "gateway", "allocation_pools": "pools"}
    renamed = {names.get(key, key): value for key, value in changes.items()}
    return dataclasses.replace(subnet, **renamed)  # type: ignore[arg-type]
