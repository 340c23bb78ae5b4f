"""`isthmus site ...`: which sites there are, and everything about one of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from cliff import columns, show

from isthmus.cli import reports, screens
from isthmus.cli.reports import Columns
from isthmus.identity import status
from isthmus.sites import inventory, looking


class Lines(columns.FormattableColumn[list[Any]]):
    """Several values: one a line for people, a list for programs."""

    def __init__(self, value: list[Any], lines: list[str]) -> None:
        super().__init__(value)
        self._lines = lines

    def human_readable(self) -> str:
        return "\n".join(self._lines)


class List(reports.Rows):
    """List the sites of the sites file; nothing is asked of them."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        known = inventory.load(self.app.options.sites)
        names = ("name", "region", "role", "cloud", "agent", "engine")
        header = ("Name", "Region", "Role", "Cloud", "Agent", "Engine")
        return header, [
            tuple(str(getattr(site, name) or "") for name in names) for site in known.sites
        ]


class Show(show.ShowOne):
    """Show everything about one site: API, login, catalog, databases, keys, queue.

    Leaves with 0 when all is well, 1 when there are warnings, 2 when there are errors.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        reports.add_timeout(parser)
        parser.add_argument("site", metavar="SITE", help="The name of the site.")
        parser.add_argument(
            "--no-login",
            action="store_true",
            help="Do not log in; the catalog is not known then.",
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print the site and return the verdict on it."""
        super().run(parsed_args)
        return max((each.outcome.exit_code for each in self._findings), default=0)

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        known = inventory.load(self.app.options.sites)
        site = known.site(parsed_args.site)
        # Findings on several sites (who is the writer, whose keys differ) need all of them.
        looked = reports.look(known, timeout=parsed_args.timeout, login=not parsed_args.no_login)
        self._findings = [each for each in looked.report.findings if each.site == site.name]
        return self.dict2columns(_described(site, looked))

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        if parsed_args.formatter == "table":
            data = [screens.UNKNOWN if value is None else value for value in data]
        reports.choose(super().produce_output, parsed_args, column_names, data)
        if parsed_args.formatter == "table" and not parsed_args.columns:
            colour = reports.colourful(self.app.stdout, os.environ)
            for text in screens.described(self._findings, colour=colour):
                self.app.stdout.write(f"\n{text}\n")
        return 0


def _described(site: inventory.Site, looked: reports.Looked) -> dict[str, Any]:
    """All fields of a site, in the order of reading."""
    row = next(each for each in looked.report.sites if each.site == site.name)
    fields = dict(zip(reports.columns(type(row)), reports.cells(row), strict=True))
    databases = [each for each in looked.report.databases if each.site == site.name]
    found = [each for each in looked.report.findings if each.site == site.name]
    return {
        **fields,
        "cloud": site.cloud,
        "agent": site.agent,
        "engine": site.engine,
        **_access(site, looked.answers[site.name]),
        "databases": Lines(_plain(databases), [_database(each) for each in databases]),
        "findings": Lines(_plain(found), [f"{each.outcome} {each.code}" for each in found]),
    }


def _access(site: inventory.Site, answers: looking.Answers) -> dict[str, Any]:
    """What logging in and the catalog tell; None where it is not known."""
    identity = answers.identity.value
    login = answers.login.value if answers.login else None
    mine = [each for each in login.endpoints if each.region == site.region] if login else []
    regions = list(login.regions) if login else []
    return {
        "auth_url": identity.url if identity else None,
        "user": login.user if login else None,
        "project": login.project if login else None,
        "login_seconds": round(login.seconds, 3) if login else None,
        "token_expires_at": login.expires_at if login else None,
        "catalog_regions": Lines(regions, regions),
        "endpoints": Lines(
            _plain(mine), [f"{each.service} {each.interface} {each.url}" for each in mine]
        ),
    }


def _plain(values: Sequence[Any]) -> list[Any]:
    """Dataclasses as types that JSON and YAML know."""
    return list(json.loads(json.dumps([dataclasses.asdict(each) for each in values])))


def _database(row: status.DatabaseRow) -> str:
    position = f" at {row.position}" if row.position else ""
    return f"{row.database}: {row.verdict}{position}: {row.reason}"
