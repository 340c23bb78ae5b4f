"""`isthmus identity ...`: replication, quorum, keys and queues of the identity databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.cli import reports, screens
from isthmus.cli.reports import Columns
from isthmus.identity import status


class Status(reports.ReportCommand):
    """Show replication, quorum, keys and queue of every identity database.

    Leaves with 0 when all is well, 1 when there are warnings, 2 when there are errors.
    """

    def screen(self, report: status.Report, *, colour: bool) -> str:
        """Headline, databases, keys and queues, findings."""
        return screens.replication(report, colour=colour)

    def rows(self, report: status.Report) -> Columns:
        """One row per database; a site of which nothing is known has a row with its reason."""
        return reports.columns(status.DatabaseRow), list(_rows(report))


def _rows(report: status.Report) -> Iterator[tuple[Any, ...]]:
    for site in report.sites:
        mine = [row for row in report.databases if row.site == site.site]
        yield from (reports.cells(row) for row in mine)
        if not mine:
            yield _unknown(site)


def _unknown(site: status.SiteRow) -> tuple[Any, ...]:
    known = {"site": site.site, "reason": site.reason or "no agent"}
    return tuple(known.get(name) for name in reports.columns(status.DatabaseRow))
