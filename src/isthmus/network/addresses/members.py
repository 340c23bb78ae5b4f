"""Puts one site's Neutron right for a VRRP address: carries out what `vrrp` plans."""

from __future__ import annotations

import ipaddress
from typing import Any

from isthmus.network.addresses import vrrp
from isthmus.network.addresses.declarations import DEVICE_OWNER_RESERVATION, ServiceAddress
from isthmus.network.addresses.findings import Code, Finding
from isthmus.network.addresses.gateway_ports import reservation
from isthmus.network.addresses.neutron_objects import Object, Objects, RefusedError
from isthmus.network.addresses.vrrp import AddPair, JoinGroup, Reserve, SiteLook
from isthmus.outcomes import Outcome


def look(address: ServiceAddress, objects: Objects) -> SiteLook:
    """What the site has. Raises UnavailableError, RefusedError."""
    network = objects.network(address.network)
    if network is None:
        return SiteLook(site=objects.site, network=None)
    ip = ipaddress.ip_address(address.address)
    subnets = objects.subnets(network["id"])
    fitting = (each["id"] for each in subnets if ip in ipaddress.ip_network(each["cidr"]))
    ports = tuple(objects.ports(network_id=network["id"]))
    targets = set(address.targets.get(objects.site, ()))
    joined = {
        group
        for port in ports
        if any(each["ip_address"] in targets for each in port["fixed_ips"])
        for group in port["security_groups"]
    }
    groups = {group: each for group in joined for each in objects.groups(id=group)}
    return SiteLook(
        site=objects.site,
        network=network,
        subnet_id=next(fitting, None),
        ports=ports,
        groups=groups,
    )


def ensure(address: ServiceAddress, objects: Objects) -> tuple[Finding, ...]:
    """Put right what can be, and tell what is wrong. Raises UnavailableError, RefusedError."""
    plan = vrrp.plan(address, look(address, objects))
    refused = []
    for action in plan.actions:
        try:
            _apply(address, objects, action)
        except RefusedError as error:
            refused.append(_refusal(address, objects.site, error))
    return (*plan.findings, *refused)


def _apply(address: ServiceAddress, objects: Objects, action: vrrp.Action) -> None:
    match action:
        case AddPair(port_id=port, pairs=pairs):
            wanted = [*pairs, {"ip_address": address.address}]
            objects.update("ports", port, {"allowed_address_pairs": wanted})
        case JoinGroup(port_id=port, groups=groups):
            group = _group(address, objects, objects.ports(id=port)[0]["project_id"])
            objects.update("ports", port, {"security_groups": [*groups, group]})
        case Reserve(network_id=network, subnet_id=subnet):
            objects.create("ports", reservation(address, network, subnet))


def _refusal(address: ServiceAddress, site: str, error: RefusedError) -> Finding:
    return Finding(
        code=Code.REFUSED,
        outcome=Outcome.ERROR,
        address=address.name,
        site=site,
        summary=f"Neutron of {site} refuses what {address.name} needs",
        cause=f"{error.what}: {error.cause}",
        remedy="it is tried again every few seconds; rights and quotas are the usual causes",
    )


def _group(address: ServiceAddress, objects: Objects, project_id: str) -> str:
    """The address's security group: VRRP among its members."""
    name = vrrp.group_name(address)
    found = objects.groups(name=name, project_id=project_id)
    group = found[0] if found else _new_group(name, objects, project_id)
    if not any(rule.get("remote_group_id") for rule in group["security_group_rules"]):
        rule = {
            "security_group_id": group["id"],
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "112",
            "remote_group_id": group["id"],
        }
        objects.create("security-group-rules", rule)
    return str(group["id"])


def _new_group(name: str, objects: Objects, project_id: str) -> Object:
    body: dict[str, Any] = {
        "name": name,
        "project_id": project_id,
        "description": "VRRP among the members of a service address; made by Isthmus",
    }
    return objects.create("security-groups", body)


def remove(address: ServiceAddress, objects: Objects) -> None:
    """Take away what `ensure` made: the pair, the group, the reservation."""
    found = look(address, objects)
    group_ids = {each["id"] for each in objects.groups(name=vrrp.group_name(address))}
    for port in found.ports:
        pairs = port.get("allowed_address_pairs") or []
        kept = [each for each in pairs if each["ip_address"] != address.address]
        groups = [each for each in port["security_groups"] if each not in group_ids]
        if len(kept) != len(pairs) or len(groups) != len(port["security_groups"]):
            change = {"allowed_address_pairs": kept, "security_groups": groups}
            objects.update("ports", port["id"], change)
    for port in objects.ports(device_id=address.id, device_owner=DEVICE_OWNER_RESERVATION):
        objects.delete("ports", port["id"])
    for group in group_ids:
        objects.delete("security-groups", group)
