"""Ports in the target: networks, subnets, addresses, MACs, and that no two get the same.

It exists so that addresses are settled before anything is started: an address that is taken in the
target is the most frequent reason why a VNF comes back and cannot be reached.
"""

from __future__ import annotations

from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code
from isthmus.recovery.mapping import Kind, Mapping
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FixedAddress,
    NetworkDefinition,
    PortDefinition,
    ServerDefinition,
    SubnetDefinition,
)
from isthmus.recovery.plans.collecting import Collector
from isthmus.recovery.plans.creations import CreateNetwork
from isthmus.recovery.plans.floating import FloatingAddresses
from isthmus.recovery.plans.inventory import Addressed, Index, Inventory, Owner, TargetPort
from isthmus.recovery.plans.resolving import Resolver


class Ports:
    """The ports of one plan."""

    def __init__(
        self,
        definitions: Definitions,
        mapping: Mapping,
        inventory: Inventory,
        collector: Collector,
        resolver: Resolver,
        *,
        isolated: bool,
    ) -> None:
        self._mapping, self._inventory = mapping, inventory
        self._floating = FloatingAddresses(mapping, inventory, collector, isolated=isolated)
        self._collector, self._resolver = collector, resolver
        self._sources = {each.id: each for each in definitions.networks}
        self._networks = Index(inventory.networks)
        self._subnets: dict[str, Index[SubnetDefinition]] = {}
        self._wanted: dict[Addressed, list[str]] = {}

    def resolved(self, server: ServerDefinition, port: PortDefinition) -> TargetPort | None:
        """The port in the target; None with a finding."""
        source = self._sources.get(port.network_id)
        network = self._network(source, port, server.name)
        groups = [self._resolver.security_group(each, server.name) for each in port.security_groups]
        fixed = (
            [self._fixed(each, source, network, port, server.name) for each in port.fixed]
            if network is not None and source is not None
            else []
        )
        pairs = zip(port.fixed, fixed, strict=False)
        leads = {old.address: new for old, new in pairs if new is not None}
        floating = self._floating.resolved(server.name, port, leads)
        if network is None or source is None:
            return None
        mac = port.mac if self._mapping.keep_macs else None
        if mac is not None:
            self._claim(network, mac, "mac", port, server.name)
        if any(each is None for each in (*fixed, *groups)):
            return None
        return TargetPort(
            source_id=port.id,
            network_id=network.id,
            subnet_ids=tuple(each[0] for each in fixed if each is not None),
            addresses=tuple(each[1] for each in fixed if each is not None),
            mac=mac,
            security_groups=tuple(each for each in groups if each is not None),
            floating=floating,
        )

    def _network(
        self, source: NetworkDefinition | None, port: PortDefinition, server: str
    ) -> NetworkDefinition | None:
        safe = source is not None and not source.shared and bool(source.subnets)
        found = self._resolver.one(
            Kind.NETWORK,
            port.network_id,
            source.name if source else None,
            self._networks,
            server,
            (lambda name: CreateNetwork(name=name, like=source)) if safe and source else None,
        )
        if found is not None and source is not None and found.mtu < source.mtu:
            self._collector.add(
                Code.TOO_SMALL,
                Outcome.WARN,
                f"network {source.name}",
                summary=f"its counterpart {found.name} carries smaller packets",
                cause=f"MTU {found.mtu} instead of {source.mtu}",
                remedy="check that the guests take their MTU from DHCP or from virtio",
                server=server,
            )
        return found

    def _fixed(
        self,
        fixed: FixedAddress,
        source: NetworkDefinition,
        network: NetworkDefinition,
        port: PortDefinition,
        server: str,
    ) -> tuple[str, str | None] | None:
        """Subnet and address in the target; None with a finding."""
        origin = next((each for each in source.subnets if each.id == fixed.subnet_id), None)
        subnet = self._subnet(origin, network, server)
        if origin is None or subnet is None:
            return None
        try:
            address = self._mapping.address(fixed.address, origin.cidr, subnet.cidr)
        except ValueError as error:
            self._collector.add(
                Code.ADDRESS_OUTSIDE,
                Outcome.ERROR,
                f"address {fixed.address}",
                summary=f"it has no place in subnet {subnet.name or subnet.id}",
                cause=str(error),
                remedy=f"add it to addresses of the mapping {self._mapping.name}, or let the policy "
                "be translate or any",
                server=server,
            )
            return None
        if address is not None:
            self._claim(network, address, "address", port, server)
        return subnet.id, address

    def _subnet(
        self, origin: SubnetDefinition | None, network: NetworkDefinition, server: str
    ) -> SubnetDefinition | None:
        """By the mapping, else the one with the same CIDR, else the only one."""
        if origin is None:
            return None
        index = self._subnets.setdefault(network.id, Index(network.subnets))
        wanted = self._mapping.counterpart(Kind.SUBNET, origin.id, origin.name)
        found = index.find(wanted) if wanted else []
        if not wanted:
            same = [each for each in network.subnets if each.cidr == origin.cidr]
            alone = [each for each in network.subnets if each.ip_version == origin.ip_version]
            found = same or (alone if len(alone) == 1 else [])
        if len(found) == 1:
            return found[0]
        subject = f"subnet {origin.name or origin.cidr}"
        if wanted:
            self._resolver.missing(Kind.SUBNET, subject, wanted, server, None)
        else:
            self._resolver.not_mapped(Kind.SUBNET, subject, origin.name or origin.id, server)
        return None

    def _claim(
        self, network: NetworkDefinition, what: str, noun: str, port: PortDefinition, server: str
    ) -> None:
        """Ask for an address or a MAC of a network in the target."""
        key = (network.id, what)
        self._wanted.setdefault(key, []).append(server)
        taken = self._inventory.addresses if noun == "address" else self._inventory.macs
        owner = taken.get(key)
        if owner is None:
            return
        if owner.origin == port.id:
            self._collector.add(
                Code.ADDRESS_TAKEN if noun == "address" else Code.MAC_TAKEN,
                Outcome.INFO,
                f"{noun} {what}",
                summary=f"it belongs to the remote port of {server} itself",
                cause=f"the network is stretched; port {owner.port_id} stands for port {port.id}",
                remedy="nothing: it goes when the site is declared lost",
                server=server,
            )
            return
        self._taken(network, what, noun, owner, server)

    def _taken(
        self, network: NetworkDefinition, what: str, noun: str, owner: Owner, server: str
    ) -> None:
        self._collector.add(
            Code.ADDRESS_TAKEN if noun == "address" else Code.MAC_TAKEN,
            Outcome.ERROR,
            f"{noun} {what}",
            summary=f"somebody has it in network {network.name}",
            cause=f"port {owner.port_id} ({owner.device_owner or 'no device'})",
            remedy=(
                f"free it, or map it to another one in the mapping {self._mapping.name}"
                if noun == "address"
                else f"free it, or set keep_macs to false in the mapping {self._mapping.name}"
            ),
            server=server,
        )

    def check_duplicates(self) -> None:
        """Two servers that would get one address or MAC; to be called after all were resolved."""
        for (_, what), servers in self._wanted.items():
            if len(servers) > 1:
                for server in servers:
                    self._collector.add(
                        Code.ADDRESS_TWICE,
                        Outcome.ERROR,
                        f"address {what}",
                        summary="several ports would get it",
                        cause=f"the mapping {self._mapping.name} leads them to the same place",
                        remedy="map their networks to different ones, or give each an address",
                        server=server,
                    )
