"""Waits of the tests: for what another thread or process does, with a deadline and the name of what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(what: str, happened: Callable[[], object], seconds: float) -> None:
    """Wait until something is so, and fail with its name when it is not in time; `seconds` are the caller's promise."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
