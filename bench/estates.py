"""A group of many servers in Paris and the cloud in Lyon that is to take it, made from a seed. Pure.

What Lyon answers has the shapes of Nova, Cinder and Neutron (compute 2.90, block storage 3.71, network v2.0). It has all that
the servers need under the same names, but for the faults that were put in, and as many ports of others as servers of its own.
"""

import datetime
import ipaddress
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.recovery.checkpoints import (
    BackupRecord,
    Checkpoint,
    Outcome,
    Phase,
    VolumeBackup,
)
from isthmus.recovery.consistency import Consistency
from isthmus.recovery.declarations import Group, Member, Policy, SnapshotDriver
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FixedAddress,
    FlavorDefinition,
    KeypairDefinition,
    NetworkDefinition,
    PortDefinition,
    RuleDefinition,
    SecurityGroupDefinition,
    ServerDefinition,
    ServerGroupDefinition,
    SubnetDefinition,
    VolumeDefinition,
)

NETWORKS, FLAVORS, GROUPS, KEYS = 10, 20, 20, 5
"""How many of each there are; each server has a port in two networks."""
VOLUMES = 2
FAULTY = 0.01
"""Of the servers: each has an address that is taken in Lyon."""

PROJECT = "11111111222233334444555555555555"
_AT = datetime.datetime(2026, 11, 23, 3, 0, tzinfo=datetime.UTC)

Lists = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(kw_only=True)
class Estate:
    """`manifest`: of the group's checkpoint; `lists`: what Lyon has, by collection; `faulty`: names of servers that cannot come
    back there."""

    manifest: Manifest
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faulty: tuple[str, ...] = ()


def estate(servers: int, seed: int) -> Estate:
    """The same numbers, the same estate."""
    chance = random.Random(seed)  # noqa: S311 - no secret is made of it
    maker = _Maker(chance)
    definitions = maker.definitions(servers)
    faulty = chance.sample(definitions.servers, max(1, round(servers * FAULTY)))
    return Estate(
        manifest=_manifest(definitions, maker),
        lists=maker.lists(definitions, faulty),
        faulty=tuple(each.name for each in faulty),
    )


@dataclass
class _Maker:
    chance: random.Random

    def id(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def definitions(self, count: int) -> Definitions:
        networks = tuple(self._network(number) for number in range(NETWORKS))
        flavors = [
            FlavorDefinition(id=self.id(), name=f"vnf.{n}", vcpus=1 + n % 4, ram_mib=256 * (1 + n))
            for n in range(FLAVORS)
        ]
        groups = tuple(self._group(number) for number in range(GROUPS))
        apart = ServerGroupDefinition(id=self.id(), name="apart", policy="soft-anti-affinity")
        servers = tuple(
            self._server(number, flavors, networks, groups, apart) for number in range(count)
        )
        return Definitions(
            servers=servers, networks=networks, security_groups=groups, server_groups=(apart,)
        )

    def _network(self, number: int) -> NetworkDefinition:
        subnet = SubnetDefinition(id=self.id(), name=f"inside-{number}", cidr=f"10.{number}.0.0/16")
        return NetworkDefinition(id=self.id(), name=f"inside-{number}", subnets=(subnet,))

    def _group(self, number: int) -> SecurityGroupDefinition:
        rules = tuple(
            RuleDefinition(
                direction="ingress", ethertype="IPv4", protocol="tcp", port_min=port, port_max=port
            )
            for port in self.chance.sample(range(1024, 65535), 10)
        )
        return SecurityGroupDefinition(id=self.id(), name=f"role-{number}", rules=rules)

    def _server(
        self,
        number: int,
        flavors: Sequence[FlavorDefinition],
        networks: Sequence[NetworkDefinition],
        groups: Sequence[SecurityGroupDefinition],
        apart: ServerGroupDefinition,
    ) -> ServerDefinition:
        name = f"vnf-{number:04d}"
        key = number % KEYS
        ports = tuple(
            self._port(number, network, self.chance.choice(groups).id)
            for network in (networks[number % NETWORKS], networks[(number + 1) % NETWORKS])
        )
        return ServerDefinition(
            id=self.id(),
            name=name,
            flavor=self.chance.choice(flavors),
            ports=ports,
            volumes=tuple(self._volume(name, part) for part in range(VOLUMES)),
            keypair=KeypairDefinition(name=f"key-{key}", public_key=f"ssh-ed25519 {key}", fingerprint=f"{key:02x}"),
            server_group=apart.id,
            zone="nova",
        )  # fmt: skip

    def _port(self, number: int, network: NetworkDefinition, group: str) -> PortDefinition:
        [subnet] = network.subnets
        address = str(ipaddress.ip_network(subnet.cidr)[10 + number])
        last = ipaddress.ip_address(address).packed
        return PortDefinition(
            id=self.id(),
            name="",
            network_id=network.id,
            mac="fa:16:" + ":".join(f"{byte:02x}" for byte in last),
            fixed=(FixedAddress(subnet_id=subnet.id, address=address),),
            security_groups=(group,),
        )

    def _volume(self, server: str, part: int) -> VolumeDefinition:
        return VolumeDefinition(
            id=self.id(),
            name=f"{server}-{part}",
            device=f"/dev/vd{'ab'[part]}",
            size_gib=10,
            volume_type="gold",
            boot_index=0 if part == 0 else None,
            bootable=part == 0,
        )

    # What Lyon answers.

    def lists(
        self, definitions: Definitions, faulty: Sequence[ServerDefinition]
    ) -> dict[str, list[dict[str, Any]]]:
        networks = {each.id: self.id() for each in definitions.networks}
        flavors = {each.flavor.name: each.flavor for each in definitions.servers}
        keys = {each.keypair.name: each.keypair for each in definitions.servers if each.keypair}
        return {
            "flavors": [
                {"id": self.id(), "name": each.name, "vcpus": each.vcpus, "ram": each.ram_mib,
                 "disk": 0, "extra_specs": {}}
                for each in flavors.values()
            ],
            "keypairs": [
                {"keypair": {"name": each.name, "public_key": each.public_key,
                             "fingerprint": each.fingerprint, "type": "ssh"}}
                for each in keys.values()
            ],
            "server_groups": [
                {"id": self.id(), "name": each.name, "policy": each.policy, "rules": {}}
                for each in definitions.server_groups
            ],
            "availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}],
            "volume_types": [{"id": self.id(), "name": "gold"}],
            "networks": [
                {"id": networks[each.id], "name": each.name, "mtu": each.mtu, "shared": False}
                for each in definitions.networks
            ],
            "subnets": [
                {"id": self.id(), "name": subnet.name, "network_id": networks[each.id],
                 "cidr": subnet.cidr, "gateway_ip": None, "enable_dhcp": True, "ip_version": 4,
                 "host_routes": [], "allocation_pools": [], "dns_nameservers": []}
                for each in definitions.networks for subnet in each.subnets
            ],
            "security_groups": [self._shown(each) for each in definitions.security_groups],
            "ports": self._ports(definitions, networks, faulty),
        }  # fmt: skip

    def _shown(self, group: SecurityGroupDefinition) -> dict[str, Any]:
        rules = [
            {"direction": rule.direction, "ethertype": rule.ethertype, "protocol": rule.protocol,
             "port_range_min": rule.port_min, "port_range_max": rule.port_max}
            for rule in group.rules
        ]  # fmt: skip
        return {"id": self.id(), "name": group.name, "security_group_rules": rules}

    def _ports(
        self,
        definitions: Definitions,
        networks: Mapping[str, str],
        faulty: Sequence[ServerDefinition],
    ) -> list[dict[str, Any]]:
        """Ports of others, at the upper end of each network, and those that have an address of a faulty server."""
        ends = list(networks.values())
        others = [
            self._other(ends[n % NETWORKS], str(ipaddress.ip_network(f"10.{n % NETWORKS}.0.0/16")[-2 - n]))
            for n in range(len(definitions.servers))
        ]  # fmt: skip
        taken = [
            self._other(networks[each.ports[0].network_id], each.ports[0].fixed[0].address)
            for each in faulty
        ]
        return [*others, *taken]

    def _other(self, network: str, address: str) -> dict[str, Any]:
        tail = ":".join(f"{self.chance.getrandbits(8):02x}" for _ in range(4))
        return {
            "id": self.id(),
            "network_id": network,
            "mac_address": f"fa:17:{tail}",
            "fixed_ips": [{"subnet_id": network, "ip_address": address}],
            "device_id": self.id(),
            "device_owner": "compute:nova",
        }


def _manifest(definitions: Definitions, maker: _Maker) -> Manifest:
    members = tuple(
        Member(server_id=each.id, name=each.name, level=number % 3)
        for number, each in enumerate(definitions.servers)
    )
    group = Group(
        id=maker.id(),
        name="estate",
        site="paris",
        backup_site="lyon",
        project_id=PROJECT,
        members=members,
        policy="gold",
    )
    backups = tuple(
        _backup(server, volume, maker.id())
        for server in definitions.servers
        for volume in server.volumes
    )
    checkpoint = Checkpoint(
        id=maker.id(),
        seq=1,
        group_id=group.id,
        site=group.site,
        epoch=1,
        round_id=maker.id(),
        created_at=_AT,
        driver=SnapshotDriver.RBD,
        phase=Phase.AVAILABLE,
        outcome=Outcome.COMPLETE,
        consistency=Consistency.APP_ORDERED,
        frozen_at=_AT,
        window_s=1.0,
        backups=backups,
    )
    return Manifest(
        written_at=_AT,
        group=group,
        policy=Policy(name=group.policy),
        checkpoint=checkpoint,
        definitions=definitions,
    )


def _backup(server: ServerDefinition, volume: VolumeDefinition, backup: str) -> VolumeBackup:
    return VolumeBackup(
        volume_id=volume.id,
        server_id=server.id,
        device=volume.device,
        size_gib=volume.size_gib,
        volume_type=volume.volume_type,
        backup_id=backup,
        chain=(backup,),
        # As long as what Cinder exports of a backup.
        record=BackupRecord(service="cinder.backup.drivers.swift", url="e30=" * 350),
        data_at=_AT,
    )
