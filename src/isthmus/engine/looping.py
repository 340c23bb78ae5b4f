"""A thread that does one thing again and again, and at once when it is woken, until it is stopped."""

from __future__ import annotations

import logging
import random
import threading

LOG = logging.getLogger(__name__)


class Loop(threading.Thread):
    """Calls `tick`, first at once, then every `interval` seconds and after every `wake`.

    `jitter` is the largest part of the interval that is added at random, so that the engines of all
    sites, started together, do not ask each other together. A tick that fails is logged and
    repeated.
    """

    def __init__(self, name: str, interval: float, *, jitter: float = 0.0) -> None:
        super().__init__(name=name, daemon=True)
        self._interval, self._jitter = interval, jitter
        self._woken = threading.Event()
        self._stopping = False

    def run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                self.tick()
            except Exception:
                # A thread that died would leave its part undone without a word.
                LOG.exception("%s: an error in the engine itself; it goes on", self.name)
            if not self._stopping:
                self._woken.wait(self._interval * (1 + self._jitter * random.random()))  # noqa: S311
        self.close()

    def wake(self) -> None:
        """Make the next tick come at once."""
        self._woken.set()

    def stop(self) -> None:
        """Ask the thread to end; it does after its tick."""
        self._stopping = True
        self._woken.set()

    def tick(self) -> None:
        """One round."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the thread holds."""
