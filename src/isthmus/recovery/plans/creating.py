"""Makes in the target what a validation found missing and safe to make.

It exists so that `plan validate` can end with a target that is ready. Each creation looks first, so
that it can be repeated; what is there already is left as it is, also if it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.recovery.metadata.definitions import RuleDefinition, SubnetDefinition
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.plans.creations import (
    CreateFlavor,
    CreateKeypair,
    CreateNetwork,
    CreateSecurityGroup,
    CreateServerGroup,
    Creation,
)
from isthmus.recovery.rest import CloudError

DESCRIPTION = "made by isthmus for recovery"


def create(clients: Clients, creations: Sequence[Creation]) -> tuple[str, ...]:
    """Make them, in order; a sentence for each. Raises CloudError at the first that fails; those
    before it stay."""
    done = [_one(clients, each) for each in creations]
    for each in creations:
        if isinstance(each, CreateSecurityGroup):
            _add_rules(clients, each)
    return tuple(done)


def _one(clients: Clients, creation: Creation) -> str:
    match creation:
        case CreateFlavor():
            made = _flavor(clients, creation)
        case CreateKeypair():
            made = _keypair(clients, creation)
        case CreateServerGroup():
            made = _server_group(clients, creation)
        case CreateSecurityGroup():
            made = _security_group(clients, creation)
        case CreateNetwork():
            made = _network(clients, creation)
    noun = type(creation).__name__.removeprefix("Create")
    return f"{noun} {creation.name}: {'made' if made else 'was there'}"


def _flavor(clients: Clients, creation: CreateFlavor) -> bool:
    there = clients.compute.all("/flavors", "flavors", is_public="None")
    if any(each["name"] == creation.name for each in there):
        return False
    like = creation.like
    body = {
        "name": creation.name,
        "vcpus": like.vcpus,
        "ram": like.ram_mib,
        "disk": like.disk_gib,
        "OS-FLV-EXT-DATA:ephemeral": like.ephemeral_gib,
        "swap": like.swap_mib,
    }
    made = clients.compute.post("/flavors", {"flavor": body})["flavor"]
    if like.extra_specs:
        path = f"/flavors/{made['id']}/os-extra_specs"
        clients.compute.post(path, {"extra_specs": dict(like.extra_specs)})
    return True


def _keypair(clients: Clients, creation: CreateKeypair) -> bool:
    if clients.compute.find(f"/os-keypairs/{creation.name}", "keypair") is not None:
        return False
    like = creation.like
    body = {"name": creation.name, "type": like.type, "public_key": like.public_key}
    clients.compute.post("/os-keypairs", {"keypair": body})
    return True


def _server_group(clients: Clients, creation: CreateServerGroup) -> bool:
    there = clients.compute.get("/os-server-groups")["server_groups"]
    if any(each["name"] == creation.name for each in there):
        return False
    like = creation.like
    rules = {name: int(value) for name, value in like.rules.items() if value.isdigit()}
    body: dict[str, Any] = {"name": creation.name, "policy": like.policy}
    if rules:
        body["rules"] = rules
    clients.compute.post("/os-server-groups", {"server_group": body})
    return True


def _named(clients: Clients, collection: str, name: str) -> Any | None:
    """The project's own object of that name."""
    path = f"/v2.0/{collection.replace('_', '-')}"
    project = clients.network.project_id
    found = list(clients.network.all(path, collection, name=name, project_id=project))
    return found[0] if found else None


def _security_group(clients: Clients, creation: CreateSecurityGroup) -> bool:
    """Without rules: they come when all groups are there. Neutron's own rules for leaving traffic
    go, as the source's say what may leave."""
    if _named(clients, "security_groups", creation.name) is not None:
        return False
    body = {
        "name": creation.name,
        "description": creation.like.description or DESCRIPTION,
        "stateful": creation.like.stateful,
    }
    made = clients.network.post("/v2.0/security-groups", {"security_group": body})
    for rule in made["security_group"]["security_group_rules"]:
        clients.network.delete(f"/v2.0/security-group-rules/{rule['id']}")
    return True


def _add_rules(clients: Clients, creation: CreateSecurityGroup) -> None:
    group = _named(clients, "security_groups", creation.name)
    if group is None:
        return
    remotes = {
        source: found["id"]
        for source, name in creation.remote_names
        if (found := _named(clients, "security_groups", name)) is not None
    }
    for rule in creation.like.rules:
        # A rule that speaks of a group which is not there would let everybody in without it.
        if rule.remote_group is None or rule.remote_group in remotes:
            _add_rule(clients, group["id"], rule, remotes.get(rule.remote_group or ""))


def _add_rule(clients: Clients, group: str, rule: RuleDefinition, remote: str | None) -> None:
    body = {
        "security_group_id": group,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": rule.remote_prefix,
        "remote_group_id": remote,
        "description": rule.description,
    }
    told = {name: value for name, value in body.items() if value is not None}
    try:
        clients.network.post("/v2.0/security-group-rules", {"security_group_rule": told})
    except CloudError as error:
        if error.status != 409:  # The same rule is there.
            raise


def _network(clients: Clients, creation: CreateNetwork) -> bool:
    found = _named(clients, "networks", creation.name)
    if found is None:
        body = {"name": creation.name, "mtu": creation.like.mtu, "description": DESCRIPTION}
        found = clients.network.post("/v2.0/networks", {"network": body})["network"]
        made = True
    else:
        made = False
    there = clients.network.all("/v2.0/subnets", "subnets", network_id=found["id"])
    cidrs = {each["cidr"] for each in there}
    for subnet in creation.like.subnets:
        if subnet.cidr not in cidrs:
            _subnet(clients, found["id"], subnet)
    return made


def _subnet(clients: Clients, network: str, like: SubnetDefinition) -> None:
    body = {
        "network_id": network,
        "name": like.name,
        "cidr": like.cidr,
        "ip_version": like.ip_version,
        "gateway_ip": like.gateway,
        "enable_dhcp": like.dhcp,
        "dns_nameservers": list(like.nameservers),
        "host_routes": [{"destination": to, "nexthop": hop} for to, hop in like.routes],
        "allocation_pools": [{"start": first, "end": last} for first, last in like.pools],
    }
    if not like.pools:
        del body["allocation_pools"]
    clients.network.post("/v2.0/subnets", {"subnet": body})
