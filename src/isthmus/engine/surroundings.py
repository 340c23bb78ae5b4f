"""What a keeper works with: its engine, those who wait for it, and its work in portions.

It exists so that `isthmus.engine.keeping` holds the thread and nothing else.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from isthmus.engine.config import Timing
from isthmus.engine.observing import Observer
from isthmus.engine.reports import Report
from isthmus.network import neutrons, partition
from isthmus.network.actions import Action
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.views import Origin

AT_ONCE, LEAST = 50, 5
"""Actions on ports between two looks into the inbox, at most and at least."""
PORTION_S = 15.0
"""How long they are to take: somebody waits for the port that was just poked about, and a request is
given up in the end. A port costs Neutron a quarter of a second, and one that is busy many times that."""


class Surroundings(Protocol):
    """What a keeper needs of its engine."""

    @property
    def site(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def timing(self) -> Timing: ...
    @property
    def neutron_sites(self) -> frozenset[str]: ...
    @property
    def lost_sites(self) -> frozenset[str]: ...
    def observer(self, site: str) -> Observer: ...
    def neutron(self, site: str | None = None) -> neutrons.Neutron: ...
    def hearing(self) -> partition.Hearing: ...
    def finished(self, declaration: StretchedNetwork) -> None:
        """Every site is rid of a network being deleted."""

    def applied(self, lag: float) -> None:
        """A change arrived from another site after so many seconds."""


class Ticket:
    """Somebody waits for a round that begins after now."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.report: Report | None = None
        self._done = threading.Event()

    def wait(self, timeout: float) -> Report | None:
        """The report of that round; None if it did not end in time."""
        self._done.wait(timeout)
        return self.report

    def resolve(self, report: Report) -> None:
        self.report = report
        self._done.set()


def origin_of(action: Action) -> Origin | None:
    """The origin of the port that an action is about; None for networks and subnets."""
    origin = getattr(action, "origin", None)
    return origin if isinstance(origin, Origin) else None


class Portions:
    """Actions in their order; those on ports in portions whose size follows from what the last one took,
    the others together, since what makes a network must be carried out together with what is made in it."""

    def __init__(self, actions: tuple[Action, ...]) -> None:
        self._actions, self._size = actions, AT_ONCE

    def __iter__(self) -> Iterator[list[Action]]:
        about_ports = itertools.groupby(self._actions, key=lambda each: origin_of(each) is not None)
        for on_ports, group in about_ports:
            listed = list(group)
            while listed:
                count = self._size if on_ports else len(listed)
                yield listed[:count]
                listed = listed[count:]

    def took(self, done: int, seconds: float) -> None:
        """`done` actions on ports took `seconds`."""
        self._size = next_size(self._size, done, seconds)


def next_size(size: int, done: int, seconds: float) -> int:
    """How many actions the next portion may have; few say nothing about many."""
    if done < min(size, LEAST):
        return size
    return max(LEAST, min(AT_ONCE, int(done * PORTION_S / max(seconds, 0.001))))
