"""`isthmus status`: one screen for everything."""

from __future__ import annotations

from isthmus.cli import reports, screens
from isthmus.cli.reports import Columns
from isthmus.identity import status


class Status(reports.ReportCommand):
    """Show all sites on one screen and judge them.

    Leaves with 0 when all is well, 1 when there are warnings, 2 when there are errors.
    """

    def screen(self, report: status.Report, *, colour: bool) -> str:
        """Headline, sites, findings."""
        return screens.overview(report, colour=colour)

    def rows(self, report: status.Report) -> Columns:
        """One row per site."""
        return reports.columns(status.SiteRow), [reports.cells(row) for row in report.sites]
