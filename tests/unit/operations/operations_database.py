"""The fixtures of a real SQLite file with the schema, for the tests of operations and of what is made of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
