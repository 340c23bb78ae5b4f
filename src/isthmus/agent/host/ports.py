"""The ports of a host's integration bridge as `GET /ports` tells them.

Pure. A port is what carries an `iface-id`: a guest, a probe, a DHCP server.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.agent.host import ovsdb

DEAD_VLAN = 4095
"""Neutron's agent gives this tag to ports that it does not know, or no longer."""


def document(
    interfaces: Iterable[ovsdb.Interface], ports: Mapping[str, ovsdb.Port]
) -> dict[str, dict[str, Any]]:
    """Neutron's port id -> facts of the interface that claims to be it."""
    return {
        each.external_ids["iface-id"]: _port(each, ports.get(each.name))
        for each in interfaces
        if "iface-id" in each.external_ids
    }


def _port(interface: ovsdb.Interface, port: ovsdb.Port | None) -> dict[str, Any]:
    config = port.other_config if port else {}
    vni = config.get("segmentation_id", "")
    return {
        "interface": interface.name,
        "mac": interface.external_ids.get("attached-mac"),
        "ofport": interface.ofport,
        "local_vlan": port.tag if port else None,
        "network_id": config.get("net_uuid"),
        "vni": int(vni) if vni.isdigit() else None,
        "mtu": interface.mtu,
        "admin_state": interface.admin_state,
        "link_state": interface.link_state,
        "statistics": dict(interface.statistics),
        "error": interface.error,
        "probe": interface.external_ids.get("isthmus-probe"),
    }
