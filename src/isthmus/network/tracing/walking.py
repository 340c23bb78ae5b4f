"""The way of a packet from one port to the other, hop by hop, and what is wrong with each hop.

Pure: facts in, hops out. One call walks one direction; replies walk the other. The rules are those
of Neutron's Open vSwitch agent with L2 population (tables 4, 20, 21, 22 of the tunnel bridge), and
that a bridge drops what comes from a tunnel end that it has no port for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from isthmus.network.tracing import explaining, filtering
from isthmus.network.tracing.facts import End, Facts, Host, Way
from isthmus.network.tracing.faults import Code, Fault
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hop:
    """One station. `outcome` None: it could not be told. `text`: what is there, or what is not."""

    place: str
    part: str
    text: str
    outcome: Outcome | None = Outcome.INFO
    fault: Fault | None = None


def walk(facts: Facts, source: End, target: End, *, opens: bool) -> tuple[Hop, ...]:
    """All hops from `source` to `target`; `opens`: the packet opens a connection, so that security
    groups judge it (replies to what was let through pass)."""
    return tuple(_Walk(facts, source, target, opens).hops())


@dataclasses.dataclass(frozen=True)
class _Walk:
    facts: Facts
    source: End
    target: End
    opens: bool

    def hops(self) -> Iterator[Hop]:
        here, there = self.facts.host(self.source), self.facts.host(self.target)
        yield from self._port(self.source, here)
        if self.opens:
            yield self._filter(self.source, self.target, ingress=False)
        if self.source.site != self.target.site:
            yield self._stands_for(self.target, self.source.site)
        if here.place == there.place:
            yield Hop(place=here.place, part="switch", text="both ports are on this host")
        else:
            yield from self._tunnel(here, there)
        if self.opens:
            yield self._filter(self.target, self.source, ingress=True)
        yield from self._port(self.target, there)

    # --- the two ends

    def _port(self, end: End, host: Host) -> Iterator[Hop]:
        port, plug = end.port, host.plugs.get(end.port.id)
        place = host.place if port.host else end.site
        text = f"{port.name or port.id} {end.ip} {port.mac} {port.status}"
        if self.facts.sites[end.site].error:
            yield Hop(place=end.site, part="port", text=text, outcome=None)
            return
        if plug:
            text += f", {plug.interface} in VLAN {plug.local_vlan}, MTU {plug.mtu}"
        yield _hop(place, "port", text, explaining.port_fault(end, host, self.facts))
        if host.deaf:
            yield _hop(place, "agent", "Neutron's agent", explaining.agent_dead(host))
        if plug and (plug.mtu or 0) > self.facts.mtu:
            fault = explaining.mtu_differs(host, plug, self.facts.mtu)
            yield _hop(place, "MTU", f"{plug.mtu}", fault)

    def _filter(self, end: End, other: End, *, ingress: bool) -> Hop:
        site = self.facts.sites[end.site]
        ruling = filtering.ruling(end, other, self.facts.packet, site, ingress=ingress)
        text = f"{'in' if ingress else 'out'}: {ruling.reason}"
        if ruling.passes is False:
            fault = explaining.blocked(end, other, ruling, self.facts, ingress=ingress)
            return _hop(end.site, "groups", text, fault)
        outcome = Outcome.INFO if ruling.passes else None
        return Hop(place=end.site, part="groups", text=text, outcome=outcome)

    # --- what the source's Neutron knows of a target in another site

    def _stands_for(self, end: End, site: str) -> Hop:
        if self.facts.sites[site].error:
            return Hop(place=site, part="remote port", text="not known", outcome=None)
        port = self.facts.sites[site].remote(end.site, end.port.id)
        if port is None:
            fault = explaining.no_remote(end, site, self.facts)
            return _hop(site, "remote port", f"none for {end.label}", fault)
        text = f"{port.name or port.id} {port.status} at {port.remote_vtep}"
        known = explaining.remote_fault(end, port, site, self.facts)
        return _hop(site, "remote port", text, known)

    # --- between two hosts

    def _tunnel(self, here: Host, there: Host) -> Iterator[Hop]:
        to, back = self.target.port.vtep_ip, self.source.port.vtep_ip
        if not to or not back:
            return  # A port without a host is a fault of its own.
        if here.error:
            yield _unknown(here, "FDB")
        else:
            known = self._known(self.target, self.source.site)
            yield from _Sender(self.facts, here, self.target, to, known).hops()
        yield _underlay(self.facts, here, there, (back, to))
        if there.error:
            yield _unknown(there, "tunnel")
        else:
            text = f"from {back}, VNI {self.facts.vni} to VLAN {there.arrives_in}"
            fault = explaining.no_arrival(self.facts, there, self.source)
            if fault and not self._known(self.source, self.target.site):
                yield _consequence(there.place, "arrival", text, fault.outcome)
            else:
                yield _hop(there.place, "arrival", text, fault)

    def _known(self, end: End, site: str) -> bool:
        """Whether the Neutron of `site` has reason to tell its hosts of a port."""
        if end.site == site:
            return True
        port = self.facts.sites[site].remote(end.site, end.port.id)
        return port is not None and port.status == "ACTIVE"


@dataclasses.dataclass(frozen=True)
class _Sender:
    """What the sending host does with packets for the target."""

    facts: Facts
    host: Host
    target: End
    vtep: str
    known: bool

    def hops(self) -> Iterator[Hop]:
        yield self._arp()
        yield self._unicast()
        if self.vtep not in self.host.tunnels:
            text = f"no tunnel to {self.vtep}"
            summary = f"{self.host.place} has no tunnel to {self.vtep}"
            yield self._lost("tunnel", text, Code.TUNNEL_MISSING, summary, Outcome.ERROR)
        else:
            yield Hop(place=self.host.place, part="tunnel", text=f"{self.host.vtep} to {self.vtep}")

    @property
    def _floods(self) -> bool:
        return self.vtep in self.host.flood

    def _unicast(self) -> Hop:
        mac = self.target.port.mac
        held = self.host.unicast.get(mac, frozenset())
        if held == {self.vtep}:
            text = f"{mac} to {self.vtep} with VNI {self.facts.vni}"
            return Hop(place=self.host.place, part="FDB", text=text)
        if held:
            shown = ", ".join(sorted(held))
            summary = (
                f"{self.host.place} sends packets for {self.target.label} to {shown}, "
                f"and it is at {self.vtep}"
            )
            return self._lost("FDB", f"{mac} to {shown}", Code.ENTRY_WRONG, summary, Outcome.ERROR)
        saved = self._floods or self.vtep in self.host.learned.get(mac, frozenset())
        summary = f"{self.host.place} has no FDB entry for {self.target.label}"
        text = f"no entry for {mac}" + (": flooded or learned" if saved else "")
        outcome = Outcome.WARN if saved else Outcome.ERROR
        return self._lost("FDB", text, Code.ENTRY_MISSING, summary, outcome)

    def _arp(self) -> Hop:
        ip, mac = self.target.ip, self.target.port.mac
        held = self.host.arp.get(ip)
        if held == mac:
            return Hop(place=self.host.place, part="ARP", text=f"{ip} is {mac}")
        if held:
            summary = f"{self.host.place} answers ARP for {ip} with {held}, and it is {mac}"
            return self._lost("ARP", f"{ip} is {held}", Code.ARP_WRONG, summary, Outcome.ERROR)
        if self._floods:
            summary = f"{self.host.place} has no ARP entry for {ip}"
            text = f"no entry for {ip}: requests are flooded"
            return self._lost("ARP", text, Code.ARP_MISSING, summary, Outcome.WARN)
        summary = (
            f"{self.host.place} neither answers ARP for {ip} nor floods the request to {self.vtep}"
        )
        text = f"no entry for {ip}, no flooding to {self.vtep}"
        return self._lost("ARP", text, Code.FLOOD_MISSING, summary, Outcome.ERROR)

    def _lost(self, part: str, text: str, code: Code, summary: str, outcome: Outcome) -> Hop:
        """A hop that follows from a missing remote port has no fault of its own."""
        if not self.known:
            return _consequence(self.host.place, part, text, outcome)
        fault = explaining.entry_lost(self.host, code, summary, outcome, self.facts.network)
        return _hop(self.host.place, part, text, fault)


def _hop(place: str, part: str, text: str, fault: Fault | None) -> Hop:
    outcome = fault.outcome if fault else Outcome.INFO
    return Hop(place=place, part=part, text=text, outcome=outcome, fault=fault)


def _consequence(place: str, part: str, text: str, outcome: Outcome) -> Hop:
    note = f"{text} (as long as no remote port is ACTIVE)"
    return Hop(place=place, part=part, text=note, outcome=outcome)


def _unknown(host: Host, part: str) -> Hop:
    fault = explaining.host_silent(host)
    return Hop(place=host.place, part=part, text="not known", outcome=None, fault=fault)


def _underlay(facts: Facts, here: Host, there: Host, ends: tuple[str, str]) -> Hop:
    way = facts.ways.get(ends, Way())
    between = f"{ends[0]} to {ends[1]}"
    if way.reached is None:
        return Hop(
            place="underlay",
            part="way",
            text=f"{between}: {way.error or 'not tried'}",
            outcome=None,
        )
    parts = ["reached" if way.reached else "not reached"]
    if way.milliseconds is not None:
        parts.append(f"{way.milliseconds:.1f} ms")
    if way.largest is not None:
        parts.append(f"{way.largest} bytes pass, {facts.mtu} + {facts.overhead} are needed")
    fault = explaining.underlay_fault(facts, here, there, way)
    return _hop("underlay", "way", f"{between}: {', '.join(parts)}", fault)
