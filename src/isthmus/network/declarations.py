"""Stretched networks as operators declare them: what should be, in every site at once.

It exists so that one value, written once and replicated, says all that the reconcilers of all sites
need, and so that every change is checked before it is written. It touches no Neutron and no
database: `isthmus.network.store` keeps declarations, `isthmus.network.reconciling` makes Neutrons
match them. The arithmetic of addresses is in `isthmus.network.address_plan`.

Only IPv4 is offered: the ARP responder of the stock agent knows nothing else, and split pools need
a subnet of countable size.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.network import address_plan, partition

Range = tuple[str, str]
"""First and last address of an allocation pool, both included."""


class DeclarationError(errors.UsageError):
    """A declaration is refused; `field` names the part that is wrong. Nothing was changed."""

    def __init__(
        self, field: str, what: str, *, cause: str, unchanged: str, next_command: str | None = None
    ) -> None:
        super().__init__(
            what,
            where=f"field {field}",
            cause=cause,
            unchanged=unchanged,
            next_command=next_command,
        )
        self.field = field


class Gateway(enum.StrEnum):
    """Who routes out of the network."""

    NONE = "none"  # nobody: the default, as two routers with one address are two owners of it
    PER_SITE = "per-site"  # every site its own address, to be plugged into a router there


class Dhcp(enum.StrEnum):
    """Who hands out addresses."""

    NONE = "none"  # nobody: addresses come by config drive or by hand
    PER_SITE = "per-site"  # every site, so that all of them answer every guest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the cloud offers; from the engine's configuration.

    `vni_range`: first and last VNI reserved in all sites for stretched networks (outside of every
    site's own `vni_ranges`). `underlay_mtu` and `tunnel_overhead` in bytes. `sites`: those with a
    Neutron. `slots`: into how many equal parts a CIDR is split, so that sites that come later find
    room.
    """

    vni_range: tuple[int, int]
    sites: tuple[str, ...]
    underlay_mtu: int = 1500
    tunnel_overhead: int = 50
    slots: int = 4

    @property
    def largest_mtu(self) -> int:
        return self.underlay_mtu - self.tunnel_overhead


@dataclasses.dataclass(frozen=True, kw_only=True)
class StretchedNetwork:
    """One network over several Neutrons. See the module for what is not in it.

    Invariants (kept by `declare`, `change`, `attach`, `detach`): the pools of different sites are
    disjoint, lie inside the CIDR and hold no gateway; a VNI belongs to one declaration; a change
    never moves the pool of a site that stays.
    """

    id: str
    name: str
    project_id: str
    cidr: str
    vni: int
    sites: tuple[str, ...]
    pools: Mapping[str, tuple[Range, ...]]
    gateway: Gateway = Gateway.NONE
    gateways: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The gateway address of each site when the policy is per-site."""
    dhcp: Dhcp = Dhcp.NONE
    mtu: int = 1450
    partition: partition.Policy = partition.Policy.KEEP
    partition_after_seconds: float = 300.0
    slots: int = 4
    revision: int = 1
    deleting: bool = False

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StretchedNetwork:
        """From the JSON document of the store; unknown fields of newer releases are ignored.

        Raises InputError when it has not the promised shape.
        """
        try:
            known = {name: _READ[name](document[name]) for name in _READ if name in document}
            return cls(**known)
        except (TypeError, ValueError, AttributeError) as error:
            raise errors.InputError(
                "the declaration of a stretched network cannot be read",
                where=f"declaration {document.get('name') or document.get('id') or 'without a name'}",
                cause=f"{error}",
                unchanged="it is left as it is, and so is the network",
            ) from error

    def to_document(self) -> dict[str, Any]:
        """The JSON document of the store and of the API."""
        document = dataclasses.asdict(self)
        document["sites"] = list(self.sites)
        document["pools"] = {
            site: [list(each) for each in ranges] for site, ranges in self.pools.items()
        }
        document["gateways"] = dict(self.gateways)
        return document

    def shares(self) -> address_plan.Shares:
        """The pools and gateways of its sites as spans and numbers."""
        return address_plan.Shares(
            pools={
                site: tuple(address_plan.Span.parse(*each) for each in ranges)
                for site, ranges in self.pools.items()
            },
            gateways={site: address_plan.number(each) for site, each in self.gateways.items()},
        )


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is no list")
    return tuple(str(each) for each in value)


def _pools(value: Any) -> dict[str, tuple[Range, ...]]:
    return {
        str(site): tuple((str(first), str(last)) for first, last in ranges)
        for site, ranges in value.items()
    }


def _gateways(value: Any) -> dict[str, str]:
    return {str(site): str(address) for site, address in value.items()}


_READ: Mapping[str, Any] = {
    "id": str,
    "name": str,
    "project_id": str,
    "cidr": str,
    "vni": int,
    "sites": _texts,
    "pools": _pools,
    "gateway": Gateway,
    "gateways": _gateways,
    "dhcp": Dhcp,
    "mtu": int,
    "partition": partition.Policy,
    "partition_after_seconds": float,
    "slots": int,
    "revision": int,
    "deleting": bool,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for; what is None is chosen.

    `pools` maps sites to their ranges; sites that it leaves out get an equal part of what is left.
    `gateways` maps sites to addresses and needs the policy per-site.
    """

    name: str
    project_id: str
    cidr: str
    sites: tuple[str, ...]
    vni: int | None = None
    pools: Mapping[str, tuple[Range, ...]] = dataclasses.field(default_factory=dict)
    gateway: Gateway = Gateway.NONE
    gateways: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dhcp: Dhcp = Dhcp.NONE
    mtu: int | None = None
    partition: partition.Policy = partition.Policy.KEEP
    partition_after_seconds: float = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """What `change` may change; None leaves it. CIDR, VNI and project are for ever: Neutron cannot
    change them under ports."""

    name: str | None = None
    dhcp: Dhcp | None = None
    mtu: int | None = None
    partition: partition.Policy | None = None
    partition_after_seconds: float | None = None
