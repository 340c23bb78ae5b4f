"""Tokens that an endpoint has refused: another endpoint's word does not bring them back.

Without it a token that the own site has just refused as revoked would be accepted again as soon as
the own site falls silent and another is asked that learns of the revocation a second later. The
bound on a revocation does not rest on this memory (see the package): it is of one process, of
limited size, and makes the end of a token final within that bound.
"""

from __future__ import annotations

import collections
import hashlib
import threading

REMEMBERED_SECONDS = 60.0
"""Longer than an endpoint that is proven fresh can be behind, Keystone's cache as rendered (5 s)
included; short, because an endpoint also refuses what it does not know yet."""

MOST = 10_000
"""Anybody can have garbage refused; beyond this the oldest is forgotten. About 2 MB."""


class Refusals:
    """Who refused which token and when. Tokens are kept as digests only. Safe among threads."""

    def __init__(self, seconds: float = REMEMBERED_SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._at: collections.OrderedDict[bytes, dict[int, float]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def refused(self, token: str, endpoint: int, now: float) -> None:
        """Remember a refusal."""
        key = _digest(token)
        with self._lock:
            self._at.setdefault(key, {})[endpoint] = now
            self._at.move_to_end(key)
            while len(self._at) > self._most:
                self._at.popitem(last=False)

    def stands(self, token: str, endpoint: int, now: float) -> bool:
        """Whether an acceptance by `endpoint` is overruled by another's refusal.

        An endpoint's own acceptance takes its own earlier refusal back.
        """
        key = _digest(token)
        with self._lock:
            known = self._at.get(key)
            if known is None:
                return False
            known.pop(endpoint, None)
            if any(now - at < self._seconds for at in known.values()):
                return True
            del self._at[key]
            return False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
