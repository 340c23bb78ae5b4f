"""Asking several sites: one result each, whatever they do, within the budget."""

from __future__ import annotations

import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import errors
from isthmus.sites import fanout


def refuse() -> str:
    raise errors.UnavailableError("connection refused")


def crash() -> str:
    raise ValueError("two\nlines")


def test_failures_are_results_and_the_order_is_kept():
    results = fanout.ask_all(
        {"paris": lambda: "up", "lyon": refuse, "madrid": crash, "rome": _exit}, timeout=5
    )
    assert list(results) == ["paris", "lyon", "madrid", "rome"]
    assert (results["paris"].value, results["paris"].ok) == ("up", True)
    assert results["lyon"].error == "connection refused"
    assert results["madrid"].error == "unexpected ValueError: two lines"
    assert results["rome"].error == "unexpected SystemExit: 3"
    assert all(result.observed_at.tzinfo for result in results.values())


def _exit() -> str:
    raise SystemExit(3)


def test_a_hung_site_costs_its_timeout_and_no_more():
    release = threading.Event()
    started = time.monotonic()
    results = fanout.ask_all(
        {"hung": lambda: release.wait(30), "well": lambda: True}, timeout=0.3, grace=0.1
    )
    took = time.monotonic() - started
    release.set()
    assert results["hung"].error == "no answer within 0.3 s"
    assert results["well"].ok
    # 0.4 s of budget; the rest is what a busy machine may take to schedule threads.
    assert 0.4 <= took < 10.0
    assert 0.4 <= results["hung"].seconds < 10.0


def test_hung_sites_do_not_starve_those_that_wait_for_a_place():
    release = threading.Event()
    questions = {f"hung-{n}": lambda: release.wait(30) for n in range(2)}
    questions["well"] = lambda: True
    results = fanout.ask_all(questions, timeout=0.1, at_once=2)
    release.set()
    assert [name for name, result in results.items() if result.ok] == ["well"]


def test_no_more_questions_run_together_than_allowed():
    lock, running, most = threading.Lock(), [0], [0]

    def question() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.01)
        with lock:
            running[0] -= 1

    results = fanout.ask_all(dict.fromkeys(range(20), question), timeout=20, at_once=3)
    assert all(result.ok for result in results.values())
    assert most[0] <= 3


def test_asking_nobody_is_an_empty_answer():
    assert fanout.ask_all({}, timeout=1) == {}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["ok", "refused", "crash"]), max_size=12), st.integers(1, 5))
def test_every_question_has_exactly_one_result(kinds: list[str], at_once: int):
    answer = {"ok": lambda: "up", "refused": refuse, "crash": crash}
    questions = {n: answer[kind] for n, kind in enumerate(kinds)}
    results = fanout.ask_all(questions, timeout=20, at_once=at_once)
    assert list(results) == list(questions)
    assert [result.ok for result in results.values()] == [kind == "ok" for kind in kinds]
