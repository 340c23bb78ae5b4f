"""What a target site has, as far as a recovery plan needs it: values and quick ways to find them.

It exists so that validation asks no cloud: a plan over 1,000 servers is judged in memory, from some
twenty lists that were read once. Reading is in `isthmus.recovery.metadata.target`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from isthmus.recovery.documents import Moment
from isthmus.recovery.metadata.definitions import (
    FlavorDefinition,
    ImageDefinition,
    KeypairDefinition,
    NetworkDefinition,
    SecurityGroupDefinition,
    ServerGroupDefinition,
)


class Named(Protocol):
    """What has an ID and a name."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str | None: ...


N = TypeVar("N", bound=Named)


class Index(Generic[N]):
    """Objects by ID or name. A name may belong to several."""

    def __init__(self, values: Iterable[N]) -> None:
        self._by_id: dict[str, N] = {}
        self._by_name: dict[str, list[N]] = {}
        for value in values:
            self._by_id[value.id] = value
            if value.name is not None:
                self._by_name.setdefault(value.name, []).append(value)

    def find(self, wanted: str) -> list[N]:
        """The object of that ID, else all of that name."""
        one = self._by_id.get(wanted)
        return [one] if one is not None else self._by_name.get(wanted, [])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room:
    """A quota; `limit` -1: none."""

    limit: int
    used: int

    @property
    def left(self) -> float:
        return float("inf") if self.limit < 0 else self.limit - self.used


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
    """Who has an address or a MAC in the target. `origin`: the port in another site that a remote
    port of a stretched network stands for; it goes when that site is declared lost."""

    port_id: str
    device_owner: str = ""
    origin: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Floating:
    """A floating address that is there; `port_id` None: it leads nowhere."""

    id: str
    address: str
    network_id: str
    project_id: str
    port_id: str | None = None


Addressed = tuple[str, str]
"""A network's ID and an address or MAC in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """The target as seen by `project_id` at `read_at`. `quotas` by name: instances, cores, ram_mib,
    ports, volumes, gigabytes."""

    site: str
    project_id: str
    read_at: Moment
    flavors: tuple[FlavorDefinition, ...] = ()
    images: tuple[ImageDefinition, ...] = ()
    keypairs: tuple[KeypairDefinition, ...] = ()
    networks: tuple[NetworkDefinition, ...] = ()
    security_groups: tuple[SecurityGroupDefinition, ...] = ()
    server_groups: tuple[ServerGroupDefinition, ...] = ()
    volume_types: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    addresses: Mapping[Addressed, Owner] = dataclasses.field(default_factory=dict)
    macs: Mapping[Addressed, Owner] = dataclasses.field(default_factory=dict)
    quotas: Mapping[str, Room] = dataclasses.field(default_factory=dict)
    unsealing_keys: tuple[str, ...] = ()
    """IDs of the keys by which the target reads user data."""
    external: tuple[NetworkDefinition, ...] = ()
    """The networks that floating addresses are of."""
    floating: tuple[Floating, ...] = ()
    routes: frozenset[tuple[str, str]] = frozenset()
    """Subnet and external network, of each router."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetFloating:
    """A floating address to lead to a port: `address` of the external network `network_id`, None:
    whatever it gives. `source` is the address in the source, `port_id` the source's port; it leads to
    the port's address `fixed` (None: whichever it got) in `subnet_id`."""

    source: str
    port_id: str
    network_id: str
    address: str | None
    subnet_id: str
    fixed: str | None
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetPort:
    """A port to make. `address` and `mac` None: whatever the target gives."""

    source_id: str
    network_id: str
    subnet_ids: tuple[str, ...]
    addresses: tuple[str | None, ...]
    mac: str | None
    security_groups: tuple[str, ...]
    floating: tuple[TargetFloating, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetServer:
    """What a server is to be made from in the target; all references are IDs (or names where
    OpenStack has no IDs: keypair, zone, volume type)."""

    source_id: str
    name: str
    flavor_id: str
    ports: tuple[TargetPort, ...]
    volume_types: Mapping[str, str | None]
    """By source volume."""
    keypair: str | None = None
    zone: str | None = None
    server_group_id: str | None = None
