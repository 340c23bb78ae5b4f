"""The inventory of a target site, read from its cloud with few requests.

It exists so that a plan can be judged in memory. It reads lists, not single objects: the number of
requests does not grow with the number of servers in the plan. It changes nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isthmus.recovery.metadata import wire
from isthmus.recovery.metadata.reading import WITHIN_S, Clients, MetadataError
from isthmus.recovery.plans.inventory import Addressed, Floating, Inventory, Owner, Room
from isthmus.sites import fanout

_GATEWAY = "network:router_gateway"
_INTERFACES = frozenset(
    {
        "network:router_interface",
        "network:router_interface_distributed",
        "network:ha_router_replicated_interface",
    }
)
_PORT_FIELDS = ["id", "network_id", "mac_address", "fixed_ips", "device_id", "device_owner"]


def read(clients: Clients, unsealing_keys: Sequence[str] = ()) -> Inventory:
    """What the project of the session sees in the site. Raises MetadataError."""
    questions: dict[str, Callable[[], Any]] = {
        "flavors": lambda: list(
            clients.compute.all("/flavors/detail", "flavors", is_public="None")
        ),
        "keypairs": lambda: clients.compute.get("/os-keypairs")["keypairs"],
        "server_groups": lambda: clients.compute.get("/os-server-groups")["server_groups"],
        "zones": lambda: clients.compute.get("/os-availability-zone")["availabilityZoneInfo"],
        "limits": lambda: clients.compute.get("/limits")["limits"]["absolute"],
        "types": lambda: list(clients.block.all("/types", "volume_types")),
        "volume_limits": lambda: clients.block.get("/limits")["limits"]["absolute"],
        "networks": lambda: list(clients.network.all("/v2.0/networks", "networks")),
        "subnets": lambda: list(clients.network.all("/v2.0/subnets", "subnets")),
        "groups": lambda: list(
            clients.network.all(
                "/v2.0/security-groups",
                "security_groups",
                project_id=clients.network.project_id,
            )
        ),
        "ports": lambda: list(clients.network.all("/v2.0/ports", "ports", fields=_PORT_FIELDS)),
        "floating": lambda: _floating(clients),
        "port_quota": lambda: clients.network.get(
            f"/v2.0/quotas/{clients.network.project_id}/details"
        )["quota"]["port"],
    }
    results = fanout.ask_all(questions, timeout=WITHIN_S, grace=1.0)
    failed = {name: result.error for name, result in results.items() if not result.ok}
    if failed:
        raise MetadataError(
            "the target site could not be read",
            where=f"site {clients.region}",
            cause="; ".join(f"{name}: {cause}" for name, cause in failed.items()),
            unchanged="nothing",
        )
    found = {name: result.value for name, result in results.items()}
    return inventory(
        found,
        site=clients.region,
        project_id=clients.compute.project_id,
        read_at=datetime.datetime.now(datetime.UTC),
        unsealing_keys=unsealing_keys,
    )


def inventory(
    found: Mapping[str, Any],
    *,
    site: str,
    project_id: str,
    read_at: datetime.datetime,
    unsealing_keys: Sequence[str] = (),
) -> Inventory:
    """The lists as an inventory; pure."""
    addresses, macs = _owners(found["ports"])
    external = (each for each in found["networks"] if each.get("router:external"))
    return Inventory(
        site=site,
        project_id=project_id,
        read_at=read_at,
        flavors=tuple(map(wire.flavor, found["flavors"])),
        keypairs=tuple(wire.keypair(each["keypair"]) for each in found["keypairs"]),
        networks=tuple(wire.network(each, found["subnets"]) for each in found["networks"]),
        security_groups=tuple(map(wire.security_group, found["groups"])),
        server_groups=tuple(map(wire.server_group, found["server_groups"])),
        volume_types=tuple(each["name"] for each in found["types"]),
        zones=tuple(each["zoneName"] for each in found["zones"] if each["zoneState"]["available"]),
        addresses=addresses,
        macs=macs,
        quotas=_quotas(found),
        unsealing_keys=tuple(unsealing_keys),
        external=tuple(wire.network(each, found["subnets"]) for each in external),
        floating=tuple(map(_there, found["floating"])),
        routes=_routes(found["ports"]),
    )


def _floating(clients: Clients) -> list[wire.Json]:
    return list(clients.network.all("/v2.0/floatingips", "floatingips")) if clients.routed else []


def _there(found: wire.Json) -> Floating:
    return Floating(
        id=found["id"],
        address=found["floating_ip_address"],
        network_id=found["floating_network_id"],
        project_id=found.get("project_id") or "",
        port_id=found.get("port_id"),
    )


def _routes(ports: Sequence[wire.Json]) -> frozenset[tuple[str, str]]:
    """From which subnets a router leads to which external network."""
    gateways: dict[str, set[str]] = {}
    for port in ports:
        if port.get("device_owner") == _GATEWAY:
            gateways.setdefault(port["device_id"], set()).add(port["network_id"])
    return frozenset(
        (fixed["subnet_id"], network)
        for port in ports
        if port.get("device_owner") in _INTERFACES
        for fixed in port["fixed_ips"]
        for network in gateways.get(port["device_id"], ())
    )


def _owners(
    ports: Sequence[wire.Json],
) -> tuple[dict[Addressed, Owner], dict[Addressed, Owner]]:
    """Who has which address and which MAC, by network."""
    addresses: dict[Addressed, Owner] = {}
    macs: dict[Addressed, Owner] = {}
    for port in ports:
        owner = _owner(port)
        macs[port["network_id"], port["mac_address"]] = owner
        for fixed in port["fixed_ips"]:
            addresses[port["network_id"], fixed["ip_address"]] = owner
    return addresses, macs


def _owner(port: wire.Json) -> Owner:
    """A remote port of a stretched network names the real one as `<site>/<port id>`."""
    site, slash, origin = (port.get("device_id") or "").partition("/")
    return Owner(
        port_id=port["id"],
        device_owner=port.get("device_owner") or "",
        origin=origin if site and slash and origin else None,
    )


def _quotas(found: Mapping[str, Any]) -> dict[str, Room]:
    compute, volumes, ports = found["limits"], found["volume_limits"], found["port_quota"]
    return {
        "instances": Room(
            limit=compute["maxTotalInstances"], used=compute.get("totalInstancesUsed", 0)
        ),
        "cores": Room(limit=compute["maxTotalCores"], used=compute.get("totalCoresUsed", 0)),
        "ram_mib": Room(limit=compute["maxTotalRAMSize"], used=compute.get("totalRAMUsed", 0)),
        "volumes": Room(limit=volumes["maxTotalVolumes"], used=volumes["totalVolumesUsed"]),
        "gigabytes": Room(
            limit=volumes["maxTotalVolumeGigabytes"], used=volumes["totalGigabytesUsed"]
        ),
        "ports": Room(limit=ports["limit"], used=ports["used"] + ports.get("reserved", 0)),
    }
