"""Fixtures of the tests of operations: a real SQLite file and a real yard."""

from __future__ import annotations

from pathlib import Path

import pytest
from operations_bench import Bench
from operations_database import database, empty_database

from isthmus.store import databases

__all__ = ["database", "empty_database"]


@pytest.fixture
def bench(database: databases.Database, tmp_path: Path) -> Bench:
    yard = tmp_path / "yard"
    yard.mkdir()
    return Bench(database, yard)
