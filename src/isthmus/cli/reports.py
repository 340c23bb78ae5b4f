"""Commands that judge: they print a report in any format and leave with its verdict as exit code.

The base of `isthmus status` and its like. In the table format a person gets a screen; JSON and YAML
hold the whole report; CSV, value, and any choice of columns (-c) get one row per thing.
"""

from __future__ import annotations

import abc
import argparse
import dataclasses
import datetime
import enum
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from cliff import command, lister, show

from isthmus import errors
from isthmus.identity import status
from isthmus.sites import inventory, last_good, looking, probe

Columns = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""What a command returns to cliff: header and rows, or the names and values of fields."""

TIMEOUT_SECONDS = 5.0
"""How long a site may take: longer than a TCP retransmission, shorter than a person's patience."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looked:
    """A report, and the answers that it judges."""

    report: status.Report
    answers: Mapping[str, looking.Answers]


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add --timeout."""
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=TIMEOUT_SECONDS,
        help=f"How long each site may take to answer, {TIMEOUT_SECONDS:g} by default. "
        "All are asked at once.",
    )


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 600 seconds")
    return found


def look(known: inventory.Inventory, *, timeout: float, login: bool) -> Looked:
    """Ask all sites of the inventory and judge what they answer."""
    answers = looking.look(
        known, probe.Clouds(), timeout=timeout, login=login, cache=last_good.place(os.environ)
    )
    report = status.report(known, answers, now=datetime.datetime.now(datetime.UTC))
    return Looked(report=report, answers=answers)


def colourful(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour: on a terminal only, and never against NO_COLOR (no-color.org)."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()


class Documented(lister.Lister, metaclass=abc.ABCMeta):
    """Of commands that find one document: a screen for a person, all of it in JSON and YAML, or rows."""

    @abc.abstractmethod
    def drawn(self, *, colour: bool) -> str:
        """What was found as a person sees it."""

    @abc.abstractmethod
    def document(self) -> Any:
        """What was found, whole."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        """A screen, the whole document, or rows, as the format asks for."""
        out, form = self.app.stdout, parsed_args.formatter
        if parsed_args.columns or parsed_args.sort_columns or form not in ("table", "json", "yaml"):
            return choose(super().produce_output, parsed_args, column_names, data)
        if form == "table":
            out.write(self.drawn(colour=colourful(out, os.environ)))
        elif form == "json":
            indent = None if parsed_args.noindent else 2
            out.write(json.dumps(self.document(), indent=indent) + "\n")
        else:
            out.write(as_yaml(self.document()))
        return 0


class ReportCommand(Documented):
    """A command whose result is a report on all sites.

    Exit code: 0 OK, 1 WARN, 2 ERROR; other failures have the codes of :mod:`isthmus.errors`.
    """

    @abc.abstractmethod
    def screen(self, report: status.Report, *, colour: bool) -> str:
        """The report as a person sees it."""

    @abc.abstractmethod
    def rows(self, report: status.Report) -> Columns:
        """The report as columns and rows."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_timeout(parser)
        parser.add_argument(
            "--login",
            action="store_true",
            help="Also log in at every site, with the credentials of clouds.yaml.",
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print the report and return its verdict."""
        super().run(parsed_args)
        return self._report.outcome.exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Look at all sites."""
        known = inventory.load(self.app.options.sites)
        self._report = look(known, timeout=parsed_args.timeout, login=parsed_args.login).report
        return self.rows(self._report)

    def drawn(self, *, colour: bool) -> str:
        """The report as the command draws it."""
        return self.screen(self._report, colour=colour)

    def document(self) -> Any:
        """The whole report."""
        return self._report.document()


def as_yaml(document: Any) -> str:
    """The document as YAML, in its own order."""
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def choose(
    produce: Callable[..., int],
    parsed_args: argparse.Namespace,
    column_names: Sequence[str],
    data: Iterable[Any],
) -> int:
    """Let cliff print; a column that does not exist is the person's mistake, not a crash."""
    wanted = {name.lower().strip().replace(" ", "_") for name in parsed_args.columns}
    known = {name.lower().replace(" ", "_") for name in column_names}
    if wanted - known:
        raise errors.UsageError(
            f"there is no column {', '.join(sorted(wanted - known))}",
            cause=f"the columns are: {', '.join(column_names)}",
        )
    return produce(parsed_args, column_names, data)


class Rows(lister.Lister):
    """Of commands that print rows."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        """Print the columns that were chosen."""
        return choose(super().produce_output, parsed_args, column_names, data)


class Fields(show.ShowOne):
    """Of commands that print the fields of one thing."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        """Print the fields that were chosen."""
        return choose(super().produce_output, parsed_args, column_names, data)


class Judged(command.Command):
    """Of commands that leave with a verdict, which they set on the way."""

    exit_code = 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Do it and return the verdict."""
        super().run(parsed_args)
        return self.exit_code


def columns(kind: type[Any]) -> tuple[str, ...]:
    """The names of the fields of a row, which are the columns for programs."""
    return tuple(field.name for field in dataclasses.fields(kind))


def cells(row: Any) -> tuple[Any, ...]:
    """The values of a row, in types that every formatter of cliff knows."""
    return tuple(_cell(getattr(row, name)) for name in columns(type(row)))


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={each}" for name, each in value.items())
    # YAML refuses enumerations, even those that are text.
    return str(value) if isinstance(value, enum.Enum) else value
