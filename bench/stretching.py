"""A stretched network to measure on: the lab with networks, a declaration, guests in both sites, and nothing left of it."""

import contextlib
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import labs
from bench.commands import isthmus
from isthmus.errors import IsthmusError
from isthmus.lab import guests, neutrons
from isthmus.lab.guests import Guest

ENVIRONMENT = "network"


def prepared(purpose: str) -> AbstractContextManager[labs.Lab]:
    """The lab with networks, up and healthy before and after."""
    return labs.prepared(purpose, ENVIRONMENT)


@dataclass
class Stretched:
    """A stretched network over Paris and Lyon. What is plugged through it is taken away with it."""

    lab: labs.Lab
    name: str

    def guest(self, label: str, site: str, host: str, *, ip: str = "", wait: bool = True) -> Guest:
        """A guest of the project's default group, whose members may talk to each other."""
        return guests.add(
            self.lab.home,
            site=site,
            host=host,
            network=self.name,
            name=f"{self.name}-{label}",
            ip=ip or None,
            wait=wait,
        )

    def remove(self, guest: Guest) -> None:
        """Unplug a guest and delete its port."""
        guests.remove(self.lab.home, guest.name)

    def neutron(self, site: str) -> neutrons.Neutron:
        return neutrons.at(self.lab.home, self.lab.environment, site)


@contextlib.contextmanager
def stretched(lab: labs.Lab, cidr: str) -> Iterator[Stretched]:
    """A declared network that is there in both sites; its guests and it itself are gone afterwards."""
    name = f"b{uuid.uuid4().hex[:6]}"
    sites = ("--site", "paris", "--site", "lyon")
    try:
        isthmus(lab, "network", "create", name, "--cidr", cidr, *sites, "--wait", "-f", "json")
        yield Stretched(lab=lab, name=name)
    finally:
        with labs.undisturbed():
            for guest in guests.listed(lab.home):
                if guest.network == name:
                    guests.remove(lab.home, guest.name)
            try:
                isthmus(lab, "network", "delete", name, "--wait")
            except IsthmusError as error:
                # What was measured, or the reason why nothing was, matters more.
                print(error.describe(), file=sys.stderr, flush=True)
