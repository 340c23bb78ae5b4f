"""`isthmus lab up | down | test | env`: from nothing to several sites, and back."""

import argparse
import shlex
import sys
import time
from typing import Any

from cliff.command import Command
from cliff.lister import Lister

from isthmus.errors import IsthmusError
from isthmus.lab import bringup, clients, errors, home, preflight, progress
from isthmus.lab import environment as environments
from isthmus.lab.home import Home


def place() -> Home:
    """The lab's home on this machine; raises `PrivilegeError` if this is not root."""
    preflight.require_root()
    return Home(root=home.default_home())


class Up(Command):
    """Bring the sites of an environment up, or finish an interrupted up.

    What already runs is tested and left alone. Ctrl-C takes away what a first `up` had begun.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        known = ", ".join(environments.packaged())
        parser.add_argument(
            "environment",
            nargs="?",
            default="identity",
            help=f"A packaged environment ({known}) or the path of a YAML file. Default: identity.",
        )
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        text, wanted = environments.load(arguments.environment)
        where = place()
        report = progress.fitting()
        began = time.monotonic()
        try:
            with home.locked(where, "isthmus lab up"):
                fresh = home.read_record(where) is None
                try:
                    bringup.up(where, text, wanted, report)
                except KeyboardInterrupt:
                    if fresh:
                        bringup.down(where, report)
                        print(
                            "interrupted: everything that was started is gone again",
                            file=sys.stderr,
                        )
                    raise
        finally:
            report.close()
        self.app.stdout.write(_ready(wanted, time.monotonic() - began))


def _ready(wanted: environments.Environment, seconds: float) -> str:
    names = ", ".join(site.name for site in wanted.sites)
    return (
        f"The lab is up after {seconds:.1f} s: {names}.\n"
        f"  login URL   {clients.login_url(wanted)}\n"
        "  clients     eval $(isthmus lab env); openstack --os-cloud madrid token issue\n"
        f"{_guests(wanted)}"
        "  look        isthmus status; isthmus lab status\n"
        "  break it    isthmus lab fault cut madrid; isthmus lab fault kill paris\n"
        "  end it      isthmus lab down\n"
    )


def _guests(wanted: environments.Environment) -> str:
    """How to make the first guest, where there are hosts for it."""
    host = next((host for site in wanted.sites for host in site.host_specs), None)
    if host is None:
        return ""
    where = f"--site {host.site} --host {host.name}"
    return f"  guests      isthmus lab guest add NAME {where} --network NETWORK\n"


class Down(Command):
    """Take the lab away: processes, namespaces, data. Templates stay, so that the next up is fast."""

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        report = progress.fitting()
        try:
            with home.locked(where, "isthmus lab down"):
                existed = bringup.down(where, report)
        finally:
            report.close()
        self.app.stdout.write("The lab is gone.\n" if existed else "No lab was up.\n")


class Test(Lister):
    """Test every component of the lab that is up, as its clients use it. Exit code 1 if one fails."""

    failed = False

    def take_action(
        self, arguments: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = []
        for name, unit in bringup.loaded(place()).items():
            began = time.monotonic()
            try:
                outcome, said = "ok", unit.component.test(unit.context)
            except IsthmusError as error:
                outcome, said = "failed", str(error)
                self.failed = True
            rows.append((name, outcome, f"{time.monotonic() - began:.2f}", said))
        return ("Unit", "Outcome", "Seconds", "Detail"), rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return 1 if self.failed else 0


class Env(Command):
    """Print the exports for stock clients and for isthmus: eval $(isthmus lab env)."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--approver",
            action="store_true",
            help="As the person who approves operations of recovery, not as admin.",
        )
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        environment = home.require_record(where).environment
        if arguments.approver and not where.approver.exists():
            raise errors.BadRequest(
                what="nobody approves anything here",
                where=f"environment {environment.name}",
                cause="it has no servers to bring back; recovery and full have",
            )
        told = clients.exports(where, environment, approver=arguments.approver)
        for name, value in told.items():
            self.app.stdout.write(f"export {name}={shlex.quote(value)}\n")
