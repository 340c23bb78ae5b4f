"""The verdict on the identity of all sites: one row per site and database, findings, an outcome.

It exists so that the command line (and whatever face comes later) shows the same verdict for the
same facts. It is pure: the facts come from :mod:`isthmus.sites.probe`, time is an argument, and the
screen is drawn elsewhere. It is no registry of checks: it judges only what one look at the agents
tells.

What is not known is None, never a default: a site without an agent has no lag, not a lag of zero.
Verdicts compare live values only; values that were kept from an earlier look are shown with their
age.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus.identity import findings, views
from isthmus.identity.views import View
from isthmus.sites import agent_documents
from isthmus.sites.inventory import Inventory, Role
from isthmus.sites.looking import Answers

LAG_LIMIT_SECONDS = 5.0
"""A replica further behind is a finding; the same default as the agents' lag_limit_seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatabaseRow:
    """One identity database; its values are `age_seconds` old, `stale` if from an earlier look."""

    site: str
    database: str
    kind: str
    serving: bool
    verdict: str
    reason: str
    writer: bool
    position: str | None
    lag_seconds: float | None
    master: str | None
    home: str | None
    quorum: str | None
    last_event: str | None
    age_seconds: float
    stale: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteRow:
    """One site. All from `database` on is what its agent says, `age_seconds` ago."""

    site: str
    region: str
    role: Role
    api: str
    """up or down"""
    api_version: str | None
    api_latency_ms: float | None
    login: str | None
    reason: str | None
    """Why something was not answered."""
    database: str | None
    """How many of the site's identity databases serve reads: 2/2."""
    writer: bool | None
    position: str | None
    lag_seconds: float | None
    """The largest lag among those that serve; if none does, the smallest."""
    quorum: str | None
    keys: Mapping[str, str]
    """The first eight hexadecimal digits of the digest of each key repository."""
    keys_agree: bool | None
    queue_pending: int | None
    queue_oldest_seconds: float | None
    age_seconds: float | None
    stale: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that one look at all sites tells."""

    time: datetime.datetime
    outcome: findings.Outcome
    sites: tuple[SiteRow, ...]
    databases: tuple[DatabaseRow, ...]
    findings: tuple[findings.Finding, ...]

    def document(self) -> dict[str, Any]:
        """The report in types that JSON and YAML know; times as ISO 8601 in UTC."""
        plain = dataclasses.asdict(self)
        plain["time"] = self.time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return dict(json.loads(json.dumps(plain)))


def report(
    inventory: Inventory,
    answers: Mapping[str, Answers],
    *,
    now: datetime.datetime,
    lag_limit_seconds: float = LAG_LIMIT_SECONDS,
) -> Report:
    """Judge what the sites answered. `answers` has every site of the inventory; `now` is in UTC."""
    known = [views.view_of(site, answers[site.name], now) for site in inventory.sites]
    voters = views.voters(inventory, known)
    found = findings.judge(inventory, known, voters, lag_limit_seconds=lag_limit_seconds)
    return Report(
        time=now,
        outcome=found[0].outcome if found else findings.Outcome.OK,
        sites=tuple(_site_row(view, known, voters) for view in known),
        databases=tuple(row for view in known for row in _database_rows(view, voters)),
        findings=tuple(found),
    )


def _site_row(view: View, known: Iterable[View], voters: frozenset[str] | None) -> SiteRow:
    identity, login = view.answers.identity, view.answers.login
    databases, status = view.databases, view.status
    queue = status.queue if status else None
    pending = queue if isinstance(queue, agent_documents.Queue) else None
    clusters = [each.cluster for each in databases if each.cluster]
    return SiteRow(
        site=view.site.name,
        region=view.site.region,
        role=view.site.role,
        api="up" if identity.ok else "down",
        api_version=identity.value.version if identity.value else None,
        api_latency_ms=round(identity.value.latency_ms, 1) if identity.value else None,
        login=None if login is None else login.error or "ok",
        reason=_reason(view),
        database=_serving(databases) if status else None,
        writer=any(each.writer for each in databases) if status else None,
        position=next((each.position for each in _best_first(databases) if each.position), None),
        lag_seconds=_lag(databases),
        quorum=views.quorum(clusters[0], voters) if clusters else None,
        keys={name: digest[:8] for name, digest in views.digests(view).items()},
        keys_agree=_agrees(view, known),
        queue_pending=pending.pending if pending else None,
        queue_oldest_seconds=pending.oldest_age_seconds if pending else None,
        age_seconds=_oldest(view),
        stale=status is not None and not view.live,
    )


def _reason(view: View) -> str | None:
    identity, agent = view.answers.identity, view.answers.agent
    parts = []
    if identity.error and agent and agent.error == identity.error:
        return f"API and agent: {identity.error}"
    if identity.error:
        parts.append(f"API: {identity.error}")
    if agent and agent.error:
        parts.append(f"agent: {agent.error}")
    return "; ".join(parts) or None


def _serving(databases: tuple[agent_documents.Database, ...]) -> str:
    return f"{sum(each.serving for each in databases)}/{len(databases)}"


def _best_first(
    databases: tuple[agent_documents.Database, ...],
) -> list[agent_documents.Database]:
    """Those that serve come first, then those with the smallest lag."""
    return sorted(databases, key=lambda each: (not each.serving, each.lag_seconds or 0.0))


def _lag(databases: tuple[agent_documents.Database, ...]) -> float | None:
    known = [each for each in databases if each.lag_seconds is not None]
    serving = [each.lag_seconds or 0.0 for each in known if each.serving]
    if serving:
        return max(serving)
    return min((each.lag_seconds or 0.0 for each in known), default=None)


def _oldest(view: View) -> float | None:
    if view.age is None:
        return None
    return round(view.age + max((db.observed_age_seconds for db in view.databases), default=0.0), 3)


def _database_rows(view: View, voters: frozenset[str] | None) -> Iterator[DatabaseRow]:
    for each in view.databases:
        yield DatabaseRow(
            site=view.site.name,
            database=each.name,
            kind=each.kind,
            serving=each.serving,
            verdict=each.verdict,
            reason=each.reason,
            writer=each.writer,
            position=each.position,
            lag_seconds=each.lag_seconds,
            master=each.master,
            home=each.home,
            quorum=views.quorum(each.cluster, voters),
            last_event=each.last_event,
            age_seconds=round((view.age or 0.0) + each.observed_age_seconds, 3),
            stale=not view.live,
        )


def _agrees(view: View, known: Iterable[View]) -> bool | None:
    """Whether a live site holds the keys that most sites hold; None when it is not known."""
    digests = views.digests(view)
    if not view.live or not digests:
        return None
    return all(views.majority(known, name) == digest for name, digest in digests.items())
