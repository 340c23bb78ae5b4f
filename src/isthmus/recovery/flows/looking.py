"""A thread of an engine that looks at something again and again until it is stopped."""

from __future__ import annotations

import logging
import threading

from isthmus import errors

LOG = logging.getLogger(__name__)


class Looking(threading.Thread):
    """Calls `look` every `interval` seconds; the first time after `first`. A look that fails is logged
    (`unknown`: what is not known then) and repeated."""

    def __init__(self, name: str, interval: float, *, first: float, unknown: str) -> None:
        super().__init__(name=name, daemon=True)
        self._interval, self._first, self._unknown = interval, first, unknown
        self._ended = threading.Event()

    def run(self) -> None:
        pause = self._first
        while not self._ended.wait(pause):
            pause = self._interval
            try:
                self.look()
            except errors.IsthmusError as error:
                LOG.warning("%s: %s", self._unknown, error)
            except Exception:
                LOG.exception("%s: an error in the engine itself; it goes on", self.name)

    def stop(self) -> None:
        """Ask the thread to end."""
        self._ended.set()

    def look(self) -> None:
        """One look. May raise IsthmusError."""
        raise NotImplementedError
