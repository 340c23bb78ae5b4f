"""How large packets may be: the search, with ways that speak and ways that swallow."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent.host import underlay

sizes = st.integers(min_value=underlay.SMALLEST, max_value=9000)


def way(width: int, told: list[int], *, speaks: bool) -> Callable[[int], bool]:
    def passes(size: int) -> bool:
        if size > width and speaks:
            told.append(width)
        return size <= width

    return passes


@given(asked=sizes, width=sizes)
def test_a_way_that_swallows_is_measured_to_two_bytes(asked: int, width: int) -> None:
    told: list[int] = []
    found = underlay.widest(asked, way(width, told, speaks=False), told)
    most = min(asked, width)
    assert most - 2 <= found <= most


@given(asked=sizes, width=sizes)
def test_a_way_that_speaks_is_measured_exactly_with_two_questions(asked: int, width: int) -> None:
    told: list[int] = []
    questions: list[int] = []
    passes = way(width, told, speaks=True)

    def counted(size: int) -> bool:
        questions.append(size)
        return passes(size)

    found = underlay.widest(asked, counted, told)
    assert min(asked, width) - 2 <= found <= min(asked, width)
    assert len(questions) <= 2 or width <= underlay.SMALLEST + 2


@given(asked=sizes, width=sizes, lie=sizes)
def test_a_router_that_promises_too_much_is_not_believed(asked: int, width: int, lie: int) -> None:
    told: list[int] = []

    def passes(size: int) -> bool:
        if size > width:
            told.append(lie)
        return size <= width

    assert underlay.widest(asked, passes, told) <= min(asked, width)
