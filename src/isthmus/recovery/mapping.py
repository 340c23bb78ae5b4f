"""Mappings: what things of one site are called in another.

It exists so that nothing about a failover is guessed on the day of the disaster: each flavor,
network, address, volume type, zone, keypair, security group and image that a group uses has a
declared counterpart in the backup site, and `isthmus.recovery.plans` checks each beforehand. It
knows no cloud; whether a counterpart exists is asked there.

Names and IDs may both be used on either side. What is not mapped is *not* taken for the same, except
for the kinds in `same_name`, for which the operator has said that equal names mean equal things.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
from collections.abc import Mapping as Dict
from typing import Any

from isthmus import errors
from isthmus.recovery import documents


class Kind(enum.StrEnum):
    """What can be mapped."""

    FLAVOR = "flavor"
    NETWORK = "network"
    SUBNET = "subnet"
    VOLUME_TYPE = "volume-type"
    ZONE = "zone"
    KEYPAIR = "keypair"
    SECURITY_GROUP = "security-group"
    IMAGE = "image"
    SERVER_GROUP = "server-group"


class AddressPolicy(enum.StrEnum):
    """What becomes of fixed addresses that have no entry of their own."""

    KEEP = "keep"  # the same address, which needs a subnet with the same CIDR
    TRANSLATE = "translate"  # the same host part in the mapped subnet
    ANY = "any"  # whatever the target gives


Names = Dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapping:
    """From one site to another, for the groups of one project (or of all: `project_id` None).

    Keys are names or IDs in the source, values names or IDs in the target. `addresses`: fixed
    addresses; `floating`: floating addresses or the IDs of their networks, to a floating address or
    to a network that gives any. `default_zone` and
    `default_volume_type` take what is not listed; a zone or type that a server has not is not mapped.
    """

    name: str
    source: str
    target: str
    project_id: str | None = None
    target_project_id: str | None = None
    flavors: Names = dataclasses.field(default_factory=dict)
    networks: Names = dataclasses.field(default_factory=dict)
    subnets: Names = dataclasses.field(default_factory=dict)
    volume_types: Names = dataclasses.field(default_factory=dict)
    zones: Names = dataclasses.field(default_factory=dict)
    keypairs: Names = dataclasses.field(default_factory=dict)
    security_groups: Names = dataclasses.field(default_factory=dict)
    images: Names = dataclasses.field(default_factory=dict)
    server_groups: Names = dataclasses.field(default_factory=dict)
    addresses: Names = dataclasses.field(default_factory=dict)
    floating: Names = dataclasses.field(default_factory=dict)
    address_policy: AddressPolicy = AddressPolicy.KEEP
    keep_macs: bool = True
    default_zone: str | None = None
    default_volume_type: str | None = None
    same_name: tuple[Kind, ...] = ()
    revision: int = 1

    @classmethod
    def from_document(cls, document: Dict[str, Any]) -> Mapping:
        """From JSON. Raises InputError for a wrong shape or values that cannot be."""
        try:
            mapping = documents.read(cls, document)
            _check(mapping)
        except (documents.ShapeError, ValueError) as error:
            raise errors.InputError(
                "a mapping is refused",
                cause=str(error),
                unchanged="nothing was declared or changed",
            ) from error
        return mapping

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(documents.write(self))

    def table(self, kind: Kind) -> Names:
        """The entries of one kind."""
        return {
            Kind.FLAVOR: self.flavors,
            Kind.NETWORK: self.networks,
            Kind.SUBNET: self.subnets,
            Kind.VOLUME_TYPE: self.volume_types,
            Kind.ZONE: self.zones,
            Kind.KEYPAIR: self.keypairs,
            Kind.SECURITY_GROUP: self.security_groups,
            Kind.IMAGE: self.images,
            Kind.SERVER_GROUP: self.server_groups,
        }[kind]

    def counterpart(self, kind: Kind, source_id: str | None, name: str | None) -> str | None:
        """What it is called in the target; None if nobody said. An entry for the ID wins."""
        table = self.table(kind)
        for key in (source_id, name):
            if key is not None and key in table:
                return table[key]
        if kind is Kind.ZONE and self.default_zone is not None:
            return self.default_zone
        if kind is Kind.VOLUME_TYPE and self.default_volume_type is not None:
            return self.default_volume_type
        return name if kind in self.same_name else None

    def address(self, address: str, source_cidr: str, target_cidr: str) -> str | None:
        """The fixed address in the target; None: any. Raises ValueError if it does not fit.

        An entry of its own wins; else the policy decides.
        """
        if address in self.addresses:
            found = self.addresses[address]
        elif self.address_policy is AddressPolicy.ANY:
            return None
        elif self.address_policy is AddressPolicy.KEEP:
            found = address
        else:
            found = translated(address, source_cidr, target_cidr)
        if ipaddress.ip_address(found) not in ipaddress.ip_network(target_cidr):
            raise ValueError(f"{found} is not in {target_cidr}")
        return found


def translated(address: str, source_cidr: str, target_cidr: str) -> str:
    """The address with the same host part in another subnet. Raises ValueError if it has no room."""
    source, target = ipaddress.ip_network(source_cidr), ipaddress.ip_network(target_cidr)
    if source.version != target.version:
        raise ValueError(f"{source} and {target} are of different IP versions")
    offset = int(ipaddress.ip_address(address)) - int(source.network_address)
    if not 0 <= offset < target.num_addresses:
        raise ValueError(f"{address} of {source} has no room in {target}")
    return str(target[offset])


def _check(mapping: Mapping) -> None:
    if mapping.source == mapping.target:
        raise ValueError("source and target are the same site")
    for old, new in mapping.addresses.items():
        if ipaddress.ip_address(old).version != ipaddress.ip_address(new).version:
            raise ValueError(f"{old} is mapped to an address of another IP version")
    _check_once(mapping.addresses)
    _check_once({old: new for old, new in mapping.floating.items() if is_address(new)})


def _check_once(addresses: Names) -> None:
    taken: dict[str, str] = {}
    for old, new in addresses.items():
        if new in taken:
            raise ValueError(f"{old} and {taken[new]} are both mapped to {new}")
        taken[new] = old


def is_address(text: str) -> bool:
    """Whether it is an IP address, and no name or ID."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
