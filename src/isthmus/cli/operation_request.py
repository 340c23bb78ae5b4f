"""`isthmus operation protect|drill|failover|cleanup`: operations are asked for.

A request ends when it is written, or, with `--wait`, when a person has to decide or all is finished.
The engine that does it is that of the group's own site for a checkpoint, and that of its backup site
for everything else: on the day of the disaster there is no other.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import uuid
from typing import Any

from isthmus.cli.network_client import Client, path
from isthmus.cli.operation import OperationCommand, add_wait
from isthmus.cli.reports import Columns


class _Requested(OperationCommand):
    """A request for one kind of operation. `place`: the field of the group that names the site whose
    engine does it."""

    kind = ""
    place = "backup_site"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("group", metavar="GROUP", help="Name or id of the protection group.")
        add_wait(parser)
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """What is asked for beside kind and group."""
        return {}

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        engines = self.engines(parsed_args)
        _, answer = engines.knowing(path("groups", parsed_args.group))
        group = answer["group"]
        body = {"kind": self.kind, "group": group["id"], "key": str(uuid.uuid4())}
        client = engines.with_site(group[self.place])
        return self.requested(client, {**body, **self.body(parsed_args)}, parsed_args)

    def requested(self, client: Client, body: Any, parsed_args: argparse.Namespace) -> Columns:
        answer = client.post(path("operations"), body)
        operation, code = answer["operation"], answer["code"]
        if code:
            print(f"The code that approves it, shown only now: {code}", file=sys.stderr)
        operation = self.waited(client, operation, parsed_args)
        return self.told(operation, **({"code": code} if code else {}))


class Protect(_Requested):
    """Make a checkpoint of a group: freeze in order, snapshot, thaw, back up."""

    kind, place = "protect", "site"


class _Returning(_Requested):
    """Operations that bring a group back from a checkpoint."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--checkpoint",
            metavar="ID",
            help="The checkpoint to return to; the newest good one by default.",
        )
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {"checkpoint": parsed_args.checkpoint} if parsed_args.checkpoint else {}


class Drill(_Returning):
    """Rehearse: bring a group up in an isolated network, test it, take it away again."""

    kind = "drill"


class Failover(_Returning):
    """Bring a group up in its backup site, for good. Nothing happens before it is approved."""

    kind = "failover"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--disaster-at",
            metavar="TIME",
            type=_moment,
            help="Since when the group is down (RFC 3339); the recovery time is counted from it.",
        )
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        body = super().body(parsed_args)
        if parsed_args.disaster_at:
            body["disaster_at"] = parsed_args.disaster_at
        return body


class Cleanup(_Requested):
    """Take away what an operation made and could not take away itself."""

    kind = "cleanup"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = OperationCommand.get_parser(self, prog_name)
        parser.add_argument("operation", metavar="OPERATION", help="Its id.")
        add_wait(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, answer = self.engines(parsed_args).knowing(
            path("operations", parsed_args.operation)
        )
        body = {
            "kind": self.kind,
            "group": answer["operation"]["group_id"],
            "operation": parsed_args.operation,
            "key": str(uuid.uuid4()),
        }
        return self.requested(client, body, parsed_args)


def _moment(text: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time (RFC 3339)") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no zone, such as Z or +02:00")
    return moment.isoformat()
