"""What the commands about stretched networks share: options, the client, waiting, exit codes.

It exists so that `isthmus.cli.network` reads as a list of commands.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from isthmus.cli import network_client, network_screens, reports
from isthmus.cli.network_client import Client, path
from isthmus.cli.reports import Columns

WAIT_SECONDS = 120.0
"""How long --wait waits: a network of a thousand ports takes minutes, an ordinary one seconds."""
ROUND_SECONDS = 5.0
"""How long one question to the engines waits, so that progress is shown meanwhile."""


class NetworkCommand(reports.Judged, reports.Fields):
    """What the commands share: the question which engine to ask, and the verdict as exit code."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_ask(parser)
        return parser

    def client(self, parsed_args: argparse.Namespace, **options: Any) -> Client:
        return network_client.connect(self.app.options.sites, ask=parsed_args.ask, **options)

    def written(self, client: Client, network: Any, parsed_args: argparse.Namespace) -> Columns:
        """What is declared of a network now, after waiting for the sites if that was asked for."""
        if parsed_args.wait:
            self.converge(client, network["id"], parsed_args.timeout)
        return self.dict2columns(network_screens.declaration(network))

    def converge(self, client: Client, name: str, timeout: float) -> None:
        """Wait until all sites have done what is declared; shows what they say on the way."""
        deadline = time.monotonic() + timeout
        said: dict[str, str] = {}
        while True:
            wait = max(min(ROUND_SECONDS, deadline - time.monotonic()), 0.5)
            answer = client.post(
                path("networks", name, "sync"), {"timeout": wait}, timeout=wait + 15.0
            )
            network_screens.tell_progress(answer["sites"], said, sys.stderr)
            if answer["converged"] or time.monotonic() >= deadline:
                self.exit_code = network_screens.verdict(answer["sites"])
                return


def add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ask",
        metavar="SITE",
        help="Ask the engine of this site, and no other; otherwise the first of the sites file "
        "that answers.",
    )


def add_wait(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--wait", action="store_true", help=f"Wait until {what}.")
    add_timeout(parser)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=reports.seconds,
        default=WAIT_SECONDS,
        help=f"How long to wait at most, {WAIT_SECONDS:g} by default.",
    )


def site_range(text: str) -> tuple[str, tuple[str, str]]:
    """SITE=FIRST-LAST."""
    site, equals, span = text.partition("=")
    if not (site and equals):
        raise argparse.ArgumentTypeError(f"{text!r} should look like SITE=FIRST-LAST")
    return site, address_range(span)


def address_range(text: str) -> tuple[str, str]:
    first, minus, last = text.partition("-")
    if not (first and minus and last):
        raise argparse.ArgumentTypeError(f"{text!r} should look like FIRST-LAST, two addresses")
    return first.strip(), last.strip()


def site_address(text: str) -> tuple[str, str]:
    site, equals, address = text.partition("=")
    if not (site and equals and address):
        raise argparse.ArgumentTypeError(f"{text!r} should look like SITE=ADDRESS")
    return site, address


def add_policies(parser: argparse.ArgumentParser, *, default: bool) -> None:
    """What can be chosen at creation and changed later."""
    stays = "" if default else " It stays as it is if not given."
    parser.add_argument(
        "--dhcp",
        choices=["none", "per-site"],
        help="Who hands out addresses: nobody (the default), or every site." + stays,
    )
    parser.add_argument(
        "--mtu",
        type=int,
        help="Largest packet of the guests; by default what the tunnels leave." + stays,
    )
    parser.add_argument(
        "--partition",
        choices=["keep", "mark", "purge"],
        help="What to do with the ports of a site that is not heard: keep them (the default), keep "
        "and mark the network, or withdraw them when a majority of engines cannot hear it." + stays,
    )
    parser.add_argument(
        "--purge-after",
        metavar="SECONDS",
        type=float,
        help="How long a site must be silent for mark and purge, 300 by default." + stays,
    )


def policies(parsed_args: argparse.Namespace) -> dict[str, Any]:
    given = {
        "dhcp": parsed_args.dhcp,
        "mtu": parsed_args.mtu,
        "partition": parsed_args.partition,
        "partition_after_seconds": parsed_args.purge_after,
    }
    return {name: value for name, value in given.items() if value is not None}
