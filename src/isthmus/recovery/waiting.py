"""Waiting for what a cloud does in its own time, with an end.

It exists so that nobody waits without a deadline, and so that the sentence at the end says for what.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from isthmus import errors

T = TypeVar("T")


class OverdueError(errors.UnavailableError):
    """Something did not happen in time."""


def until(
    look: Callable[[], T | None], *, within_s: float, every_s: float, what: str, where: str
) -> T:
    """The first answer that is not None. Raises OverdueError after `within_s` seconds.

    `what` completes "waited in vain for". What `look` raises is passed on.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            raise OverdueError(
                f"waited {within_s:g} s in vain for {what}",
                where=where,
                unchanged="it may still happen; the step can be repeated",
            )
        time.sleep(min(every_s, max(0.0, deadline - time.monotonic())))
