"""What the Open vSwitch of a host should hold for a network, what it lacks, and how to repair it.

It exists because l2population sends its entries once and never looks again: a lost cast stays lost
until an agent restarts. What should be held follows from Neutron's ports alone (the rules are those
of neutron 29, plugins/ml2/drivers/l2pop), what is held is reported by the host agent, and the repair
is the same cast that l2population would have sent. It reads no switch and sends nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.network.views import Port

FLOODING_ENTRY = ("00:00:00:00:00:00", "0.0.0.0")  # noqa: S104  # a marker of l2population, no listener


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFdb:
    """Forwarding entries of one network (VNI) on one host."""

    unicast: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """MAC -> tunnel addresses that packets for it go to (one when all is well)."""
    flood: frozenset[str] = frozenset()
    """Tunnel addresses that broadcasts go to."""
    arp: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """IPv4 address -> MAC that the host answers ARP with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fdb:
    """All that one host holds; `vtep` is its own tunnel address, `networks` is keyed by VNI."""

    vtep: str
    networks: Mapping[int, NetworkFdb] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Fdb:
        """From the answer of a host agent to GET /fdb. Raises InputError for another shape."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What is not as it should be on one host for one VNI."""

    vni: int
    missing: NetworkFdb
    wrong: NetworkFdb
    """Held with another value; the expected value stands here."""
    extra: NetworkFdb

    @property
    def empty(self) -> bool:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cast:
    """An RPC cast to the agent of one host, without an answer.

    For oslo.messaging: `client.prepare(topic=topic, server=server, version=version).cast(context,
    method, **arguments)` on a transport with control exchange `neutron`; no namespace.
    """

    topic: str
    server: str
    version: str
    method: str
    arguments: Mapping[str, Any]


def expected(host_vtep: str, networks: Mapping[int, Iterable[Port]]) -> Fdb:
    """What l2population wants the host with this tunnel address to hold.

    `networks`: VNI -> all ports that the site's Neutron has on the network, remote ports included.
    A VNI is left out when no port of the host is ACTIVE there.
    """
    raise NotImplementedError


def missing(expected: Fdb, held: Fdb, vnis: Iterable[int]) -> tuple[Difference, ...]:
    """The differences for these VNIs, those without one left out."""
    raise NotImplementedError


def repair_entries(
    difference: Difference, held: Fdb, *, host: str, network_id: str
) -> tuple[Cast, ...]:
    """The casts that repair a difference, in order: first what is wrong is removed, then added.

    `network_id`: the site's own Neutron network with that VNI. `host`: the agent's host name.
    """
    raise NotImplementedError
