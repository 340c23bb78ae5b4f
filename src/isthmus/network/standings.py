"""How the other sites of a network stand with this one: seen, kept, gone; and the words for it.

It exists so that the plan asks one value whether ports of a site may be made or deleted. The rule
for silent sites is in `isthmus.network.partition`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from isthmus.network import partition
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.views import SiteView
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of one other site.

    `seen`: its view is good and counts. `removal`: why ports of it that are not wanted may be
    deleted here; None keeps them. `stale`: the network is to be marked for it. `finding`: what to
    tell, if anything.
    """

    seen: bool = False
    removal: str | None = None
    stale: bool = False
    finding: Finding | None = None


SEEN = Standing(seen=True, removal="its origin is gone, or not bound any more")


def judge(
    declaration: StretchedNetwork,
    here: str,
    peers: Mapping[str, SiteView],
    lost: frozenset[str],
    now: float,
    hearing: partition.Hearing | None,
) -> dict[str, Standing]:
    """One standing for every other declared site.

    Invariant: a site that is not seen has a reason for removal only if it is lost or purged.
    """
    found = {}
    for site in declaration.sites:
        if site == here:
            continue
        view = peers.get(site)
        if site in lost:
            found[site] = _lost(declaration, here, site)
        elif view is not None and view.good:
            found[site] = SEEN
        else:
            found[site] = _silent(declaration, here, site, view, now, hearing)
    return found


def findings(
    declaration: StretchedNetwork, here: str, judged: Mapping[str, Standing]
) -> Iterator[Finding]:
    for _, standing in sorted(judged.items()):
        if standing.finding:
            yield standing.finding


def own_silent(declaration: StretchedNetwork, own: SiteView) -> Finding:
    return Finding(
        code=Code.SITE_SILENT,
        outcome=Outcome.ERROR,
        network=declaration.name,
        site=own.site,
        summary=f"the Neutron of {own.site} cannot be asked, so that nothing is done here",
        cause=own.error or "no reason is known",
        remedy=f"look at the Neutron API of {own.site} and at the rights of the engine's user there",
    )


def own_lost(declaration: StretchedNetwork, here: str, lost: frozenset[str]) -> Iterator[Finding]:
    """A site that was given up and is alive: the others hold none of its ports."""
    if here in lost:
        yield Finding(
            code=Code.SITE_LOST,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=here,
            summary=f"{here} itself is declared lost: the other sites have withdrawn its ports",
            cause="an operator said so; this engine goes on for the guests of its own site",
            remedy=f"isthmus site returned {here}",
        )


def _lost(declaration: StretchedNetwork, here: str, site: str) -> Standing:
    return Standing(
        removal=f"{site} is declared lost",
        finding=Finding(
            code=Code.SITE_LOST,
            outcome=Outcome.WARN,
            network=declaration.name,
            site=site,
            summary=f"{site} is declared lost: its ports are withdrawn in {here}",
            cause="an operator said so",
            remedy=f"isthmus site returned {site}, when it is back",
        ),
    )


def _silent(
    declaration: StretchedNetwork,
    here: str,
    site: str,
    view: SiteView | None,
    now: float,
    hearing: partition.Hearing | None,
) -> Standing:
    seconds = now - view.seen_at if view else 0.0
    error = (view.error if view else None) or "it was not looked at"
    judgement = partition.judge(
        declaration.partition,
        declaration.partition_after_seconds,
        site=site,
        silent_seconds=seconds,
        hearing=hearing,
    )
    code, outcome = _code(judgement)
    return Standing(
        removal=f"{site} is silent and the policy is purge"
        if judgement.state is partition.State.PURGED
        else None,
        stale=judgement.state is not partition.State.KEPT,
        finding=Finding(
            code=code,
            outcome=outcome,
            network=declaration.name,
            site=site,
            summary=f"{site} is not seen from {here}: {_DONE[judgement.state]}",
            cause=f"{error}; last seen {max(seconds, 0):.0f} s ago; {judgement.reason}",
            remedy=f"isthmus network sync {declaration.name} when it is back (it happens by itself); if it is "
            f"gone for good: isthmus site lost {site}",
            owners=(f"{site}: all its ports",),
        ),
    )


_DONE = {
    partition.State.KEPT: "its ports are kept",
    partition.State.STALE: "its ports are kept and marked as stale",
    partition.State.PURGED: "its ports are withdrawn",
}


def _code(judgement: partition.Judgement) -> tuple[Code, Outcome]:
    if judgement.held:
        return Code.PURGE_HELD, Outcome.WARN
    if judgement.state is partition.State.PURGED:
        return Code.SITE_PURGED, Outcome.ERROR
    if judgement.state is partition.State.STALE:
        return Code.SITE_STALE, Outcome.WARN
    return Code.SITE_SILENT, Outcome.WARN
