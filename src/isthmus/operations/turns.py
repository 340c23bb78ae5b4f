"""Whose turn it is: how many steps of one action run at once, and that those planned first come first.

It exists because steps wait for services that work on a few things at a time. If all volumes of a
group are restored together, all are ready together, at the end; one after the other, the server that
boots first finds its own ready while the others follow.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Iterator, Mapping

DEFAULT = 8
"""Steps of one action at once, where nobody says how many."""

_LOOK_S = 0.5
"""How often a step that waits for its turn looks whether it is to stop."""

_SETTLE_S = 0.1
"""Steps that become ready together come one by one, in no order: how long nobody may have come before
the first of them is known."""


class Turns:
    """The turns of one operation. For several threads.

    `at_once`: by action, how many of its steps may run. Invariant: never more than that; and of those
    that wait for such an action, the one with the lowest `place` is next.
    """

    def __init__(self, at_once: Mapping[str, int]) -> None:
        self._at_once = at_once
        self._changed = threading.Condition()
        self._running: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._settled: dict[str, float] = {}
        self._arrivals = 0

    @contextlib.contextmanager
    def turn(self, action: str, place: int, *, checked: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn of a step; `checked` raises when it is to wait no longer."""
        self._take(action, place, checked)
        try:
            yield
        finally:
            with self._changed:
                self._running[action] -= 1
                self._changed.notify_all()

    def _take(self, action: str, place: int, checked: Callable[[], None]) -> None:
        with self._changed:
            waiting = self._waiting.setdefault(action, [])
            self._arrivals += 1
            mine = (place, self._arrivals)
            heapq.heappush(waiting, mine)
            if action in self._at_once:
                self._settled[action] = time.monotonic() + _SETTLE_S
            try:
                checked()
                while (wait := self._wait(action, mine)) is not None:
                    self._changed.wait(wait)
                    checked()
            finally:
                waiting.remove(mine)
                heapq.heapify(waiting)
                self._changed.notify_all()
            self._running[action] = self._running.get(action, 0) + 1

    def _wait(self, action: str, mine: tuple[int, int]) -> float | None:
        """Seconds after which to look again; None: it is this one's turn."""
        full = self._running.get(action, 0) >= self._at_once.get(action, DEFAULT)
        if full or self._waiting[action][0] != mine:
            return _LOOK_S
        left = self._settled.get(action, 0.0) - time.monotonic()
        return left if left > 0 else None
