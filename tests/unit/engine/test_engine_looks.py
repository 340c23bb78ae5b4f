"""Looks that overlap in time, in every order of their answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.engine.looks import Memory
from isthmus.network import views
from isthmus.network.views import Port, SiteView

NUMBERS = frozenset("abc")


def port(number: str, version: int) -> Port:
    return Port(id=number, network_id="n", mac=number, ips=(), revision=version)


def world(at: float) -> SiteView:
    """The site at a moment: port `a` changes every second, `b` exists in odd ones, `c` for ever."""
    second = int(at)
    ports = [port("a", second), port("c", 0)] + ([port("b", second)] if second % 2 else [])
    return SiteView(site="lyon", seen_at=at, ports=tuple(ports))


def narrow(at: float, asked: frozenset[str], known: float) -> SiteView:
    """A look at some ports, made from a whole view that was known at an earlier moment."""
    fresh = [each for each in world(at).ports if each.id in asked]
    return views.overlaid(world(known), asked, fresh)


looks = st.lists(
    st.tuples(
        st.integers(0, 60),  # when it began: also when it was true
        st.one_of(
            st.just("whole"),
            st.just("failed"),
            st.frozensets(st.sampled_from(sorted(NUMBERS)), min_size=1),
        ),
    ),
    max_size=12,
    unique_by=lambda each: each[0],
)


@given(looks)
def test_what_is_known_of_a_port_is_from_the_look_that_began_last(
    order: list[tuple[int, str | frozenset[str]]],
) -> None:
    """The list is in the order of the answers, which is any order of the beginnings."""
    memory, base, counted = Memory(), -1.0, dict.fromkeys(NUMBERS, -1)
    for began, kind in order:
        if kind == "whole":
            ignored = began < memory.tried_at
            memory = memory.after_whole(began, world(began))
            if not ignored:
                base = began
                counted = {each: max(at, began) for each, at in counted.items()}
        elif kind == "failed":
            memory = memory.after_whole(began, views.silent("lyon", 0.0, "no answer"))
        elif base >= 0 and began > base:
            memory = memory.after_narrow(began, narrow(began, frozenset(kind), base))
            counted.update({each: max(counted[each], began) for each in kind})
        if base < 0:
            assert memory.latest is None
            continue
        assert memory.latest is not None
        assert memory.latest.only is None
        for each in NUMBERS:
            now = [found for found in memory.latest.ports if found.id == each]
            true = [found for found in world(counted[each]).ports if found.id == each]
            assert now == true, each


def test_a_site_that_does_not_answer_is_silent_since_it_was_last_seen() -> None:
    memory = Memory().after_whole(1.0, world(1.0))
    silent = memory.after_whole(2.0, views.silent("lyon", 0.0, "connection refused"))
    view = silent.view("lyon", unseen_since=0.5)
    assert (view.error, view.seen_at) == ("connection refused", 1.0)
    assert silent.after_whole(3.0, world(3.0)).view("lyon", unseen_since=0.5).good


def test_a_site_that_was_never_seen_is_silent_since_the_start() -> None:
    view = Memory().view("lyon", unseen_since=0.5)
    assert (view.good, view.seen_at) == (False, 0.5)


def test_a_failure_that_is_told_late_does_not_hide_a_newer_look() -> None:
    memory = Memory().after_whole(2.0, world(2.0))
    late = memory.after_whole(1.0, views.silent("lyon", 0.0, "no answer"))
    assert late.view("lyon", unseen_since=0.0).good
