"""The part of a host agent that guards guests, from the start of the agent to its end.

Apart from the routes, so that it can start before a web server is loaded: a guest that an earlier life
has left frozen does not wait for that.
"""

from __future__ import annotations

import threading

from isthmus.agent import looping
from isthmus.agent.host import config
from isthmus.agent.host.freezing import ledger, rounds

_TIDY_SECONDS = 2.0


class Freezing:
    """What the host agent starts and stops; the orders are those of `rounds`."""

    def __init__(self, settings: config.Settings) -> None:
        way = settings.freezing
        access = rounds.Access(
            libvirt=way.libvirt, sockets=way.sockets, environment=way.watchdog_environment
        )
        book = ledger.Ledger(settings.state / "freezes")
        self.rounds = rounds.Rounds(book, access, longest_seconds=way.longest_seconds)
        self._tidier = _Tidier(self.rounds)
        self._starting = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Guard what was armed before. Only the first call does anything."""
        with self._starting:
            if not self._started:
                self._started = True
                self.rounds.adopt()
                self._tidier.start()

    def stop(self) -> None:
        """End the threads; what is armed stays armed, and its watchdogs go on."""
        self._tidier.stop()
        self.rounds.stop()


class _Tidier(looping.Loop):
    def __init__(self, freezes: rounds.Rounds) -> None:
        super().__init__("freezes", _TIDY_SECONDS)
        self._freezes = freezes

    def tick(self) -> None:
        self._freezes.tidy()
