"""The state machine against random events: what may never be, whatever happens in whatever order."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import errors
from isthmus.operations import approval, machine
from isthmus.operations.approval import Verdict
from isthmus.operations.kinds import RULES, Kind, Origin
from isthmus.operations.machine import Event
from isthmus.operations.values import (
    Finding,
    Level,
    Lock,
    Operation,
    Outcome,
    Person,
    Phase,
    Plan,
    PlannedStep,
    Trouble,
)

ANNA, BERT = Person(id="a", name="anna"), Person(id="b", name="bert")
PEOPLE = st.sampled_from([ANNA, BERT])
STEPS = (
    PlannedStep(name="must", title="must", action="x"),
    PlannedStep(name="may", title="may", action="x", skippable=True),
)


def plan(made_at: float = 1.0, *findings: Finding) -> Plan:
    return Plan(made_at=made_at, steps=STEPS, findings=findings)


GOOD, OTHER = plan(), plan(2.0)
REFUSED = plan(3.0, Finding(level=Level.ERROR, summary="nothing there"))

ONLY_PEOPLE = (
    machine.Typed, machine.Retry, machine.SkipStep, machine.RollBack, machine.Commit, machine.Cancel
)  # fmt: skip


def operation(kind: Kind, *, four_eyes: bool = False) -> Operation:
    lock = Lock(salt="00", hash="00") if RULES[kind].approve else None
    return machine.begun(
        Operation(
            id="o", kind=kind, group_id="g", group="vnf", site="lyon", by=ANNA,
            origin=Origin.PERSON, requested_at=0.0, four_eyes=four_eyes, lock=lock,
        )
    )  # fmt: skip


AT = st.integers(0, int(12 * approval.LASTS_S)).map(lambda quarters: quarters / 4)
"""Documents hold microseconds and no less."""
TROUBLES = st.lists(st.sampled_from(["must", "may"]), min_size=1, unique=True).map(
    lambda names: tuple(Trouble(step=name, what="it broke") for name in names)
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(machine.Planned, at=AT, plan=st.sampled_from([GOOD, OTHER, REFUSED])),
    st.builds(machine.Unplannable, at=AT, reason=st.just("no")),
    st.builds(
        machine.Typed,
        at=AT,
        by=PEOPLE,
        verdict=st.sampled_from(Verdict),
        plan_digest=st.sampled_from([GOOD.digest, OTHER.digest]),
    ),
    st.builds(machine.TimePassed, at=AT),
    st.builds(machine.StepsDone, at=AT),
    st.builds(machine.StepsFailed, at=AT, troubles=TROUBLES),
    st.builds(machine.Stopped, at=AT),
    st.builds(machine.Retry, at=AT, by=PEOPLE),
    st.builds(
        machine.SkipStep, at=AT, by=PEOPLE, step=st.sampled_from(["must", "may"]),
        reason=st.just("why not"),
    ),
    st.builds(machine.RollBack, at=AT, by=PEOPLE),
    st.builds(machine.Commit, at=AT, by=PEOPLE),
    st.builds(machine.Cancel, at=AT, by=PEOPLE),
)  # fmt: skip

DANGEROUS = frozenset(Phase) - {Phase.PLANNING, Phase.AWAITING_APPROVAL, Phase.FINISHED}


@settings(max_examples=150)
@given(st.sampled_from(Kind), st.booleans(), st.lists(EVENTS, max_size=25))
def test_whatever_happens_the_invariants_hold(
    kind: Kind, four_eyes: bool, events: list[Event]
) -> None:
    now = operation(kind, four_eyes=four_eyes)
    for event in events:
        try:
            following = machine.advance(now, event)
        except (machine.NotNowError, errors.PrivilegeError, errors.UsageError):
            continue
        _step_holds(now, event, following)
        _holds(following)
        now = following


def _holds(now: Operation) -> None:
    assert (now.outcome is None) == (now.phase is not Phase.FINISHED)
    if now.rules.approve and now.phase in DANGEROUS:
        assert now.lock
        assert now.lock.by
        assert now.lock.tries < approval.MOST_TRIES
        assert not (now.four_eyes and now.lock.by == now.by)
    if now.phase in DANGEROUS:
        assert now.plan is not None
        assert now.plan is not REFUSED
    if now.phase is Phase.PAUSED:
        assert now.troubles
    assert Operation.from_document(now.to_document()) == now


def _step_holds(before: Operation, event: Event, after: Operation) -> None:
    assert after.revision == before.revision + 1
    assert before.phase is not Phase.FINISHED, "what is finished never changes"
    if before.plan is not None:
        assert after.plan == before.plan
    if before.phase is Phase.AWAITING_APPROVAL and after.phase in DANGEROUS:
        assert isinstance(event, machine.Typed)
        assert event.verdict is Verdict.RIGHT
    if before.phase is Phase.AWAITING_APPROVAL and not isinstance(event, ONLY_PEOPLE):
        assert after.phase is Phase.FINISHED
    if after.phase is Phase.COMMITTING and before.phase is Phase.AWAITING_COMMIT:
        assert isinstance(event, machine.Commit)
    skipped = after.skipped - before.skipped
    if (
        skipped
        and after.phase is not Phase.ROLLING_BACK
        and _paused_in(before) is not (Phase.ROLLING_BACK)
    ):
        assert skipped == {"may"}, "what others need is never skipped"
    if before.outcome is None and after.outcome is Outcome.SUCCEEDED:
        assert before.phase in (Phase.COMMITTING, Phase.ROLLING_BACK)


def _paused_in(now: Operation) -> Phase:
    return now.visits[-2].phase if len(now.visits) > 1 else now.phase


@settings(max_examples=60)
@given(st.sampled_from(Kind), st.lists(EVENTS, max_size=15))
def test_what_is_said_to_be_possible_is(kind: Kind, events: list[Event]) -> None:
    now = operation(kind)
    for event in events:
        try:
            now = machine.advance(now, event)
        except (machine.NotNowError, errors.PrivilegeError, errors.UsageError):
            continue
    can = machine.possible(now)
    decisions = {
        "retry": machine.Retry(at=0, by=BERT),
        "rollback": machine.RollBack(at=0, by=BERT),
        "commit": machine.Commit(at=0, by=BERT),
        "cancel": machine.Cancel(at=0, by=BERT),
    }
    for word, decision in decisions.items():
        if word in can:
            machine.advance(now, decision)
        else:
            with pytest.raises(machine.NotNowError) as caught:
                machine.advance(now, decision)
            assert str(now.phase) in (caught.value.cause or "")


def test_a_plan_that_would_lose_a_field_is_not_read() -> None:
    document = operation(Kind.DRILL).to_document()
    for place in (document, document["lock"]):
        place["colour"] = "red"
        with pytest.raises(errors.InputError, match="cannot be read"):
            Operation.from_document(document)
        del place["colour"]


def test_the_digest_of_a_plan_survives_the_database() -> None:
    now = machine.advance(operation(Kind.FAILOVER), machine.Planned(at=0.1, plan=GOOD))
    again = Operation.from_document(now.to_document())
    assert again.plan
    assert again.plan.digest == GOOD.digest
    changed = dataclasses.replace(GOOD, lost_bytes=1)
    assert changed.digest != GOOD.digest


CODE = "7QFK-M2TX"


@pytest.mark.parametrize("typed", [CODE, "7qfk-m2tx", "7QFKM2TX", " 7qfk m2tx "])
def test_a_code_is_right_however_it_is_typed(typed: str) -> None:
    lock = dataclasses.replace(approval.lock(CODE, "o"), expires_at=10.0)
    assert approval.judge(lock, typed, "o", 5.0) is Verdict.RIGHT


def test_a_code_opens_its_operation_only_in_time_and_within_the_tries() -> None:
    lock = dataclasses.replace(approval.lock(CODE, "o"), expires_at=10.0)
    assert approval.judge(lock, "7QFK-M2TY", "o", 5.0) is Verdict.WRONG
    assert approval.judge(lock, CODE, "another", 5.0) is Verdict.WRONG
    assert approval.judge(lock, CODE, "o", 10.0) is Verdict.EXPIRED
    assert approval.judge(dataclasses.replace(lock, expires_at=None), CODE, "o", 5.0) is (
        Verdict.EXPIRED
    )
    used = dataclasses.replace(lock, tries=approval.MOST_TRIES)
    assert approval.judge(used, CODE, "o", 5.0) is Verdict.USED_UP


def test_codes_differ_and_hold_nothing_that_is_misread() -> None:
    codes = {approval.new_code() for _ in range(200)}
    assert len(codes) == 200
    assert not set("01OI") & set("".join(codes))
