"""Definitions of a group's servers, read from the cloud they run in.

It exists so that each checkpoint carries what its servers were at that time. A server that cannot be
read, or that could not be made again from what can be read, makes the whole reading fail: a manifest
that is silent about a member is worse than none. It changes nothing.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import x25519

from isthmus import errors
from isthmus.recovery import sealing
from isthmus.recovery.metadata import wire
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FlavorDefinition,
    KeypairDefinition,
    PortDefinition,
    ServerDefinition,
    VolumeDefinition,
)
from isthmus.recovery.rest import Api
from isthmus.sites import fanout

COMPUTE = "2.90"
BLOCK = "3.71"
WITHIN_S = 60.0
_AT_ONCE = 8
_IDS_PER_QUERY = 50
"""IDs in one query: a URL of 2,000 characters passes everywhere."""

T = TypeVar("T")


class MetadataError(errors.IsthmusError):
    """The definitions of some servers cannot be read, or would not suffice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clients:
    """The services of one site, scoped to the project of the group."""

    compute: Api
    block: Api
    network: Api

    @classmethod
    def of(cls, session: Any, region: str) -> Clients:
        return cls(
            compute=Api(session, region, "compute", microversion=COMPUTE),
            block=Api(session, region, "block-storage", microversion=BLOCK),
            network=Api(session, region, "network"),
        )

    @property
    def region(self) -> str:
        return self.compute.region

    @property
    def routed(self) -> bool:
        """Whether its Neutron has routers: without, there are no floating addresses, and nothing that
        lists them."""
        return self.network.find("/v2.0/extensions/router", "extension") is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Raw:
    """One server as its services told of it."""

    server: wire.Json
    volumes: tuple[VolumeDefinition, ...]
    port_ids: tuple[str, ...]
    keypair: KeypairDefinition | None


def read(
    clients: Clients, servers: Sequence[str], keys: Sequence[x25519.X25519PublicKey] = ()
) -> Definitions:
    """The definitions of these servers, in their order. `keys`: of the sites that may read user data.

    Raises MetadataError or CloudError.
    """
    raw = _all_of({server_id: _reader(clients, server_id) for server_id in servers}, clients.region)
    flavors = [wire.flavor(each) for each in _flavors(clients)]
    ports = _ports(clients, [port for each in raw.values() for port in each.port_ids])
    groups = {str(each) for one in raw.values() for each in one.server.get("server_groups") or ()}
    return Definitions(
        servers=tuple(_definition(each, flavors, ports, keys) for each in raw.values()),
        networks=tuple(_networks(clients, {each.network_id for each in ports.values()})),
        security_groups=tuple(
            wire.security_group(each) for each in _security_groups(clients, ports.values())
        ),
        server_groups=tuple(
            wire.server_group(clients.compute.get(f"/os-server-groups/{each}")["server_group"])
            for each in sorted(groups)
        ),
    )


def _all_of(questions: Mapping[str, Callable[[], T]], region: str) -> dict[str, T]:
    results = fanout.ask_all(questions, timeout=WITHIN_S, grace=1.0, at_once=_AT_ONCE)
    failed = {key: result.error for key, result in results.items() if not result.ok}
    if failed:
        raise MetadataError(
            "not all servers could be read",
            where=f"site {region}",
            cause="; ".join(f"server {key}: {cause}" for key, cause in failed.items()),
            unchanged="no checkpoint was taken",
        )
    return {key: result.value for key, result in results.items() if result.value is not None}


def _reader(clients: Clients, server_id: str) -> Callable[[], _Raw]:
    return lambda: _raw(clients, server_id)


def _raw(clients: Clients, server_id: str) -> _Raw:
    path = f"/servers/{server_id}"
    server = clients.compute.get(path)["server"]
    attached = clients.compute.get(f"{path}/os-volume_attachments")["volumeAttachments"]
    root = server.get("OS-EXT-SRV-ATTR:root_device_name")
    volumes = [
        wire.volume(clients.block.get(f"/volumes/{each['volumeId']}")["volume"], each, root)
        for each in sorted(attached, key=lambda one: _device(one["device"]))
    ]
    _check(server, volumes)
    interfaces = clients.compute.get(f"{path}/os-interface")["interfaceAttachments"]
    return _Raw(
        server=server,
        volumes=tuple(volumes),
        # Nova lists interfaces in the order in which they were attached, which the guest sees.
        port_ids=tuple(each["port_id"] for each in interfaces),
        keypair=_keypair(clients, server),
    )


def _device(name: str | None) -> tuple[int, str]:
    """Device names in the order of the bus: vdb comes before vdaa."""
    return len(name or ""), name or ""


def _check(server: wire.Json, volumes: Sequence[VolumeDefinition]) -> None:
    """Raise MetadataError for a server that no backup of volumes can bring back."""
    reason = None
    if not any(volume.boot_index == 0 for volume in volumes):
        reason = "it boots from a disk of the compute host, which is in no backup"
    encrypted = [volume.id for volume in volumes if volume.encrypted]
    if encrypted:
        reason = f"volume {encrypted[0]} is encrypted by a key that only its own site has"
    shared = [volume.id for volume in volumes if volume.multiattach]
    if shared:
        reason = (
            f"volume {shared[0]} may be attached to other servers, which are not frozen with it"
        )
    if reason:
        raise MetadataError("the server cannot be protected", cause=reason)


def _keypair(clients: Clients, server: wire.Json) -> KeypairDefinition | None:
    name = server.get("key_name")
    if not name:
        return None
    try:
        found = clients.compute.get(f"/os-keypairs/{name}", user_id=server["user_id"])
    except errors.UnavailableError as error:
        # The key may have been deleted since: the server does not need it to come back.
        if getattr(error, "status", None) == 404:
            return None
        raise
    return wire.keypair(found["keypair"])


def _flavors(clients: Clients) -> Iterable[wire.Json]:
    return clients.compute.all("/flavors/detail", "flavors", is_public="None")


def _ports(clients: Clients, port_ids: Sequence[str]) -> dict[str, PortDefinition]:
    found = _by_ids(clients.network, "ports", "id", port_ids)
    listed = clients.routed
    floating = _by_ids(clients.network, "floatingips", "port_id", port_ids) if listed else []
    return {each["id"]: wire.port(each, floating) for each in found}


def _networks(clients: Clients, ids: Collection[str]) -> Iterable[Any]:
    found = _by_ids(clients.network, "networks", "id", sorted(ids))
    subnets = _by_ids(clients.network, "subnets", "network_id", sorted(ids))
    return (wire.network(each, subnets) for each in found)


def _security_groups(clients: Clients, ports: Iterable[PortDefinition]) -> list[wire.Json]:
    """Those of the ports, and those that their rules speak of."""
    ids = {group for port in ports for group in port.security_groups}
    found = _by_ids(clients.network, "security_groups", "id", sorted(ids))
    rules = (rule for each in found for rule in each["security_group_rules"])
    more = {rule["remote_group_id"] for rule in rules if rule.get("remote_group_id")} - ids
    return [*found, *_by_ids(clients.network, "security_groups", "id", sorted(more))]


def _by_ids(api: Api, collection: str, field: str, ids: Sequence[str]) -> list[wire.Json]:
    """All objects whose `field` is one of `ids`, in queries of bearable length."""
    path = f"/v2.0/{collection.replace('_', '-')}"
    found: list[wire.Json] = []
    for n in range(0, len(ids), _IDS_PER_QUERY):
        found += api.all(path, collection, **{field: list(ids[n : n + _IDS_PER_QUERY])})
    return found


def _definition(
    raw: _Raw,
    flavors: Iterable[FlavorDefinition],
    ports: Mapping[str, PortDefinition],
    keys: Sequence[x25519.X25519PublicKey],
) -> ServerDefinition:
    server = raw.server
    missing = [each for each in raw.port_ids if each not in ports]
    if missing:
        cause = f"port {missing[0]} is gone"
        raise MetadataError("the server was changed while it was read", cause=cause)
    text = server.get("OS-EXT-SRV-ATTR:user_data")
    sealed = (
        sealing.seal(base64.b64decode(text), keys, about=server["id"]) if text and keys else None
    )
    groups = server.get("server_groups") or ()
    return ServerDefinition(
        id=server["id"],
        name=server["name"],
        flavor=wire.embedded_flavor(server["flavor"], flavors),
        ports=tuple(ports[each] for each in raw.port_ids),
        volumes=raw.volumes,
        image=wire.image(raw.volumes),
        keypair=raw.keypair,
        server_group=str(groups[0]) if groups else None,
        zone=server.get("OS-EXT-AZ:availability_zone") or None,
        hostname=server.get("OS-EXT-SRV-ATTR:hostname"),
        description=server.get("description"),
        config_drive=str(server.get("config_drive")).lower() == "true",
        metadata=dict(server.get("metadata") or {}),
        tags=tuple(sorted(server.get("tags") or ())),
        user_data=sealed,
        had_user_data=bool(text),
        locked=bool(server.get("locked")),
    )
