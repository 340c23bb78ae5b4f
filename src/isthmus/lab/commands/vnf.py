"""`isthmus lab vnf create | delete`: three servers that prove what they have written, to be protected and brought back."""

import argparse
import shlex
import sys
from ipaddress import IPv4Network

from cliff.command import Command
from cliff.show import ShowOne

from isthmus.lab import home, vnf
from isthmus.lab.commands.lifecycle import place


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


class Create(ShowOne):
    """Make a VNF: database, middle and client, with two volumes each, and the network between them.

    Running it again finds what is there and makes the rest.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "name", metavar="NAME", help="What servers, volumes and network are called."
        )
        parser.add_argument("--site", required=True, help="Where it runs.")
        parser.add_argument("--backup-site", required=True, help="Where it is to come back.")
        parser.add_argument(
            "--cidr",
            type=IPv4Network,
            default=IPv4Network("10.80.0.0/24"),
            help="Its network (%(default)s).",
        )
        parser.add_argument(
            "--policy",
            default="gold",
            help="The policy in the command that is shown (%(default)s).",
        )
        return parser

    def take_action(
        self, arguments: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        where = place()
        with home.locked(where, "isthmus lab vnf create"):
            made = vnf.create(
                where, arguments.name, site=arguments.site, cidr=arguments.cidr, say=_say
            )
        declare = made.declare(backup_site=arguments.backup_site, policy=arguments.policy)
        shown = {each.role: f"{each.server_id} {each.address}" for each in made.members}
        return (
            ("name", "site", "project_id", *shown, "declare"),
            (made.name, made.site, made.project_id, *shown.values(), shlex.join(declare)),
        )


class Delete(Command):
    """Take a VNF away in all sites, with its volumes and networks; what recovery made of it is not touched."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME")
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        with home.locked(where, "isthmus lab vnf delete"):
            vnf.delete(where, arguments.name, say=_say)
        self.app.stdout.write(f"{arguments.name} is gone\n")
