"""Keystone's own caches by moment: nothing that was read at one is found at another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.keystone import regions, scope
from isthmus.plugins.keystone.moments import Moment

DATABASE = b"d" * 16
NOW = Moment(name="now", followed=frozenset([DATABASE]))
LATER = Moment(name="later", followed=frozenset([DATABASE]))
CHANGING = Moment(name=None, followed=frozenset([DATABASE]))


@pytest.fixture
def region() -> Any:
    return make_region().configure("dogpile.cache.memory", wrap=[regions.Proxy])


@contextlib.contextmanager
def at(moment: Moment | None, *databases: bytes | None) -> Iterator[None]:
    with scope.request() as request:
        request.moment = moment
        request.databases |= set(databases)
        yield


def test_a_value_is_found_at_its_own_moment_only(region: Any) -> None:
    with at(NOW, DATABASE):
        region.set("key", "value")
        assert region.get("key") == "value"
    with at(LATER):
        assert region.get("key") is NO_VALUE
    with at(None):
        assert region.get("key") is NO_VALUE
    assert region.get("key") is NO_VALUE
    with at(NOW):
        assert region.get("key") == "value"


def test_without_a_moment_it_is_as_stock_s(region: Any) -> None:
    with at(None, None):
        region.set("key", "value")
    assert region.get("key") == "value"
    with at(NOW):
        assert region.get("key") is NO_VALUE


def test_while_a_change_is_on_its_way_it_is_neither_read_nor_filled(region: Any) -> None:
    region.set("key", "old")
    with at(CHANGING, DATABASE):
        assert region.get("key") is NO_VALUE
        region.set("key", "new")
        region.set_multi({"other": "new"})
        assert region.get_multi(["key", "other"]) == [NO_VALUE, NO_VALUE]
    assert region.get_multi(["key", "other"]) == ["old", NO_VALUE]


@pytest.mark.parametrize("database", [None, b"o" * 16])
def test_what_another_database_said_is_not_kept(region: Any, database: bytes | None) -> None:
    with at(NOW, DATABASE, database):
        region.set("key", "value")
        assert region.get("key") is NO_VALUE


def test_what_is_deleted_is_gone_at_its_moment_and_without_one(region: Any) -> None:
    region.set("key", "old")
    with at(NOW, DATABASE):
        region.set("key", "value")
        region.delete("key")
        assert region.get("key") is NO_VALUE
    assert region.get("key") is NO_VALUE


def test_a_request_that_began_before_a_change_fills_nothing_for_those_after_it(region: Any) -> None:
    shown = "old"

    def read() -> str:
        return shown

    with at(NOW, DATABASE):
        assert region.get_or_create("key", read) == "old"
    shown = "new"
    with at(LATER, DATABASE):
        assert region.get_or_create("key", read) == "new"


@given(
    st.lists(st.tuples(st.sampled_from(["now", "later", None]), st.sampled_from("ab")), max_size=20)
)
def test_values_of_moments_never_mix(steps: list[tuple[str | None, str]]) -> None:
    region = make_region().configure("dogpile.cache.memory", wrap=[regions.Proxy])
    expected: dict[tuple[str | None, str], int] = {}
    for number, (name, key) in enumerate(steps):
        moment = None if name is None else Moment(name=name, followed=frozenset([DATABASE]))
        with at(moment, DATABASE):
            found = region.get(key)
            assert found == expected.get((name, key), NO_VALUE)
            region.set(key, number)
            expected[name, key] = number
