"""What the agent tells about one database: the last observation and what was decided from it.

A report is a value that one thread publishes and others read; whether it is still fresh is judged
when it is read, so that a hung database can never keep its last good answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Looks come four times a second; one this old means that looking itself has stopped.
FRESH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The Galera view of a node."""

    status: str
    size: int
    members: tuple[str, ...]
    state: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """One observation at monotonic time `at`; `writer_until` ends the right to take writes."""

    at: float
    name: str
    kind: str
    serving: bool = False
    verdict: str = "unknown"
    reason: str = "not observed yet"
    writer_until: float = 0.0
    position: str | None = None
    lag_seconds: float | None = None
    advance_age_seconds: float | None = None
    master: str | None = None
    home: str | None = None
    cluster: Cluster | None = None
    lease: str | None = None
    last_event: str | None = None
    variables: Mapping[str, str] | None = None
    """How the server is set (`isthmus.identity.published`); None while it cannot be asked."""

    def reader(self, at: float) -> tuple[bool, str]:
        """Whether the database may be read from at monotonic time `at`, and why."""
        if stale := self._stale(at):
            return False, stale
        return self.serving, f"{self.verdict}: {self.reason}"

    def writer(self, at: float) -> tuple[bool, str]:
        """Whether the database takes the writes at monotonic time `at`, and why."""
        if stale := self._stale(at):
            return False, stale
        if self.writer_until and at > self.writer_until:
            return False, "renewals of the right to take the writes do not arrive any more"
        return self.writer_until > 0, f"{self.verdict}: {self.reason}"

    def _stale(self, at: float) -> str | None:
        age = at - self.at
        if age <= FRESH_SECONDS:
            return None
        return f"last observed {age:.1f} s ago, then: {self.verdict}: {self.reason}"

    def document(self, at: float) -> dict[str, Any]:
        """The report as `/status` shows it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "serving": self.reader(at)[0],
            "verdict": self.verdict,
            "reason": self._stale(at) or self.reason,
            "writer": self.writer(at)[0],
            "position": self.position,
            "lag_seconds": _rounded(self.lag_seconds),
            "advance_age_seconds": _rounded(self.advance_age_seconds),
            "master": self.master,
            "home": self.home,
            "observed_age_seconds": _rounded(at - self.at),
            "cluster": _cluster(self.cluster),
            "lease": {"held": self.lease is None, "reason": self.lease},
            "last_event": self.last_event,
            "variables": None if self.variables is None else dict(self.variables),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _cluster(cluster: Cluster | None) -> dict[str, Any] | None:
    if cluster is None:
        return None
    return {
        "status": cluster.status,
        "size": cluster.size,
        "members": list(cluster.members),
        "state": cluster.state,
    }
