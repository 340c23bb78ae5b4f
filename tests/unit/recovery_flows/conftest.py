"""Fixtures of the tests of flows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Values of recovery and the bench of operations are shared with their own tests.
sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("recovery", "operations")]

from flows_cloud import Cloud  # noqa: E402

from isthmus.store import databases, schema  # noqa: E402


@pytest.fixture
def database(tmp_path: Path) -> databases.Database:
    found = databases.connect(f"sqlite:///{tmp_path}/recovery.db")
    schema.upgrade(found)
    return found


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()
