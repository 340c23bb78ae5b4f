"""What a network function's own VRRP needs of its networks, and what breaks it. Pure.

The function runs VRRP (RFC 5798) among its members and moves the address itself. It needs, in each
site: the address in `allowed_address_pairs` of every member's port there, so that Neutron lets it
send from it; ingress of IP protocol 112 among the members, so that advertisements arrive; and the
address reserved, so that no other port gets it.

The address must never be a *fixed* address of a port, be it a remote port: Neutron's L2 population
would answer ARP for it with that port's MAC for ever. Measured: after a failover neighbours never
learn the new master, because the responder answers its announcements locally and does not flood
them. The reservation is therefore a port that is bound to no host: L2 population joins ports to the
agents of their hosts, so a port without a host is in no agent's forwarding table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.network.addresses.declarations import DEVICE_OWNER_RESERVATION, ServiceAddress
from isthmus.network.addresses.findings import Code, Finding
from isthmus.outcomes import Outcome

PROTOCOLS = frozenset({"112", "vrrp"})
"""How Neutron may name VRRP in a rule."""

GROUP_PREFIX = "isthmus-vrrp-"


@dataclass(frozen=True, kw_only=True)
class SiteLook:
    """What one site's Neutron has: the network (None: there is none of the name), its ports and the
    security groups of its members, as the API tells them; `subnet_id` of the address's subnet."""

    site: str
    network: Mapping[str, Any] | None
    subnet_id: str | None = None
    ports: tuple[Mapping[str, Any], ...] = ()
    groups: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class AddPair:
    """Give a member's port the address as an allowed pair, beside the `pairs` that it has."""

    port_id: str
    pairs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class JoinGroup:
    """Put a member's port into the address's security group, beside the `groups` that it is in."""

    port_id: str
    groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """Make the unbound port that reserves the address."""

    network_id: str
    subnet_id: str


Action = AddPair | JoinGroup | Reserve


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What puts a site right, and what is wrong that it must not put right by itself."""

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()


def group_name(address: ServiceAddress) -> str:
    """The security group of an address's members. It has the same name in every site, so that the
    reconciler of stretched networks puts remote members into the one of each site."""
    return f"{GROUP_PREFIX}{address.name}"


def plan(address: ServiceAddress, look: SiteLook) -> Plan:
    """What to do in one site, and what to tell."""
    if look.network is None:
        summary = f"there is no network {address.network}"
        remedy = f"create the network {address.network} in {look.site}"
        cause = "the address is declared on a network that this site does not have"
        return Plan(
            findings=(_finding(address, look, Code.NETWORK_MISSING, summary, cause, remedy),)
        )
    taken = tuple(_taken(address, look))
    actions: list[Action] = []
    findings: list[Finding] = [*taken]
    if not _reserved(address, look) and not taken and look.subnet_id:
        actions.append(Reserve(network_id=look.network["id"], subnet_id=look.subnet_id))
    for target in address.targets.get(look.site, ()):
        member = _member(look, target)
        if member is None:
            findings.append(_missing(address, look, target))
        elif member.get("port_security_enabled", True):
            actions += _membership(address, look, member)
    return Plan(actions=tuple(actions), findings=tuple(findings))


def _membership(
    address: ServiceAddress, look: SiteLook, member: Mapping[str, Any]
) -> Iterator[Action]:
    pairs = tuple(member.get("allowed_address_pairs") or ())
    # Neutron refuses a pair that the port has as a fixed address, which is a finding of its own.
    fixed = _has_fixed(member, address.address)
    if not fixed and not any(_covers(pair, address.address) for pair in pairs):
        yield AddPair(port_id=member["id"], pairs=pairs)
    joined = tuple(member.get("security_groups") or ())
    if not any(_lets_vrrp_in(group, look.groups or {}) for group in joined):
        yield JoinGroup(port_id=member["id"], groups=joined)


def judged(address: ServiceAddress, look: SiteLook) -> tuple[Finding, ...]:
    """Every rule that is violated now, for `show`: what `plan` would do counts as a finding."""
    found = plan(address, look)
    return (*found.findings, *(_undone(address, look, action) for action in found.actions))


def _undone(address: ServiceAddress, look: SiteLook, action: Action) -> Finding:
    match action:
        case AddPair(port_id=port):
            return _finding(
                address,
                look,
                Code.PAIR_MISSING,
                f"port {port} may not send from {address.address}",
                "its allowed_address_pairs lack the address, so Neutron drops what the master sends",
                f"openstack port set --allowed-address ip-address={address.address} {port}",
            )
        case JoinGroup(port_id=port):
            return _finding(
                address,
                look,
                Code.VRRP_BLOCKED,
                f"port {port} does not receive VRRP",
                "no security group of it lets IP protocol 112 in, so every member becomes master",
                f"openstack port set --security-group {group_name(address)} {port}",
            )
        case Reserve():
            return _finding(
                address,
                look,
                Code.NOT_RESERVED,
                f"{address.address} is not reserved",
                "the next port on this network may get it as its fixed address",
                "Isthmus reserves it by itself; if it does not, see the engine's log",
            )


def _taken(address: ServiceAddress, look: SiteLook) -> Iterator[Finding]:
    for port in look.ports:
        if _is_reservation(address, port) or not _has_fixed(port, address.address):
            continue
        yield _finding(
            address,
            look,
            Code.ADDRESS_TAKEN,
            f"{address.address} is a fixed address of port {port['id']} ({port.get('device_owner')})",
            "ARP for it is answered with that port's MAC for ever; after a failover nobody reaches it",
            f"openstack port unset --fixed-ip ip-address={address.address} {port['id']}",
        )


def _missing(address: ServiceAddress, look: SiteLook, target: str) -> Finding:
    return _finding(
        address,
        look,
        Code.TARGET_MISSING,
        f"no port of {look.site} has the fixed address {target}",
        "the member was deleted, was not made yet, or has another address",
        f"openstack port list --network {address.network}",
    )


def _reserved(address: ServiceAddress, look: SiteLook) -> bool:
    return any(
        _is_reservation(address, port) and _has_fixed(port, address.address) for port in look.ports
    )


def _is_reservation(address: ServiceAddress, port: Mapping[str, Any]) -> bool:
    owned = port.get("device_owner") == DEVICE_OWNER_RESERVATION
    return owned and port.get("device_id") == address.id and not port.get("binding:host_id")


def _has_fixed(port: Mapping[str, Any], address: str) -> bool:
    return any(each.get("ip_address") == address for each in port.get("fixed_ips") or ())


def _member(look: SiteLook, target: str) -> Mapping[str, Any] | None:
    """The real port with this fixed address: a remote one stands for a member of another site."""
    own = (port for port in look.ports if port.get("device_owner") != "isthmus:remote")
    return next((port for port in own if _has_fixed(port, target)), None)


def _covers(pair: Mapping[str, Any], address: str) -> bool:
    ip = str(pair.get("ip_address", ""))
    return ip.removesuffix("/32") == address


def _lets_vrrp_in(group_id: str, groups: Mapping[str, Mapping[str, Any]]) -> bool:
    rules: Iterable[Mapping[str, Any]] = groups.get(group_id, {}).get("security_group_rules", ())
    return any(_allows_vrrp(rule) for rule in rules)


def _allows_vrrp(rule: Mapping[str, Any]) -> bool:
    """Whether a rule lets VRRP in from the members: from anywhere, or from the rule's own group."""
    if rule.get("direction") != "ingress" or rule.get("ethertype", "IPv4") != "IPv4":
        return False
    if str(rule.get("protocol") or "any") not in PROTOCOLS | {"any"}:
        return False
    group = rule.get("remote_group_id")
    prefix = rule.get("remote_ip_prefix")
    if group is not None:
        return bool(group == rule.get("security_group_id"))
    return prefix in (None, "0.0.0.0/0") or str(rule.get("protocol")) in PROTOCOLS


def _finding(
    address: ServiceAddress, look: SiteLook, code: Code, summary: str, cause: str, remedy: str
) -> Finding:
    return Finding(
        code=code,
        outcome=Outcome.ERROR,
        address=address.name,
        site=look.site,
        summary=summary,
        cause=cause,
        remedy=remedy,
    )
