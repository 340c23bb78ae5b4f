"""Rows of the Open vSwitch database as plain values, parsed from `ovs-vsctl --format=json`.

Pure. The notation of sets, maps and uuids is RFC 7047 section 5.1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INTERFACE_COLUMNS = (
    "name ofport type options external_ids mac_in_use mtu admin_state link_state statistics error"
)
PORT_COLUMNS = "name tag other_config"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """An interface with what its port says of it. `ofport` is None until the daemon has it."""

    name: str
    type: str
    ofport: int | None
    options: Mapping[str, str] = field(default_factory=dict)
    external_ids: Mapping[str, str] = field(default_factory=dict)
    mac_in_use: str | None = None
    mtu: int | None = None
    admin_state: str | None = None
    link_state: str | None = None
    statistics: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port; Neutron's agent keeps the local VLAN in `tag`, the network in `other_config`."""

    name: str
    tag: int | None
    other_config: Mapping[str, str] = field(default_factory=dict)


def rows(text: str) -> list[dict[str, Any]]:
    """The rows of a table, each as column -> value; an empty set is None."""
    document = json.loads(text)
    return [
        dict(zip(document["headings"], (_plain(value) for value in row), strict=True))
        for row in document["data"]
    ]


def interfaces(text: str) -> tuple[Interface, ...]:
    """Interfaces of `--columns=` `INTERFACE_COLUMNS`."""
    found = []
    for row in rows(text):
        ofport = row["ofport"]
        # The daemon writes -1 for an interface that it could not make.
        row["ofport"] = ofport if isinstance(ofport, int) and ofport > 0 else None
        found.append(Interface(**row))
    return tuple(found)


def ports(text: str) -> dict[str, Port]:
    """Ports of `--columns=` `PORT_COLUMNS` by name."""
    return {row["name"]: Port(**row) for row in rows(text)}


def _plain(value: Any) -> Any:
    match value:
        case ["map", pairs]:
            return {_plain(key): _plain(each) for key, each in pairs}
        case ["set", []]:
            return None
        case ["set", values]:
            return [_plain(each) for each in values]
        case ["uuid" | "named-uuid", name]:
            return name
    return value
