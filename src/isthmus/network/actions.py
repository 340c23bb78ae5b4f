"""What may be done to the Neutron of the own site, as values.

It exists so that a plan can be shown, tested and compared before anything is done. An action never
names an object that is not ours, except a network that our own crash left without its tags.
`isthmus.network.neutrons` carries them out.

The order in a plan is the order of execution: what is deleted makes room for what is created.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from isthmus.network.views import AddressPair, Origin


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateNetwork:
    """`description` carries the mark until the tags are set, which is a second request."""

    name: str
    project_id: str
    vni: int
    mtu: int
    description: str
    tags: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateNetwork:
    """`changes`: attributes as Neutron's API names them (name, mtu)."""

    network_id: str
    changes: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeTags:
    """Tags of our network: `add` and `remove`, others stay."""

    network_id: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateSubnet:
    """`network_id` None: the network that this same plan creates. `pools` may be empty only if the
    site has no pool, and then no address is handed out."""

    network_id: str | None
    project_id: str
    name: str
    cidr: str
    pools: tuple[tuple[str, str], ...]
    gateway: str | None
    dhcp: bool
    description: str
    tags: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateSubnet:
    subnet_id: str
    changes: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagSubnet:
    """The tags that a crash kept us from setting."""

    subnet_id: str
    tags: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreatePort:
    """A remote port. Group ids are those of the own site."""

    network_id: str
    project_id: str
    origin: Origin
    name: str
    mac: str
    ips: tuple[str, ...]
    vtep: str
    security_groups: frozenset[str]
    address_pairs: frozenset[AddressPair] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdatePort:
    """One request for all that differs on a remote port; None leaves it."""

    port_id: str
    origin: Origin
    name: str | None = None
    ips: tuple[str, ...] | None = None
    vtep: str | None = None
    security_groups: frozenset[str] | None = None
    address_pairs: frozenset[AddressPair] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeletePort:
    """`why` is a phrase for logs and events: 'its origin is gone'."""

    port_id: str
    origin: Origin | None
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeleteSubnet:
    subnet_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeleteNetwork:
    network_id: str


Action = (
    CreateNetwork
    | UpdateNetwork
    | ChangeTags
    | CreateSubnet
    | UpdateSubnet
    | TagSubnet
    | CreatePort
    | UpdatePort
    | DeletePort
    | DeleteSubnet
    | DeleteNetwork
)
