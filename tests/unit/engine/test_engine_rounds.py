"""Rounds end, are followed by others, and believe no answer to an older question."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.engine import rounds
from isthmus.engine.rounds import End, State
from isthmus.engine.surroundings import AT_ONCE, LEAST, PORTION_S, Portions, next_size
from isthmus.network.actions import DeletePort
from isthmus.network.views import Origin

SITES = frozenset({"paris", "lyon"})
INTERVAL, TIMEOUT = 30.0, 5.0


NEW = State(own="paris")


def ended(state: State, end: End, now: float) -> State:
    return rounds.ended(state, end, now, interval=INTERVAL)


def test_the_first_round_is_due_at_once() -> None:
    assert NEW.due(0.0)


def test_a_round_waits_for_the_other_sites_until_the_deadline() -> None:
    state = rounds.begun(NEW, 10.0, SITES, TIMEOUT)
    assert not state.ready(11.0)
    one = rounds.answered(state, "paris", 10.0)
    assert not one.ready(11.0)
    assert rounds.answered(one, "lyon", 10.5).ready(11.0)
    assert one.ready(15.0)


def test_a_round_waits_for_the_own_site_much_longer() -> None:
    state = rounds.answered(rounds.begun(NEW, 10.0, SITES, TIMEOUT), "lyon", 10.0)
    assert not state.ready(60.0)
    assert state.ready(10.0 + rounds.OWN_SECONDS)
    assert rounds.answered(state, "paris", 10.0).ready(60.0)


def test_a_look_that_nobody_waits_for_makes_everything_be_considered_and_nobody_be_asked() -> None:
    state = ended(rounds.begun(NEW, 10.0, SITES, TIMEOUT), End.EMPTY, 15.0)
    late = rounds.reconsidered(state, 20.0)
    assert late.ready(20.0)
    assert not late.asked, "whoever waits for a round is not answered by this"
    assert ended(late, End.EMPTY, 20.0).due_at == state.due_at, "the next round is not put off"
    under_way = rounds.begun(NEW, 10.0, SITES, TIMEOUT)
    assert rounds.reconsidered(under_way, 11.0) == under_way


def test_an_answer_to_an_older_question_ends_no_waiting() -> None:
    state = rounds.begun(NEW, 10.0, SITES, TIMEOUT)
    assert rounds.answered(state, "paris", 9.9).waiting == SITES


def test_after_acting_the_own_site_is_looked_at_again() -> None:
    state = rounds.begun(NEW, 10.0, frozenset(), TIMEOUT)
    acted = ended(state, End.ACTED, 12.0)
    assert acted.under_way
    assert acted.waiting == {"paris"}
    assert rounds.answered(acted, "paris", 11.0).waiting == {"paris"}, "it began before the action"
    assert rounds.answered(acted, "paris", 12.0).ready(12.0)


def test_a_round_that_found_nothing_is_followed_after_the_interval() -> None:
    state = ended(rounds.begun(NEW, 10.0, SITES, TIMEOUT), End.EMPTY, 11.0)
    assert (state.under_way, state.due_at) == (False, 41.0)


def test_failed_rounds_are_repeated_with_growing_pauses_up_to_a_longest() -> None:
    state, pauses = NEW, []
    for _ in range(8):
        state = ended(rounds.begun(state, 0.0, SITES, TIMEOUT), End.FAILED, 0.0)
        pauses.append(state.due_at)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0]


def test_a_good_round_forgets_the_failures_before_it() -> None:
    state = ended(rounds.begun(State(own="paris", failures=5), 0.0, SITES, TIMEOUT), End.EMPTY, 0.0)
    assert state.failures == 0


def test_what_is_wanted_during_a_round_follows_it_at_once() -> None:
    state = rounds.begun(NEW, 10.0, SITES, TIMEOUT)
    state = rounds.wanted(state, 11.0)
    assert not state.due(11.0), "one is under way"
    assert ended(state, End.EMPTY, 12.0).due(12.0)
    assert ended(state, End.FAILED, 12.0).due(12.0)


def test_what_is_wanted_between_rounds_begins_at_once() -> None:
    state = ended(rounds.begun(NEW, 10.0, SITES, TIMEOUT), End.EMPTY, 11.0)
    assert rounds.wanted(state, 12.0).due(12.0)


def test_events_that_come_all_the_time_do_not_make_rounds_all_the_time() -> None:
    state = ended(rounds.begun(NEW, 10.0, SITES, TIMEOUT), End.EMPTY, 11.0)
    state = rounds.wanted(state, 11.1, patient=True)
    assert not state.due(12.9)
    assert state.due(13.0)
    assert rounds.wanted(state, 11.2).due(11.2), "a person does not wait"


steps = st.lists(
    st.tuples(
        st.sampled_from(["pass", "wanted", "late", "paris", "lyon"]),
        st.sampled_from(list(End)),
        st.floats(0, 10),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_a_round_ends_and_another_one_comes(
    order: list[tuple[str, End, float]],
) -> None:
    state, now = NEW, 0.0
    for what, end, later in order:
        now += later
        if state.due(now):
            state = rounds.begun(state, now, SITES, TIMEOUT)
        match what:
            case "pass" if state.ready(now):
                state = ended(state, end, now)
            case "wanted":
                state = rounds.wanted(state, now, patient=end is End.EMPTY)
            case "late":
                state = rounds.reconsidered(state, now)
            case "paris" | "lyon":
                state = rounds.answered(state, what, now)
        if state.under_way:
            assert state.asked_at is not None
            assert state.wakes_at() <= now + rounds.OWN_SECONDS
            assert state.passes < rounds.PASSES
        else:
            assert state.wakes_at() <= now + INTERVAL


@given(st.integers(LEAST, AT_ONCE), st.integers(1, AT_ONCE), st.floats(0.0, 600.0))
@example(LEAST + 1, LEAST + 1, 16.0)  # rounded to the nearest, this one stayed as large
def test_a_portion_that_took_long_is_followed_by_a_smaller_one(
    size: int, done: int, seconds: float
) -> None:
    following = next_size(size, min(done, size), seconds)
    assert LEAST <= following <= AT_ONCE
    if done >= size and seconds > PORTION_S:
        assert following < size or following == LEAST
    if done >= size and seconds < PORTION_S:
        assert following >= size


def test_ports_are_done_in_portions_that_follow_from_what_the_last_one_took() -> None:
    origins = [Origin(site="lyon", port_id=f"p{n}") for n in range(80)]
    portions = Portions(
        tuple(
            DeletePort(port_id=f"r{n}", origin=each, why="it is gone")
            for n, each in enumerate(origins)
        )
    )
    sizes = []
    for portion in portions:
        sizes.append(len(portion))
        portions.took(len(portion), len(portion) * 1.0)
    assert sizes == [50, 15, 15]
