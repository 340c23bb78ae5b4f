"""Fixtures of the simulated peers' tests. The own site is the other tests' Neutron on the loopback, the engine the real one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _folder in ("engine", "network"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))

from engine_bench import tables  # noqa: E402
from peers_stand import Stand, stand  # noqa: E402

__all__ = ["tables"]


@pytest.fixture
def many(tmp_path: Path, tables: None) -> Iterator[Stand]:
    """An engine with fifty simulated peers."""
    with stand(tmp_path, count=50) as found:
        yield found


@pytest.fixture
def few(tmp_path: Path, tables: None) -> Iterator[Stand]:
    """An engine with three simulated peers that show lists in pages."""
    with stand(tmp_path, count=3, largest_page=7) as found:
        yield found
