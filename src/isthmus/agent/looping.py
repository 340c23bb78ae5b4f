"""A thread that does one thing again and again until it is asked to stop."""

import logging
import threading

log = logging.getLogger(__name__)


class Loop(threading.Thread):
    """Calls `tick` every `interval` seconds, first at once.

    A tick that fails is logged and repeated.
    """

    def __init__(self, name: str, interval: float) -> None:
        super().__init__(name=name, daemon=True)
        self._interval = interval
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception:
                # A thread that died would leave its database unwatched without a word.
                log.exception("%s: an error in the agent itself; it goes on", self.name)
            self._stopping.wait(self._interval)
        self.close()

    def stop(self) -> None:
        self._stopping.set()

    def tick(self) -> None:
        """One round."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the thread holds."""
