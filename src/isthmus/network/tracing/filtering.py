"""Whether security groups let a packet pass, and which rule does.

Rules are Neutron's (API reference, "Security group rules"): what no rule allows is dropped; replies
to what was allowed pass. A remote group means the addresses of its members in the same site, which
is why remote ports carry security groups.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable

from isthmus.network.tracing.facts import End, Group, Packet, Rule, Site

_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp"}
_ECHO_REQUEST = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruling:
    """Whether a packet passes (None: cannot be told), and a phrase that says why."""

    passes: bool | None
    reason: str
    missing_members: tuple[str, ...] = ()
    """Names of groups whose rules would let it pass if the other port were a member here."""


def ruling(end: End, other: End, packet: Packet, site: Site, *, ingress: bool) -> Ruling:
    """Judge a packet at `end`, a port of `site`: coming from `other`, or going to it."""
    if not end.filtered:
        return Ruling(passes=True, reason="port security is off")
    if not end.groups:
        return Ruling(passes=False, reason="the port has no security group")
    rules = [(group, rule) for group in end.groups for rule in group.rules]
    fitting = [(g, r) for g, r in rules if r.ingress is ingress and _carries(r, packet)]
    for group, rule in fitting:
        if _means(rule, other.ip, site):
            return Ruling(passes=True, reason=_worded(group, rule, site))
    return _refused(fitting, other, packet, site, ingress=ingress)


def _refused(
    fitting: Iterable[tuple[Group, Rule]], other: End, packet: Packet, site: Site, *, ingress: bool
) -> Ruling:
    asked = [rule.remote_group for _, rule in fitting if rule.remote_group]
    names = {site.groups.get(each, each) for each in asked}
    if any(rule.address_group for _, rule in fitting):
        return Ruling(passes=None, reason="a rule with an address group may let it pass")
    others = {group.name for group in other.groups}
    direction = "from" if ingress else "to"
    return Ruling(
        passes=False,
        reason=f"no rule lets {packet} {direction} {other.ip} pass",
        missing_members=tuple(sorted(names & others)),
    )


def _carries(rule: Rule, packet: Packet) -> bool:
    """Whether protocol and ports of the rule fit."""
    name = (rule.protocol or "any").lower()
    protocol = _NUMBERS.get(name, name)
    if protocol in ("any", "0"):
        return True
    if protocol != packet.protocol:
        return False
    if protocol == "icmp":
        return rule.first in (None, _ECHO_REQUEST)
    if rule.first is None or packet.port is None:
        return True
    return rule.first <= packet.port <= (rule.last if rule.last is not None else rule.first)


def _means(rule: Rule, ip: str, site: Site) -> bool:
    if rule.remote_group:
        return ip in site.members(rule.remote_group)
    if rule.prefix:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(rule.prefix, strict=False)
    return not rule.address_group


def _worded(group: Group, rule: Rule, site: Site) -> str:
    narrowed = rule.prefix or ""
    if rule.remote_group:
        narrowed = f"members of {site.groups.get(rule.remote_group, rule.remote_group)}"
    ports = f" {rule.first}" if rule.first is not None else ""
    if rule.first is not None and rule.last not in (None, rule.first):
        ports += f"-{rule.last}"
    protocol = f"{(rule.protocol or 'any').upper()}{ports}"
    return f"{group.name}: {protocol}" + (f", {narrowed}" if narrowed else "")
