"""Would these servers come back in that site? A pure judgement over definitions, mapping, inventory.

It exists so that what is missing is found before the disaster, in words that say what to do, and so
that a restore only carries out what was resolved here. It asks nobody and changes nothing. The parts:
`resolving` for single objects, `ports` for networks and addresses, this module for the whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as Dict

from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code, Finding, worst
from isthmus.recovery.mapping import Mapping
from isthmus.recovery.metadata.definitions import Definitions, ServerDefinition
from isthmus.recovery.plans.collecting import Collector
from isthmus.recovery.plans.creations import Creation
from isthmus.recovery.plans.inventory import Inventory, TargetServer
from isthmus.recovery.plans.ports import Ports
from isthmus.recovery.plans.resolving import Resolver


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """`targets`: by source server, of those that could come back now. `creations`: in an order in
    which they can be made."""

    findings: tuple[Finding, ...]
    creations: tuple[Creation, ...]
    targets: Dict[str, TargetServer]

    @property
    def outcome(self) -> Outcome:
        return worst(self.findings)


def validate(
    definitions: Definitions, mapping: Mapping, inventory: Inventory, *, isolated: bool = False
) -> Validation:
    """Judge all servers together. Time is proportional to servers, ports and volumes. `isolated`: for
    a drill, which leads no floating address to anybody.

    Invariants: every server either has a target or an ERROR that names it; no two targets get one
    address, MAC or floating address; every target's references exist in the inventory.
    """
    collector = Collector(inventory.site)
    _check_sites(mapping, inventory, collector)
    resolver = Resolver(definitions, mapping, inventory, collector)
    ports = Ports(definitions, mapping, inventory, collector, resolver, isolated=isolated)
    found = {
        server.id: _target(server, resolver, ports, collector, inventory)
        for server in definitions.servers
    }
    ports.check_duplicates()
    _check_quotas(definitions, inventory, collector)
    names = {server.id: server.name for server in definitions.servers}
    targets = {
        server_id: target
        for server_id, target in found.items()
        if target is not None and names[server_id] not in collector.failed
    }
    return Validation(findings=collector.findings, creations=resolver.creations, targets=targets)


def _check_sites(mapping: Mapping, inventory: Inventory, collector: Collector) -> None:
    if mapping.target != inventory.site:
        collector.add(
            Code.NOT_MAPPED,
            Outcome.ERROR,
            f"mapping {mapping.name}",
            summary="the mapping is for another site",
            cause=f"it leads to {mapping.target}",
            remedy=f"declare a mapping from {mapping.source} to {inventory.site}",
        )


def _target(
    server: ServerDefinition,
    resolver: Resolver,
    ports: Ports,
    collector: Collector,
    inventory: Inventory,
) -> TargetServer | None:
    """The server in the target; None if something that it needs is not there. All is looked at in
    any case, so that one run tells everything."""
    _check_root(server, collector)
    _check_user_data(server, collector, inventory)
    resolver.image(server)
    flavor = resolver.flavor(server)
    keypair = resolver.keypair(server)
    zone = resolver.zone(server)
    group = resolver.server_group(server)
    types = resolver.volume_types(server)
    made = [ports.resolved(server, port) for port in server.ports]
    if flavor is None or any(port is None for port in made):
        return None
    return TargetServer(
        source_id=server.id,
        name=server.name,
        flavor_id=flavor,
        ports=tuple(port for port in made if port is not None),
        volume_types=types,
        keypair=keypair,
        zone=zone,
        server_group_id=group,
    )


def _check_root(server: ServerDefinition, collector: Collector) -> None:
    if not any(volume.boot_index == 0 for volume in server.volumes):
        collector.add(
            Code.NO_RESTORE_PATH,
            Outcome.ERROR,
            f"server {server.name}",
            summary="the server does not boot from a volume",
            cause="its root disk lies on the compute host and is in no backup",
            remedy="move the root disk to a volume, or take the server out of the group",
            server=server.name,
        )


def _check_user_data(server: ServerDefinition, collector: Collector, inventory: Inventory) -> None:
    if not server.had_user_data:
        return
    sealed = server.user_data
    if sealed is None:
        cause, code = "no site had given a key to seal it for", Code.NO_USER_DATA
    elif not set(sealed.boxes) & set(inventory.unsealing_keys):
        cause, code = f"it is sealed for {', '.join(sorted(sealed.boxes))}", Code.UNREADABLE
    else:
        return
    collector.add(
        code,
        Outcome.WARN,
        "user data",
        summary="servers come back without their user data",
        cause=cause,
        remedy="give the site's sealing key to the engine of the source, and take a checkpoint",
        server=server.name,
    )


def _check_quotas(definitions: Definitions, inventory: Inventory, collector: Collector) -> None:
    servers = definitions.servers
    wanted = {
        "instances": len(servers),
        "cores": sum(each.flavor.vcpus for each in servers),
        "ram_mib": sum(each.flavor.ram_mib for each in servers),
        "ports": sum(len(each.ports) for each in servers),
        "volumes": sum(len(each.volumes) for each in servers),
        "gigabytes": sum(volume.size_gib for each in servers for volume in each.volumes),
    }
    for name, more in wanted.items():
        room = inventory.quotas.get(name)
        if room is not None and more > room.left:
            collector.add(
                Code.QUOTA,
                Outcome.ERROR,
                f"quota {name}",
                summary=f"there is room for {room.left:g} more, and {more} are needed",
                cause=f"{room.used} of {room.limit} are used by project {inventory.project_id}",
                remedy=f"openstack quota set --{_OPTIONS[name]} {room.used + more} "
                f"{inventory.project_id}",
            )


_OPTIONS = {
    "instances": "instances",
    "cores": "cores",
    "ram_mib": "ram",
    "ports": "ports",
    "volumes": "volumes",
    "gigabytes": "gigabytes",
}
