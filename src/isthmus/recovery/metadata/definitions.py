"""Definitions of servers and of all that they stand on, as they were at a checkpoint.

It exists so that a server can be made again where its cloud is gone: nothing here is a reference
that only the lost site could resolve. Everything is the *source's* view, with the source's IDs and
names; `isthmus.recovery.mapping` says what it is called elsewhere. It reads nothing: see `reading`.

What is not here, and why: host and hypervisor (the target's scheduler decides), passwords (the
metadata service never had them), the content of disks (`checkpoints`), shares and instance-local
disks (they are not volumes; `reading` refuses servers that boot from one).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

Extras = Mapping[str, str]


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasId)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlavorDefinition:
    """`ram_mib`, `disk_gib` (root), `ephemeral_gib`, `swap_mib`."""

    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    extra_specs: Extras = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDefinition:
    """The image that the root volume was made from; its `properties` decide on the virtual devices
    (`hw_qemu_guest_agent` above all) and live in the root volume's image metadata."""

    id: str
    name: str | None
    properties: Extras = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypairDefinition:
    """The public half; Nova keeps no other. Keypairs belong to users, so it can only be made again
    for the user who asks for it."""

    name: str
    public_key: str
    fingerprint: str
    type: str = "ssh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleDefinition:
    """A rule of a security group; `remote_group` is a group's ID in the source."""

    direction: str
    ethertype: str
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_prefix: str | None = None
    remote_group: str | None = None
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecurityGroupDefinition:
    id: str
    name: str
    description: str = ""
    stateful: bool = True
    rules: tuple[RuleDefinition, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerGroupDefinition:
    """Affinity; `policy` with its rules, as of microversion 2.64."""

    id: str
    name: str
    policy: str
    rules: Extras = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubnetDefinition:
    """`pools`: first and last address of each allocation pool."""

    id: str
    name: str
    cidr: str
    gateway: str | None = None
    dhcp: bool = True
    nameservers: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    pools: tuple[tuple[str, str], ...] = ()
    ip_version: int = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkDefinition:
    id: str
    name: str
    mtu: int = 1450
    subnets: tuple[SubnetDefinition, ...] = ()
    shared: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedAddress:
    subnet_id: str
    address: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatingAddress:
    """`fixed` is the address of the port that it leads to."""

    address: str
    fixed: str
    network_id: str
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortDefinition:
    """A port of a server, in the order of the server's interfaces."""

    id: str
    name: str
    network_id: str
    mac: str
    fixed: tuple[FixedAddress, ...] = ()
    security_groups: tuple[str, ...] = ()
    port_security: bool = True
    allowed_pairs: tuple[tuple[str, str], ...] = ()
    """Address (or prefix) and MAC."""
    vnic_type: str = "normal"
    dhcp_options: tuple[tuple[str, str], ...] = ()
    dns_name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    floating: tuple[FloatingAddress, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeDefinition:
    """A volume of a server, in the order of its devices; `boot_index` 0 is the root."""

    id: str
    name: str
    device: str
    size_gib: int
    volume_type: str | None = None
    boot_index: int | None = None
    bootable: bool = False
    zone: str | None = None
    multiattach: bool = False
    encrypted: bool = False
    delete_on_termination: bool = False
    tag: str | None = None
    metadata: Extras = dataclasses.field(default_factory=dict)
    image_metadata: Extras = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SealedText:
    """A text that only holders of one of the keys can read: one box per key ID (see `sealing`).
    `length`: bytes of the text."""

    boxes: Extras
    length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerDefinition:
    """A server, its ports and its volumes.

    `user_data`: sealed, as it is where passwords and keys of applications are written.
    `had_user_data` without `user_data` says that there was nobody to seal it to.
    """

    id: str
    name: str
    flavor: FlavorDefinition
    ports: tuple[PortDefinition, ...] = ()
    volumes: tuple[VolumeDefinition, ...] = ()
    image: ImageDefinition | None = None
    keypair: KeypairDefinition | None = None
    server_group: str | None = None
    zone: str | None = None
    hostname: str | None = None
    description: str | None = None
    config_drive: bool = False
    metadata: Extras = dataclasses.field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user_data: SealedText | None = None
    had_user_data: bool = False
    locked: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definitions:
    """All servers of a group, and what several of them stand on, each once."""

    servers: tuple[ServerDefinition, ...] = ()
    networks: tuple[NetworkDefinition, ...] = ()
    security_groups: tuple[SecurityGroupDefinition, ...] = ()
    server_groups: tuple[ServerGroupDefinition, ...] = ()

    def network(self, network_id: str) -> NetworkDefinition | None:
        return _find(self.networks, network_id)

    def security_group(self, group_id: str) -> SecurityGroupDefinition | None:
        return _find(self.security_groups, group_id)

    def server_group(self, group_id: str) -> ServerGroupDefinition | None:
        return _find(self.server_groups, group_id)


def _find(values: Iterable[_Named], wanted: str) -> _Named | None:
    return next((each for each in values if each.id == wanted), None)
