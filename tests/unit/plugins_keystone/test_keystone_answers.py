"""The response cache: bounded, of one moment, and never beyond an answer's life."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.keystone.answers import Answer, Answers

LIMIT = 8000


def answer(text: str = "a", *, expires_at: float = 100.0, kept_until: float = 100.0) -> Answer:
    return Answer(
        status="200 OK",
        headers=(("Content-Type", "application/json"),),
        body=text.encode(),
        expires_at=expires_at,
        kept_until=kept_until,
    )


KEYS = st.integers(0, 5)
TIMES = st.floats(0, 10)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, TIMES, TIMES, st.integers(0, 9000)),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("change")),
        st.tuples(st.just("wait"), st.floats(0, 3), st.floats(0, 3)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_answer_of_another_moment_beyond_its_life_or_beyond_the_memory(
    steps: list[tuple[object, ...]],
) -> None:
    kept, moment, now, monotonic = Answers(LIMIT), 0, 0.0, 0.0
    put: dict[int, tuple[int, Answer]] = {}
    for step in steps:
        match step:
            case ("put", int(key), float(life), float(age), int(size)):
                new = answer("x" * size, expires_at=now + life, kept_until=monotonic + age)
                kept.put(moment, key, new)
                put[key] = moment, new
            case ("get", int(key)):
                found = kept.get(moment, key, now=now, monotonic=monotonic)
                if found is not None:
                    assert (moment, found) == put[key]
                    assert now < found.expires_at
                    assert monotonic <= found.kept_until
            case ("change",):
                moment += 1
            case ("wait", float(wall), float(steady)):
                now, monotonic = now + wall, monotonic + steady
        assert 0 <= kept.size <= LIMIT


def test_what_was_given_longest_ago_leaves_first() -> None:
    kept = Answers(3 * answer().size)
    for name in "abc":
        kept.put("m", name, answer(name))
    assert kept.get("m", "a", now=0, monotonic=0) is not None
    kept.put("m", "d", answer("d"))
    assert kept.get("m", "b", now=0, monotonic=0) is None
    assert kept.get("m", "a", now=0, monotonic=0) == answer("a")


def test_an_answer_of_the_last_moment_is_not_given_and_does_not_return() -> None:
    kept = Answers(LIMIT)
    kept.put("one", "key", answer())
    assert kept.get("two", "key", now=0, monotonic=0) is None
    kept.put("two", "other", answer())
    assert kept.get("one", "key", now=0, monotonic=0) is None
    assert kept.size == answer().size


def test_the_moment_of_expiry_is_too_late() -> None:
    kept = Answers(LIMIT)
    kept.put("m", "key", answer(expires_at=50.0))
    assert kept.get("m", "key", now=49.999, monotonic=0) is not None
    assert kept.get("m", "key", now=50.0, monotonic=0) is None
    assert kept.size == 0


def test_an_answer_that_is_larger_than_the_memory_is_not_kept() -> None:
    kept = Answers(LIMIT)
    kept.put("m", "key", answer("small"))
    kept.put("m", "key", answer("x" * LIMIT))
    assert kept.get("m", "key", now=0, monotonic=0) is None
    assert kept.size == 0
