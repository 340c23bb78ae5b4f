"""Threads that look at one site's Neutron for all networks.

It exists so that a site that does not answer holds up nothing but looks at itself: whoever wants a
look asks for it and goes on, and is told what was seen. Looks that were asked for several times are
made once; looks at single ports go before whole ones. Nothing is decided here.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from isthmus.network import views
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.views import Origin, SiteView

LOG = logging.getLogger(__name__)

AT_ONCE = 3
"""Looks under way at one site: enough that a port need not wait for a large network's whole look,
few enough to spare that Neutron."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of one look. `began`: on the monotonic clock. `origins`: the ports that somebody
    wanted to be looked at; they may have been looked at with all others."""

    site: str
    began: float
    view: SiteView
    origins: frozenset[Origin] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether everything was looked at, or was to be."""
        return self.view.only is None and (self.view.good or not self.origins)


class Wanting(Protocol):
    """Who wants looks for one network."""

    @property
    def declaration(self) -> StretchedNetwork: ...

    def known(self, site: str) -> SiteView | None:
        """The last good view, which a narrow look starts from."""

    def seen(self, seen: Seen) -> None:
        """Take what was seen; called by the thread that looked."""


class Eyes(Protocol):
    """What looks at a site: `isthmus.network.neutrons.Neutron`."""

    def view(self, declaration: StretchedNetwork) -> SiteView: ...

    def refresh(
        self, view: SiteView, declaration: StretchedNetwork, origins: Iterable[Origin]
    ) -> SiteView: ...


class Observer:
    """The looks at one site.

    Invariant: every look that was asked for begins after it was asked for, and is told to whoever
    asked, whatever comes of it.
    """

    def __init__(self, site: str, eyes: Callable[[], Eyes]) -> None:
        self.site = site
        self._eyes = eyes
        self._condition = threading.Condition()
        self._narrow: dict[Wanting, set[Origin]] = {}
        self._whole: dict[Wanting, None] = {}
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"look-{site}-{number}", daemon=True)
            for number in range(AT_ONCE)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def ask_whole(self, who: Wanting) -> None:
        """Want a look at all of a network."""
        with self._condition:
            self._whole[who] = None
            self._condition.notify()

    def ask_ports(self, who: Wanting, origins: Iterable[Origin]) -> None:
        """Want a look at some ports; a whole one is made if there was none yet."""
        with self._condition:
            self._narrow.setdefault(who, set()).update(origins)
            self._condition.notify()

    def _run(self) -> None:
        while (question := self._next()) is not None:
            who, origins = question
            began = time.monotonic()
            try:
                view = self._look(who, origins)
            except Exception as error:
                LOG.exception("looking at %s: an error in the engine itself", self.site)
                view = views.silent(self.site, 0.0, f"unexpected {type(error).__name__}: {error}")
            who.seen(Seen(site=self.site, began=began, view=view, origins=origins))

    def _next(self) -> tuple[Wanting, frozenset[Origin]] | None:
        """The next question, for a whole look without origins; None when it is time to end."""
        with self._condition:
            while not (self._stopping or self._narrow or self._whole):
                self._condition.wait()
            if self._stopping:
                return None
            if self._narrow:
                who = next(iter(self._narrow))
                return who, frozenset(self._narrow.pop(who))
            who = next(iter(self._whole))
            del self._whole[who]
            return who, frozenset()

    def _look(self, who: Wanting, origins: frozenset[Origin]) -> SiteView:
        known = who.known(self.site) if origins else None
        if known is None:
            return self._eyes().view(who.declaration)
        return self._eyes().refresh(known, who.declaration, origins)
