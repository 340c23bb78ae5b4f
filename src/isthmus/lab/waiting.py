"""Waits on conditions: a deadline with a reason instead of a sleep of hopeful length."""

import time
from collections.abc import Callable

from isthmus.lab import errors


def until(
    condition: Callable[[], str | None],
    *,
    deadline: float,
    what: str,
    where: str,
    interval: float = 0.1,
) -> float:
    """Call `condition` until it returns None (it holds) and return the seconds waited.

    The condition answers with a sentence while it does not hold; after `deadline` seconds the last sentence becomes the
    cause of the `errors.NotReady` that is raised.
    """
    started = time.monotonic()
    while True:
        missing = condition()
        waited = time.monotonic() - started
        if missing is None:
            return waited
        if waited > deadline:
            raise errors.NotReady(what=what, where=where, cause=f"after {deadline:g} s: {missing}")
        time.sleep(interval)
