"""Fixtures of the tests of flows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

# Values of recovery and the bench of operations are shared with their own tests.
sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("recovery", "operations")]

from flows_cloud import Cloud  # noqa: E402

from isthmus.store import databases, schema  # noqa: E402


@pytest.fixture(scope="session")
def empty_recovery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema, made once: migrations cost a second."""
    path = tmp_path_factory.mktemp("recovery") / "empty.db"
    found = databases.connect(f"sqlite:///{path}")
    schema.upgrade(found)
    found.close()
    return path


@pytest.fixture
def database(empty_recovery: Path, tmp_path: Path) -> databases.Database:
    path = tmp_path / "recovery.db"
    shutil.copy(empty_recovery, path)
    return databases.connect(f"sqlite:///{path}")


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()
