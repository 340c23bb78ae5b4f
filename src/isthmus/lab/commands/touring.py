"""`isthmus demo`: brings an environment up and walks through what the product does, with evidence."""

import argparse
import json
import sys
import time

from cliff.command import Command

from isthmus.lab import bringup, environment, faults, home, progress
from isthmus.lab.commands.lifecycle import place
from isthmus.lab.tour import identity, keys, network, recovery
from isthmus.lab.tour.steps import Outcome, Tour

# The chapters that each environment can show, in order.
CHAPTERS = {
    "identity": (identity.take,),
    "network": (identity.take, keys.take, network.take),
    "recovery": (recovery.take,),
}
DEFAULT = "network"


class Demo(Command):
    """Bring the sites up and take a tour. Leaves the lab up.

    Of identity and networks: one login, a cut link, a dead site, rotated keys, a network over two clouds. Of recovery: a VNF is
    protected, rehearsed in the other site, and brought back there after its own site was destroyed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "environment",
            nargs="?",
            choices=CHAPTERS,
            default=DEFAULT,
            help=f"Which environment to show: {', '.join(CHAPTERS)}. Default: {DEFAULT}, which shows identity as well.",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="One JSON object on standard output instead of the table.",
        )
        return parser

    def take_action(self, arguments: argparse.Namespace) -> int:
        text, wanted = environment.load(arguments.environment)
        where = place()
        tour = Tour(progress=progress.fitting())
        try:
            with home.locked(where, "isthmus demo"):
                _run(tour, where, text, wanted)
        finally:
            tour.progress.close()
        if arguments.json:
            self.app.stdout.write(json.dumps(tour.document()) + "\n")
        else:
            _show(tour, wanted.name)
        return 1 if tour.failed else 0


def _run(tour: Tour, where: home.Home, text: str, wanted: environment.Environment) -> None:
    def bring_up() -> str:
        if home.read_record(where) is not None:
            # A lab that somebody played with: the tour begins with whole links.
            faults.heal(where, wanted, None)
        began = time.monotonic()
        bringup.up(where, text, wanted, tour.progress)
        tour.figure("up_s", time.monotonic() - began, "s")
        return f"{len(wanted.sites)} sites: {', '.join(site.name for site in wanted.sites)}"

    tour.step("bring the sites up", bring_up)
    if tour.failed:
        return
    for take in CHAPTERS[wanted.name]:
        take(tour, where, bringup.loaded(where), wanted)


def _show(tour: Tour, environment: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Outside a terminal the table must not be folded at 80 columns: it goes to files and logs.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False)
    steps = Table("Step", "Outcome", "Seconds", "Detail", title="The tour", title_justify="left")
    for step in tour.steps:
        colour = "green" if step.outcome is Outcome.PASSED else "red"
        outcome = f"[{colour}]{step.outcome}[/]"
        # The cause of a failure is what others said, in brackets of all kinds.
        steps.add_row(step.name, outcome, f"{step.seconds:.1f}", escape(step.detail))
    figures = Table("Figure", "Value", "Unit", title="What was measured", title_justify="left")
    for name, figure in tour.figures.items():
        figures.add_row(name, f"{figure.value:g}", figure.unit)
    console.print(steps)
    if tour.figures:
        console.print(figures)
    if tour.failed:
        console.print(_AFTER_FAILURE.format(demo=f"isthmus demo {environment}"))
    else:
        console.print(_NEXT_OF_RECOVERY if environment == "recovery" else _NEXT)


_NEXT = """What to try next (the lab is still up)
  eval $(isthmus lab env)                      clouds.yaml and sites file for what follows
  isthmus status                               all sites on one screen
  openstack --os-cloud madrid token issue      any stock client, any site
  isthmus lab fault cut madrid                 and the two commands above again
  isthmus lab fault kill lyon/keystone         one component; then: isthmus lab fault resume lyon
  isthmus network create --help                a network over paris and lyon, if both have a Neutron
  isthmus lab down                             take everything away"""

_NEXT_OF_RECOVERY = """What to try next (the lab is still up, and Paris is still dead)
  eval $(isthmus lab env)                               clouds.yaml and sites file for what follows
  openstack --os-cloud lyon server list --all-projects  the VNF where it is now
  isthmus operation list --ask lyon                     what was done; then: isthmus operation report OPERATION --ask lyon
  isthmus operation audit OPERATION --ask lyon          who asked, who approved
  isthmus checkpoint list --ask lyon                    what Lyon knows
  isthmus lab down                                      take everything away; the tour begins with a new lab"""

_AFTER_FAILURE = """A step did not see what it expects. The lab is left as it was at that moment:
  isthmus lab status; isthmus lab test         what is up
  isthmus lab logs SITE/COMPONENT              what it said
  isthmus lab gather                           everything in one archive
  isthmus lab fault heal; {demo:<20} mend, and take the tour again"""
