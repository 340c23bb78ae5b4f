"""`isthmus identity key ...`: the token keys of all sites, from the command line.

The commands say what is to be; the agent beside the database that takes the writes does it. Any engine
takes an operator's word, and none of them sees a key. `list`, `watch` and what waits leave with 0 when all
is well, 1 when somebody is waited for or fenced, 2 when old tokens are still accepted after a replacement.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from isthmus import errors
from isthmus.cli import network_client, network_options, reports
from isthmus.cli.network_client import Client, path
from isthmus.cli.reports import Columns
from isthmus.cli.screens import UNKNOWN
from isthmus.cli.site import Lines

KINDS = ("token", "receipt", "credential")
POLL_SECONDS = 0.5
"""How often it is looked whether something happened; a rotation takes about a second."""

_EXIT_CODES = {"OK": 0, "WARN": 1, "ERROR": 2}


class _Asking(reports.Judged):
    """What all commands share: which engine, which kind of keys."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_ask(parser)
        return parser

    def client(self, parsed_args: argparse.Namespace) -> Client:
        return network_client.connect(self.app.options.sites, ask=parsed_args.ask)


class _OfKind(_Asking):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--kind", choices=KINDS, default=KINDS[0], help="Whose keys; token by default."
        )
        return parser


class List(_Asking, reports.Documented):
    """Show the keys by generation, what each site has acknowledged, and what is waited for."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        self._found = self.client(parsed_args).get(path("identity", "keys"))
        kinds = self._found["kinds"]
        self.exit_code = max((_EXIT_CODES[each["outcome"]] for each in kinds), default=1)
        header = ("Kind", "Node", "State", "Revision", "Digest", "Heard age", "Trouble")
        return header, [_row(each, node) for each in kinds for node in each["nodes"]]

    def drawn(self, *, colour: bool) -> str:
        kinds = self._found["kinds"]
        if not kinds:
            return (
                "No agent has shown its keys: the section `keys` of its configuration is missing.\n"
            )
        return "\n".join(line for each in kinds for line in (*_screen(each), ""))

    def document(self) -> Any:
        return self._found


class _Saying(_OfKind, reports.Fields):
    """An operator's word, and what there is after it."""

    word = ""
    what = "it is complete"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_wait(parser, self.what)
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any] | None:
        """What is sent."""
        return None

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client, kind = self.client(parsed_args), parsed_args.kind
        route = path("identity", "keys", kind, self.word)
        found = client.post(route, self.body(parsed_args))["keys"]
        if parsed_args.wait:
            deadline = time.monotonic() + parsed_args.timeout
            for seen in _followed(client, kind, deadline, least=found["revision"]):
                found = seen
                if self.done(found, parsed_args):
                    break
            self.exit_code = _verdict(found)
            _tell_end(client, kind, found)
        return self.dict2columns(_fields(found))

    def done(self, found: Mapping[str, Any], parsed_args: argparse.Namespace) -> bool:
        return found["in_flight"] is None


class Rotate(_Saying):
    """Have a new key made, acknowledged by every site that is not fenced, and used.

    No token is refused: the key signs only when all have it, and the one before validates for as long as
    tokens of it live. A silent site holds the rotation until it is heard or fenced.
    """

    word = "rotate"


class Replace(_Saying):
    """Emergency: replace all keys at once. EVERY TOKEN DIES, in all sites, services included.

    For keys that leaked. A site that does not acknowledge still accepts the old tokens: `watch` names it.
    """

    word = "replace"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--why", required=True, help="For the history.")
        parser.add_argument(
            "--yes-all-tokens-die", action="store_true", help="Needed: there is no way back."
        )
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        if not parsed_args.yes_all_tokens_die:
            raise errors.UsageError(
                "a replacement ends every token at once",
                cause="users and services log in again, and what runs with an old token fails",
                unchanged="nothing was changed",
                next_command="isthmus identity key rotate      (no token is refused; or give"
                " --yes-all-tokens-die)",
            )
        return {"why": parsed_args.why}


class _AboutNode(_Saying):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("node", metavar="SITE", help="The site whose node is meant.")
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {"node": parsed_args.node}


class Fence(_AboutNode):
    """Do not wait for a site. It issues no tokens from when it learns of it, and validates as before.

    It comes back by itself when it has the keys; with --keep only after `unfence`, and it gets no keys.
    """

    word = "fence"
    what = "nothing is in flight any more"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--why", default="it is silent", help="For the history and its users.")
        parser.add_argument(
            "--keep", action="store_true", help="Until `unfence`: for a site that is not trusted."
        )
        return parser

    def body(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {**super().body(parsed_args), "why": parsed_args.why, "keep": parsed_args.keep}


class Unfence(_AboutNode):
    """Let a site come back whose fence was kept; it does when it has the keys."""

    word = "unfence"
    what = "it is back"

    def done(self, found: Mapping[str, Any], parsed_args: argparse.Namespace) -> bool:
        return not any(
            each["node"] == parsed_args.node and each["fenced"] for each in found["nodes"]
        )


class Watch(_OfKind):
    """Follow what happens to the keys until nothing is in flight; one line for each change."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_timeout(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        client = self.client(parsed_args)
        deadline = time.monotonic() + parsed_args.timeout
        found: Mapping[str, Any] = {}
        for found in _followed(client, parsed_args.kind, deadline, out=self.app.stdout):
            if found["in_flight"] is None:
                break
        self.exit_code = _verdict(found)


class History(_OfKind, reports.Rows):
    """What was done to the keys, by whom and when; the newest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="20 by default.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        route = path("identity", "keys", parsed_args.kind, "history")
        found = self.client(parsed_args).get(f"{route}?limit={parsed_args.limit}")["events"]
        rows = [(each["at"], each["revision"], each["by"], each["event"]) for each in found]
        return ("At", "Revision", "By", "Event"), rows


def _followed(
    client: Client, kind: str, deadline: float, *, least: int = 0, out: Any = None
) -> Iterator[Mapping[str, Any]]:
    """The document again and again, from revision `least` on, until the deadline; each new sentence is a
    line on `out` (standard error, if it is not named). A replica may show what was said a moment later."""
    said = ""
    while True:
        kinds = client.get(path("identity", "keys"))["kinds"]
        found = next((each for each in kinds if each["kind"] == kind), None)
        if found is None:
            raise errors.UsageError(
                f"nobody looks after {kind} keys",
                cause="no agent has the section `keys` for them in its configuration",
                unchanged="nothing was changed",
                next_command="isthmus identity key list",
            )
        if found["summary"] != said:
            said = found["summary"]
            print(f"{kind} keys, revision {found['revision']}: {said}", file=out or sys.stderr)
        if found["revision"] >= least:
            yield found
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_SECONDS)


def _tell_end(client: Client, kind: str, found: Mapping[str, Any]) -> None:
    """The newest line of the history, which says how long it took."""
    if found["in_flight"] is not None:
        names = ", ".join(found["waiting_for"]) or "nobody"
        print(f"not complete in time; it waits for {names} and goes on", file=sys.stderr)
        return
    events = client.get(f"{path('identity', 'keys', kind, 'history')}?limit=1")["events"]
    for each in events:
        print(each["event"], file=sys.stderr)


def _verdict(found: Mapping[str, Any]) -> int:
    code = _EXIT_CODES[found["outcome"]]
    return max(code, 1) if found["in_flight"] is not None else code


def _row(kind: Mapping[str, Any], node: Mapping[str, Any]) -> tuple[Any, ...]:
    values = (node["revision"], node["digest"], node["heard_age_seconds"], node["trouble"])
    shown = (UNKNOWN if value is None else value for value in values[:3])
    return (kind["kind"], node["node"], _state(node), *shown, node["trouble"] or "")


def _state(node: Mapping[str, Any]) -> str:
    if node["fenced"]:
        return "fenced (kept)" if node["fenced"]["keep"] else "fenced"
    return "acknowledged" if node["acknowledged"] else "waited for"


def _screen(kind: Mapping[str, Any]) -> Iterator[str]:
    yield f"{kind['outcome']}  {kind['kind']} keys: {kind['summary']}"
    yield from (f"  {line}" for line in _generations(kind))
    yield from (f"  {line}" for line in _nodes(kind))
    if kind["next_rotation_at"]:
        yield f"  next rotation {kind['next_rotation_at']}"


def _generations(kind: Mapping[str, Any]) -> list[str]:
    lines = []
    for each in kind["generations"]:
        if each["phase"] == "retired":
            continue
        retires = f", retires {each['retires_at']}" if each["retires_at"] else ""
        lines.append(
            f"generation {each['generation']:<4} {each['phase']:<9} since {each['since']}{retires}"
        )
    return lines


def _nodes(kind: Mapping[str, Any]) -> list[str]:
    lines = []
    for each in kind["nodes"]:
        age = each["heard_age_seconds"]
        heard = "never heard" if age is None else f"said so {age:g} s ago"
        why = f": {each['fenced']['why']}" if each["fenced"] else ""
        trouble = f"; {each['trouble']}" if each["trouble"] and age is not None else ""
        lines.append(f"{each['node']:<15} {_state(each)}{why}, {heard}{trouble}")
    return lines


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": found["kind"],
        "summary": found["summary"],
        "outcome": found["outcome"],
        "revision": found["revision"],
        "in_flight": found["in_flight"] and found["in_flight"]["what"],
        "waiting_for": ", ".join(found["waiting_for"]),
        "generations": Lines(list(found["generations"]), _generations(found)),
        "nodes": Lines(list(found["nodes"]), _nodes(found)),
    }
