"""OpenStack's JSON as definitions: pure, one function for each kind of object.

It exists so that what services answer is understood in one place, for the source of a checkpoint and
for the target of a plan alike. Shapes: compute 2.90, block storage 3.71, network v2.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.recovery.metadata.definitions import (
    FixedAddress,
    FlavorDefinition,
    FloatingAddress,
    ImageDefinition,
    KeypairDefinition,
    NetworkDefinition,
    PortDefinition,
    RuleDefinition,
    SecurityGroupDefinition,
    ServerGroupDefinition,
    SubnetDefinition,
    VolumeDefinition,
)

Json = Mapping[str, Any]


def flavor(found: Json) -> FlavorDefinition:
    """A flavor of the list of flavors. Swap is an empty text where there is none."""
    return FlavorDefinition(
        id=found["id"],
        name=found["name"],
        vcpus=int(found["vcpus"]),
        ram_mib=int(found["ram"]),
        disk_gib=int(found["disk"]),
        ephemeral_gib=int(found.get("OS-FLV-EXT-DATA:ephemeral") or 0),
        swap_mib=int(found.get("swap") or 0),
        extra_specs=dict(found.get("extra_specs") or {}),
    )


def embedded_flavor(found: Json, known: Iterable[FlavorDefinition]) -> FlavorDefinition:
    """The flavor as the server was made with; its ID is that of the flavor of that name, if there
    still is one, else its name."""
    name = found["original_name"]
    same = next((each.id for each in known if each.name == name), name)
    return FlavorDefinition(
        id=same,
        name=name,
        vcpus=int(found["vcpus"]),
        ram_mib=int(found["ram"]),
        disk_gib=int(found["disk"]),
        ephemeral_gib=int(found.get("ephemeral") or 0),
        swap_mib=int(found.get("swap") or 0),
        extra_specs=dict(found.get("extra_specs") or {}),
    )


def keypair(found: Json) -> KeypairDefinition:
    return KeypairDefinition(
        name=found["name"],
        public_key=found["public_key"],
        fingerprint=found["fingerprint"],
        type=found.get("type") or "ssh",
    )


def server_group(found: Json) -> ServerGroupDefinition:
    rules = {name: str(value) for name, value in (found.get("rules") or {}).items()}
    return ServerGroupDefinition(
        id=found["id"], name=found["name"], policy=found["policy"], rules=rules
    )


def security_group(found: Json) -> SecurityGroupDefinition:
    return SecurityGroupDefinition(
        id=found["id"],
        name=found["name"],
        description=found.get("description") or "",
        stateful=bool(found.get("stateful", True)),
        rules=tuple(map(rule, found.get("security_group_rules") or ())),
    )


def rule(found: Json) -> RuleDefinition:
    return RuleDefinition(
        direction=found["direction"],
        ethertype=found["ethertype"],
        protocol=found.get("protocol"),
        port_min=found.get("port_range_min"),
        port_max=found.get("port_range_max"),
        remote_prefix=found.get("remote_ip_prefix"),
        remote_group=found.get("remote_group_id"),
        description=found.get("description") or "",
    )


def network(found: Json, subnets: Iterable[Json]) -> NetworkDefinition:
    """A network with those of `subnets` that are its own."""
    mine = (each for each in subnets if each["network_id"] == found["id"])
    return NetworkDefinition(
        id=found["id"],
        name=found["name"],
        mtu=int(found.get("mtu") or 1500),
        shared=bool(found.get("shared")) or bool(found.get("router:external")),
        subnets=tuple(map(subnet, mine)),
    )


def subnet(found: Json) -> SubnetDefinition:
    return SubnetDefinition(
        id=found["id"],
        name=found["name"],
        cidr=found["cidr"],
        gateway=found.get("gateway_ip"),
        dhcp=bool(found.get("enable_dhcp")),
        nameservers=tuple(found.get("dns_nameservers") or ()),
        routes=tuple((each["destination"], each["nexthop"]) for each in found["host_routes"]),
        pools=tuple((each["start"], each["end"]) for each in found["allocation_pools"]),
        ip_version=int(found["ip_version"]),
    )


def port(found: Json, floating: Iterable[Json]) -> PortDefinition:
    """A port with those of `floating` that lead to it."""
    mine = (each for each in floating if each.get("port_id") == found["id"])
    return PortDefinition(
        id=found["id"],
        name=found.get("name") or "",
        network_id=found["network_id"],
        mac=found["mac_address"],
        fixed=tuple(
            FixedAddress(subnet_id=each["subnet_id"], address=each["ip_address"])
            for each in found["fixed_ips"]
        ),
        security_groups=tuple(found.get("security_groups") or ()),
        port_security=bool(found.get("port_security_enabled", True)),
        allowed_pairs=tuple(
            (each["ip_address"], each.get("mac_address") or found["mac_address"])
            for each in found.get("allowed_address_pairs") or ()
        ),
        vnic_type=found.get("binding:vnic_type") or "normal",
        dhcp_options=tuple(
            (each["opt_name"], each["opt_value"]) for each in found.get("extra_dhcp_opts") or ()
        ),
        dns_name=found.get("dns_name") or "",
        description=found.get("description") or "",
        tags=tuple(sorted(found.get("tags") or ())),
        floating=tuple(map(floating_address, mine)),
    )


def floating_address(found: Json) -> FloatingAddress:
    return FloatingAddress(
        address=found["floating_ip_address"],
        fixed=found["fixed_ip_address"],
        network_id=found["floating_network_id"],
        description=found.get("description") or "",
    )


def volume(found: Json, attachment: Json, root: str | None) -> VolumeDefinition:
    """A volume as it is attached. Nova shows no boot index: the root is the one at the root device."""
    device = attachment["device"]
    return VolumeDefinition(
        id=found["id"],
        name=found.get("name") or "",
        device=device,
        size_gib=int(found["size"]),
        volume_type=found.get("volume_type"),
        boot_index=0 if device == root else None,
        bootable=str(found.get("bootable")).lower() == "true",
        zone=found.get("availability_zone"),
        multiattach=bool(found.get("multiattach")),
        encrypted=bool(found.get("encrypted")),
        delete_on_termination=bool(attachment.get("delete_on_termination")),
        tag=attachment.get("tag"),
        metadata=dict(found.get("metadata") or {}),
        image_metadata={
            name: str(value) for name, value in (found.get("volume_image_metadata") or {}).items()
        },
    )


def image(volumes: Iterable[VolumeDefinition]) -> ImageDefinition | None:
    """The image that the root volume was made from, which Cinder remembers; None if it was none."""
    root = next((each for each in volumes if each.boot_index == 0), None)
    known = dict(root.image_metadata) if root else {}
    image_id = known.pop("image_id", None)
    if image_id is None:
        return None
    return ImageDefinition(id=image_id, name=known.pop("image_name", None), properties=known)
