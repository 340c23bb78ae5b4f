"""The window of a quiesced server as Nova's tables have it: a mark and a lock.

The mark says since when, by which request and until when; the lock keeps the server's owner from
migrating, resizing or shelving a frozen guest. Both stand in the instance's row, so that every
process of Nova's API sees them and they survive all of them. A window ends by itself: a lock that
nobody took away (the controller died) must not keep an owner from his server for ever, so `middleware`
takes it away when it has outlived its time and stands in the way.

A server that was locked before stays as locked as it was.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

KEY = "isthmus_quiesced"
REASON = "locked_reason"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """`since` and `until` in seconds of the Unix epoch; `request`: the id of Nova's request;
    `locks`: whether the lock of the server is the window's own."""

    since: float
    until: float
    request: str
    locks: bool

    def over(self, now: float) -> bool:
        return now >= self.until

    def __str__(self) -> str:
        since = datetime.datetime.fromtimestamp(self.since, datetime.UTC)
        return f"since {since:%Y-%m-%dT%H:%M:%SZ} by request {self.request}"


def of(instance: Any) -> Window | None:
    """The window that an instance is marked with; what cannot be read counts as one that is over."""
    text = instance.system_metadata.get(KEY)
    if not text:
        return None
    try:
        return Window(**json.loads(text))
    except (TypeError, ValueError):
        return Window(since=0.0, until=0.0, request="unknown", locks=False)


def mark(instance: Any, window: Window) -> None:
    """Write mark and lock into the instance; whoever calls saves it."""
    instance.system_metadata[KEY] = json.dumps(dataclasses.asdict(window))
    if window.locks:
        instance.locked = True
        # As by an administrator, so that the owner does not unlock by habit.
        instance.locked_by = "admin"
        instance.system_metadata[REASON] = f"isthmus: quiesced {window}"


def clear(instance: Any) -> None:
    """Take mark and lock out of the instance; whoever calls saves it."""
    window = of(instance)
    instance.system_metadata.pop(KEY, None)
    if window and window.locks:
        instance.locked = False
        instance.locked_by = None
        instance.system_metadata.pop(REASON, None)
