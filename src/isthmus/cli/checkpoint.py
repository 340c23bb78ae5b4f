"""`isthmus checkpoint ...`: the points in time to which groups can return, from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister, show

from isthmus.cli import operation_client, reports
from isthmus.cli.operation_client import Engines, path
from isthmus.cli.site import Lines

Columns = tuple[Sequence[str], Iterable[Sequence[Any]]]

REBUILD_SECONDS = 600.0
"""Each manifest is read and verified; a store with thousands of them takes minutes."""


class List(lister.Lister):
    """List the checkpoints that the engines know, the newest of each group first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        parser.add_argument("--group", metavar="ID", help="Only those of the group with this id.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        answers = engines.everywhere(path("checkpoints"))
        found = operation_client.unique(answers, "checkpoints", "id")
        header = ("Seq", "Phase", "Outcome", "Consistency", "Window", "Age", "Known in", "ID")
        wanted = parsed_args.group
        return header, [_row(c) for c in found if wanted in (None, c["group_id"])]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


class Show(show.ShowOne):
    """Show a checkpoint: how consistent it is, how long guests were frozen, its backups."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        parser.add_argument("checkpoint", metavar="CHECKPOINT", help="Its id.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = Engines(self.app.options.sites, parsed_args.ask)
        _, answer = engines.knowing(path("checkpoints", parsed_args.checkpoint))
        return self.dict2columns(described(answer["checkpoint"]))

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


class Rebuild(lister.Lister):
    """Have an engine that lost its database learn everything from the manifests of the remote store.

    The rows are what is wrong with manifests that were refused. Leaves with 0 when there are none, 1
    for warnings, 2 for errors.
    """

    exit_code = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--site", required=True, help="Whose engine shall learn.")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = Engines(self.app.options.sites, parsed_args.site).of(parsed_args.site)
        answer = client.post(path("rebuild"), timeout=REBUILD_SECONDS)
        learnt = ", ".join(f"{count} {what}" for what, count in answer["learnt"].items())
        print(f"learnt: {learnt}", file=sys.stderr)
        codes = {"INFO": 0, "WARN": 1, "ERROR": 2}
        found = answer["findings"]
        self.exit_code = max((codes[each["outcome"]] for each in found), default=0)
        names = ("outcome", "subject", "summary", "cause", "remedy")
        header = ("Outcome", "Subject", "Summary", "Cause", "Remedy")
        return header, [tuple(each[name] for name in names) for each in found]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Any]
    ) -> int:
        return reports.choose(super().produce_output, parsed_args, column_names, data)


def described(found: Any) -> dict[str, Any]:
    """The fields of a checkpoint, in the order of reading."""
    backups = found["backups"]
    plain = ("id", "seq", "group_id", "site", "phase", "outcome", "reason", "consistency",
             "frozen_at", "age_seconds", "window_s", "driver", "epoch")  # fmt: skip
    return {
        **{name: found[name] for name in plain},
        "windows_s": Lines(
            [dict(found["windows_s"])], [f"{s}: {w:.3f} s" for s, w in found["windows_s"].items()]
        ),
        "backups": Lines(list(backups), [_backup(each) for each in backups]),
    }


def _backup(each: Any) -> str:
    kind = "full" if len(each["chain"]) == 1 else f"incremental, {len(each['chain'])} in the chain"
    return (
        f"{each['device']} of {each['server_id']}: {each['size_gib']} GiB, {kind},"
        f" {each['stored_bytes']:,} bytes ({each['backup_id']})"
    )


def _row(found: Any) -> tuple[Any, ...]:
    window, age = found["window_s"], found["age_seconds"]
    return (
        found["seq"],
        found["phase"],
        found["outcome"],
        found["consistency"] or "",
        "" if window is None else f"{window:.2f} s",
        "" if age is None else f"{age:.0f} s",
        ", ".join(found["known_in"]),
        found["id"],
    )
