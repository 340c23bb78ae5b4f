"""`isthmus checkpoint ...`: the points in time to which groups can return, from the command line."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from isthmus.cli import reports
from isthmus.cli.network_client import path
from isthmus.cli.operation_client import Engines
from isthmus.cli.recovery_commands import About, Listed, Shown, exit_code
from isthmus.cli.reports import Columns
from isthmus.cli.site import Lines

REBUILD_SECONDS = 600.0
"""Each manifest is read and verified; a store with thousands of them takes minutes."""


class List(Listed):
    """List the checkpoints that the engines know, the newest of each group first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--group", metavar="ID", help="Only those of the group with this id.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.known(parsed_args, "checkpoints", key="id")
        header = ("Seq", "Phase", "Outcome", "Consistency", "Window", "Age", "Known in", "ID")
        wanted = parsed_args.group
        return header, [_row(c) for c in found if wanted in (None, c["group_id"])]


class Show(About, Shown):
    """Show a checkpoint: how consistent it is, how long guests were frozen, its backups."""

    noun, collection, one = "CHECKPOINT", "checkpoints", "checkpoint"
    known_by, dest = "Its id.", "checkpoint"

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self.dict2columns(described(self.found(parsed_args)[1]))


class Rebuild(reports.Judged, reports.Rows):
    """Have an engine that lost its database learn everything from the manifests of the remote store.

    The rows are what is wrong with manifests that were refused. Leaves with 0 when there are none, 1
    for warnings, 2 for errors.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--site", required=True, help="Whose engine shall learn.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = Engines(self.app.options.sites, parsed_args.site).of(parsed_args.site)
        answer = client.post(path("rebuild"), timeout=REBUILD_SECONDS)
        learnt = ", ".join(f"{count} {what}" for what, count in answer["learnt"].items())
        print(f"learnt: {learnt}", file=sys.stderr)
        found = answer["findings"]
        self.exit_code = exit_code(found)
        names = ("outcome", "subject", "summary", "cause", "remedy")
        header = ("Outcome", "Subject", "Summary", "Cause", "Remedy")
        return header, [tuple(each[name] for name in names) for each in found]


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
