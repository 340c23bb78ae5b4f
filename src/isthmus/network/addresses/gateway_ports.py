"""What a moved address needs of one site's Neutron: a port for the gateway's inner leg, and the
address reserved on the provider network where Neutron knows that network.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from isthmus.network.addresses.declarations import (
    DEVICE_OWNER_GATEWAY,
    DEVICE_OWNER_RESERVATION,
    ServiceAddress,
)
from isthmus.network.addresses.findings import Code, Finding
from isthmus.network.addresses.neutron_objects import Object, Objects, RefusedError
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """The body for the host's agent (None: not yet), and why the gateway is not ready (empty: it
    is)."""

    spec: dict[str, Any] | None = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()


def ensure(address: ServiceAddress, objects: Objects, host: str, physical_network: str) -> Made:
    """Make what is missing. Raises UnavailableError, RefusedError."""
    site, target = objects.site, address.target(objects.site)
    network = objects.network(address.network)
    if network is None:
        summary = f"there is no network {address.network}"
        remedy = f"openstack --os-region-name {site} network list"
        found = _finding(address, site, Code.NETWORK_MISSING, summary, remedy)
        return Made(reason=summary, findings=(found,))
    ports = objects.ports(network_id=network["id"], fixed_ips=f"ip_address={target}")
    real = [each for each in ports if each["device_owner"] != "isthmus:remote"]
    if not real:
        summary = f"no port of {site} has the address {target} on {address.network}"
        remedy = f"openstack --os-region-name {site} port list --network {address.network}"
        found = _finding(address, site, Code.TARGET_MISSING, summary, remedy)
        return Made(reason=summary, findings=(found,))
    port = _port(address, objects, host, network, real[0])
    subnet = _subnet(objects, network["id"], port["fixed_ips"][0]["subnet_id"])
    findings = _reserve(address, objects, physical_network)
    wired = port["status"] == "ACTIVE"
    return Made(
        spec=_spec(address, site, port, network, subnet),
        reason="" if wired else f"Neutron calls the gateway's port {port['id']} {port['status']}",
        findings=findings,
    )


def _port(
    address: ServiceAddress, objects: Objects, host: str, network: Object, target: Object
) -> Object:
    """The gateway's port, on `host`; in the groups of the target, so that what lets the members of
    a group reach each other lets the gateway reach the target."""
    found = objects.ports(device_id=address.id, device_owner=DEVICE_OWNER_GATEWAY)
    mine = [each for each in found if each["network_id"] == network["id"]]
    for stale in found:
        if stale not in mine[:1]:
            objects.delete("ports", stale["id"])
    if not mine:
        body = {
            "network_id": network["id"],
            "project_id": target["project_id"],
            "name": f"gateway of {address.name}",
            "device_owner": DEVICE_OWNER_GATEWAY,
            "device_id": address.id,
            "binding:host_id": host,
            "security_groups": target["security_groups"],
            "fixed_ips": [{"subnet_id": target["fixed_ips"][0]["subnet_id"]}],
        }
        return objects.create("ports", body)
    port = mine[0]
    change: dict[str, Any] = {}
    if port["binding:host_id"] != host:
        change["binding:host_id"] = host
    if set(port["security_groups"]) != set(target["security_groups"]):
        change["security_groups"] = target["security_groups"]
    return objects.update("ports", port["id"], change) if change else port


def _subnet(objects: Objects, network_id: str, subnet_id: str) -> Object:
    return next(each for each in objects.subnets(network_id) if each["id"] == subnet_id)


def _spec(
    address: ServiceAddress, site: str, port: Object, network: Object, subnet: Object
) -> dict[str, Any]:
    check = address.check
    return {
        "id": address.id,
        "address": address.address,
        "prefix": address.prefix,
        "next_hop": address.next_hop,
        "port_id": port["id"],
        "mac": port["mac_address"],
        "ip": port["fixed_ips"][0]["ip_address"],
        "ip_prefix": ipaddress.ip_network(subnet["cidr"]).prefixlen,
        "mtu": network["mtu"],
        "target": address.target(site),
        "check": {**dataclasses.asdict(check), "probe": str(check.probe)},
    }


def _reserve(
    address: ServiceAddress, objects: Objects, physical_network: str
) -> tuple[Finding, ...]:
    """Reserve the address where this site's Neutron hands out addresses of the provider network."""
    found = objects.provider(physical_network, address.address)
    if found is None:
        return ()
    network, subnet = found
    query = f"ip_address={address.address}"
    holders = objects.ports(network_id=network["id"], fixed_ips=query)
    strangers = [each for each in holders if each["device_id"] != address.id]
    if strangers:
        other = strangers[0]
        summary = f"{address.address} belongs to port {other['id']} ({other['device_owner']})"
        remedy = f"openstack --os-region-name {objects.site} port show {other['id']}"
        return (_finding(address, objects.site, Code.ADDRESS_TAKEN, summary, remedy),)
    if not holders:
        try:
            objects.create("ports", reservation(address, network["id"], subnet["id"]))
        except RefusedError as error:
            remedy = error.cause or ""
            summary = f"{address.address} is not reserved in {objects.site}"
            return (_finding(address, objects.site, Code.NOT_RESERVED, summary, remedy),)
    return ()


def reservation(address: ServiceAddress, network_id: str, subnet_id: str) -> dict[str, Any]:
    """A port that keeps an address from being handed out, and is bound nowhere."""
    return {
        "network_id": network_id,
        "name": f"reservation of {address.name}",
        "device_owner": DEVICE_OWNER_RESERVATION,
        "device_id": address.id,
        "fixed_ips": [{"subnet_id": subnet_id, "ip_address": address.address}],
        "security_groups": [],
    }


def remove(address: ServiceAddress, objects: Objects) -> None:
    """Take away what `ensure` made. Raises UnavailableError, RefusedError."""
    for owner in (DEVICE_OWNER_GATEWAY, DEVICE_OWNER_RESERVATION):
        for port in objects.ports(device_id=address.id, device_owner=owner):
            objects.delete("ports", port["id"])


def _finding(address: ServiceAddress, site: str, code: Code, summary: str, remedy: str) -> Finding:
    return Finding(
        code=code,
        outcome=Outcome.ERROR,
        address=address.name,
        site=site,
        summary=summary,
        cause=f"{address.name} ({address.address}) is declared for {site}",
        remedy=remedy,
    )
