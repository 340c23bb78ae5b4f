"""`isthmus policy ...`: how groups are protected, from the command line.

A policy is declared at the engine of the site whose groups use it (`--ask`).
"""

from __future__ import annotations

import argparse
from typing import Any

from isthmus import errors
from isthmus.cli.network_client import path
from isthmus.cli.recovery_commands import About, Forgotten, Listed, Shown
from isthmus.cli.reports import Columns
from isthmus.cli.site import Lines


class _About(About):
    noun, collection, one = "POLICY", "policies", "policy"


class _Shown(_About, Shown):
    """What the commands about one policy share."""

    def told(self, policy: Any) -> Columns:
        return self.dict2columns(described(policy))


class Create(_Shown):
    """Declare a policy of protection."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--site", required=True, help="Whose engine shall know it.")
        add_settings(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.engines(parsed_args).with_site(parsed_args.site)
        body = {"name": parsed_args.name, **settings(parsed_args)}
        return self.told(client.post(path("policies"), body)["policy"])


class Set(_Shown):
    """Change a policy. What is not given stays; hooks are given all or not at all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_settings(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, policy = self.found(parsed_args)
        changes = settings(parsed_args)
        if not changes:
            raise errors.UsageError(
                "nothing to change was given",
                unchanged="nothing was changed",
                next_command="isthmus policy set --help",
            )
        if "retention" in changes:
            changes["retention"] = {**policy["retention"], **changes["retention"]}
        return self.told(client.patch(path("policies", parsed_args.name), changes)["policy"])


class Show(_Shown):
    """Show a policy."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self.told(self.found(parsed_args)[1])


class List(Listed):
    """List the policies that the engines know."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.known(parsed_args, "policies", key="name")
        header = ("Name", "Option", "Driver", "Freeze deadline", "Keep", "Every", "Known in")
        return header, [_row(each) for each in found]


class Delete(_About, Forgotten):
    """Forget a policy that no group uses."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen and changed."""
    parser.add_argument("--driver", choices=["cinder", "rbd"], help="Who takes the snapshots.")
    parser.add_argument(
        "--freeze-deadline",
        metavar="SECONDS",
        type=float,
        help="When guests are thawed whatever else is dead; 10 by default.",
    )
    parser.add_argument("--keep", type=int, metavar="N", help="How many checkpoints stay.")
    parser.add_argument(
        "--full-every", type=int, metavar="N", help="Every how many backups one is full."
    )
    parser.add_argument(
        "--every", metavar="SECONDS", type=float, help="Make a checkpoint that often."
    )
    for when in ("pre", "post"):
        parser.add_argument(
            f"--{when}-hook",
            metavar="[MEMBER:]COMMAND",
            dest=f"{when}_hooks",
            action="append",
            type=hook,
            help=f"A command in the guests {'before the freeze' if when == 'pre' else 'after the thaw'}"
            " (its words are split at blanks).",
        )


def hook(text: str) -> dict[str, Any]:
    """[MEMBER:]COMMAND."""
    member, colon, words = text.partition(":")
    if text.startswith("/") or not colon:
        member, words = "", text
    if not words.split():
        raise argparse.ArgumentTypeError(f"{text!r} should look like [MEMBER:]/path/of/command")
    return {"command": words.split(), "member": member or None}


def settings(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """What was given, as the document of a policy has it."""
    given = {
        "driver": parsed_args.driver,
        "freeze_deadline_s": parsed_args.freeze_deadline,
        "schedule_s": parsed_args.every,
        "pre_hooks": parsed_args.pre_hooks,
        "post_hooks": parsed_args.post_hooks,
    }
    found = {name: value for name, value in given.items() if value is not None}
    kept = {"keep": parsed_args.keep, "full_every": parsed_args.full_every}
    retention = {name: value for name, value in kept.items() if value is not None}
    return {**found, "retention": retention} if retention else found


def described(policy: Any) -> dict[str, Any]:
    """The fields of a policy, in the order of reading."""
    return {
        "name": policy["name"],
        "option": policy["option"],
        "driver": policy["driver"],
        "freeze_deadline_s": policy["freeze_deadline_s"],
        "keep": policy["retention"]["keep"],
        "full_every": policy["retention"]["full_every"],
        "schedule_s": policy["schedule_s"],
        "pre_hooks": Lines(list(policy["pre_hooks"]), [_words(h) for h in policy["pre_hooks"]]),
        "post_hooks": Lines(list(policy["post_hooks"]), [_words(h) for h in policy["post_hooks"]]),
    }


def _words(found: Any) -> str:
    where = found["member"] or "every member"
    return f"{where}: {' '.join(found['command'])} ({found['timeout_s']:g} s, {found['on_error']})"


def _row(policy: Any) -> tuple[Any, ...]:
    every = policy["schedule_s"]
    return (
        policy["name"],
        policy["option"],
        policy["driver"],
        f"{policy['freeze_deadline_s']:g} s",
        policy["retention"]["keep"],
        "when asked" if every is None else f"{every:g} s",
        ", ".join(policy["known_in"]),
    )
