"""`isthmus group ...`: protection groups, from the command line.

A group is declared at the engine of its own site; the backup site learns of it from the manifests of
its checkpoints.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from isthmus import errors
from isthmus.cli.network_client import path
from isthmus.cli.recovery_commands import About, Forgotten, Listed, Shown
from isthmus.cli.reports import Columns
from isthmus.cli.site import Lines


class _About(About):
    noun, collection, one = "GROUP", "groups", "group"
    known_by = "Its name or id."


class _Shown(_About, Shown):
    """What the commands about one group share."""

    def told(self, group: Any) -> Columns:
        return self.dict2columns(described(group))


class Create(_Shown):
    """Declare a protection group: servers that come back together, in an order.

    Levels are frozen in ascending order and come back in descending order: who asks has a lower
    level than who answers, and the database the highest.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--site", required=True, help="Where its servers run.")
        parser.add_argument("--backup-site", required=True, help="Where they come back.")
        parser.add_argument("--policy", required=True, help="The name of a policy.")
        parser.add_argument("--project", metavar="ID", help="Its project; your own by default.")
        add_members(parser, required=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        body = {
            "name": parsed_args.name,
            "site": parsed_args.site,
            "backup_site": parsed_args.backup_site,
            "policy": parsed_args.policy,
            "members": with_tests(parsed_args.members, parsed_args.tests),
        }
        if parsed_args.project:
            body["project_id"] = parsed_args.project
        client = self.engines(parsed_args).with_site(parsed_args.site)
        return self.told(client.post(path("groups"), body)["group"])


class Set(_Shown):
    """Change a protection group. What is not given stays; members are given all or not at all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", dest="new_name", metavar="NEW", help="Its new name.")
        parser.add_argument("--backup-site", help="Where the servers come back.")
        parser.add_argument("--policy", help="The name of a policy.")
        add_members(parser, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        given = {
            "name": parsed_args.new_name,
            "backup_site": parsed_args.backup_site,
            "policy": parsed_args.policy,
            "members": with_tests(parsed_args.members or [], parsed_args.tests),
        }
        changes = {name: value for name, value in given.items() if value}
        if not changes:
            raise errors.UsageError(
                "nothing to change was given",
                unchanged="nothing was changed",
                next_command="isthmus group set --help",
            )
        engines = self.engines(parsed_args)
        _, answer = engines.knowing(path("groups", parsed_args.name))
        client = engines.with_site(answer["group"]["site"])
        route = path("groups", answer["group"]["id"])
        return self.told(client.patch(route, changes)["group"])


class Show(_Shown):
    """Show a protection group: members in order, policy, newest checkpoint and its age, and whether
    its servers may still run in its site."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self.told(self.found(parsed_args)[1])


class List(Listed):
    """List the protection groups that the engines know."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.known(parsed_args, "groups", key="id")
        header = ("Name", "Site", "Backup site", "Members", "Policy", "Checkpoint age", "ID")
        return header, [_row(each) for each in found]


class Delete(_About, Forgotten):
    """Forget a protection group. Its checkpoints stay in the remote store."""

    key = "id"


def add_members(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add --member."""
    parser.add_argument(
        "--member",
        metavar="NAME=SERVER[:LEVEL[:NEEDS,...]]",
        dest="members",
        action="append",
        type=member,
        required=required,
        help="A server by its id, under a name of the group's own; its level (0 by default) and the "
        "members that it needs (once for each member).",
    )
    parser.add_argument(
        "--test",
        metavar="NAME=COMMAND",
        dest="tests",
        action="append",
        default=[],
        type=test,
        help="What succeeds in the guest of that member when it is what it should be; tried after it "
        "came back (an absolute path and its words; a JSON object as last line is kept in reports).",
    )


def test(text: str) -> tuple[str, list[str]]:
    """NAME=COMMAND, the command split as a shell splits words."""
    name, equals, words = text.partition("=")
    try:
        command = shlex.split(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {str(error).lower()}") from None
    if not (name and equals and command):
        raise argparse.ArgumentTypeError(f"{text!r} should look like NAME=COMMAND")
    return name, command


def with_tests(
    members: list[dict[str, Any]], tests: Sequence[tuple[str, list[str]]]
) -> list[dict[str, Any]]:
    """The members with their tests. Raises UsageError for a test of nobody."""
    wanted = dict(tests)
    names = {each["name"] for each in members}
    if strangers := sorted(wanted.keys() - names):
        raise errors.UsageError(
            f"--test names {strangers[0]}, which no --member names",
            cause=f"members: {', '.join(sorted(names)) or 'none given'}",
            unchanged="nothing was declared or changed",
            next_command="isthmus group create --help",
        )
    return [{**each, "test": wanted.get(each["name"], [])} for each in members]


def member(text: str) -> dict[str, Any]:
    """NAME=SERVER[:LEVEL[:NEEDS,...]]."""
    name, equals, rest = text.partition("=")
    server, _, further = rest.partition(":")
    level, _, needs = further.partition(":")
    if not (name and equals and server) or not (level or "0").lstrip("-").isdigit():
        raise argparse.ArgumentTypeError(
            f"{text!r} should look like NAME=SERVER[:LEVEL[:NEEDS,...]]"
        )
    depends = [each for each in needs.split(",") if each]
    return {"name": name, "server_id": server, "level": int(level or 0), "depends": depends}


def described(group: Any) -> dict[str, Any]:
    """The fields of a group, in the order of reading."""
    members = group["members"]
    newest = group.get("newest_checkpoint")
    findings = group.get("findings") or ()
    return {
        "name": group["name"],
        "id": group["id"],
        "project_id": group["project_id"],
        "site": group["site"],
        "backup_site": group["backup_site"],
        "policy": group["policy"],
        "members": Lines(list(members), [_member_line(each) for each in _ordered(members)]),
        "checkpoint": newest and newest["id"],
        "checkpoint_age_seconds": newest and newest["age_seconds"],
        "revision": group["revision"],
        "findings": Lines(list(findings), [_finding_line(each) for each in findings]),
    }


def _ordered(members: Sequence[Any]) -> list[Any]:
    return sorted(members, key=lambda each: (each["level"], each["name"]))


def _member_line(each: Any) -> str:
    needs = f", needs {', '.join(each['depends'])}" if each["depends"] else ""
    test = f", test: {shlex.join(each['test'])}" if each.get("test") else ""
    return f"level {each['level']}: {each['name']} ({each['server_id']}){needs}{test}"


def _finding_line(each: Any) -> str:
    servers = f" ({', '.join(each['servers'])})" if each["servers"] else ""
    return f"{each['outcome']} {each['summary']}{servers}: {each['cause']}; {each['remedy']}"


def _row(group: Any) -> tuple[Any, ...]:
    newest = group.get("newest_checkpoint")
    age = newest and newest["age_seconds"]
    return (
        group["name"],
        group["site"],
        group["backup_site"],
        len(group["members"]),
        group["policy"],
        "none" if age is None else f"{age:.0f} s",
        group["id"],
    )
