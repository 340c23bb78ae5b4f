"""Two owners of one thing: found, named, never settled silently.

It exists because a clash between sites is nobody's error in either site, and only who sees both
Neutrons can tell. It decides nothing: the reconciler leaves out what clashes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from isthmus.network import address_plan, local_network
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.local_network import port_words
from isthmus.network.views import Port, SiteView
from isthmus.outcomes import Outcome

Owner = tuple[str, Port]
"""A site and a real port there (or what stands here for a port of a site that is not seen)."""

GENERATED_OUI = "fa:16:3e"
"""The first octets of Neutron's default `base_mac`; all further octets are then drawn at random."""


def find(
    declaration: StretchedNetwork, own: SiteView, peers: Mapping[str, SiteView]
) -> tuple[Finding, ...]:
    """All clashes that these views show, each with both owners and the remedy, in a stable order.

    IP and MAC (two origins, or an origin and a local port), tunnel addresses used in two sites, VNI
    used by another network here, CIDR overlapping another subnet of the project (WARN), pools
    overlapping, equal host names in two sites (INFO: harmless here), equal base_mac (advice).
    """
    seen = [own, *(peers[site] for site in sorted(peers) if peers[site].good)]
    return (
        *_contested(declaration, own, seen),
        *_tunnel_addresses(declaration, own, seen),
        *_vni(declaration, own),
        *_subnets(declaration, own),
        *_pools(declaration, seen),
        *_host_names(declaration, own, seen),
        *_base_macs(declaration, own, seen),
    )


def _contested(
    declaration: StretchedNetwork, own: SiteView, seen: list[SiteView]
) -> Iterator[Finding]:
    owners = sorted(_owners(own, seen), key=lambda each: (each[0], each[1].id))
    yield from _twice(declaration, own.site, Code.MAC_CLASH, "MAC", _by_mac(owners))
    yield from _twice(declaration, own.site, Code.IP_CLASH, "address", _by_ip(owners))


def _owners(own: SiteView, seen: list[SiteView]) -> Iterator[Owner]:
    """Every real port that is known: as seen in its site, else as it stands here."""
    sites = {view.site for view in seen}
    for view in seen:
        yield from ((view.site, port) for port in view.locals() if not port.remote_vtep)
    for port in own.remotes():
        if port.origin and port.origin.site not in sites:
            yield port.origin.site, port


def _by_mac(owners: Iterable[Owner]) -> dict[str, list[Owner]]:
    found: dict[str, list[Owner]] = {}
    for owner in owners:
        found.setdefault(owner[1].mac, []).append(owner)
    return found


def _by_ip(owners: Iterable[Owner]) -> dict[str, list[Owner]]:
    found: dict[str, list[Owner]] = {}
    for owner in owners:
        for ip in owner[1].ips:
            found.setdefault(ip, []).append(owner)
    return found


def _twice(
    declaration: StretchedNetwork, here: str, code: Code, noun: str, found: dict[str, list[Owner]]
) -> Iterator[Finding]:
    for thing, owners in sorted(found.items()):
        if len({site for site, _ in owners}) < 2:
            continue  # within one site Neutron itself sees to it
        names = tuple(f"{site}: {port_words(port)}" for site, port in owners)
        yield Finding(
            code=code,
            outcome=Outcome.ERROR,
            network=declaration.name,
            site=here,
            summary=f"{noun} {thing} has {len(owners)} owners",
            cause=" and ".join(names),
            remedy=f"give one of them another {noun} (openstack port set or delete, in its own site); "
            f"until then only one of them is reached in {here}",
            owners=names,
        )


def _tunnel_addresses(
    declaration: StretchedNetwork, own: SiteView, seen: list[SiteView]
) -> Iterator[Finding]:
    here = {port.vtep_ip: port.host for port in own.locals() if port.vtep_ip}
    for view in seen:
        there = {port.vtep_ip: port.host for port in view.locals() if port.vtep_ip}
        for vtep in sorted(here.keys() & there.keys(), key=str) if view is not own else ():
            yield Finding(
                code=Code.VTEP_CLASH,
                outcome=Outcome.ERROR,
                network=declaration.name,
                site=own.site,
                summary=f"tunnel address {vtep} is used in {own.site} and in {view.site}",
                cause=f"host {here[vtep]} of {own.site} and host {there[vtep]} of {view.site} both have "
                "it as local_ip, so that packets cannot be told apart",
                remedy="give the hosts of each site tunnel addresses of their own ([ovs] local_ip); "
                "until then the ports behind it are left out",
                owners=(f"{own.site}: host {here[vtep]}", f"{view.site}: host {there[vtep]}"),
            )


def _vni(declaration: StretchedNetwork, own: SiteView) -> Iterator[Finding]:
    for other in own.same_vni:
        yield Finding(
            code=Code.VNI_CLASH,
            outcome=Outcome.ERROR,
            network=declaration.name,
            site=own.site,
            summary=f"VNI {declaration.vni} is used by another network in {own.site}",
            cause=f"network {other.name} ({other.id}) of project {other.project_id} has it, and it is "
            "not marked as made for this declaration",
            remedy=f"delete that network, or delete {declaration.name} and create it with another VNI; "
            "take the reserved range out of vni_ranges in every site",
            owners=(
                f"declaration {declaration.name} ({declaration.id})",
                f"{own.site}: network {other.name} ({other.id})",
            ),
        )


def _subnets(declaration: StretchedNetwork, own: SiteView) -> Iterator[Finding]:
    rival = local_network.rival(declaration, own)
    if rival:
        yield Finding(
            code=Code.FOREIGN_OBJECT,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=own.site,
            summary=f"a subnet on the network in {own.site} is not ours and takes its room",
            cause=f"subnet {rival.name or rival.id} ({rival.cidr}) has no mark of this declaration",
            remedy="delete it (openstack subnet delete); its pools may hand out addresses of other sites",
            owners=(f"declaration {declaration.name}", f"{own.site}: subnet {rival.id}"),
        )
    ours = own.subnet(declaration.id)
    if ours and ours.cidr != declaration.cidr:
        yield Finding(
            code=Code.CIDR_DIFFERS,
            outcome=Outcome.ERROR,
            network=declaration.name,
            site=own.site,
            summary=f"the subnet in {own.site} is {ours.cidr}, declared is {declaration.cidr}",
            cause="Neutron cannot change the CIDR of a subnet",
            remedy=f"delete subnet {ours.id} when no port of {own.site} uses it; it is then made anew",
            owners=(f"declaration {declaration.name}", f"{own.site}: subnet {ours.id}"),
        )
    for other in own.other_subnets:
        if local_network.overlap(other.cidr, declaration.cidr):
            yield Finding(
                code=Code.CIDR_OVERLAP,
                outcome=Outcome.WARN,
                network=declaration.name,
                site=own.site,
                summary=f"{declaration.cidr} overlaps another subnet of the project in {own.site}",
                cause=f"subnet {other.name or other.id} is {other.cidr}; one router cannot serve both",
                remedy="harmless as long as no router and no guest is on both; else use another CIDR",
                owners=(f"declaration {declaration.name}", f"{own.site}: subnet {other.id}"),
            )


def _pools(declaration: StretchedNetwork, seen: list[SiteView]) -> Iterator[Finding]:
    spans = [
        (view.site, address_plan.Span.parse(*pool))
        for view in seen
        for subnet in view.subnets
        if subnet.belongs_to(declaration.id)
        for pool in subnet.pools
    ]
    for (one, a), (other, b) in itertools.combinations(spans, 2):
        if one != other and a.overlaps(b):
            yield Finding(
                code=Code.POOLS_OVERLAP,
                outcome=Outcome.ERROR,
                network=declaration.name,
                site=None,
                summary=f"{one} and {other} may hand out the same addresses",
                cause=f"the pool {a} of {one} overlaps the pool {b} of {other}",
                remedy="nothing, if a change of the declaration is under way; else look whether the engine "
                "of either site is running: it sets the declared pools",
                owners=(f"{one}: {a}", f"{other}: {b}"),
            )


def _host_names(
    declaration: StretchedNetwork, own: SiteView, seen: list[SiteView]
) -> Iterator[Finding]:
    here = {port.host for port in own.locals() if port.vtep_ip and port.host}
    for view in seen:
        there = {port.host for port in view.locals() if port.vtep_ip and port.host}
        both = sorted(here & there)
        if view is own or not both:
            continue
        yield Finding(
            code=Code.SAME_HOST_NAME,
            outcome=Outcome.INFO,
            network=declaration.name,
            site=own.site,
            summary=f"{own.site} and {view.site} both have a host {', '.join(both)}",
            cause="host names are unique within a site only",
            remedy="nothing: remote ports are bound to tunnel addresses and never to host names",
            owners=tuple(f"{site}: host {name}" for name in both for site in (own.site, view.site)),
        )


def _base_macs(
    declaration: StretchedNetwork, own: SiteView, seen: list[SiteView]
) -> Iterator[Finding]:
    here = _prefixes(own)
    for view in seen:
        both = sorted(here & _prefixes(view)) if view is not own else []
        if both:
            yield Finding(
                code=Code.SAME_BASE_MAC,
                outcome=Outcome.WARN,
                network=declaration.name,
                site=own.site,
                summary=f"{own.site} and {view.site} draw MACs from one range",
                cause=f"both have ports with {both[0]}:…; sooner or later two ports get one MAC",
                remedy="set base_mac in neutron.conf to another value in each site (four octets); it "
                "holds for new ports",
                owners=(f"{own.site}: base_mac", f"{view.site}: base_mac"),
            )


def _prefixes(view: SiteView) -> set[str]:
    """From what a site draws its MACs, as far as its ports tell: three octets of the default when
    the fourth differs from port to port, else four."""
    macs = {p.mac for p in view.locals() if p.mac.startswith(GENERATED_OUI) and not p.remote_vtep}
    fours = {mac[:11] for mac in macs}
    return {GENERATED_OUI} if len(fours) > 2 else fours


def quota(declaration: StretchedNetwork, own: SiteView, creates: int) -> Iterator[Finding]:
    """Advice when the ports to be created, or the next handful, do not fit into the quota."""
    if own.quota is None or own.quota.free is None:
        return
    free, limit = own.quota.free, own.quota.limit
    spare = max(limit // 20, 5)
    if free < creates + spare:
        yield Finding(
            code=Code.QUOTA,
            outcome=Outcome.ERROR if free < creates else Outcome.WARN,
            network=declaration.name,
            site=own.site,
            summary=f"the port quota of the project is {'too small' if free < creates else 'nearly used'}"
            f" in {own.site}",
            cause=f"{own.quota.used} of {limit} used, {creates} remote ports to be created; remote ports "
            "count against the project",
            remedy=f"openstack quota set --ports {limit + creates + spare} {declaration.project_id} "
            f"--os-region-name {own.site}",
            owners=(f"project {declaration.project_id}",),
        )
