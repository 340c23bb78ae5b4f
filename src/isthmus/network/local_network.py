"""The network and the subnet that a site should hold for a declaration, and how they go away again.

It exists apart from the ports because it happens once, in the order that Neutron asks for. It never
takes over an object without our mark, and never takes away what still carries somebody's ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from isthmus.network import views
from isthmus.network.actions import (
    Action,
    ChangeTags,
    CreateNetwork,
    CreateSubnet,
    DeleteNetwork,
    DeletePort,
    DeleteSubnet,
    TagSubnet,
    UpdateNetwork,
    UpdateSubnet,
)
from isthmus.network.declarations import Dhcp, StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.views import Network, Port, SiteView, Subnet
from isthmus.outcomes import Outcome

OWN_PORTS = frozenset({"network:dhcp"})
"""Ports that Neutron makes and takes away by itself."""


def creation(declaration: StretchedNetwork, own: SiteView) -> tuple[Action, ...]:
    """What has to be created before any port can be; nothing when it stands."""
    if own.network is None:
        return (_network(declaration), _subnet(declaration, own.site, None))
    if own.subnet(declaration.id) is None and rival(declaration, own) is None:
        return (_subnet(declaration, own.site, own.network.id),)
    return ()


def rival(declaration: StretchedNetwork, own: SiteView) -> Subnet | None:
    """A subnet on our network that somebody else made and that takes the room of ours."""
    strangers = (each for each in own.subnets if not each.belongs_to(declaration.id))
    return next((each for each in strangers if overlap(each.cidr, declaration.cidr)), None)


def overlap(one: str, other: str) -> bool:
    """Whether two CIDRs share addresses; False for different versions of IP."""
    a, b = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return a.version == b.version and a.overlaps(b)


def _network(declaration: StretchedNetwork) -> CreateNetwork:
    return CreateNetwork(
        name=declaration.name,
        project_id=declaration.project_id,
        vni=declaration.vni,
        mtu=declaration.mtu,
        description=views.network_tag(declaration.id),
        tags=views.marks(declaration.id),
    )


def _subnet(declaration: StretchedNetwork, site: str, network_id: str | None) -> CreateSubnet:
    return CreateSubnet(
        network_id=network_id,
        project_id=declaration.project_id,
        name=declaration.name,
        cidr=declaration.cidr,
        pools=declaration.pools.get(site, ()),
        gateway=declaration.gateways.get(site),
        dhcp=declaration.dhcp is Dhcp.PER_SITE,
        description=views.network_tag(declaration.id),
        tags=views.marks(declaration.id),
    )


def corrections(
    declaration: StretchedNetwork, own: SiteView, stale: frozenset[str]
) -> Iterator[Action]:
    """What differs on the network and the subnet that stand. `stale`: sites to be marked."""
    network, subnet = own.network, own.subnet(declaration.id)
    if network:
        yield from _network_changes(declaration, network)
        yield from _tag_changes(declaration, network, stale)
    if subnet:
        yield from _subnet_changes(declaration, own.site, subnet)
        if not subnet.tagged(declaration.id):
            yield TagSubnet(subnet_id=subnet.id, tags=views.marks(declaration.id))


def _network_changes(declaration: StretchedNetwork, network: Network) -> Iterator[Action]:
    should: dict[str, Any] = {"name": declaration.name, "mtu": declaration.mtu}
    held = {"name": network.name, "mtu": network.mtu}
    changes = _differing(should, held)
    if changes:
        yield UpdateNetwork(network_id=network.id, changes=changes)


def _tag_changes(
    declaration: StretchedNetwork, network: Network, stale: frozenset[str]
) -> Iterator[Action]:
    should = {*views.marks(declaration.id), *map(views.stale_tag, stale)}
    ours = {each for each in network.tags if each.startswith(views.STALE_PREFIX)}
    add, remove = should - network.tags, ours - should
    if add or remove:
        yield ChangeTags(
            network_id=network.id, add=tuple(sorted(add)), remove=tuple(sorted(remove))
        )


def _subnet_changes(declaration: StretchedNetwork, site: str, subnet: Subnet) -> Iterator[Action]:
    should: dict[str, Any] = {
        "name": declaration.name,
        "enable_dhcp": declaration.dhcp is Dhcp.PER_SITE,
        "gateway_ip": declaration.gateways.get(site),
        "allocation_pools": tuple(sorted(declaration.pools.get(site, ()))),
    }
    held = {
        "name": subnet.name,
        "enable_dhcp": subnet.dhcp,
        "gateway_ip": subnet.gateway,
        "allocation_pools": tuple(sorted(subnet.pools)),
    }
    changes = _differing(should, held)
    if changes:
        yield UpdateSubnet(subnet_id=subnet.id, changes=changes)


def _differing(should: dict[str, Any], held: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in should.items() if held[name] != value)


def removal(
    declaration: StretchedNetwork, own: SiteView, why: str
) -> tuple[tuple[Action, ...], tuple[Finding, ...]]:
    """All that is ours goes: the remote ports first, the rest when nobody else's ports are left."""
    if own.network is None:
        return (), ()
    remotes = tuple(
        DeletePort(port_id=port.id, origin=port.origin, why=why)
        for port in sorted(own.remotes(), key=lambda each: each.id)
    )
    strangers = [port for port in own.locals() if port.device_owner not in OWN_PORTS]
    others = [each for each in own.subnets if not each.belongs_to(declaration.id)]
    if strangers or others:
        return remotes, (_kept(declaration, own.site, strangers, others),)
    subnets = (DeleteSubnet(subnet_id=each.id) for each in own.subnets)
    return (*remotes, *subnets, DeleteNetwork(network_id=own.network.id)), ()


def _kept(
    declaration: StretchedNetwork, site: str, ports: Iterable[Port], subnets: Iterable[Subnet]
) -> Finding:
    owners = [*map(port_words, ports), *(f"subnet {each.name or each.id}" for each in subnets)]
    return Finding(
        code=Code.FOREIGN_PORTS,
        outcome=Outcome.WARN,
        network=declaration.name,
        site=site,
        summary=f"{site} keeps the network: others still use it ({len(owners)})",
        cause=", ".join(owners[:5]) + (", …" if len(owners) > 5 else ""),
        remedy="delete these first (openstack port delete, openstack subnet delete); the network then "
        "goes by itself",
        owners=tuple(f"{site}: {each}" for each in owners[:20]),
    )


def port_words(port: Port) -> str:
    """A port as a person finds it: its name, if it has one, and its id."""
    return f"port {port.name} ({port.id})" if port.name else f"port {port.id}"
