"""`isthmus check`: is the cloud right, and if not, why and what to do. It changes nothing anywhere."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from isthmus import errors
from isthmus.checks import gathering, registry, running
from isthmus.cli import check_screens, configuration_files, reports
from isthmus.cli.reports import Columns
from isthmus.identity import comparing, deployment, rendering
from isthmus.identity.config import Provider
from isthmus.sites import inventory, last_good, probe

T = TypeVar("T")

COLUMNS = ("state", "check", "site", "cause", "consequence", "remedy", "command")


class CannotCheckError(errors.IsthmusError):
    """The checks could not be run at all, which says nothing about the cloud."""

    exit_code = running.COULD_NOT_RUN


class Check(reports.Documented):
    """Check all sites: reach, releases, clocks, keys, replication, settings, catalog, rights.

    Nothing is changed. A check whose prerequisite failed is skipped, and says so. Leaves with 0 when all is well, 1 when there are
    warnings, 2 when there are errors, 255 when it could not be checked.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        reports.add_timeout(parser)
        parser.add_argument(
            "--site",
            metavar="SITE",
            help="Ask this site only; checks that hold sites against each other are left out.",
        )
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="ID",
            help="Only this check and what it stands on. May be repeated.",
        )
        parser.add_argument(
            "--skip",
            action="append",
            default=[],
            metavar="ID",
            help="Leave this check out; what stands on it is run all the same. May be repeated.",
        )
        parser.add_argument(
            "--no-login",
            action="store_true",
            help="Do not log in; catalogs, tokens and roles are not checked then.",
        )
        parser.add_argument(
            "--deployment",
            type=Path,
            metavar="FILE",
            help="Addresses and paths of every site (YAML), to hold deployed files against.",
        )
        parser.add_argument(
            "--deployed",
            type=Path,
            metavar="DIR",
            help="Files of the hosts, gathered in the layout of `identity config render`.",
        )
        parser.add_argument(
            "--provider",
            default=str(Provider.FERNET),
            choices=[str(each) for each in Provider],
            help="With --deployment: the kind of tokens.",
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print what was found and return the verdict."""
        super().run(parsed_args)
        return self._report.exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Gather the facts, then judge them."""
        asked = parsed_args
        checks = running.select(registry.CHECKS, only=asked.only, skip=asked.skip)
        if (asked.deployment is None) != (asked.deployed is None):
            raise errors.UsageError(
                "--deployment and --deployed belong together", unchanged="nothing was asked"
            )
        if asked.site and asked.deployed:
            raise errors.UsageError(
                "--site leaves out what holds all sites against something, deployed files too",
                next_command=f"isthmus identity config check --site {asked.site} ...",
            )
        known = _could(lambda: inventory.load(self.app.options.sites))
        sites = (known.site(asked.site),) if asked.site else known.sites
        if asked.site:
            checks = tuple(each for each in checks if each.of_site)
        facts = _could(
            lambda: gathering.gather(
                known,
                probe.Clouds(),
                sites=sites,
                timeout=asked.timeout,
                login=not asked.no_login,
                cache=last_good.place(os.environ),
                differences=_differences(
                    known, Provider(asked.provider), asked.deployment, asked.deployed
                ),
            )
        )
        self._report = running.run(checks, facts)
        return COLUMNS, list(_rows(self._report))

    def drawn(self, *, colour: bool) -> str:
        """Headline, findings, what was skipped and why."""
        return check_screens.report(self._report, colour=colour)

    def document(self) -> Any:
        """Every result."""
        return self._report.document()


class List(reports.Rows):
    """List all checks; nothing is asked of any site."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        header = ("ID", "Category", "Severity", "Title", "Needs")
        return header, [
            (each.id, str(each.category), str(each.severity), each.title, " ".join(each.needs))
            for each in registry.CHECKS
        ]


def _could(step: Callable[[], T]) -> T:
    """What the step returns; what stops it stops the checks, which has an exit code of its own."""
    try:
        return step()
    except errors.UsageError:
        raise
    except errors.IsthmusError as error:
        raise CannotCheckError(
            error.what,
            where=error.where,
            cause=error.cause,
            unchanged=error.unchanged,
            next_command=error.next_command,
        ) from error


def _differences(
    known: inventory.Inventory, provider: Provider, path: Path | None, deployed: Path | None
) -> list[comparing.Difference] | None:
    """Between deployed files and what is rendered, without passwords; None if nobody asked for it."""
    if path is None or deployed is None:
        return None
    declared = deployment.parse(
        configuration_files.read(path), source=str(path), inventory=known, provider=provider
    )
    secrets = dict.fromkeys(deployment.needed_secrets(declared), "not compared")
    files = rendering.files(declared, secrets)
    return configuration_files.differences(deployed, files, with_secrets=False)


def _rows(report: running.Report) -> Iterator[tuple[str | None, ...]]:
    """One row for each finding, and for each check that found none or was skipped."""
    for result in report.results:
        for each in result.findings:
            parts = (each.cause, each.consequence, each.remedy, each.command)
            yield (str(each.outcome), result.check, each.site, *parts)
        if not result.findings:
            yield (str(result.state), result.check, result.site, result.reason, None, None, None)
