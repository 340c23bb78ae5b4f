"""What all engines together say about networks and sites: asked for, or as last heard.

It exists so that every face shows the same, and so that a site that does not answer is a line with a
reason instead of an error. Each engine speaks for its own site only.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import pydantic

from isthmus.engine import reports
from isthmus.engine.core import Engine
from isthmus.engine.reports import Report
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.records import Event
from isthmus.outcomes import Outcome
from isthmus.sites import fanout

ANSWER_SECONDS = 4.0
"""How long the engine of another site may take to say what it knows."""

PRESENCE_SECONDS = 0.5
"""How old what is told may be: ten thousand ports are counted for it."""

REVISION_SECONDS = 5.0
"""How long a declaration may take to get here after it was written elsewhere."""

Document = dict[str, Any]


def summary(report: Report, *, now: float) -> Document:
    """One network in one site, in a few figures: what engines tell each other all the time."""
    outcomes = [each.outcome for each in report.findings]
    return {
        "revision": report.revision,
        "converged": report.converged,
        "end": report.end,
        "age_seconds": max(now - report.at, 0.0) if report.at else None,
        "ports": len(report.local_ports),
        "remote_ports": len(report.remote_ports),
        "warnings": outcomes.count(Outcome.WARN),
        "errors": outcomes.count(Outcome.ERROR),
    }


def presence(engine: Engine) -> Document:
    """What this engine tells the others again and again."""
    now = time.time()
    return {
        "site": engine.site,
        "started_at": engine.started_at,
        "neutron": engine.site in engine.neutron_sites,
        "networks": {n: summary(each.report, now=now) for n, each in engine.keepers.items()},
    }


class Presence:
    """The same, made at most once in a while though every engine asks for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: tuple[float, Document] = (float("-inf"), {})

    def document(self) -> Document:
        at, document = self._made
        if time.monotonic() - at > PRESENCE_SECONDS:
            document = presence(self._engine)
            self._made = (time.monotonic(), document)
        return document


def listed(engine: Engine, *, now: float) -> list[Document]:
    """All networks; the state of the other sites is as last heard."""
    at = time.monotonic()
    told = {engine.site: presence(engine)["networks"]}
    ages: dict[str, float | None] = {engine.site: 0.0}
    for site, heard in engine.neighbours.heard.items():
        told[site] = heard.presence.get("networks", {})
        ages[site] = heard.age(at)
    return [
        {
            **network.to_document(),
            "state": {
                site: _aged(told.get(site, {}).get(network.id), ages.get(site))
                for site in network.sites
            },
        }
        for network in engine.store.networks()
    ]


def _aged(found: Mapping[str, Any] | None, age: float | None) -> Document | None:
    """What a site said, with how long ago it said so."""
    return {**found, "heard_seconds_ago": age} if found is not None else None


def own_part(engine: Engine, network_id: str) -> Document | None:
    """What this engine knows of a network in its own site; None where it does not keep it."""
    keeper = engine.keepers.get(network_id)
    if keeper is None:
        return None
    document = reports.site_document(keeper.report, now=time.time())
    forwarding = [
        reports.finding_document(each)
        for each in engine.auditor.audit.findings
        if each.network in (keeper.declaration.name, "")
    ]
    document["findings"] += forwarding
    document["audit"] = {
        "age_seconds": max(time.time() - engine.auditor.audit.at, 0.0)
        if engine.auditor.audit.at
        else None,
        "clean": sorted(engine.auditor.audit.clean),
    }
    return document


def shown(engine: Engine, network: StretchedNetwork, *, now: float) -> Document:
    """A network with every site's part; a site that does not answer has an `error` instead."""
    questions = {
        site: functools.partial(_part, engine, site, network.id)
        for site in sorted(_concerned(engine, network))
    }
    answers = fanout.ask_all(questions, timeout=ANSWER_SECONDS, grace=1.0)
    return {
        "network": network.to_document(),
        "asked": engine.site,
        "declarations": _freshness(engine, now),
        "sites": {
            site: {"site": site, "error": each.error} if each.error else each.value
            for site, each in answers.items()
        },
        "lost_sites": sorted(engine.lost_sites),
    }


def _part(engine: Engine, site: str, network_id: str) -> Document:
    part: Any = (
        own_part(engine, network_id)
        if site == engine.site
        else engine.peers.get(site, f"/v1/networks/{network_id}/part", ANSWER_SECONDS)
    )
    return part or {"site": site, "error": f"the engine of {site} does not know the network yet"}


def synced(engine: Engine, network: StretchedNetwork, *, timeout: float) -> Document:
    """Have every site's engine compare everything now; what each says when it has, or in time."""
    questions = {
        site: functools.partial(_converge, engine, site, network, timeout)
        for site in sorted(_concerned(engine, network) - engine.lost_sites)
    }
    answers = fanout.ask_all(questions, timeout=timeout, grace=ANSWER_SECONDS)
    parts = {
        site: {"converged": False, "error": each.error, "left": [str(each.error)]}
        if each.error
        else each.value or {}
        for site, each in answers.items()
    }
    return {
        "network": network.to_document(),
        "converged": all(part.get("converged") for part in parts.values()),
        "sites": parts,
        "lost_sites": sorted(engine.lost_sites),
    }


def _converge(engine: Engine, site: str, network: StretchedNetwork, timeout: float) -> Document:
    question = Question(revision=network.revision, deleting=network.deleting, timeout=timeout)
    if site == engine.site:
        return converged(engine, network.id, question)
    path = f"/v1/networks/{network.id}/converge"
    answer: Document = engine.peers.post(
        site, path, question.model_dump(), timeout + ANSWER_SECONDS / 2
    )
    return answer


class Question(pydantic.BaseModel, extra="forbid", frozen=True):
    """What one engine asks another to wait for: a round on the ground of this revision."""

    revision: int
    deleting: bool
    timeout: float = pydantic.Field(gt=0, le=3600)


def converged(engine: Engine, network_id: str, question: Question) -> Document:
    """Compare everything in the own site and say what came of it."""
    began = time.monotonic()
    found = _declared(engine, network_id, question)
    keeper = engine.keepers.get(network_id)
    if found is None and question.deleting:
        return {"converged": True, "gone": True, "left": []}
    if found is None:
        return _not_yet(f"revision {question.revision} of its declaration has not arrived")
    if keeper is None:
        return _not_yet(engine.catalog_error or f"{engine.site} has no Neutron")
    report = keeper.sync().wait(max(question.timeout - (time.monotonic() - began), 0.1))
    late = [] if report else [f"not done after {question.timeout:g} s"]
    report = report or keeper.report
    silent = [f"{site}: {view.error}" for site, view in report.views.items() if view.error]
    return {
        "converged": report.converged and not late,
        "left": [*report.left, *silent, *late],
        "actions": report.actions,
        "seconds": round(time.monotonic() - began, 3),
        "findings": [reports.finding_document(each) for each in report.findings],
    }


def _not_yet(reason: str) -> Document:
    return {"converged": False, "left": [reason]}


def _declared(engine: Engine, network_id: str, question: Question) -> StretchedNetwork | None:
    """The declaration with at least this revision, once it is here; None if it is not in time, or
    if it was being deleted and is forgotten."""
    deadline = time.monotonic() + min(question.timeout, REVISION_SECONDS)
    while True:
        engine.read_declarations()
        found = next((each for each in engine.store.networks() if each.id == network_id), None)
        if found is None and question.deleting:
            return None
        if found is not None and found.revision >= question.revision:
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)


def _concerned(engine: Engine, network: StretchedNetwork) -> set[str]:
    """The sites that have something to say: those declared, and all while it is being deleted."""
    if network.deleting:
        return set(engine.neutron_sites)
    return set(network.sites) & set(engine.sites)


def _freshness(engine: Engine, now: float) -> Document:
    """How old the declarations are that this answer is based on."""
    freshness = engine.store.freshness
    age = max(now - freshness.read_at, 0.0) if freshness.read_at else None
    return {"age_seconds": age, "error": freshness.error}


def event_document(event: Event) -> Document:
    """An event as JSON knows it."""
    return {
        "id": event.id,
        "at": reports.moment(event.at.timestamp()),
        "site": event.site,
        "subject": event.subject,
        "subject_id": event.subject_id,
        **event.document,
    }
