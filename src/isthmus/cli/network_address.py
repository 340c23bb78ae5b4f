"""`isthmus network address ...`: addresses that one site answers at a time, from the command line.

The commands say what is to be; the engines do it. `show` leaves with 0 when all is well, 1 when
there are warnings, 2 when there are errors, like the other commands that judge.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.cli import network_client, network_options, reports
from isthmus.cli.network_client import path
from isthmus.cli.network_options import NetworkCommand
from isthmus.cli.reports import Columns
from isthmus.cli.screens import UNKNOWN
from isthmus.cli.site import Lines

MOVE_SECONDS = 16.0
"""How long an engine may take to move an address: ten seconds, and the way to another engine."""

_EXIT_CODES = {"OK": 0, "WARN": 1, "ERROR": 2}


class _Known(NetworkCommand):
    """What the commands about an address that there is share."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="ADDRESS", help="Its name, the address, or its id.")
        return parser


class Create(NetworkCommand):
    """Declare a service address.

    `moved`: Isthmus holds it in one site at a time, on the provider network, and leads it to the
    target there. `vrrp`: the network function moves it itself among its members (the targets).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "address", metavar="ADDRESS", help="The address; with /PREFIX of its network if not 24."
        )
        parser.add_argument("--kind", choices=["moved", "vrrp"], required=True)
        parser.add_argument(
            "--network", required=True, help="The network of the targets, in every site."
        )
        parser.add_argument(
            "--target",
            metavar="SITE=ADDRESS",
            dest="targets",
            action="append",
            required=True,
            type=network_options.site_address,
            help="What answers for it in a site (give it once for each).",
        )
        parser.add_argument("--name", help="Its name; the address itself by default.")
        _add_moved(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        targets: dict[str, list[str]] = {}
        for site, target in parsed_args.targets:
            targets.setdefault(site, []).append(target)
        address, _, prefix = parsed_args.address.partition("/")
        body = {
            "address": address,
            "kind": parsed_args.kind,
            "network": parsed_args.network,
            "targets": targets,
            "name": parsed_args.name,
            "check": parsed_args.check,
            "automatic": not parsed_args.manual,
            "prefer": parsed_args.prefer,
            "fail_back": parsed_args.fail_back,
            "next_hop": parsed_args.next_hop,
            "hosts": dict(parsed_args.hosts),
        }
        if prefix:
            body["prefix"] = _prefix(prefix)
        body |= {name: value for name, value in _timing(parsed_args).items() if value is not None}
        created = self.client(parsed_args).post(path("addresses"), body)["address"]
        return self.dict2columns(_declaration(created))


def _add_moved(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for addresses that Isthmus moves")
    group.add_argument(
        "--check", default="none", help="Health of a target: tcp:PORT, icmp or none (the default)."
    )
    group.add_argument("--check-interval", type=float, metavar="SECONDS", help="0.5 by default.")
    group.add_argument("--check-timeout", type=float, metavar="SECONDS", help="0.5 by default.")
    group.add_argument("--fall", type=int, metavar="N", help="Failures that count; 3 by default.")
    group.add_argument("--rise", type=int, metavar="N", help="Successes that count; 2 by default.")
    group.add_argument("--prefer", metavar="SITE", help="The site that should hold it.")
    group.add_argument(
        "--fail-back",
        type=float,
        metavar="SECONDS",
        help="Give it back to the preferred site after it was healthy that long; never by default.",
    )
    group.add_argument(
        "--manual", action="store_true", help="Only an operator moves it; no site takes it over."
    )
    group.add_argument("--next-hop", metavar="ADDRESS", help="The router of the provider network.")
    group.add_argument(
        "--host",
        metavar="SITE=HOST",
        dest="hosts",
        action="append",
        default=[],
        type=network_options.site_address,
        help="The gateway host of a site; the first that answers by default.",
    )


def _timing(parsed_args: argparse.Namespace) -> dict[str, Any]:
    names = ("check_interval", "check_timeout", "fall", "rise")
    return {name: getattr(parsed_args, name) for name in names}


def _prefix(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 32:
        raise errors.UsageError(f"/{text} is no length of a prefix", cause="it is 1 to 32")
    return int(text)


class List(reports.Rows):
    """List the service addresses and who holds them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_ask(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = network_client.connect(self.app.options.sites, ask=parsed_args.ask)
        header = ("Name", "Address", "Kind", "Network", "Sites", "Holder", "State", "ID")
        return header, [_row(each) for each in client.get(path("addresses"))["addresses"]]


class Show(_Known):
    """Show a service address: who holds it, every voter's word, health in each site, what is wrong."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        found = self.client(parsed_args).get(path("addresses", parsed_args.name))["address"]
        self.exit_code = _EXIT_CODES[found["outcome"]]
        return self.dict2columns({**_declaration(found), **_state(found)})


class Move(_Known):
    """Move a service address to another site; ends when it is answered there.

    A holder that answers passes its lease on, which takes some hundredths of a second. One that does
    not is waited for until its lease has run out.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--to", metavar="SITE", required=True, help="Where it is to be.")
        parser.add_argument(
            "--force", action="store_true", help="Though the target there is not healthy."
        )
        network_options.add_wait(parser, "a majority of the voters names the new holder")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        body = {"to": parsed_args.to, "force": parsed_args.force}
        answer = client.post(
            path("addresses", parsed_args.name, "move"), body, timeout=MOVE_SECONDS
        )
        if parsed_args.wait:
            self._settled(client, parsed_args)
        return self.dict2columns(_event(answer["event"]))

    def _settled(self, client: Any, parsed_args: argparse.Namespace) -> None:
        deadline = time.monotonic() + parsed_args.timeout
        while True:
            holder = client.get(path("addresses", parsed_args.name))["address"]["holder"]
            if (holder or "").partition("/")[0] == parsed_args.to:
                return
            if time.monotonic() >= deadline:
                sys.stderr.write(f"{parsed_args.name} is held by {holder or 'nobody'}\n")
                self.exit_code = 2
                return
            time.sleep(0.2)


class Delete(_Known):
    """Give a service address up and take away in all sites what was made for it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_wait(parser, "it is gone in all sites")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        found = client.delete(path("addresses", parsed_args.name))["address"]
        gone = parsed_args.wait and self._gone(client, found["id"], parsed_args.timeout)
        if parsed_args.wait and not gone:
            self.exit_code = 2
        state = "deleted" if gone else "being deleted"
        return self.dict2columns({"name": found["name"], "id": found["id"], "state": state})

    def _gone(self, client: Any, identity: str, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            listed = client.get(path("addresses"))["addresses"]
            if all(each["id"] != identity for each in listed):
                return True
            time.sleep(0.5)
        return False


class History(reports.Rows):
    """Who moved a service address, when, from where, to where, and why; the newest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="ADDRESS", help="Its name, the address, or its id.")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="20 by default.")
        network_options.add_ask(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = network_client.connect(self.app.options.sites, ask=parsed_args.ask)
        route = path("addresses", parsed_args.name, "history")
        names = ("at", "kind", "from", "to", "by", "epoch", "gap_ms_at_most", "why")
        header = ("At", "Kind", "From", "To", "By", "Epoch", "Gap ms at most", "Why")
        events = client.get(f"{route}?limit={parsed_args.limit}")["events"]
        return header, [tuple(_shown(each.get(name)) for name in names) for each in events]


def _row(found: Mapping[str, Any]) -> tuple[Any, ...]:
    state = "being deleted" if found["deleting"] else found["outcome"]
    holder = found["holder"] or ("-" if found["kind"] == "vrrp" else "nobody")
    return (
        found["name"],
        found["address"],
        found["kind"],
        found["network"],
        ", ".join(found["targets"]),
        holder,
        state,
        found["id"],
    )


def _declaration(found: Mapping[str, Any]) -> dict[str, Any]:
    targets = [f"{site}: {', '.join(each)}" for site, each in found["targets"].items()]
    shown = {
        "name": found["name"],
        "id": found["id"],
        "address": found["address"],
        "kind": found["kind"],
        "network": found["network"],
        "targets": Lines([dict(found["targets"])], targets),
        "revision": found["revision"],
        "deleting": found["deleting"],
    }
    if found["kind"] == "moved":
        shown |= {
            "check": _check(found["check"]),
            "policy": "automatic" if found["automatic"] else "by hand only",
            "prefer": _shown(found["prefer"]),
            "fail_back": _shown(found["fail_back"]),
        }
    return shown


def _check(check: Mapping[str, Any]) -> str:
    if check["probe"] == "none":
        return "none"
    what = f"tcp:{check['port']}" if check["probe"] == "tcp" else check["probe"]
    return f"{what} every {check['interval']:g} s, {check['fall']} failures count"


def _state(found: Mapping[str, Any]) -> dict[str, Any]:
    voters = [f"{each['site']}: {each['error'] or _word(each)}" for each in found["voters"]]
    sites = [f"{each['site']}: {_site(each)}" for each in found["sites"]]
    problems = [
        f"{each['outcome']} {each['code']}: {each['summary']} ({each['cause']}); {each['remedy']}"
        for each in found["findings"]
    ]
    shown = {
        "sites": Lines(list(found["sites"]), sites),
        "outcome": found["outcome"],
        "findings": Lines(list(found["findings"]), problems),
    }
    if found["kind"] == "vrrp":
        return shown
    return {
        "holder": found["holder"],
        "epoch": found["epoch"],
        "lease_seconds_left": found["lease_seconds_left"],
        "voters": Lines(list(found["voters"]), voters),
        **shown,
    }


def _word(voter: Mapping[str, Any]) -> str:
    if voter["owner"] is None:
        return f"promised to nobody (epoch {voter['epoch']})"
    return f"{voter['owner']} for {voter['remaining']:.2f} s more (epoch {voter['epoch']})"


def _site(site: Mapping[str, Any]) -> str:
    if site["error"]:
        return str(site["error"])
    if site["place"] is None:
        return "prepared"
    ready = "ready" if site["ready"] else "not ready"
    why = site["reason"] or site["decision"]
    return f"{site['place']} {ready}, target {site['health']}, {site['phase']}: {why}"


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("kind", "from", "to", "by", "why", "epoch", "gap_ms_at_most", "at")
    return {name: event.get(name) for name in names}


def _shown(value: Any) -> Any:
    return UNKNOWN if value is None else value
