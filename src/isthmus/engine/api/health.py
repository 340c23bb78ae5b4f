"""`/healthcheck`, `/status`, `/metrics`: open, made from what is known, and without secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import fastapi
from fastapi import responses

from isthmus.engine import gathering, metrics, reports
from isthmus.engine.core import Engine
from isthmus.engine.metrics import Family, counter, gauge
from isthmus.outcomes import Outcome

Document = dict[str, Any]


def router(engine: Engine) -> fastapi.APIRouter:
    """The routes; none waits for anything."""
    routes = fastapi.APIRouter(tags=["health"])

    @routes.get("/healthcheck", response_class=responses.PlainTextResponse)
    def healthcheck() -> str:
        """OK while the process answers."""
        return "OK\n"

    @routes.get("/status")
    def status() -> Document:
        """What the engine knows and how old that is."""
        return status_document(engine)

    @routes.get("/metrics", response_class=responses.PlainTextResponse)
    def figures() -> responses.Response:
        """The same as figures, in the text format of Prometheus."""
        text = metrics.render(_families(engine))
        return responses.Response(text, media_type=metrics.CONTENT_TYPE)

    return routes


def status_document(engine: Engine) -> Document:
    """The document of `/status`."""
    now, at = time.time(), time.monotonic()
    freshness = engine.store.freshness
    listener, audit = engine.listener, engine.auditor.audit
    return {
        "site": engine.site,
        "time": reports.moment(now),
        "engine": {
            "pid": os.getpid(),
            "started_at": reports.moment(engine.started_at),
            "version": metadata.version("isthmus"),
        },
        "declarations": {
            "networks": len(engine.store.networks()),
            "addresses": len(engine.store.addresses()),
            "age_seconds": now - freshness.read_at if freshness.read_at else None,
            "error": freshness.error,
        },
        "lost_sites": sorted(engine.lost_sites),
        "neutron_sites": sorted(engine.neutron_sites),
        "catalog_error": engine.catalog_error,
        "notifications": {
            "listening": listener is not None,
            "last_at": reports.moment(listener.last_at or 0.0) if listener else None,
        },
        "peers": {
            site: {
                "heard": heard.lately(at),
                "age_seconds": heard.age(at),
                "error": heard.error,
                "pokes_sent": engine.pokers[site].sent,
                "pokes_failed": engine.pokers[site].failed,
            }
            for site, heard in engine.neighbours.heard.items()
        },
        "networks": {
            each.declaration.name: gathering.summary(each.report, now=now)
            for each in engine.keepers.values()
        },
        "audit": {
            "at": reports.moment(audit.at),
            "clean": sorted(audit.clean),
            "repairs": dict(engine.auditor.repairs),
            "findings": [reports.finding_document(each) for each in audit.findings],
        },
        "orphans": [reports.finding_document(each) for each in engine.orphans],
    }


def _families(engine: Engine) -> Iterator[Family]:
    here = {"site": engine.site}
    now, at = time.time(), time.monotonic()
    read_at = engine.store.freshness.read_at
    yield gauge(
        "isthmus_declarations_age_seconds",
        "Age of the declarations that the engine works on",
        [(here, now - read_at)] if read_at else [],
    )
    heard = engine.neighbours.heard
    yield gauge(
        "isthmus_peer_heard",
        "Whether the engine of another site is heard",
        [({**here, "peer": site}, float(each.lately(at))) for site, each in heard.items()],
    )
    yield counter(
        "isthmus_pokes_total",
        "Pokes delivered to the engine of another site",
        [({**here, "peer": site}, float(each.sent)) for site, each in engine.pokers.items()],
    )
    yield counter(
        "isthmus_forwarding_repairs_total",
        "Messages sent again because a host lacked what they said",
        [({**here, "host": h}, float(count)) for h, count in engine.auditor.repairs.items()],
    )
    yield engine.lag.family(
        "isthmus_remote_port_lag_seconds",
        "From a change in another site to the same change here",
        here,
    )
    yield from _of_networks(engine, here, now)


def _of_networks(engine: Engine, here: dict[str, str], now: float) -> Iterator[Family]:
    found = [({**here, "network": k.declaration.name}, k.report) for k in engine.keepers.values()]
    yield gauge(
        "isthmus_network_converged",
        "Whether the last round saw all sites and left nothing to do",
        [(labels, float(report.converged)) for labels, report in found],
    )
    yield gauge(
        "isthmus_network_remote_ports",
        "Remote ports in this site",
        [(labels, float(len(report.remote_ports))) for labels, report in found],
    )
    yield gauge(
        "isthmus_network_findings",
        "Findings of the last round",
        [
            ({**labels, "outcome": outcome}, float(_count(report, outcome)))
            for labels, report in found
            for outcome in Outcome
        ],
    )
    yield gauge(
        "isthmus_view_age_seconds",
        "Age of the last good look at a site for a network",
        [
            ({**labels, "peer": site}, now - view.seen_at)
            for labels, report in found
            for site, view in report.views.items()
        ],
    )
    yield gauge(
        "isthmus_remote_port_last_lag_seconds",
        "How long the last change of each remote port took to arrive",
        [
            ({**labels, "origin": origin}, lag.seconds)
            for labels, report in found
            for origin, lag in report.lags.items()
        ],
    )


def _count(report: reports.Report, outcome: Outcome) -> int:
    return sum(each.outcome is outcome for each in report.findings)
