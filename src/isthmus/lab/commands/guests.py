"""`isthmus lab guest add | list | remove | exec`: machines of the lab, plugged into the hosts' switches as Neutron ports."""

import argparse
import os
import subprocess
from typing import Any

from cliff.command import Command
from cliff.lister import Lister

from isthmus.lab import guests, home
from isthmus.lab.commands.lifecycle import place


class Add(Command):
    """Make a guest on a compute host, connected to a network: a namespace with one interface, the port of the guest."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="What it is called in the lab.")
        parser.add_argument("--site", required=True, help="The site that it runs in.")
        parser.add_argument("--host", required=True, help="The compute host, for example compute1.")
        parser.add_argument("--network", required=True, help="Name or id of a network of the site.")
        parser.add_argument("--ip", help="The address to ask for; default: one that Neutron picks.")
        parser.add_argument(
            "--security-group",
            dest="security_groups",
            action="append",
            metavar="GROUP",
            help="A security group instead of the project's default; may be given several times.",
        )
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        with home.locked(where, "isthmus lab guest add"):
            guest = guests.add(
                where,
                site=arguments.site,
                host=arguments.host,
                network=arguments.network,
                name=arguments.name,
                ip=arguments.ip,
                security_groups=arguments.security_groups,
            )
        self.app.stdout.write(
            f"{guest.name} runs on {guest.site}/{guest.host} and has {guest.ip} ({guest.mac})\n"
        )


class List(Lister):
    """Show the guests: where they run and what they have."""

    def take_action(
        self, arguments: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        where = place()
        home.require_record(where)
        columns = ("Name", "Site", "Host", "Network", "IP", "MAC", "Port")
        rows = [
            (g.name, g.site, g.host, g.network, g.ip, g.mac, g.port) for g in guests.listed(where)
        ]
        return columns, rows


class Remove(Command):
    """Take guests away, with their ports."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("names", metavar="NAME", nargs="+")
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        with home.locked(where, "isthmus lab guest remove"):
            home.require_record(where)
            for name in arguments.names:
                gone = guests.remove(where, name)
                self.app.stdout.write(f"{name} is gone\n" if gone else f"{name}: no such guest\n")


class Exec(Command):
    """Run a command inside a guest (a shell if none is given): isthmus lab guest exec NAME -- ping 10.0.0.2."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("command", nargs=argparse.REMAINDER)
        return parser

    def take_action(self, arguments: argparse.Namespace) -> int:
        guest = guests.find(place(), arguments.name)
        given = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        words = given or [os.environ.get("SHELL", "/bin/sh")]
        return subprocess.run(
            ["ip", "netns", "exec", guest.namespace, *words], check=False
        ).returncode
