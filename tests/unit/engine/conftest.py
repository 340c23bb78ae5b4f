"""Fixtures of the engine's tests."""

from collections.abc import Iterator

import pytest
from engine_bench import Bench, bench, tables

__all__ = ["tables"]


@pytest.fixture(scope="session")
def one_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("engine")) as found:
        yield found


@pytest.fixture
def stand(one_bench: Bench, tables: None) -> Bench:
    one_bench.reset()
    return one_bench
