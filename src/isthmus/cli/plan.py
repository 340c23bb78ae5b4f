"""`isthmus plan ...`: recovery plans, that is what is called what in the backup site.

A plan is a document (YAML or JSON), kept at the engine of its target site, because that is where it
is needed when the other one is gone. `validate` finds what is missing before the disaster.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from isthmus import errors
from isthmus.cli import reports
from isthmus.cli.network_client import path
from isthmus.cli.recovery_commands import About, Forgotten, Listed, Shown, exit_code
from isthmus.cli.reports import Columns
from isthmus.cli.site import Lines

VALIDATE_SECONDS = 120.0
"""A thousand servers take a minute at most."""

TABLES = ("flavors", "networks", "subnets", "volume_types", "zones", "keypairs",
          "security_groups", "images", "server_groups", "addresses", "floating")  # fmt: skip


class _About(About):
    noun, collection, one = "PLAN", "plans", "plan"


class _Shown(_About, Shown):
    """What the commands about one plan share."""


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
        client = self.engines(parsed_args).with_site(target)
        answer = client.put(path("plans", parsed_args.name), {**document, "name": parsed_args.name})
        return self.dict2columns(described(answer["plan"]))


class Show(_Shown):
    """Show a recovery plan."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self.dict2columns(described(self.found(parsed_args)[1]))


class Validate(reports.Judged, _About, Listed):
    """Look in the backup site for everything that a plan's groups need there.

    Leaves with 0 when nothing is missing, 1 when something comes back otherwise than it was, 2 when
    something does not come back.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--create", action="store_true", help="Make first what can be made safely."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, _ = self.found(parsed_args)
        route = path("plans", parsed_args.name, "validate")
        query = "?create=true" if parsed_args.create else ""
        answer = client.post(f"{route}{query}", timeout=VALIDATE_SECONDS)
        found = answer["findings"]
        self.exit_code = exit_code(found)
        header = ("Outcome", "Subject", "Servers", "Summary", "Cause", "Remedy")
        return header, [_finding(each) for each in found]


class List(Listed):
    """List the recovery plans that the engines know."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.known(parsed_args, "plans", key="name")
        header = ("Name", "From", "To", "Project", "Addresses", "Revision", "Known in")
        return header, [_row(each) for each in found]


class Delete(_About, Forgotten):
    """Forget a recovery plan."""


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
