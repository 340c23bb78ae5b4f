"""Section ``[remote_port]`` of Neutron's configuration."""

from __future__ import annotations

import ipaddress
from typing import Any

from oslo_config import cfg

GROUP = "remote_port"
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

OPTIONS = [
    cfg.ListOpt(
        "allowed_vteps",
        default=[],
        help="Networks (CIDR) in which the tunnel endpoints of the other sites lie. A remote port makes every "
        "hypervisor of this site send encapsulated packets to its endpoint, so an address outside these networks "
        "is refused. The default refuses all: there is no safe guess.",
    ),
]


def register(conf: Any) -> Any:
    """Register the options on ``conf`` (idempotent) and return their section."""
    conf.register_opts(OPTIONS, GROUP)
    return conf[GROUP]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [(GROUP, OPTIONS)]


def networks(values: list[str]) -> Networks:
    """The allow-list; ``ValueError`` names the entry that is not a network."""
    return tuple(_network(value) for value in values)


def _network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"[{GROUP}] allowed_vteps holds {value!r}, which is not a network in CIDR notation: {error}"
        ) from error
