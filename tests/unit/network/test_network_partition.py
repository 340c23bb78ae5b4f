"""When ports of a silent site are kept, marked or withdrawn."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from isthmus.network.partition import Hearing, Judgement, Policy, State, judge

ENGINES = frozenset({"paris", "lyon", "madrid"})


def judged(
    policy: Policy, silent: float, *heard: str, engines: frozenset[str] = ENGINES
) -> Judgement:
    hearing = Hearing(own="paris", engines=engines, heard=frozenset(heard))
    return judge(policy, 60.0, site="lyon", silent_seconds=silent, hearing=hearing)


@pytest.mark.parametrize(
    ("policy", "silent", "heard", "state"),
    [
        (Policy.KEEP, 1e6, ("madrid",), State.KEPT),
        (Policy.MARK, 59.9, ("madrid",), State.KEPT),
        (Policy.MARK, 60.0, (), State.STALE),
        (Policy.PURGE, 59.9, ("madrid",), State.KEPT),
        (Policy.PURGE, 60.0, ("madrid",), State.PURGED),
        (Policy.PURGE, 60.0, ("paris", "madrid"), State.PURGED),
        (Policy.PURGE, 1e6, (), State.STALE),
        (Policy.PURGE, 1e6, ("paris",), State.STALE),
        (Policy.PURGE, 1e6, ("lyon", "madrid"), State.STALE),
    ],
)
def test_policies(policy: Policy, silent: float, heard: tuple[str, ...], state: State) -> None:
    assert judged(policy, silent, *heard).state is state


def test_two_engines_without_a_witness_never_purge() -> None:
    two = frozenset({"paris", "lyon"})
    judgement = judged(Policy.PURGE, 1e6, engines=two)
    assert (judgement.state, judgement.held) == (State.STALE, True)
    assert "cut off" in judgement.reason


def test_a_half_of_four_engines_is_no_majority() -> None:
    four = ENGINES | {"nice"}
    assert judged(Policy.PURGE, 1e6, "madrid", engines=four).held
    assert not judged(Policy.PURGE, 1e6, "madrid", "nice", engines=four).held


def test_who_does_not_know_whom_it_hears_purges_nothing() -> None:
    judgement = judge(Policy.PURGE, 60.0, site="lyon", silent_seconds=1e9, hearing=None)
    assert judgement.held


@given(
    policy=st.sampled_from(list(Policy)),
    silent=st.floats(0, 1e6),
    engines=st.sets(st.sampled_from("abcdefg")).map(lambda each: frozenset(each | {"own"})),
    heard=st.sets(st.sampled_from("abcdefgx")).map(frozenset),
    site=st.sampled_from("abcdefg"),
)
def test_a_purge_has_every_reason(
    policy: Policy, silent: float, engines: frozenset[str], heard: frozenset[str], site: str
) -> None:
    hearing = Hearing(own="own", engines=engines, heard=heard)
    judgement = judge(policy, 60.0, site=site, silent_seconds=silent, hearing=hearing)
    if judgement.state is State.PURGED:
        others = heard & engines - {"own"}
        assert policy is Policy.PURGE
        assert silent >= 60.0
        assert site not in heard
        assert others
        assert 2 * (len(others) + 1) > len(engines)
    assert judgement.reason
    assert not judgement.held or judgement.state is State.STALE


@given(
    engines=st.sets(st.sampled_from("abcdefg"), min_size=2).map(frozenset),
    silent=st.floats(60, 1e6),
    data=st.data(),
)
def test_of_two_halves_that_do_not_hear_each_other_at_most_one_purges(
    engines: frozenset[str], silent: float, data: st.DataObject
) -> None:
    one = data.draw(st.sets(st.sampled_from(sorted(engines))))
    other = engines - one
    purging = set()
    for own in sorted(engines):
        part = one if own in one else other
        across = sorted(engines - part)
        hearing = Hearing(own=own, engines=engines, heard=frozenset(part))
        for site in across:
            judgement = judge(Policy.PURGE, 60.0, site=site, silent_seconds=silent, hearing=hearing)
            if judgement.state is State.PURGED:
                purging.add(own in one)
    assert len(purging) <= 1
