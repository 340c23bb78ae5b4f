"""A node of a cluster that follows serves only while it is in step and what it has is young enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.identity import membership
from isthmus.identity.replication import Heartbeat
from isthmus.identity.writer import DONOR, PRIMARY, SYNCED, Verdict, View

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 5.0


def view(
    *,
    name: str = "madrid-2",
    status: str = PRIMARY,
    state: str = SYNCED,
    ready: bool = True,
    ages: tuple[float, ...] = (0.5,),
) -> View:
    beats = tuple(
        Heartbeat(writer=f"w{n}", sequence=n, written_at=NOW - timedelta(seconds=age))
        for n, age in enumerate(ages)
    )
    return View(
        at=0.0, now=NOW, name=name, status=status, state=state, ready=ready, size=3, members=(),
        register=None, heartbeats=beats,
    )  # fmt: skip


def judged(seen: View, before: Verdict = Verdict.SERVING) -> membership.Judgement:
    return membership.judge(seen, "madrid-2", before, lag_limit_seconds=LIMIT)


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (view(), Verdict.SERVING, "data are 0.5 s old"),
        (view(state=DONOR), Verdict.SERVING, "in step"),
        (view(name="madrid"), Verdict.UNKNOWN, "set wsrep_node_name=madrid-2"),
        (view(status="non-Primary"), Verdict.NON_PRIMARY, "cut off from the majority"),
        (view(status=""), Verdict.NON_PRIMARY, "no cluster"),
        (view(state="Joining"), Verdict.JOINING, "Joining"),
        (view(ready=False), Verdict.JOINING, "not in step"),
        (view(ages=()), Verdict.UNKNOWN, "no heartbeat"),
        (view(ages=(7.0, 6.0)), Verdict.LAGGING, "data are 6.0 s old"),
        # The former writer's last heartbeat is no age of the data.
        (view(ages=(900.0, 1.0)), Verdict.SERVING, "data are 1.0 s old"),
        # Clocks differ.
        (view(ages=(-2.0,)), Verdict.SERVING, "data are 0.0 s old"),
    ],
)
def test_what_a_look_means(seen: View, verdict: Verdict, words: str) -> None:
    found = judged(seen)
    assert (found.verdict, words in found.reason) == (verdict, True), found


def test_it_comes_back_only_well_below_the_limit() -> None:
    assert judged(view(ages=(4.0,))).verdict is Verdict.SERVING
    assert judged(view(ages=(4.0,)), Verdict.LAGGING).verdict is Verdict.LAGGING
    assert judged(view(ages=(2.0,)), Verdict.LAGGING).verdict is Verdict.SERVING


@given(
    st.sampled_from(["madrid-2", "madrid-1"]),
    st.sampled_from([PRIMARY, "non-Primary", "Disconnected", ""]),
    st.sampled_from([SYNCED, DONOR, "Joiner", "Initialized"]),
    st.booleans(),
    st.lists(st.floats(-10, 100), max_size=3),
    st.sampled_from(list(Verdict)),
)
def test_it_serves_only_in_step_in_a_majority_and_younger_than_the_limit(
    name: str, status: str, state: str, ready: bool, ages: list[float], before: Verdict
) -> None:
    found = judged(
        view(name=name, status=status, state=state, ready=ready, ages=tuple(ages)), before
    )
    if found.verdict is Verdict.SERVING:
        assert (name, status, ready) == ("madrid-2", PRIMARY, True)
        assert state in (SYNCED, DONOR)
        assert ages
        assert min(ages) <= LIMIT
    assert found.reason
