"""GTID positions: reading and comparing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.identity import positions
from isthmus.identity.positions import Gtid, Position

gtids = st.builds(Gtid, st.integers(0, 3), st.integers(1, 3), st.integers(0, 9))
some = st.lists(gtids, max_size=5).map(positions.of)


def test_a_position_of_several_domains_is_read() -> None:
    found = positions.parse("100-100-512,\n11-1-3")
    assert str(found) == "11-1-3,100-100-512"


@pytest.mark.parametrize("text", ["1-2", "a-b-c", "1-2-3-4", "-1-2-3", "1-2-٣"])
def test_what_is_not_a_position_is_refused_by_name(text: str) -> None:
    with pytest.raises(positions.InvalidPosition, match="is not a GTID"):
        positions.parse(text)


def test_a_missing_domain_is_not_included() -> None:
    assert not positions.parse("1-1-99").includes(positions.parse("2-1-1"))


@given(some)
def test_what_is_written_is_read_again(position: Position) -> None:
    assert positions.parse(str(position)) == position


@given(some, some, some)
def test_inclusion_is_an_order(a: Position, b: Position, c: Position) -> None:
    assert a.includes(a)
    assert not (a.includes(b) and b.includes(c)) or a.includes(c)
    assert not (a.ahead_of(b) and b.ahead_of(a))


@given(some, some)
def test_a_joined_position_includes_both_and_no_more(a: Position, b: Position) -> None:
    joined = a.joined(b)
    assert joined.includes(a)
    assert joined.includes(b)
    assert not a.includes(b) or a.includes(joined)
