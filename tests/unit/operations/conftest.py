"""Fixtures of the tests of operations: a real SQLite file and a real yard."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from operations_bench import Bench

from isthmus.store import databases, schema


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema, made once: migrations cost a second."""
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    database = databases.connect(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> databases.Database:
    path = tmp_path / "operations.db"
    shutil.copy(empty_database, path)
    return databases.connect(f"sqlite:///{path}")


@pytest.fixture
def bench(database: databases.Database, tmp_path: Path) -> Bench:
    yard = tmp_path / "yard"
    yard.mkdir()
    return Bench(database, yard)
