"""Whether the engines of the other sites are heard: one thread for each.

It exists because "that site does not answer" means two different things, and the difference decides
about withdrawing its ports: an engine is heard by its own answer, whatever its Neutron does. It also
brings what each engine says of its networks, so that a list need not ask anybody.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from isthmus import errors
from isthmus.engine.calling import Callees
from isthmus.engine.looping import Loop
from isthmus.network import partition

LOG = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0
PEERS_PER_SECOND = 10
"""Where there are more, each is asked less often: a question costs both ends some milliseconds."""
HEARD_SECONDS = 6.0
"""An answer counts for this long at least: longer than one attempt that fails and the next one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """The last answer of one engine. `at`: on the monotonic clock, negative infinity for never."""

    at: float = float("-inf")
    presence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = "not asked yet"
    counts_seconds: float = HEARD_SECONDS

    def lately(self, now: float) -> bool:
        return now - self.at <= self.counts_seconds

    def age(self, now: float) -> float | None:
        """Seconds since the last answer; None if there never was one."""
        return None if self.at == float("-inf") else now - self.at


class Neighbour(Loop):
    """Asks one engine again and again; `changed` is called when it falls silent, and when it is
    heard after a silence or a restart."""

    def __init__(
        self, site: str, peers: Callees, changed: Callable[[str], None], every: float
    ) -> None:
        super().__init__(f"hear-{site}", every, jitter=0.2)
        self.site = site
        self.heard = Heard(counts_seconds=max(HEARD_SECONDS, 2.5 * every + ANSWER_SECONDS))
        self._peers, self._changed = peers, changed
        self._present = False

    def tick(self) -> None:
        try:
            presence = self._peers.get(self.site, "/v1/presence", ANSWER_SECONDS)
        except errors.UnavailableError as error:
            self._missed(error)
        else:
            self._answered(presence if isinstance(presence, dict) else {})

    def _missed(self, error: errors.UnavailableError) -> None:
        self.heard = dataclasses.replace(self.heard, error=str(error))
        if self._present and not self.heard.lately(time.monotonic()):
            self._present = False
            LOG.warning("the engine of %s is not heard any more: %s", self.site, error)
            self._changed(self.site)

    def _answered(self, presence: Mapping[str, Any]) -> None:
        before, now = self.heard, time.monotonic()
        self.heard = dataclasses.replace(before, at=now, presence=presence, error=None)
        silent = now - before.at > self._interval + 2 * ANSWER_SECONDS
        restarted = presence.get("started_at") != before.presence.get("started_at")
        if not self._present:
            self._present = True
            LOG.info("the engine of %s is heard", self.site)
        if silent or restarted:
            # What it would have poked about meanwhile, nobody knows.
            self._changed(self.site)


class Neighbours:
    """All other engines of the cloud."""

    def __init__(self, own: str, peers: Callees, changed: Callable[[str], None]) -> None:
        self._own = own
        every = max(EVERY_SECONDS, len(peers.names) / PEERS_PER_SECOND)
        self._neighbours = {site: Neighbour(site, peers, changed, every) for site in peers.names}

    @property
    def threads(self) -> tuple[Loop, ...]:
        return tuple(self._neighbours.values())

    @property
    def heard(self) -> dict[str, Heard]:
        """The last answers, by site."""
        return {site: each.heard for site, each in self._neighbours.items()}

    def hearing(self) -> partition.Hearing:
        """Which engines are heard now."""
        now = time.monotonic()
        lately = {site for site, heard in self.heard.items() if heard.lately(now)}
        return partition.Hearing(
            own=self._own,
            engines=frozenset({self._own, *self._neighbours}),
            heard=frozenset({self._own, *lately}),
        )
