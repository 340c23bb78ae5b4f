"""`isthmus lab fault cut | heal | delay | kill | freeze | resume`: break something on purpose, and mend it."""

import argparse
from typing import Any

from cliff.command import Command

from isthmus.lab import bringup, faults, home, progress
from isthmus.lab.commands.lifecycle import place
from isthmus.lab.environment import Environment

_LINKS = "A site (all its links) or a link, for example madrid or paris-lyon."
_UNITS = (
    "A site, a compute host or one component, for example paris, paris/compute1 or madrid/keystone."
)


class _Fault(Command):
    """One fault: its arguments and what it does. The lab's lock is held meanwhile."""

    target_help = _LINKS
    target_optional = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        optional: dict[str, Any] = {"nargs": "?"} if self.target_optional else {}
        parser.add_argument("target", metavar="TARGET", help=self.target_help, **optional)
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        with home.locked(where, f"isthmus {self.cmd_name}"):
            record = home.require_record(where)
            said = self.act(where, record.environment, arguments)
        self.app.stdout.write(f"{said}\n")

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        """Do it and say it in a sentence."""
        raise NotImplementedError


class Cut(_Fault):
    """Cut links: packets vanish without a word, as on a broken WAN."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--from",
            dest="silenced",
            metavar="SITE",
            help="Half open: lose only what this site sends.",
        )
        return parser

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        links = faults.cut(environment, arguments.target, silenced=arguments.silenced)
        lost = f" (what {arguments.silenced} sends is lost)" if arguments.silenced else ""
        return f"cut: {', '.join(links)}{lost}"


class Heal(_Fault):
    """Heal links that were cut or slowed; all links if none is named."""

    target_optional = True

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        return f"healed: {', '.join(faults.heal(where, environment, arguments.target))}"


class Delay(_Fault):
    """Slow links by a fixed time each way; 0 puts the plain link back."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "milliseconds", metavar="MILLISECONDS", type=float, help="One-way delay, 0 to 2000."
        )
        return parser

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        links = faults.delay(where, environment, arguments.target, arguments.milliseconds)
        return f"{arguments.milliseconds:g} ms each way on: {', '.join(links)}"


class Kill(_Fault):
    """Kill a component, a compute host or a whole site: all its processes die at once and it falls silent."""

    target_help = _UNITS

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        count = faults.kill(where, bringup.loaded(where), arguments.target)
        return f"killed {arguments.target}: {count} processes"


class Freeze(_Fault):
    """Freeze a component, a host or a site (SIGSTOP): it accepts connections and never answers."""

    target_help = _UNITS

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        count = faults.freeze(where, bringup.loaded(where), arguments.target)
        return f"froze {arguments.target}: {count} processes"


class Resume(_Fault):
    """Undo kill and freeze: continue what is frozen, start what is dead, heal the site's links."""

    target_help = _UNITS

    def act(self, where: home.Home, environment: Environment, arguments: argparse.Namespace) -> str:
        report = progress.fitting()
        try:
            faults.resume(where, bringup.loaded(where), arguments.target, report)
        finally:
            report.close()
        return f"resumed {arguments.target}"
