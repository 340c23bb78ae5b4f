"""`isthmus operation ...`: look at operations, approve them, decide about them, report.

How they are asked for stands in `isthmus.cli.operation_request`. A decision ends when it is written,
or, with `--wait`, when a person has to decide again or all is finished.
Leaves with 0 when all is well, 1 when a step failed and a person has to decide, 2 when the operation
did not succeed; other failures as in `isthmus.errors`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

from isthmus import errors
from isthmus.cli import operation_screens, reports
from isthmus.cli.network_client import Client, path
from isthmus.cli.recovery_commands import About, Listed, Shown
from isthmus.cli.reports import Columns

WAIT_SECONDS = 3600.0
LOOK_SECONDS = 1.0
"""Between two looks at an operation that is waited for."""
PATIENCE_SECONDS = 60.0
"""How long an engine that fell silent is waited for: it may have been restarted, and goes on."""


class OperationCommand(reports.Judged, Shown):
    """What the commands share: waiting with progress, the verdict."""

    def told(self, operation: Any, **further: Any) -> Columns:
        self.exit_code = operation_screens.exit_code(operation)
        return self.dict2columns({**operation_screens.whole(operation), **further})

    def waited(self, client: Client, operation: Any, parsed_args: argparse.Namespace) -> Any:
        """The operation when somebody has to decide, if that was asked for."""
        if not parsed_args.wait:
            return operation
        return wait(client, operation["id"], parsed_args.timeout)


def wait(client: Client, operation_id: str, timeout: float) -> Any:
    """Follow an operation until a person has to decide or it is finished; progress on stderr."""
    deadline = time.monotonic() + timeout
    silent_since: float | None = None
    said: dict[str, str] = {}
    while True:
        try:
            operation = client.get(path("operations", operation_id))["operation"]
        except errors.UnavailableError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise
        else:
            silent_since = None
            for line in operation_screens.progress(operation, said):
                print(line, file=sys.stderr, flush=True)
            if operation["phase"] in operation_screens.WAITING:
                return operation
        if time.monotonic() >= deadline:
            raise errors.UnavailableError(
                "the operation is not finished",
                where=f"operation {operation_id}",
                cause=f"{timeout:g} s have passed",
                unchanged="it goes on",
                next_command=f"isthmus operation show {operation_id}",
            )
        time.sleep(LOOK_SECONDS)


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add --wait and --timeout."""
    parser.add_argument(
        "--wait",
        action="store_true",
        help="Show progress until a person has to decide or it is finished.",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=WAIT_SECONDS,
        help=f"How long to wait at most, {WAIT_SECONDS:g} by default; the operation goes on.",
    )


class _About(About):
    noun, collection, one = "OPERATION", "operations", "operation"
    known_by, dest = "Its id.", "operation"


class _Known(_About, OperationCommand):
    """Commands about an operation that there is."""


class Show(_Known):
    """Show an operation: plan, steps, what failed, and what can be decided now."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self.told(self.found(parsed_args)[1])


class Wait(_Known):
    """Follow an operation until a person has to decide, or until it is finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--timeout", metavar="SECONDS", type=float, default=WAIT_SECONDS)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, operation = self.found(parsed_args)
        return self.told(wait(client, operation["id"], parsed_args.timeout))


class _Decided(_Known):
    """A decision. `verb`: the last part of its route."""

    verb = ""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_wait(parser)
        return parser

    def body(self, parsed_args: argparse.Namespace, operation: Any) -> Any:
        """What is sent with it."""
        return None

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, operation = self.found(parsed_args)
        route = path("operations", operation["id"], self.verb)
        decided = client.post(route, self.body(parsed_args, operation))["operation"]
        return self.told(self.waited(client, decided, parsed_args))


class Approve(_Decided):
    """Approve an operation: read what it does and what will be lost, then type the code.

    The code was shown to whoever requested it. A failover takes a role of its own.
    """

    verb = "approve"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--code-file",
            metavar="FILE",
            type=pathlib.Path,
            help="Where the code stands, - for standard input; it is asked for by default. Never an "
            "argument, because everybody on the host sees those.",
        )
        return parser

    def body(self, parsed_args: argparse.Namespace, operation: Any) -> Any:
        if operation["phase"] != "awaiting-approval":
            raise errors.BusyError(
                "the operation cannot be approved now",
                where=f"operation {operation['id']}",
                cause=f"it is {operation['phase']}",
                unchanged="nothing was changed",
                next_command=f"isthmus operation show {operation['id']}",
            )
        for line in operation_screens.before_approval(operation):
            print(line, file=sys.stderr)
        given = parsed_args.code_file
        code = _read(given) if given is not None else _typed(operation["id"])
        return {"code": code, "plan_digest": operation["plan"]["digest"]}


def _read(file: pathlib.Path) -> str:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(
            "the code cannot be read",
            where=str(file),
            cause=str(error),
            unchanged="nothing changed",
        ) from error
    return text.strip()


def _typed(operation_id: str) -> str:
    if not sys.stdin.isatty():
        raise errors.UsageError(
            "the operation was not approved",
            cause="nobody is there to type the code",
            unchanged="nothing was changed",
            next_command=f"isthmus operation approve {operation_id} --code-file -",
        )
    print("Type the code to approve it: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


class Commit(_Decided):
    """Make final what a failover brought up."""

    verb = "commit"


class Rollback(_Decided):
    """Take everything away again that an operation made."""

    verb = "rollback"


class Retry(_Decided):
    """Try the failed steps of an operation again."""

    verb = "retry"


class Cancel(_Decided):
    """End an operation: at once while nothing was done, by rolling back after that."""

    verb = "cancel"


class Skip(_Decided):
    """Go on without a failed step. The reason is kept in the report and in the audit trail."""

    verb = "skip"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--step", required=True, help="The name of the step.")
        parser.add_argument("--reason", required=True, help="Why it can be done without.")
        return parser

    def body(self, parsed_args: argparse.Namespace, operation: Any) -> Any:
        return {"step": parsed_args.step, "reason": parsed_args.reason}


class List(Listed):
    """List the newest operations of all sites."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--group", metavar="GROUP", help="Only those of a group.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.known(parsed_args, "operations", key="id")
        wanted = parsed_args.group
        rows = [
            operation_screens.list_row(each)
            for each in sorted(found, key=lambda each: str(each["requested_at"]), reverse=True)
            if wanted is None or wanted in (each["group"], each["group_id"])
        ]
        return operation_screens.LIST_HEADER, rows


class Report(_About):
    """Show what an operation reached: recovery point and time, the seconds of each step."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--format", choices=["text", "json", "html"], default="text", help="text by default."
        )
        parser.add_argument(
            "--output", metavar="FILE", type=pathlib.Path, help="Write it there instead."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        client, _ = self.found(parsed_args)
        route = path("operations", parsed_args.operation, "report")
        answer = client.get(f"{route}?format={parsed_args.format}")
        text = (
            answer["text"]
            if parsed_args.format != "json"
            else json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
        )
        if parsed_args.output is None:
            self.app.stdout.write(text)
            return
        try:
            parsed_args.output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise errors.HostError(
                "the report cannot be written", where=str(parsed_args.output), cause=error.strerror
            ) from error


class Audit(_About, Listed):
    """Show who did what to an operation, and whether the audit trail is unbroken."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        route = path("operations", parsed_args.operation, "audit")
        _, answer = self.engines(parsed_args).knowing(route)
        if answer["broken"]:
            raise errors.InputError(
                "the audit trail has been tampered with",
                where="audit trail of the site",
                cause=answer["broken"],
                unchanged="nothing was changed",
            )
        names = ("at", "by", "did", "phase", "outcome", "digest")
        rows = [tuple(each.get(name) or "" for name in names) for each in answer["entries"]]
        return ("At", "By", "Did", "Phase", "Outcome", "Digest"), rows
