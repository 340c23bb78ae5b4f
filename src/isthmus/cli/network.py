"""`isthmus network ...` and `isthmus site lost|returned`: stretched networks, from the command line.

The commands say what is to be; the engines do it. Every command ends when that is written, or, with
`--wait`, when all sites have done it. Leaves with 0 when all is well, 1 when there are warnings, 2
when there are errors or something is not done in time; other failures as in `isthmus.errors`.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

from isthmus import errors
from isthmus.cli import network_client, network_options, network_screens, reports
from isthmus.cli.network_client import Client, path
from isthmus.cli.network_options import ROUND_SECONDS, NetworkCommand
from isthmus.cli.reports import Columns
from isthmus.cli.site import Lines


class _Known(NetworkCommand):
    """What the commands about a network that there is share."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="Its name or id.")
        return parser


class Create(NetworkCommand):
    """Declare a stretched network: the same network in the Neutrons of several sites."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="Its name in every site.")
        parser.add_argument("--cidr", required=True, help="Its IPv4 range, such as 10.20.0.0/24.")
        parser.add_argument(
            "--site",
            metavar="SITE",
            dest="sites",
            action="append",
            required=True,
            help="A site that it is in (give it once for each).",
        )
        parser.add_argument(
            "--project", metavar="P", help="Name or id of its project; your own by default."
        )
        parser.add_argument(
            "--vni", type=int, help="Its number in the tunnels; a free one by default."
        )
        parser.add_argument(
            "--pool",
            metavar="SITE=FIRST-LAST",
            dest="pools",
            action="append",
            type=network_options.site_range,
            default=[],
            help="Addresses that this site hands out; an equal share by default.",
        )
        parser.add_argument(
            "--gateway",
            choices=["none", "per-site"],
            help="Who routes out of it: nobody (the default), or every site with its own address.",
        )
        parser.add_argument(
            "--gateway-address",
            metavar="SITE=ADDRESS",
            dest="gateways",
            action="append",
            type=network_options.site_address,
            default=[],
            help="The address of a site's gateway; chosen by default.",
        )
        network_options.add_policies(parser, default=True)
        network_options.add_wait(parser, "it is there in all sites")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        pools: dict[str, list[tuple[str, str]]] = {}
        for site, span in parsed_args.pools:
            pools.setdefault(site, []).append(span)
        body = {
            # So that another engine may be asked when it is not known whether the first did it.
            "id": str(uuid.uuid4()),
            "name": parsed_args.name,
            "cidr": parsed_args.cidr,
            "sites": parsed_args.sites,
            "pools": pools,
            "gateways": dict(parsed_args.gateways),
            **network_options.policies(parsed_args),
        }
        for field in ("project", "vni", "gateway"):
            if getattr(parsed_args, field) is not None:
                body[field] = getattr(parsed_args, field)
        created = client.post(path("networks"), body)["network"]
        return self.written(client, created, parsed_args)


class List(reports.Rows):
    """List the stretched networks, with the state of each site as last heard."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_ask(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = network_client.connect(self.app.options.sites, ask=parsed_args.ask)
        header = ("Name", "CIDR", "VNI", "Sites", "MTU", "Partition", "State", "ID")
        return header, [
            network_screens.list_row(each) for each in client.get(path("networks"))["networks"]
        ]


class Show(_Known):
    """Show a stretched network: what is declared, and what each site's engine says of it now."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        self._answer = self.client(parsed_args).get(path("networks", parsed_args.name))
        lost = frozenset(self._answer["lost_sites"])
        self.exit_code = network_screens.verdict(self._answer["sites"], lost=lost)
        return self.dict2columns(network_screens.whole(self._answer))

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        super().produce_output(parsed_args, column_names, data)
        if parsed_args.formatter == "table" and not parsed_args.columns:
            colour = reports.colourful(self.app.stdout, network_screens.environment())
            self.app.stdout.write(network_screens.sites_screen(self._answer, colour=colour))
        return 0


class Set(_Known):
    """Change a stretched network. CIDR, VNI and project cannot be changed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", dest="new_name", metavar="NEW", help="Its new name.")
        network_options.add_policies(parser, default=False)
        network_options.add_wait(parser, "it is so in all sites")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        changes = network_options.policies(parsed_args)
        if parsed_args.new_name is not None:
            changes["name"] = parsed_args.new_name
        if not changes:
            raise errors.UsageError(
                "nothing to change was given",
                unchanged="nothing was changed",
                next_command="isthmus network set --help",
            )
        client = self.client(parsed_args)
        changed = client.patch(path("networks", parsed_args.name), changes)["network"]
        return self.written(client, changed, parsed_args)


class Delete(_Known):
    """Take a stretched network away in all its sites; guests' own ports keep it until they are gone."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_wait(parser, "it is gone in all sites")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        deleted = client.delete(path("networks", parsed_args.name))["network"]
        gone = parsed_args.wait and self._gone(client, deleted["id"], parsed_args.timeout)
        shown = {"name": deleted["name"], "id": deleted["id"]}
        shown["state"] = "deleted" if gone else "being deleted"
        if parsed_args.wait and not gone:
            self.exit_code = 2
        return self.dict2columns(shown)

    def _gone(self, client: Client, network_id: str, timeout: float) -> bool:
        """Wait until it is declared no more; shows who still has something of it."""
        deadline = time.monotonic() + timeout
        said: dict[str, str] = {}
        while time.monotonic() < deadline:
            try:
                answer = client.post(
                    path("networks", network_id, "sync"), {"timeout": ROUND_SECONDS}
                )
            except errors.UsageError:
                return True
            network_screens.tell_progress(answer["sites"], said, sys.stderr)
            # The engines are asked in turn; one that has nothing to do answers at once.
            time.sleep(0.3)
        return False


class Sync(_Known):
    """Have all sites compare everything now, and wait until they have."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        network_options.add_timeout(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        timeout = parsed_args.timeout
        answer = client.post(
            path("networks", parsed_args.name, "sync"),
            {"timeout": timeout},
            timeout=timeout + 15,
        )
        self.exit_code = network_screens.verdict(answer["sites"])
        return self.dict2columns(
            {
                "name": answer["network"]["name"],
                "converged": answer["converged"],
                "sites": Lines(
                    [{"site": site, **part} for site, part in answer["sites"].items()],
                    [network_screens.synced(site, part) for site, part in answer["sites"].items()],
                ),
            }
        )


class AttachSite(_Known):
    """Stretch a network to one more site."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("site", metavar="SITE", help="The site to add.")
        parser.add_argument(
            "--pool",
            metavar="FIRST-LAST",
            action="append",
            type=network_options.address_range,
            help="Addresses that the site hands out; an equal share by default.",
        )
        parser.add_argument(
            "--gateway-address", metavar="ADDRESS", help="Its gateway, where each site has one."
        )
        network_options.add_wait(parser, "it is there")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        body = {
            "site": parsed_args.site,
            "pool": parsed_args.pool,
            "gateway": parsed_args.gateway_address,
        }
        changed = client.post(path("networks", parsed_args.name, "sites"), body)["network"]
        return self.written(client, changed, parsed_args)


class DetachSite(_Known):
    """Take a network out of a site: its ports vanish from the other sites, its part from that one."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("site", metavar="SITE", help="The site to leave.")
        network_options.add_wait(parser, "the other sites have withdrawn its ports")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        changed = client.delete(path("networks", parsed_args.name, "sites", parsed_args.site))[
            "network"
        ]
        return self.written(client, changed, parsed_args)


class _Judged(NetworkCommand):
    """What an operator says about a site."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("site", metavar="SITE", help="The name of the site.")
        return parser

    def told(self, answer: Any) -> Columns:
        ports = answer["ports"]
        return self.dict2columns(
            {
                "site": answer["site"],
                "lost": answer["lost"],
                "changed": answer["changed"],
                "heard": answer["heard"],
                "withdraws": Lines([ports], [f"{name}: {n} ports" for name, n in ports.items()]),
                "lost_sites": Lines(answer["lost_sites"], answer["lost_sites"]),
            }
        )


class SiteLost(_Judged):
    """Declare a site lost: all other sites withdraw its remote ports at once.

    For a site that does not come back soon. Packets for its guests are then refused at once instead
    of being sent into nothing, and its addresses may be used elsewhere. It does nothing to the site
    itself: if it is only cut off, its guests go on there, alone. `isthmus site returned` takes it
    back.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--yes", action="store_true", help="Do not ask for confirmation.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args, rather_not=parsed_args.site)
        found = client.get(path("sites", parsed_args.site))
        if not parsed_args.yes:
            _confirm(found)
        return self.told(client.post(path("sites", parsed_args.site, "lost")))


class SiteReturned(_Judged):
    """Take back that a site is lost: its networks and ports are looked at and joined again."""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        client = self.client(parsed_args)
        return self.told(client.post(path("sites", parsed_args.site, "returned")))


def _confirm(found: Any) -> None:
    """Have the name of the site typed, after saying what will happen."""
    site = found["site"]
    for line in network_screens.before_loss(found):
        print(line, file=sys.stderr)
    if not sys.stdin.isatty():
        raise errors.UsageError(
            f"{site} was not declared lost",
            cause="nobody is there to confirm it",
            unchanged="nothing was changed",
            next_command=f"isthmus site lost {site} --yes",
        )
    print("Type the name of the site to declare it lost: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != site:
        raise errors.UsageError(
            f"{site} was not declared lost",
            cause="what was typed is not the name of the site",
            unchanged="nothing was changed",
        )
