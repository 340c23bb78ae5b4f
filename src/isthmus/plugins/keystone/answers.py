"""The response cache: answers of one moment, bounded in bytes. Pure but for its lock: times are the caller's.

What a moment is, and which answers may be kept, is ``coherence``'s.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

# What Python needs for an entry beside its texts, roughly.
_OVERHEAD = 1000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer, and until when it may be given.

    ``expires_at``: seconds since the epoch, by the clock that Keystone judges tokens with; the
    answer is good before it. ``kept_until``: the same by the monotonic clock.
    """

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    expires_at: float
    kept_until: float

    @property
    def size(self) -> int:
        return _OVERHEAD + len(self.body) + sum(len(a) + len(b) for a, b in self.headers)


class Answers:
    """At most ``limit`` bytes of answers, those that were given longest ago leave first.

    Invariants: all answers in it were put under one moment; ``get`` gives an answer only under the
    moment under which it was put, before it expires, and within the time for which it is kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._moment: Hashable = None
        self._found: OrderedDict[Hashable, Answer] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self._size

    def get(
        self, moment: Hashable, key: Hashable, *, now: float, monotonic: float
    ) -> Answer | None:
        """The answer that was put under this moment and key, if it may still be given."""
        with self._lock:
            if moment != self._moment:
                return None
            answer = self._found.get(key)
            if answer is None:
                return None
            if now < answer.expires_at and monotonic <= answer.kept_until:
                self._found.move_to_end(key)
                return answer
            self._remove(key)
            return None

    def put(self, moment: Hashable, key: Hashable, answer: Answer) -> None:
        """Keep an answer; those of any other moment are forgotten. ``moment`` must be the current one."""
        with self._lock:
            if moment != self._moment:
                self._found.clear()
                self._size, self._moment = 0, moment
            if key in self._found:
                self._remove(key)
            if answer.size > self._limit:
                return
            self._found[key] = answer
            self._size += answer.size
            while self._size > self._limit:
                self._remove(next(iter(self._found)))

    def _remove(self, key: Hashable) -> None:
        self._size -= self._found.pop(key).size
