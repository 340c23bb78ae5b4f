"""What the keeper of one network tells of it: values, and the documents made of them.

Everything here is what one site's engine saw and did. What all sites say together is put together by
whoever asks them (`isthmus.engine.api`).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.engine.rounds import End
from isthmus.network.findings import Finding
from isthmus.network.neutrons import Outcome, Result
from isthmus.network.views import Port, SiteView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lag:
    """How long a change took from its origin to this site's Neutron."""

    seconds: float
    applied_at: float
    """Seconds since 1970."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What one engine knows about one network in its own site, at the end of a round."""

    site: str
    network_id: str
    revision: int
    """Of the declaration that was worked on."""
    at: float
    """Seconds since 1970: the end of the last round; 0.0 before the first."""
    end: End | None = None
    seconds: float = 0.0
    """How long the last round took."""
    actions: int = 0
    """How many the last round carried out."""
    findings: tuple[Finding, ...] = ()
    left: tuple[str, ...] = ()
    """What the last round could not do, in sentences."""
    views: Mapping[str, SiteView] = dataclasses.field(default_factory=dict)
    """What decisions are based on, by site, the own one included."""
    lags: Mapping[str, Lag] = dataclasses.field(default_factory=dict)
    """By origin, `<site>/<port id>`: those that were heard of by a poke."""

    @property
    def converged(self) -> bool:
        """Whether the last round saw everything and left nothing to do."""
        return self.end is End.EMPTY and all(view.good for view in self.views.values())

    @property
    def local_ports(self) -> tuple[Port, ...]:
        own = self.views.get(self.site)
        return own.locals() if own else ()

    @property
    def remote_ports(self) -> tuple[Port, ...]:
        own = self.views.get(self.site)
        return own.remotes() if own else ()


def left_undone(outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    """What could not be done, in sentences."""
    return tuple(
        f"{type(each.action).__name__}: {each.result}"
        + (f": {each.finding.summary}" if each.finding else "")
        for each in outcomes
        if each.result is not Result.DONE
    )


def site_document(report: Report, *, now: float) -> dict[str, Any]:
    """One site's part of `isthmus network show`. `now`: seconds since 1970."""
    own = report.views.get(report.site)
    network = own.network if own else None
    return {
        "site": report.site,
        "revision": report.revision,
        "converged": report.converged,
        "end": report.end,
        "at": moment(report.at),
        "age_seconds": _age(report.at, now),
        "round_seconds": round(report.seconds, 3),
        "actions": report.actions,
        "left": list(report.left),
        "network_id": network.id if network else None,
        "vni": network.vni if network else None,
        "mtu": network.mtu if network else None,
        "sees": {
            site: {"age_seconds": _age(view.seen_at, now), "error": view.error}
            for site, view in sorted(report.views.items())
        },
        "ports": [_port(port) for port in report.local_ports],
        "remote_ports": [_remote(port, report, now) for port in report.remote_ports],
        "findings": [finding_document(each) for each in report.findings],
    }


def _port(port: Port) -> dict[str, Any]:
    return {
        "id": port.id,
        "name": port.name,
        "mac": port.mac,
        "ips": list(port.ips),
        "host": port.host,
        "vtep": port.vtep_ip,
        "status": port.status,
        "device_owner": port.device_owner,
    }


def _remote(port: Port, report: Report, now: float) -> dict[str, Any]:
    lag = report.lags.get(port.device_id)
    origin = port.origin
    return {
        "id": port.id,
        "name": port.name,
        "mac": port.mac,
        "ips": list(port.ips),
        "vtep": port.remote_vtep,
        "status": port.status,
        "origin": {"site": origin.site, "port_id": origin.port_id} if origin else None,
        "lag_seconds": round(lag.seconds, 3) if lag else None,
        "age_seconds": _age(lag.applied_at, now) if lag else None,
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding as JSON knows it."""
    return {
        "code": str(finding.code),
        "outcome": str(finding.outcome),
        "network": finding.network,
        "site": finding.site,
        "summary": finding.summary,
        "cause": finding.cause,
        "remedy": finding.remedy,
        "owners": list(finding.owners),
    }


def moment(seconds: float) -> str | None:
    """A time as ISO 8601 in UTC; None for never."""
    if seconds <= 0:
        return None
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(at: float, now: float) -> float | None:
    return round(max(now - at, 0.0), 3) if at > 0 else None
