"""Why a request about a remote port is refused: pure, a sentence or ``None``.

Each sentence says what is wrong and what to do instead; ``extension`` turns it into 400 (can never
be granted) or 409 (does not fit the port's state).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Sequence

from isthmus.plugins.neutron import options

# The one owner of remote ports. Not "compute:…": Nova's notifier would send events for servers that
# Nova does not know, and the port could be live-migrated. Not "network:…": such ports are trusted
# and have no security groups. Not empty: such a port can be handed to a server.
DEVICE_OWNER = "isthmus:remote"
NETWORK_TYPE = "vxlan"
VNIC_TYPE = "normal"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What this server allows: where VTEPs may lie and the IP version of its own tunnels (4, 6)."""

    allowed: options.Networks
    overlay_version: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """The port that is to be remote, apart from its VTEP; empty strings for what is not set."""

    device_owner: str
    vnic_type: str
    # The host of this site that the port has or the request names.
    host: str
    network_types: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What an update of a port that *is* remote asks for; ``None`` = not named by the request."""

    # An empty string stands for null.
    vtep: str | None
    device_owner: str | None
    host: str | None
    own_host: str


def refuse_wanted(wanted: Wanted) -> str | None:
    """Why a port cannot be (or become) remote, wherever it is to lie."""
    if wanted.device_owner != DEVICE_OWNER:
        return f"a remote port has the device_owner {DEVICE_OWNER!r}, not {wanted.device_owner!r}; set it in the same request."
    if wanted.host:
        return (
            f"a port cannot be remote and on host {wanted.host} of this site at once; "
            "leave out binding:host_id, or delete the port and create a remote one."
        )
    if wanted.vnic_type not in ("", VNIC_TYPE):
        return f"a remote port has binding:vnic_type {VNIC_TYPE!r}, not {wanted.vnic_type!r}."
    if NETWORK_TYPE not in wanted.network_types:
        types = ", ".join(wanted.network_types) or "none"
        return (
            f"remote ports need a network of type {NETWORK_TYPE}; this network's type is {types}."
        )
    return None


def refuse_owner(device_owner: str) -> str | None:
    """Why a port that is not remote cannot have this owner.

    So the owner alone tells a remote port, and nobody but who may set ``remote_vtep`` can make a
    port that passes for one: the owner itself may be set by every tenant.
    """
    if device_owner != DEVICE_OWNER:
        return None
    return f"the device_owner {DEVICE_OWNER!r} is for ports with a remote_vtep, and this request sets none."


def refuse_vtep(vtep: str, limits: Limits) -> str | None:
    """Why an address cannot be the VTEP of a remote port."""
    address = ipaddress.ip_address(vtep)
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        return f"remote_vtep {vtep} is not the address of a host."
    if address.version != limits.overlay_version:
        return (
            f"remote_vtep {vtep} is IPv{address.version}, but the tunnels of this site are "
            f"IPv{limits.overlay_version} ([ml2] overlay_ip_version)."
        )
    if not limits.allowed:
        return (
            f"this server allows no remote_vtep at all. List the tunnel networks of the other sites in "
            f"[{options.GROUP}] allowed_vteps of its configuration and restart it."
        )
    if not any(address in network for network in limits.allowed):
        networks = ", ".join(str(network) for network in limits.allowed)
        return (
            f"remote_vtep {vtep} lies outside the networks that this server allows ({networks}). "
            f"Correct it, or add its network to [{options.GROUP}] allowed_vteps and restart the server."
        )
    return None


def refuse_change(change: Change) -> str | None:
    """Why a remote port cannot be changed so. A new VTEP is judged by ``refuse_vtep``."""
    if change.vtep == "":
        return "a remote port cannot become a port of this site; delete it instead."
    if change.host is not None and change.host != change.own_host:
        return (
            f"a remote port is bound to its remote_vtep and cannot be plugged into host {change.host or 'none'} of this site. "
            "To move it, change remote_vtep; for a server that has come to this site, delete it and create an ordinary port."
        )
    if change.device_owner is not None and change.device_owner != DEVICE_OWNER:
        return f"the device_owner of a remote port stays {DEVICE_OWNER!r}; delete the port instead."
    return None


def refuse_mac(old: str, new: str) -> str | None:
    """Why the MAC of a remote port cannot change: l2population has no message that says so."""
    if old.lower() == new.lower():
        return None
    return f"the MAC address of a remote port ({old}) cannot be changed to {new}; delete the port and create it again."
