"""`isthmus plan ...`: recovery plans, that is what is called what in the backup site.

A plan is a document (YAML or JSON), kept at the engine of its target site, because that is where it
is needed when the other one is gone. `validate` finds what is missing before the disaster.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import command, lister, show

from isthmus import errors
from isthmus.cli import operation_client, reports
from isthmus.cli.operation_client import Engines, path
from isthmus.cli.site import Lines

Columns = tuple[Sequence[str], Iterable[Sequence[Any]]]

VALIDATE_SECONDS = 120.0
"""A thousand servers take a minute at most."""

TABLES = ("flavors", "networks", "subnets", "volume_types", "zones", "keypairs",
          "security_groups", "images", "server_groups", "addresses", "floating")  # fmt: skip


class _Shown(show.ShowOne):
    """What the commands about one plan share."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        parser.add_argument("name", metavar="PLAN", help="Its name.")
        return parser

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


class Set(_Shown):
    """Declare a recovery plan from a file, or replace the one of that name."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--file", required=True, type=pathlib.Path, help="YAML or JSON; - for standard input."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        document = read(parsed_args.file)
        target = document.get("target")
        if not isinstance(target, str):
            raise errors.InputError(
                "the plan is refused",
                where=f"{parsed_args.file}: field target",
                cause="it names no site",
                unchanged="nothing was changed",
            )
        client = Engines(self.app.options.sites, parsed_args.ask).with_site(target)
        answer = client.put(path("plans", parsed_args.name), {**document, "name": parsed_args.name})
        return self.dict2columns(described(answer["plan"]))


class Show(_Shown):
    """Show a recovery plan."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        _, answer = engines.knowing(path("plans", parsed_args.name))
        return self.dict2columns(described(answer["plan"]))


class Validate(lister.Lister):
    """Look in the backup site for everything that a plan's groups need there.

    Leaves with 0 when nothing is missing, 1 when something comes back otherwise than it was, 2 when
    something does not come back.
    """

    exit_code = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        parser.add_argument("name", metavar="PLAN", help="Its name.")
        parser.add_argument(
            "--create", action="store_true", help="Make first what can be made safely."
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        client, _ = engines.knowing(path("plans", parsed_args.name))
        route = path("plans", parsed_args.name, "validate")
        query = "?create=true" if parsed_args.create else ""
        answer = client.post(f"{route}{query}", timeout=VALIDATE_SECONDS)
        found = answer["findings"]
        codes = {"INFO": 0, "WARN": 1, "ERROR": 2}
        self.exit_code = max((codes[each["outcome"]] for each in found), default=0)
        header = ("Outcome", "Subject", "Servers", "Summary", "Cause", "Remedy")
        return header, [_finding(each) for each in found]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


class List(lister.Lister):
    """List the recovery plans that the engines know."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        found = operation_client.unique(engines.everywhere(path("plans")), "plans", "name")
        header = ("Name", "From", "To", "Project", "Addresses", "Revision", "Known in")
        return header, [_row(each) for each in found]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


class Delete(command.Command):
    """Forget a recovery plan."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        parser.add_argument("name", metavar="PLAN", help="Its name.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        client, _ = engines.knowing(path("plans", parsed_args.name))
        client.delete(path("plans", parsed_args.name))


def read(file: pathlib.Path) -> dict[str, Any]:
    """The document of a file. Raises InputError."""
    import yaml

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.InputError(
            "the plan cannot be read", where=str(file), cause=str(error).splitlines()[0]
        ) from error
    if not isinstance(document, dict):
        raise errors.InputError(
            "the plan cannot be read", where=str(file), cause="it should hold a mapping"
        )
    return document


def described(plan: Any) -> dict[str, Any]:
    """The fields of a plan, in the order of reading."""
    plain = ("name", "source", "target", "project_id", "target_project_id", "address_policy",
             "keep_macs", "default_zone", "default_volume_type")  # fmt: skip
    tables = {
        name: Lines([dict(plan[name])], [f"{old} -> {new}" for old, new in plan[name].items()])
        for name in TABLES
    }
    same = plan["same_name"]
    return {
        **{name: plan[name] for name in plain},
        **tables,
        "same_name": Lines(list(same), [", ".join(same)]),
        "revision": plan["revision"],
    }


def _finding(each: Any) -> tuple[Any, ...]:
    names = ("outcome", "subject", "servers", "summary", "cause", "remedy")
    return tuple(", ".join(each[n]) if n == "servers" else each[n] for n in names)


def _row(plan: Any) -> tuple[Any, ...]:
    return (
        plan["name"],
        plan["source"],
        plan["target"],
        plan["project_id"] or "all",
        plan["address_policy"],
        plan["revision"],
        ", ".join(plan["known_in"]),
    )
