"""Fixtures of the tests of orders."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from guest_agent import GuestAgent, serving
from orders_agent import ONE, TWO, Agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    found = Agent(tmp_path)
    yield found
    found.stop()
    for pid in found.watchdogs():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[list[GuestAgent]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(tmp_path / f"{each}.sock")) for each in (ONE, TWO)]
