"""Telling the other engines that something here changed: one thread for each.

It exists so that a port reaches the other sites at once. A poke says where to look, never what is
there: whoever is poked reads the port itself, so that a poke that is lost, late, doubled or out of
order does no harm. What happens while a poke is under way goes with the next one, so that a burst of
a hundred ports makes a few requests; what could not be delivered shrinks to the names of networks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import pydantic

from isthmus import errors
from isthmus.engine.calling import Callees

LOG = logging.getLogger(__name__)

PAUSES_SECONDS = (0.2, 1.0, 2.0, 5.0)
"""Before a poke that failed is repeated; the last one for good. The engine that was not reached
compares everything anyway, now and then and when it hears us again."""


class Content(pydantic.BaseModel, extra="forbid", frozen=True):
    """What a poke says."""

    ports: Mapping[str, Mapping[str, float]] = {}
    """By declaration id: real ports of the sender's site, and when they changed (seconds since
    1970)."""
    whole: frozenset[str] = frozenset()
    """Declaration ids: compare these networks whole."""
    declarations: bool = False
    """Declarations were changed: read them now."""

    @property
    def empty(self) -> bool:
        return not (self.ports or self.whole or self.declarations)

    def joined(self, later: Content) -> Content:
        """Both in one. The earlier time of a port stays: its change is still under way."""
        ports = {network: dict(found) for network, found in self.ports.items()}
        for network, found in later.ports.items():
            known = ports.setdefault(network, {})
            known.update({port: min(at, known.get(port, at)) for port, at in found.items()})
        whole = self.whole | later.whole
        return Content(
            ports={network: found for network, found in ports.items() if network not in whole},
            whole=whole,
            declarations=self.declarations or later.declarations,
        )

    def shrunk(self) -> Content:
        """What is left to say after a failure: whatever happens meanwhile, it does not grow."""
        return Content(whole=self.whole | frozenset(self.ports), declarations=self.declarations)

    def document(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class Poker(threading.Thread):
    """Pokes one engine.

    Invariant: what was handed to `say` is delivered, by itself or as the name of its network, or is
    still waiting to be.
    """

    def __init__(self, site: str, peers: Callees, timeout: float) -> None:
        super().__init__(name=f"poke-{site}", daemon=True)
        self.site = site
        self.sent = 0
        self.failed = 0
        self._peers, self._timeout = peers, timeout
        self._condition = threading.Condition()
        self._waiting = Content()
        self._stopping = False

    def say(self, content: Content) -> None:
        """Have it told as soon as possible; returns at once."""
        with self._condition:
            self._waiting = self._waiting.joined(content)
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def run(self) -> None:
        failures = 0
        while (content := self._next()) is not None:
            if self._deliver(content):
                failures = 0
                continue
            self.say(content.shrunk())
            self._pause(PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)])
            failures += 1

    def _next(self) -> Content | None:
        """All that is waiting; None when it is time to end."""
        with self._condition:
            while self._waiting.empty and not self._stopping:
                self._condition.wait()
            content, self._waiting = self._waiting, Content()
            return None if self._stopping else content

    def _deliver(self, content: Content) -> bool:
        try:
            self._peers.post(self.site, "/v1/poke", content.document(), self._timeout)
        except errors.UnavailableError as error:
            self.failed += 1
            LOG.debug("%s was not poked: %s", self.site, error)
            return False
        except Exception:
            LOG.exception("poking %s: an error in the engine itself; it goes on", self.site)
            return False
        self.sent += 1
        return True

    def _pause(self, seconds: float) -> None:
        """Wait, whatever else is to be told meanwhile."""
        until = time.monotonic() + seconds
        with self._condition:
            while not self._stopping and (left := until - time.monotonic()) > 0:
                self._condition.wait(left)
