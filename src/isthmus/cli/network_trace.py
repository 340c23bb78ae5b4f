"""`isthmus network trace` and `isthmus network verify`: why not, and whether at all."""

from __future__ import annotations

import abc
import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from isthmus import errors, outcomes
from isthmus.cli import network_client, network_trace_screens, reports
from isthmus.cli.network_client import path
from isthmus.cli.reports import Columns

TRACE_SECONDS = 60.0
"""A silent site and a swallowing underlay cost the engine some 45 s together."""

POLL_SECONDS = 0.5
CLEANING_SECONDS = 60.0

Document = Mapping[str, Any]


class _Judging(reports.Documented):
    """A command that shows one document of an engine and leaves with the verdict in it."""

    _found: Document

    @abc.abstractmethod
    def exit_code(self, found: Document) -> int:
        """The verdict for scripts."""

    def document(self) -> Document:
        """What the engine said."""
        return self._found

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("network", metavar="NETWORK", help="Name or id of a stretched network.")
        parser.add_argument(
            "--ask", metavar="SITE", help="Ask the engine of this site; otherwise any that answers."
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print what was found and return the verdict on it."""
        super().run(parsed_args)
        return self.exit_code(self._found)


class Trace(_Judging):
    """Say why one port of a stretched network does not reach another, and what to do about it.

    Walks the way of a packet from A to B and of its reply, hop by hop: ports, security groups,
    remote ports, entries of both hosts, tunnels, MTU. Nothing is changed. A and B are ids, names or
    addresses of ports; SITE:NAME narrows to a site. Leaves with 0 when nothing is wrong, 1 when
    there are warnings, 2 when A does not reach B.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("a", metavar="A", help="The port that opens the connection.")
        parser.add_argument("b", metavar="B", help="The port that it is opened to.")
        parser.add_argument(
            "--protocol",
            choices=("icmp", "tcp", "udp"),
            default="icmp",
            help="What security groups are asked about; default: icmp.",
        )
        parser.add_argument("--port", type=int, metavar="N", help="The destination's TCP/UDP port.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        if parsed_args.port is not None and parsed_args.protocol == "icmp":
            raise errors.UsageError(
                "ICMP has no ports", next_command="add --protocol tcp or --protocol udp"
            )
        client = network_client.connect(self.app.options.sites, ask=parsed_args.ask)
        names = ("a", "b", "protocol", "port")
        body = {name: getattr(parsed_args, name) for name in names}
        route = path("networks", parsed_args.network, "trace")
        self._found = client.post(route, body, timeout=TRACE_SECONDS)
        rows = network_trace_screens.trace_rows(self._found)
        return network_trace_screens.TRACE_COLUMNS, rows

    def drawn(self, *, colour: bool) -> str:
        return network_trace_screens.trace(self._found, colour=colour)

    def exit_code(self, found: Document) -> int:
        return outcomes.exit_code(found["outcome"])


class Verify(_Judging):
    """Prove that every host of a stretched network reaches every other, with packets.

    Plugs a probe on every host of every site, as guests are plugged, pings each from each, proves
    the MTU and measures the latency between sites, says why pairs fail, and removes the probes
    again, also after Ctrl-C. Leaves with 0 when every pair is reached, 1 when not.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--quick", action="store_true", help="One host of each site instead of all."
        )
        parser.add_argument(
            "--count", type=int, default=5, metavar="N", help="Packets for each pair; default: 5."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = network_client.connect(self.app.options.sites, ask=parsed_args.ask)
        body = {"quick": parsed_args.quick, "count": parsed_args.count}
        route = path("networks", parsed_args.network, "verify")
        run = client.post(route, body)
        self._found = self._followed(run, f"{route}/{run['id']}")
        rows = network_trace_screens.pair_rows(self._found)
        return network_trace_screens.PAIR_COLUMNS, rows

    def _followed(self, begun: Document, route: str) -> Document:
        """The report, when it is there; Ctrl-C removes the probes first."""
        # The run lives in the engine that began it; no other knows of it.
        client = network_client.connect(self.app.options.sites, ask=begun["site"])
        try:
            run = self._ended(client, route)
        except KeyboardInterrupt:
            self._say("interrupted: the probes are being removed")
            client.delete(route)
            self._ended(client, route, seconds=CLEANING_SECONDS)
            raise
        except errors.UnavailableError as error:
            raise _forsaken(begun["site"], str(error)) from error
        if run["report"] is None:
            raise _forsaken(begun["site"], run["error"])
        report: Document = run["report"]
        return report

    def _ended(
        self, client: network_client.Client, route: str, *, seconds: float = float("inf")
    ) -> Document:
        """The run when it has ended, or as it is after `seconds`; its lines are shown meanwhile."""
        shown, deadline = 0, time.monotonic() + seconds
        while True:
            run: Document = client.get(route)
            for line in run["lines"][shown:]:
                self._say(line)
            shown = len(run["lines"])
            if run["phase"] == "done" or time.monotonic() > deadline:
                return run
            time.sleep(POLL_SECONDS)

    def _say(self, line: str) -> None:
        """Progress is for people, and never in the way of what a program reads."""
        if self.app.options.verbose_level:
            print(line, file=sys.stderr, flush=True)

    def drawn(self, *, colour: bool) -> str:
        return network_trace_screens.verification(self._found, colour=colour)

    def exit_code(self, found: Document) -> int:
        return 0 if found["reached"] else 1


def _forsaken(site: str, cause: str) -> errors.IsthmusError:
    return errors.IsthmusError(
        "the verification was not completed",
        where=f"engine of {site}",
        cause=cause,
        unchanged="the probes are removed, or go by themselves within five minutes",
        next_command="isthmus network list",
    )
