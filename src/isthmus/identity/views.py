"""What is known about each site: from its agent now, from an earlier look, or nothing.

It exists so that rows (:mod:`isthmus.identity.status`) and findings
(:mod:`isthmus.identity.findings`) read the same facts. It is pure and judges nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterable

from isthmus.sites import agent_documents
from isthmus.sites.inventory import Inventory, Site, Topology
from isthmus.sites.looking import Answers

ONE_CLUSTER = (Topology.STAR, Topology.CLUSTER)
"""Topologies whose writer sites form one Galera cluster with one writer node at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What is known about one site: live, kept from an earlier look, or nothing."""

    site: Site
    answers: Answers
    status: agent_documents.AgentStatus | None
    live: bool
    age: float | None

    @property
    def databases(self) -> tuple[agent_documents.Database, ...]:
        return self.status.databases if self.status else ()


def view_of(site: Site, answers: Answers, now: datetime.datetime) -> View:
    live = answers.agent.value if answers.agent else None
    if answers.agent and live:
        age = _age(answers.agent.observed_at, now)
        return View(site=site, answers=answers, status=live.status, live=True, age=age)
    if answers.kept:
        age = _age(answers.kept.observed_at, now)
        return View(site=site, answers=answers, status=answers.kept.status, live=False, age=age)
    return View(site=site, answers=answers, status=None, live=False, age=None)


def _age(then: datetime.datetime, now: datetime.datetime) -> float:
    """Seconds since then; zero when the clock was set back in between."""
    return max((now - then).total_seconds(), 0.0)


def voters(inventory: Inventory, known: Iterable[View]) -> frozenset[str] | None:
    """The names that vote in the cluster of the writer sites, as far as anybody has seen them.

    Galera forgets a member that leaves in order, so what is expected is not in any live answer: the
    writer sites vote by definition, others (the arbitrator) are known from answers, kept ones too.
    """
    if inventory.topology not in ONE_CLUSTER:
        return None
    seen = {
        member
        for view in known
        for database in view.databases
        if database.cluster
        for member in database.cluster.members
    }
    return frozenset(seen | {site.name for site in inventory.writers})


def quorum(cluster: agent_documents.Cluster | None, voters: frozenset[str] | None) -> str | None:
    if cluster is None:
        return None
    expected = f"/{max(len(voters), cluster.size)}" if voters else ""
    return f"{cluster.status} {cluster.size}{expected}"


def digests(view: View) -> dict[str, str]:
    keys = view.status.keys if view.status else {}
    return {
        name: repository.digest
        for name, repository in keys.items()
        if isinstance(repository, agent_documents.KeyRepository)
    }


def holders(known: Iterable[View], repository: str) -> dict[str, list[str]]:
    """Which sites hold which keys now: digest -> sites, the digest of most sites first."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for view in known:
        if view.live and repository in digests(view):
            found[digests(view)[repository]].append(view.site.name)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def majority(known: Iterable[View], repository: str) -> str | None:
    """The digest that more sites hold than any other; None when there is no such one."""
    ranked = [(len(sites), digest) for digest, sites in holders(known, repository).items()]
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]


def duration(seconds: float) -> str:
    """A length of time for people: 0.4 s, 12 s, 3 min, 2 h 5 min, 4 d."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d"
