"""Whom to ask and when to come back: attacked with any order of attempts, failures and late results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.authtoken import choosing

LIMITS = choosing.Limits(pause=5.0, probe=3.0)
ENDPOINTS = 3

steps = st.lists(
    st.tuples(
        st.integers(0, ENDPOINTS - 1),
        st.floats(0, 6),  # how long the attempt took
        st.floats(0, 4),  # how long after the last event its result came
        st.booleans(),
    ),
    max_size=40,
)


def played(events: list[tuple[int, float, float, bool]]) -> tuple[choosing.State, float]:
    state, now = choosing.begin(ENDPOINTS), 100.0
    for index, took, later, good in events:
        now += later
        state = choosing.outcome(state, index, began=now - took, now=now, good=good, limits=LIMITS)
    return state, now


@given(steps)
def test_a_request_asks_those_that_are_up_in_order_or_else_all(events) -> None:
    state, _ = played(events)
    asked = choosing.candidates(state)
    up = [i for i, health in enumerate(state) if health.up]
    assert list(asked) == (up or list(range(ENDPOINTS)))


@given(steps, st.integers(0, ENDPOINTS - 1), st.booleans(), st.floats(0.001, 50))
def test_a_result_of_an_attempt_that_began_before_the_last_change_changes_nothing(
    events, index: int, good: bool, earlier: float
) -> None:
    state, now = played(events)
    since = state[index].since
    if since == choosing.NEVER:
        return
    after = choosing.outcome(state, index, began=since - earlier, now=now, good=good, limits=LIMITS)
    assert after == state


@given(steps)
def test_a_silent_endpoint_is_due_within_the_longest_pause(events) -> None:
    state, now = played(events)
    for health in state:
        if not health.up:
            assert health.look_at <= now + LIMITS.pause
    _, due = choosing.probes(state, now + LIMITS.pause, LIMITS)
    assert set(due) == {i for i, health in enumerate(state) if not health.up}


@given(steps, st.floats(0, 10))
def test_nobody_else_probes_while_a_probe_is_under_way(events, later: float) -> None:
    state, now = played(events)
    state, due = choosing.probes(state, now + later, LIMITS)
    _, again = choosing.probes(state, now + later, LIMITS)
    assert again == ()
    # One that was lost does not keep the endpoint out for ever.
    _, then = choosing.probes(state, now + later + LIMITS.probe, LIMITS)
    assert set(due) <= set(then)


@given(steps, st.integers(0, ENDPOINTS - 1))
def test_only_an_attempt_that_began_while_it_was_silent_brings_an_endpoint_back(
    events, index: int
) -> None:
    state, now = played(events)
    after = choosing.outcome(state, index, began=now, now=now + 1, good=True, limits=LIMITS)
    assert after[index].up
    others = [i for i in range(ENDPOINTS) if i != index]
    assert [after[i] for i in others] == [state[i] for i in others]


@given(st.integers(1, 30), st.floats(0, 3))
def test_an_outage_ends_one_pause_and_one_probe_after_the_endpoint_answers(
    failures: int, took: float
) -> None:
    """A clock that runs: the endpoint fails for a while, then answers; requests come all the time."""
    state = choosing.outcome(choosing.begin(2), 0, began=0.0, now=1.0, good=False, limits=LIMITS)
    now, seen = 1.0, 0
    while seen < failures:
        now += 0.1
        state, due = choosing.probes(state, now, LIMITS)
        if due:
            seen += 1
            state = choosing.outcome(state, 0, began=now, now=now + took, good=False, limits=LIMITS)
            now += took
    healed = now
    while not state[0].up:
        now += 0.1
        state, due = choosing.probes(state, now, LIMITS)
        if due:
            state = choosing.outcome(state, 0, began=now, now=now + took, good=True, limits=LIMITS)
            now += took
    assert now - healed <= LIMITS.pause + took + 0.2
    assert choosing.candidates(state)[0] == 0


def test_several_requests_that_fail_at_once_are_one_failure() -> None:
    state = choosing.begin(2)
    for _ in range(8):
        state = choosing.outcome(state, 0, began=10.0, now=13.0, good=False, limits=LIMITS)
    assert state[0].failures == 1
    assert state[0].look_at == 13.0 + choosing.FIRST_PAUSE


def test_flapping_lengthens_the_pause_and_a_long_good_time_forgets_it() -> None:
    state, now = choosing.begin(1), 10.0
    for _ in range(3):
        state = choosing.outcome(state, 0, began=now, now=now, good=False, limits=LIMITS)
        now = state[0].look_at
        state = choosing.outcome(state, 0, began=now, now=now, good=True, limits=LIMITS)
    flapping = choosing.outcome(state, 0, began=now, now=now, good=False, limits=LIMITS)
    assert flapping[0].failures == 4
    later = now + LIMITS.pause + 1
    calm = choosing.outcome(state, 0, began=later, now=later, good=False, limits=LIMITS)
    assert calm[0].failures == 1


@pytest.mark.parametrize("failures", [1, 3, 2000])
def test_a_night_of_failures_keeps_the_longest_pause(failures: int) -> None:
    state, now = choosing.begin(1), 10.0
    for _ in range(failures):
        state = choosing.outcome(state, 0, began=now, now=now, good=False, limits=LIMITS)
        now = state[0].look_at
    assert 0 < now - 10.0 <= failures * LIMITS.pause
