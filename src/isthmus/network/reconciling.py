"""What to do in the own site so that it holds what the declaration and the other sites say.

It exists as one pure function, so that events, the periodic run and a person's `sync` all do the
same thing, from whatever state a crash left behind. It is level-triggered (ovn-ic's
`port_binding_run` is the model): it compares what is with what should be, removal included, and does
not ask how it came about. It does no I/O and writes nothing in other sites.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from isthmus.network import clashes, local_network, partition, remote_ports, standings, views
from isthmus.network.actions import Action
from isthmus.network.declarations import Dhcp, StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.standings import Standing
from isthmus.network.views import Network, Origin, Port, SiteView
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do, in this order, and what to tell."""

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    again: bool = False
    """When this is carried out, look and plan once more at once: the network had to be made before
    any port could be."""
    stale: frozenset[str] = frozenset()
    """Sites whose ports are kept though they have been silent for longer than the policy allows, or
    that were purged for it."""

    @property
    def empty(self) -> bool:
        return not self.actions


def plan(
    declaration: StretchedNetwork,
    own: SiteView,
    peers: Mapping[str, SiteView],
    lost: frozenset[str],
    now: float,
    *,
    hearing: partition.Hearing | None = None,
) -> Plan:
    """What to do in the site `own.site` for one declaration.

    `peers`: the other sites by name; one that is declared but missing here counts as silent. `lost`:
    sites that an operator gave up. `now`: seconds since 1970 by the same clock as `seen_at`.
    `hearing`: which engines are heard; None forbids every purge.

    A view with `only` narrows the plan to these ports: nothing else is touched, and only what
    concerns single ports is told.

    Invariants:
    - no action names an object without our mark;
    - a site that was not seen causes no deletion, except by `lost`, by a detach, or by a purge that
      `isthmus.network.partition` allows;
    - a plan that was carried out is followed by an empty plan while the views stay (after one more,
      if it says `again`);
    - a clash keeps only its own port from being made, never the rest.
    """
    if not own.good:
        return Plan(findings=(standings.own_silent(declaration, own),))
    if declaration.deleting or own.site not in declaration.sites:
        return _removal(declaration, own)
    judged = standings.judge(declaration, own.site, peers, lost, now, hearing)
    stale = frozenset(site for site, each in judged.items() if each.stale)
    if own.only is not None:
        if own.network is None:
            return Plan(again=True)
        actions, findings = _ports(declaration, own, peers, judged)
        return Plan(actions=actions, findings=findings, stale=stale)
    told = (
        *standings.findings(declaration, own.site, judged),
        *standings.own_lost(declaration, own.site, lost),
        *_policies(declaration, own.site),
        *clashes.find(declaration, own, peers),
    )
    creation = local_network.creation(declaration, own)
    corrections = tuple(local_network.corrections(declaration, own, stale))
    if creation:
        return Plan(actions=(*corrections, *creation), findings=told, again=True, stale=stale)
    actions, findings = _ports(declaration, own, peers, judged)
    return Plan(actions=(*corrections, *actions), findings=(*told, *findings), stale=stale)


def _removal(declaration: StretchedNetwork, own: SiteView) -> Plan:
    if own.only is not None:
        return Plan()
    why = "the network is being deleted" if declaration.deleting else f"{own.site} is not attached"
    actions, findings = local_network.removal(declaration, own, why)
    return Plan(actions=actions, findings=findings)


def _ports(
    declaration: StretchedNetwork,
    own: SiteView,
    peers: Mapping[str, SiteView],
    judged: Mapping[str, Standing],
) -> tuple[tuple[Action, ...], tuple[Finding, ...]]:
    groups = remote_ports.Groups(own, declaration.project_id)
    vteps = frozenset(port.vtep_ip for port in own.locals() if port.vtep_ip)
    should = [
        wanted
        for site, each in sorted(judged.items())
        if each.seen
        for wanted in remote_ports.wanted(declaration, own, peers[site], groups, vteps)
    ]

    def reason(origin: Origin) -> str | None:
        return _reason(origin, declaration, own, peers, judged)

    difference = remote_ports.difference(declaration, own, should, reason)
    found = (
        *_groups(declaration, own.site, groups),
        *_outside(declaration, own.site, peers, judged),
    )
    if own.only is None:
        found += tuple(clashes.quota(declaration, own, len(difference.creates)))
        found += tuple(_not_bound(declaration, own))
    return difference.actions, found


def _reason(
    origin: Origin,
    declaration: StretchedNetwork,
    own: SiteView,
    peers: Mapping[str, SiteView],
    judged: Mapping[str, Standing],
) -> str | None:
    """Why the remote port of an origin that is not wanted may be deleted; None: it may not."""
    standing = judged.get(origin.site)
    if origin.site == own.site:
        return "it stands for a port of this very site"
    if standing is None:
        return f"{origin.site} is not attached to {declaration.name}"
    if standing.seen and not peers[origin.site].looked_at(origin.port_id):
        return None
    return standing.removal


def _policies(declaration: StretchedNetwork, site: str) -> Iterator[Finding]:
    if declaration.dhcp is Dhcp.PER_SITE:
        yield Finding(
            code=Code.DHCP_PER_SITE,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=site,
            summary="every site answers DHCP requests of every guest",
            cause="broadcasts cross the tunnels, and remote ports are known hosts of the local server; a "
            "guest may get its lease from another site and lose it when that site is cut off",
            remedy=f"isthmus network set --dhcp none {declaration.name}, and addresses by config drive",
        )


def _groups(
    declaration: StretchedNetwork, here: str, groups: remote_ports.Groups
) -> Iterator[Finding]:
    for (site, name), ports in sorted(groups.missing.items()):
        yield Finding(
            code=Code.GROUP_MISSING,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=here,
            summary=f"security group {name} of {site} does not exist in {here}",
            cause=f"{_count(ports)} of {site} carry it; rules of {here} that name groups do not admit them",
            remedy=f"openstack security group create {name} --project {declaration.project_id} "
            f"--os-region-name {here}",
            owners=(f"{site}: security group {name}", f"{site}: {_some(ports)}"),
        )
    for (site, name), ports in sorted(groups.ambiguous.items()):
        yield Finding(
            code=Code.GROUP_AMBIGUOUS,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=here,
            summary=f"{here} has several security groups {name}",
            cause=f"groups of sites are matched by name; {_count(ports)} of {site} got none of them, so that "
            "nobody is admitted by mistake",
            remedy=f"rename all but one security group {name} of the project in {here}",
            owners=(f"{here}: security groups {name}", f"{site}: {_some(ports)}"),
        )


def _not_bound(declaration: StretchedNetwork, own: SiteView) -> Iterator[Finding]:
    ports = [port for port in own.remotes() if port.status != remote_ports.BOUND]
    if ports:
        yield Finding(
            code=Code.NOT_BOUND,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=own.site,
            summary=f"{_count(ports)} made for other sites cannot be reached from {own.site} yet",
            cause=f"Neutron has not bound {_some(ports)}; it is asked again",
            remedy="nothing, if it was seen once; else look whether remote_port is in mechanism_drivers of "
            f"every Neutron server of {own.site}, and at their logs",
            owners=(f"{own.site}: {_some(ports)}",),
        )


def _outside(
    declaration: StretchedNetwork,
    here: str,
    peers: Mapping[str, SiteView],
    judged: Mapping[str, Standing],
) -> Iterator[Finding]:
    """Addresses of other subnets that somebody added to the network in one site only."""
    for site, standing in sorted(judged.items()):
        view = peers[site] if standing.seen else None
        subnets = {each.cidr for each in view.subnets} - {declaration.cidr} if view else set()
        if subnets:
            yield Finding(
                code=Code.ADDRESS_OUTSIDE,
                outcome=Outcome.INFO,
                network=declaration.name,
                site=here,
                summary=f"addresses of {', '.join(sorted(subnets))} in {site} are not known in {here}",
                cause=f"{site} has subnets on the network that are not declared",
                remedy=f"nothing, if they are for {site} alone; else declare a network for them",
                owners=(f"{site}: {', '.join(sorted(subnets))}",),
            )


def _count(ports: Sequence[Port]) -> str:
    return "1 port" if len(ports) == 1 else f"{len(ports)} ports"


def _some(ports: Sequence[Port]) -> str:
    more = f" and {len(ports) - 1} more" if len(ports) > 1 else ""
    return local_network.port_words(ports[0]) + more


def finished(declaration: StretchedNetwork, sites: Mapping[str, SiteView]) -> bool:
    """Whether a declaration being deleted can be forgotten: every given site was seen whole and
    holds nothing of it. `sites` must hold every site with a Neutron, detached ones included."""
    return declaration.deleting and all(
        view.good and view.only is None and view.network is None for view in sites.values()
    )


def orphans(
    site: str, tagged: Iterable[Network], declarations: Iterable[StretchedNetwork]
) -> Iterator[Finding]:
    """Networks with our tag that no declaration stands behind: what a site kept that was away while
    its declaration was deleted, or what somebody tagged. They are left alone, and told."""
    known = {views.network_tag(each.id): each for each in declarations}
    for network in tagged:
        declaration = next((known[tag] for tag in sorted(network.tags) if tag in known), None)
        if declaration is None:
            cause = "it has our tag, and its declaration is gone"
        elif (network.vni, network.project_id) != (declaration.vni, declaration.project_id):
            cause = (
                f"it has the tags of {declaration.name}, but VNI {network.vni} and project "
                f"{network.project_id} instead of {declaration.vni} and {declaration.project_id}"
            )
        else:
            continue
        yield Finding(
            code=Code.ORPHAN,
            outcome=Outcome.WARN,
            network=declaration.name if declaration else network.name,
            site=site,
            summary=f"network {network.name} ({network.id}) in {site} belongs to no declaration",
            cause=cause,
            remedy=f"openstack network delete {network.id} when nobody uses it, or take the tag away: "
            f"openstack network unset --tag {views.TAG} {network.id}",
            owners=(f"{site}: network {network.id}",),
        )
