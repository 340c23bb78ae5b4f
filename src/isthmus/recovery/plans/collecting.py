"""Findings of many servers as few: the same trouble of 1,000 servers is one finding that names them."""

from __future__ import annotations

import dataclasses

from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code, Finding


class Collector:
    """Gathers findings for one site; equal ones are one, with all servers."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._found: dict[tuple[str, ...], Finding] = {}
        self._servers: dict[tuple[str, ...], dict[str, None]] = {}
        self.failed: set[str] = set()

    def add(
        self,
        code: Code,
        outcome: Outcome,
        subject: str,
        *,
        summary: str,
        cause: str,
        remedy: str,
        server: str | None = None,
    ) -> None:
        """One finding, for one server or for the plan as a whole."""
        finding = Finding(
            code=code,
            outcome=outcome,
            subject=subject,
            site=self._site,
            summary=summary,
            cause=cause,
            remedy=remedy,
        )
        key = (*finding.key, summary)
        self._found.setdefault(key, finding)
        if server is not None:
            self._servers.setdefault(key, {})[server] = None
            if outcome is Outcome.ERROR:
                self.failed.add(server)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first, else in the order in which they were met."""
        all_of_them = [
            dataclasses.replace(finding, servers=tuple(self._servers.get(key, ())))
            for key, finding in self._found.items()
        ]
        return tuple(sorted(all_of_them, key=lambda each: -each.outcome.exit_code))
