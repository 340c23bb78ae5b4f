"""Neutron's JSON, and the values that decisions are made of: one way and the other.

It exists so that names of Neutron's attributes stand in one place. It sends nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from isthmus.network.actions import CreateNetwork, CreatePort, CreateSubnet, UpdatePort
from isthmus.network.views import (
    REMOTE_OWNER,
    AddressPair,
    Network,
    Port,
    Quota,
    SecurityGroup,
    Subnet,
)

PORT_FIELDS = (
    "id", "network_id", "mac_address", "fixed_ips", "vtep_ip", "remote_vtep", "status", "device_owner",
    "device_id", "name", "security_groups", "allowed_address_pairs", "binding:host_id",
    "revision_number",
)  # fmt: skip
NETWORK_FIELDS = (
    "id", "name", "project_id", "provider:network_type", "provider:segmentation_id", "mtu", "tags",
    "description",
)  # fmt: skip
SUBNET_FIELDS = (
    "id", "network_id", "project_id", "name", "cidr", "ip_version", "allocation_pools", "gateway_ip",
    "enable_dhcp", "tags", "description",
)  # fmt: skip
GROUP_FIELDS = ("id", "name", "project_id")
NETWORK_TYPE = "vxlan"


class ShapeError(Exception):
    """An object has not the shape that was asked for; the text says which part."""


def port(document: Mapping[str, Any]) -> Port:
    """Raises ShapeError; so a Neutron without our extension is never taken for one without ports."""
    if "vtep_ip" not in document:
        raise ShapeError("its ports have no attribute vtep_ip: is the driver remote_port loaded?")
    return Port(
        id=document["id"],
        network_id=document["network_id"],
        mac=document["mac_address"].lower(),
        ips=tuple(sorted(_address(each["ip_address"]) for each in document["fixed_ips"])),
        vtep_ip=document["vtep_ip"],
        remote_vtep=document.get("remote_vtep"),
        status=document["status"],
        device_owner=document.get("device_owner") or "",
        device_id=document.get("device_id") or "",
        name=document.get("name") or "",
        security_groups=frozenset(document.get("security_groups") or ()),
        address_pairs=frozenset(
            AddressPair(ip=each["ip_address"], mac=each["mac_address"].lower())
            for each in document.get("allowed_address_pairs") or ()
        ),
        host=document.get("binding:host_id") or "",
        revision=int(document.get("revision_number") or 0),
    )


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def network(document: Mapping[str, Any]) -> Network:
    vni = document.get("provider:segmentation_id")
    return Network(
        id=document["id"],
        name=document["name"],
        project_id=document["project_id"],
        vni=int(vni) if vni is not None else None,
        mtu=int(document.get("mtu") or 0),
        tags=frozenset(document.get("tags") or ()),
        description=document.get("description") or "",
    )


def subnet(document: Mapping[str, Any]) -> Subnet:
    return Subnet(
        id=document["id"],
        network_id=document["network_id"],
        project_id=document["project_id"],
        name=document["name"],
        cidr=document["cidr"],
        pools=tuple(
            sorted((each["start"], each["end"]) for each in document.get("allocation_pools") or ())
        ),
        gateway=document.get("gateway_ip"),
        dhcp=bool(document.get("enable_dhcp")),
        tags=frozenset(document.get("tags") or ()),
        description=document.get("description") or "",
    )


def group(document: Mapping[str, Any]) -> SecurityGroup:
    return SecurityGroup(
        id=document["id"], name=document["name"], project_id=document["project_id"]
    )


def quota(document: Mapping[str, Any]) -> Quota | None:
    """From GET /quotas/<project>/details; None when it says nothing of ports."""
    ports = (document.get("quota") or {}).get("port")
    if not isinstance(ports, dict):
        return None
    return Quota(limit=int(ports["limit"]), used=int(ports["used"]) + int(ports.get("reserved", 0)))


def network_body(action: CreateNetwork) -> dict[str, Any]:
    return {
        "network": {
            "name": action.name,
            "project_id": action.project_id,
            "description": action.description,
            "mtu": action.mtu,
            "provider:network_type": NETWORK_TYPE,
            "provider:segmentation_id": action.vni,
        }
    }


def subnet_body(action: CreateSubnet, network_id: str) -> dict[str, Any]:
    return {
        "subnet": {
            "network_id": network_id,
            "project_id": action.project_id,
            "name": action.name,
            "description": action.description,
            "ip_version": 4,
            "cidr": action.cidr,
            "allocation_pools": pools(action.pools),
            "gateway_ip": action.gateway,
            "enable_dhcp": action.dhcp,
        }
    }


def pools(ranges: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"start": first, "end": last} for first, last in ranges]


def subnet_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(changes)
    if "allocation_pools" in given:
        given["allocation_pools"] = pools(given["allocation_pools"])
    return {"subnet": given}


def port_body(action: CreatePort) -> dict[str, Any]:
    body: dict[str, Any] = {
        "network_id": action.network_id,
        "project_id": action.project_id,
        "name": action.name,
        "device_owner": REMOTE_OWNER,
        "device_id": str(action.origin),
        "mac_address": action.mac,
        "fixed_ips": _fixed(action.ips),
        "remote_vtep": action.vtep,
        # Always named: a port that is made without gets the project's default group.
        "security_groups": sorted(action.security_groups),
    }
    if action.address_pairs:
        body["allowed_address_pairs"] = _pairs(action.address_pairs)
    return body


def port_changes(action: UpdatePort) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if action.name is not None:
        changes["name"] = action.name
    if action.ips is not None:
        changes["fixed_ips"] = _fixed(action.ips)
    if action.vtep is not None:
        changes["remote_vtep"] = action.vtep
    if action.security_groups is not None:
        changes["security_groups"] = sorted(action.security_groups)
    if action.address_pairs is not None:
        changes["allowed_address_pairs"] = _pairs(action.address_pairs)
    return {"port": changes}


def _fixed(ips: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"ip_address": each} for each in ips]


def _pairs(pairs: frozenset[AddressPair]) -> list[dict[str, str]]:
    ordered = sorted(pairs, key=lambda each: (each.ip, each.mac))
    return [{"ip_address": each.ip, "mac_address": each.mac} for each in ordered]
