"""Floating addresses in the target: which one takes the place of which, and whether it can be had.

It exists because a floating address belongs to its site: the mapping says what stands for it (an
address, or a network that gives any), and Neutron refuses one that no router leads to, or that
somebody has. All of that can be known beforehand.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping as Dict

from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code
from isthmus.recovery.mapping import Mapping, is_address
from isthmus.recovery.metadata.definitions import (
    FloatingAddress,
    NetworkDefinition,
    PortDefinition,
)
from isthmus.recovery.plans.collecting import Collector
from isthmus.recovery.plans.inventory import Index, Inventory, TargetFloating

Leads = Dict[str, tuple[str, str | None]]
"""Subnet and address in the target (None: any) of a port's fixed addresses."""


class FloatingAddresses:
    """Those of one plan. `isolated`: of a drill, whose networks nothing leads into."""

    def __init__(
        self, mapping: Mapping, inventory: Inventory, collector: Collector, *, isolated: bool
    ) -> None:
        self._mapping, self._inventory, self._collector = mapping, inventory, collector
        self._isolated = isolated
        self._external = Index(inventory.external)
        self._known = {each.address: each for each in inventory.floating}
        self._wanted: dict[str, str] = {}

    def resolved(
        self, server: str, port: PortDefinition, leads: Leads
    ) -> tuple[TargetFloating, ...]:
        """The floating addresses of a port that can be brought back; the others have a finding."""
        found = (self._one(server, port, each, leads) for each in port.floating)
        return tuple(each for each in found if each is not None)

    def _one(
        self, server: str, port: PortDefinition, source: FloatingAddress, leads: Leads
    ) -> TargetFloating | None:
        known = self._mapping.floating
        wanted = known.get(source.address, known.get(source.network_id))
        if wanted is None:
            self._not_mapped(source, server)
            return None
        if self._isolated:
            self._untested(source, server)
            return None
        address = wanted if is_address(wanted) else None
        network = (
            self._giving(source, address, server)
            if address
            else self._named(source, wanted, server)
        )
        if network is None or source.fixed not in leads:
            return None
        subnet, fixed = leads[source.fixed]
        if not self._free(source, network, address, server):
            return None
        if (subnet, network.id) not in self._inventory.routes:
            self._unreachable(source, network, subnet, server)
            return None
        return TargetFloating(
            source=source.address,
            port_id=port.id,
            network_id=network.id,
            address=address,
            subnet_id=subnet,
            fixed=fixed,
            description=source.description,
        )

    def _named(self, source: FloatingAddress, wanted: str, server: str) -> NetworkDefinition | None:
        """The external network with that name or ID."""
        found = self._external.find(wanted)
        if len(found) == 1:
            return found[0]
        self._error(
            Code.AMBIGUOUS if found else Code.MISSING,
            source,
            server,
            summary=f"its network {wanted} is there {len(found)} times",
            cause=f"site {self._inventory.site} has {len(found)} external networks of that name or ID",
            remedy=f"put the ID of one into floating of the mapping {self._mapping.name}",
        )
        return None

    def _giving(
        self, source: FloatingAddress, address: str, server: str
    ) -> NetworkDefinition | None:
        """The external network that an address is of."""
        there, ip = self._known.get(address), ipaddress.ip_address(address)
        found = self._external.find(there.network_id) if there else []
        found = found or [
            each
            for each in self._inventory.external
            if any(ip in ipaddress.ip_network(subnet.cidr) for subnet in each.subnets)
        ]
        if len(found) == 1:
            return found[0]
        self._error(
            Code.AMBIGUOUS if found else Code.ADDRESS_OUTSIDE,
            source,
            server,
            summary=f"no one network can give {address}",
            cause=f"{len(found)} external networks of site {self._inventory.site} have a subnet"
            " that it is of",
            remedy=f"put another address, or the ID of a network, into floating of the mapping"
            f" {self._mapping.name}",
        )
        return None

    def _free(
        self, source: FloatingAddress, network: NetworkDefinition, address: str | None, server: str
    ) -> bool:
        """Whether nobody has the address, and no other of the plan wants it."""
        if address is None:
            return True
        other = self._wanted.setdefault(address, source.address)
        if other != source.address:
            self._error(
                Code.ADDRESS_TWICE,
                source,
                server,
                summary=f"{address} cannot take the place of two",
                cause=f"the mapping {self._mapping.name} leads {other} there as well",
                remedy="give each an address, or a network that gives any",
            )
            return False
        owner = self._owner(network, address)
        if owner is not None:
            self._error(
                Code.ADDRESS_TAKEN,
                source,
                server,
                summary=f"somebody has {address} in network {network.name}",
                cause=owner,
                remedy=f"free it, or map it to another one in the mapping {self._mapping.name}",
            )
        return owner is None

    def _owner(self, network: NetworkDefinition, address: str) -> str | None:
        """Who has an address that we cannot have; one of the project that leads nowhere, we can."""
        there = self._known.get(address)
        if there is None:
            port = self._inventory.addresses.get((network.id, address))
            return f"port {port.port_id} ({port.device_owner or 'no device'})" if port else None
        if there.project_id != self._inventory.project_id:
            return f"it is a floating address of project {there.project_id}"
        return f"it leads to port {there.port_id}" if there.port_id else None

    def _unreachable(
        self, source: FloatingAddress, network: NetworkDefinition, subnet: str, server: str
    ) -> None:
        self._error(
            Code.NO_ROUTE,
            source,
            server,
            summary=f"nothing leads from network {network.name} to its server",
            cause=f"no router has subnet {subnet} and its gateway in that network",
            remedy=f"openstack router add subnet ROUTER {subnet}, with a router that has its gateway"
            f" in {network.name}",
        )

    def _not_mapped(self, source: FloatingAddress, server: str) -> None:
        self._collector.add(
            Code.NOT_MAPPED,
            Outcome.WARN,
            _subject(source),
            summary="it does not come back",
            cause=f"the mapping {self._mapping.name} has neither it nor its network",
            remedy=f"add {source.address!r} to floating of the mapping {self._mapping.name}",
            server=server,
        )

    def _untested(self, source: FloatingAddress, server: str) -> None:
        self._collector.add(
            Code.NOT_TESTED,
            Outcome.INFO,
            _subject(source),
            summary="it is not tested",
            cause="nothing leads into the isolated networks of a drill",
            remedy="nothing; a validation of the plan says whether it could be had",
            server=server,
        )

    def _error(
        self,
        code: Code,
        source: FloatingAddress,
        server: str,
        *,
        summary: str,
        cause: str,
        remedy: str,
    ) -> None:
        self._collector.add(
            code,
            Outcome.ERROR,
            _subject(source),
            summary=summary,
            cause=cause,
            remedy=remedy,
            server=server,
        )


def _subject(source: FloatingAddress) -> str:
    return f"floating address {source.address}"
