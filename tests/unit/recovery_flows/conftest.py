"""Fixtures of the tests of flows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Values of recovery, and the bench and the database of operations, are shared with their own tests.
sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("recovery", "operations")]

from flows_cloud import Cloud  # noqa: E402
from operations_database import database, empty_database  # noqa: E402

__all__ = ["database", "empty_database"]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()
