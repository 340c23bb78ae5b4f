"""What the Open vSwitch of a host should hold for a network, what it lacks, and how to repair it.

It exists because l2population sends its entries once and never looks again: a lost cast stays lost
until an agent restarts. What should be held follows from Neutron's ports alone (the rules are those
of neutron 29, plugins/ml2/drivers/l2pop), what is held is reported by the host agent, and the repair
is the same cast that l2population would have sent. It reads no switch and sends nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from isthmus import errors
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
    inexact: frozenset[int] = frozenset()
    """VNIs of which Neutron's ports do not tell everything (distributed or highly available
    routers): what a host holds there beyond them is not called extra."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Fdb:
        """From the answer of a host agent to GET /fdb. Raises InputError for another shape."""
        try:
            networks = {int(vni): _read(each) for vni, each in document["networks"].items()}
            return cls(vtep=str(document["vtep"] or ""), networks=networks)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise errors.InputError(
                "the host agent's table of forwarding entries cannot be read",
                where=f"host with tunnel address {document.get('vtep')}",
                cause=f"{type(error).__name__}: {error}",
                unchanged="nothing was repaired",
            ) from error


def _read(document: Mapping[str, Any]) -> NetworkFdb:
    return NetworkFdb(
        unicast={mac: frozenset(vteps) for mac, vteps in document["unicast"].items()},
        flood=frozenset(document["flood"]),
        arp=dict(document["arp"]),
    )


NOTHING = NetworkFdb()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What is not as it should be on one host for one VNI."""

    vni: int
    missing: NetworkFdb = NOTHING
    wrong: NetworkFdb = NOTHING
    """Held with another value; the expected value stands here."""
    extra: NetworkFdb = NOTHING

    @property
    def empty(self) -> bool:
        return not self.count

    @property
    def count(self) -> int:
        """How many entries differ."""
        parts = (self.missing, self.wrong, self.extra)
        return sum(len(each.unicast) + len(each.flood) + len(each.arp) for each in parts)


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


ACTIVE = "ACTIVE"
NOT_UNICAST = frozenset(
    {
        "network:router_interface_distributed",
        "network:ha_router_replicated_interface",
        "network:distributed",
    }
)
"""l2population floods to these and leaves the rest to learning."""
MAKES_INEXACT = NOT_UNICAST | {"network:router_centralized_snat"}


def expected(host_vtep: str, networks: Mapping[int, Iterable[Port]]) -> Fdb:
    """What l2population wants the host with this tunnel address to hold.

    `networks`: VNI -> all ports that the site's Neutron has on the network, remote ports included.
    A VNI is left out when no port of the host is ACTIVE there: the agent then has no mapping of the
    network and ignores what it is sent.
    """
    active = {
        vni: [port for port in ports if port.status == ACTIVE and vtep_of(port)]
        for vni, ports in networks.items()
    }
    return Fdb(
        vtep=host_vtep,
        networks={
            vni: _expected(host_vtep, ports)
            for vni, ports in active.items()
            if any(vtep_of(port) == host_vtep for port in ports)
        },
        inexact=frozenset(
            vni
            for vni, ports in active.items()
            if any(port.device_owner in MAKES_INEXACT for port in ports)
        ),
    )


def vtep_of(port: Port) -> str | None:
    """Where packets for a port go."""
    return port.remote_vtep or port.vtep_ip


def _expected(host_vtep: str, ports: Iterable[Port]) -> NetworkFdb:
    others = [port for port in ports if vtep_of(port) != host_vtep]
    told = [port for port in others if port.device_owner not in NOT_UNICAST and port.ips]
    return NetworkFdb(
        unicast={port.mac: frozenset({vtep_of(port) or ""}) for port in told},
        flood=frozenset(vtep_of(port) or "" for port in others),
        arp={ip: port.mac for port in told for ip in port.ips if ":" not in ip},
    )


def missing(expected: Fdb, held: Fdb, vnis: Iterable[int]) -> tuple[Difference, ...]:
    """The differences for these VNIs, those without one left out."""
    found = (
        _difference(
            vni,
            expected.networks.get(vni, NOTHING),
            held.networks.get(vni, NOTHING),
            with_extra=vni not in expected.inexact,
        )
        for vni in sorted(set(vnis))
    )
    return tuple(each for each in found if not each.empty)


def _difference(
    vni: int, expected: NetworkFdb, held: NetworkFdb, *, with_extra: bool
) -> Difference:
    return Difference(
        vni=vni,
        missing=NetworkFdb(
            unicast=_only(expected.unicast, expected.unicast.keys() - held.unicast.keys()),
            flood=expected.flood - held.flood,
            arp=_only(expected.arp, expected.arp.keys() - held.arp.keys()),
        ),
        wrong=NetworkFdb(
            unicast=_only(expected.unicast, _changed(expected.unicast, held.unicast)),
            arp=_only(expected.arp, _changed(expected.arp, held.arp)),
        ),
        extra=NetworkFdb(
            unicast=_only(held.unicast, held.unicast.keys() - expected.unicast.keys()),
            flood=held.flood - expected.flood,
            arp=_only(held.arp, held.arp.keys() - expected.arp.keys()),
        )
        if with_extra
        else NOTHING,
    )


V = TypeVar("V")


def _only(entries: Mapping[str, V], keys: Iterable[str]) -> dict[str, V]:
    return {key: entries[key] for key in sorted(keys)}


def _changed(expected: Mapping[str, V], held: Mapping[str, V]) -> list[str]:
    return [key for key in expected.keys() & held.keys() if expected[key] != held[key]]


TOPIC = "q-agent-notifier-l2population-update"
VERSION = "1.0"
"""L2populationAgentNotifyAPI of neutron 29; its callbacks are in the agent's root namespace."""
NO_ADDRESS = "::"
"""The agent skips its ARP responder for an IPv6 address, so that only the MAC is touched."""
NO_MAC = "00:00:00:00:00:00"
"""No port has this MAC, so that only the address is touched."""


def repair_entries(
    difference: Difference, held: Fdb, *, host: str, network_id: str
) -> tuple[Cast, ...]:
    """The casts that repair a difference: what is extra goes, what is missing or wrong is told.

    `held`: the same look that the difference was found with. `network_id`: the site's own Neutron
    network with that VNI. `host`: the agent's host name.

    Invariant: no removal touches an entry that is expected, so that the casts may be carried out in
    any order (the agent's threads do).
    """
    vni = difference.vni
    table = held.networks.get(vni, NOTHING)
    removed, added = _removed(difference, table), _added(difference, table)
    casts = (("remove_fdb_entries", removed), ("add_fdb_entries", added))
    return tuple(
        Cast(
            topic=TOPIC,
            server=host,
            version=VERSION,
            method=method,
            arguments={"fdb_entries": _payload(network_id, vni, pairs)},
        )
        for method, pairs in casts
        if pairs
    )


Pair = tuple[str, tuple[str, str]]
"""A tunnel address and a PortInfo: MAC and IP."""


def _payload(network_id: str, vni: int, pairs: Iterable[Pair]) -> dict[str, Any]:
    ports: dict[str, list[list[str]]] = {}
    for vtep, entry in sorted(set(pairs)):
        ports.setdefault(vtep, []).append(list(entry))
    return {network_id: {"segment_id": vni, "network_type": "vxlan", "ports": ports}}


def _added(difference: Difference, held: NetworkFdb) -> list[Pair]:
    told, should = (difference.missing, difference.wrong), _repaired(difference, held)
    macs = {mac for each in told for mac in (*each.unicast, *each.arp.values())}
    # The agent writes its flow anew from what it remembers, which may be less than what it holds.
    differs = difference.missing.flood or difference.extra.flood
    flood = [(vtep, FLOODING_ENTRY) for vtep in should.flood] if differs else []
    return flood + [pair for mac in macs for pair in _entries(mac, should)]


def _repaired(difference: Difference, held: NetworkFdb) -> NetworkFdb:
    """What is held once the difference is gone: an entry is always sent whole, MAC and addresses."""
    extra, told = difference.extra, (difference.missing, difference.wrong)
    unicast = {mac: each for mac, each in held.unicast.items() if mac not in extra.unicast}
    arp = {ip: mac for ip, mac in held.arp.items() if ip not in extra.arp}
    for each in told:
        unicast |= each.unicast
        arp |= each.arp
    flood = (held.flood - extra.flood) | difference.missing.flood
    return NetworkFdb(unicast=unicast, flood=flood, arp=arp)


def _entries(mac: str, expected: NetworkFdb) -> Iterator[Pair]:
    """All that is told of one MAC: one entry for each of its addresses."""
    ips = [ip for ip, owner in expected.arp.items() if owner == mac] or [NO_ADDRESS]
    for vtep in expected.unicast.get(mac, ()):
        yield from ((vtep, (mac, ip)) for ip in ips)


def _removed(difference: Difference, held: NetworkFdb) -> list[Pair]:
    extra = difference.extra
    # The agent ignores a removal for a tunnel that it does not have.
    tunnels = sorted(
        each
        for each in held.flood.union(*held.unicast.values())
        if "." in each and not each.startswith("port ")
    )
    if not tunnels:
        return []
    flood = [(vtep, FLOODING_ENTRY) for vtep in extra.flood if vtep in tunnels]
    macs = [(tunnels[0], (mac, NO_ADDRESS)) for mac in extra.unicast]
    addresses = [(tunnels[0], (NO_MAC, ip)) for ip in extra.arp]
    return flood + macs + addresses
