"""Stretched networks as operators declare them: what should be, in every site at once.

It exists so that one value, written once and replicated, says all that the reconcilers of all sites
need, and so that every change is checked before it is written. It touches no Neutron and no
database: `isthmus.network.store` keeps declarations, `isthmus.network.reconciling` makes Neutrons
match them.

Only IPv4 is offered: the ARP responder of the stock agent knows nothing else, and split pools need
a subnet of countable size.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.network import partition

Range = tuple[str, str]
"""First and last address of an allocation pool, both included."""


class DeclarationError(errors.UsageError):
    """A declaration is refused; `field` names the part that is wrong. Nothing was changed."""

    def __init__(self, field: str, what: str, **parts: str | None) -> None:
        super().__init__(what, **parts)
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
        raise NotImplementedError

    def to_document(self) -> dict[str, Any]:
        """The JSON document of the store and of the API."""
        raise NotImplementedError


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


def declare(
    request: Request,
    existing: Sequence[StretchedNetwork],
    settings: Settings,
    *,
    identity: str | None = None,
) -> StretchedNetwork:
    """Check a request, choose what it leaves open, and return the declaration (revision 1).

    `existing`: all declarations, those being deleted included, since they still hold their VNI.
    `identity`: its id; None makes a new UUID. Raises DeclarationError.
    """
    raise NotImplementedError


def change(
    network: StretchedNetwork,
    changes: Changes,
    existing: Sequence[StretchedNetwork],
    settings: Settings,
) -> StretchedNetwork:
    """The declaration with the changes and the next revision; the same value when nothing differs.

    Raises DeclarationError.
    """
    raise NotImplementedError


def attach(
    network: StretchedNetwork,
    site: str,
    existing: Sequence[StretchedNetwork],
    settings: Settings,
    *,
    pool: tuple[Range, ...] | None = None,
    gateway: str | None = None,
) -> StretchedNetwork:
    """The declaration with one more site. The pools of the others stay. Raises DeclarationError."""
    raise NotImplementedError


def detach(network: StretchedNetwork, site: str) -> StretchedNetwork:
    """The declaration without the site; its pool is free for others. Raises DeclarationError."""
    raise NotImplementedError


def withdraw(network: StretchedNetwork) -> StretchedNetwork:
    """The declaration marked as being deleted: every site now takes its part away."""
    raise NotImplementedError
