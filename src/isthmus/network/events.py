"""What a Neutron notification means for the other sites: a pure decision.

It exists so that a changed port reaches its peers at once and not with the next periodic run. It
need not be complete: what it overlooks is found by that run. It reads no queue and sends nothing.

Shapes (neutron 29, `neutron/pecan_wsgi/hooks/notifier.py`): `<resource>.<create|update|delete>.end`
with `{"port": {...}}`, for a bulk request `{"ports": [...]}`, for a deletion additionally
`{"port_id": ...}`. A port's status alone makes no notification; its binding does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


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
    follows nothing.
    """
    raise NotImplementedError
