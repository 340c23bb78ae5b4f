"""What a Neutron notification means for the other sites: a pure decision.

It exists so that a changed port reaches its peers at once and not with the next periodic run. It
need not be complete: what it overlooks is found by that run. It reads no queue and sends nothing.

Shapes (neutron 29, `neutron/pecan_wsgi/hooks/notifier.py`): `<resource>.<create|update|delete>.end`
with `{"port": {...}}`, for a bulk request `{"ports": [...]}`, for a deletion additionally
`{"port_id": ...}`. A port's status alone makes no notification; its binding does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.network import views


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poke:
    """What to look at again, by declaration id.

    `ports`: real ports of this site that changed: peers look at them. `whole`: declarations that
    peers should reconcile whole. `own_ports`: remote ports here that somebody else changed, as
    device ids `<site>/<port id>`: this engine looks at them. `own_whole`: declarations that this
    engine should reconcile whole.
    """

    ports: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    own_ports: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    own_whole: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        return not (self.ports or self.whole or self.own_ports or self.own_whole)


def decide(event_type: str, payload: Mapping[str, Any], networks: Mapping[str, str]) -> Poke:
    """What follows from one notification of the own site's Neutron.

    `networks`: id of a network in this site -> id of its declaration. A payload of an unknown shape
    means nothing.
    """
    resource, _, rest = event_type.partition(".")
    if rest not in ENDINGS or not isinstance(payload, Mapping):
        return NOTHING
    try:
        return _DECIDE.get(resource, _nothing)(rest, payload, networks)
    except (AttributeError, KeyError, TypeError):
        return NOTHING


ENDINGS = frozenset({"create.end", "update.end", "delete.end"})
NOTHING = Poke()


def _nothing(_ending: str, _payload: Mapping[str, Any], _networks: Mapping[str, str]) -> Poke:
    return NOTHING


def _port(ending: str, payload: Mapping[str, Any], networks: Mapping[str, str]) -> Poke:
    real: dict[str, set[str]] = {}
    remote: dict[str, set[str]] = {}
    unknown = False
    for port in _bodies(payload, "port"):
        if "network_id" not in port:
            # A deletion whose notification lost its body: any of our networks may have had it.
            unknown = True
        elif port["network_id"] in networks:
            declaration = networks[port["network_id"]]
            if port.get("device_owner") != views.REMOTE_OWNER:
                real.setdefault(declaration, set()).add(port["id"])
            elif ending != "create.end":
                # What this engine makes it knows; a change may be its own or somebody else's.
                remote.setdefault(declaration, set()).add(port.get("device_id", ""))
    if unknown and ending == "delete.end":
        everything = frozenset(networks.values())
        return Poke(whole=everything, own_whole=everything)
    return Poke(ports=_frozen(real), own_ports=_frozen(remote))


def _network(_ending: str, payload: Mapping[str, Any], networks: Mapping[str, str]) -> Poke:
    ids = {str(body.get("id", payload.get("network_id"))) for body in _bodies(payload, "network")}
    return _both(networks[each] for each in ids if each in networks)


def _subnet(_ending: str, payload: Mapping[str, Any], networks: Mapping[str, str]) -> Poke:
    ids = {str(body.get("network_id")) for body in _bodies(payload, "subnet")}
    return _both(networks[each] for each in ids if each in networks)


def _security_group(_ending: str, _payload: Mapping[str, Any], networks: Mapping[str, str]) -> Poke:
    # Which networks a group's ports are on is not said. Groups change rarely.
    return _both(networks.values())


def _both(declarations: Iterable[str]) -> Poke:
    found = frozenset(declarations)
    return Poke(whole=found, own_whole=found)


def _bodies(payload: Mapping[str, Any], resource: str) -> list[Mapping[str, Any]]:
    """The objects of a notification: one, several (a bulk request), or only an id."""
    if resource + "s" in payload:
        return list(payload[resource + "s"])
    return [payload.get(resource) or {}]


def _frozen(found: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {declaration: frozenset(ids) for declaration, ids in found.items()}


_DECIDE = {
    "port": _port,
    "network": _network,
    "subnet": _subnet,
    "security_group": _security_group,
}
