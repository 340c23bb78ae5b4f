"""Operations from the request to the end, in one process, over a real database and real files."""

from __future__ import annotations

import dataclasses

import pytest
from operations_bench import ANNA, BERT, Bench, asker, ended

from isthmus import errors
from isthmus.operations import approval, holding, machine, records, trail
from isthmus.operations.desk import Request
from isthmus.operations.kinds import Kind, Origin, Privilege
from isthmus.operations.leases import FencedError
from isthmus.operations.ledger import State
from isthmus.operations.runner import subject
from isthmus.operations.values import Finding, Level, Outcome, Phase
from isthmus.store import audit


def test_a_protect_runs_without_approval_and_leaves_what_it_made(bench: Bench) -> None:
    asked = bench.request(Kind.PROTECT)
    assert asked.code is None
    ended(bench.go(asked.operation), Outcome.SUCCEEDED)
    assert bench.lying() == ["a", "b", "c", "d"]
    assert [each.state for each in bench.desk.steps(asked.operation.id)] == [State.DONE] * 4


def test_a_drill_takes_everything_away_and_has_succeeded(bench: Bench) -> None:
    operation = bench.approved(Kind.DRILL)
    ended(bench.go(operation), Outcome.SUCCEEDED)
    assert bench.made() == ["a", "b", "c", "d"]
    assert bench.lying() == []


def test_a_failover_waits_for_approval_then_for_commit(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER)
    planned = bench.go(asked.operation)
    assert planned.phase is Phase.AWAITING_APPROVAL
    assert bench.made() == [], "nothing is done before the approval"
    bench.go(planned)
    assert bench.made() == []
    assert planned.plan
    assert asked.code
    bench.desk.approve(asker(BERT), planned.id, code=asked.code, plan_digest=planned.plan.digest)
    assert bench.go(planned).phase is Phase.AWAITING_COMMIT
    assert not (bench.yard / "final").exists()
    bench.desk.commit(asker(BERT), planned.id)
    ended(bench.go(planned), Outcome.SUCCEEDED)
    assert (bench.yard / "final").exists()
    assert bench.lying() == ["a", "b", "c", "d"]


def test_a_failover_that_is_not_wanted_is_rolled_back_whole(bench: Bench) -> None:
    operation = bench.go(bench.approved(Kind.FAILOVER))
    bench.desk.roll_back(asker(BERT), operation.id)
    ended(bench.go(operation), Outcome.ROLLED_BACK)
    assert bench.lying() == []


def test_a_precheck_that_finds_an_error_refuses_the_operation(bench: Bench) -> None:
    finding = Finding(level=Level.ERROR, summary="the flavor m1.small is missing")
    runner = bench.new_runner("strict", findings=(finding,))
    asked = bench.request(Kind.FAILOVER)
    operation = bench.go(asked.operation, runner)
    ended(operation, Outcome.REFUSED)
    assert operation.reason == "the flavor m1.small is missing"


def test_what_cannot_be_planned_says_why(bench: Bench) -> None:
    request = Request(
        kind=Kind.DRILL, group_id="g1", group="vnf", parameters={"wall": "impossible"}
    )
    operation = bench.go(bench.desk.request(asker(), request).operation)
    ended(operation, Outcome.REFUSED)
    assert operation.reason == "the yard is closed"


def test_a_step_that_fails_for_good_makes_a_protect_roll_back(bench: Bench) -> None:
    (bench.yard / "broken").touch()
    asked = bench.request(Kind.PROTECT, "a", "broken", "c")
    operation = bench.go(asked.operation)
    ended(operation, Outcome.FAILED)
    assert bench.lying() == []
    assert "broken" in (operation.reason or "")


def test_what_waits_for_its_turn_is_not_begun_after_a_failure_and_done_with_the_next_try(
    bench: Bench,
) -> None:
    (bench.yard / "broken").touch()
    operation = bench.go(bench.approved(Kind.FAILOVER, "broken1/broken2/broken3"))
    assert operation.phase is Phase.PAUSED
    assert [each.step for each in operation.troubles] == ["broken1"]
    assert [each.name for each in bench.desk.steps(operation.id)] == ["broken1"]
    (bench.yard / "broken").unlink()
    bench.desk.retry(asker(), operation.id)
    assert bench.go(operation).phase is Phase.AWAITING_COMMIT
    assert len(bench.desk.steps(operation.id)) == 3


def test_what_an_unforeseen_error_says_is_kept_nowhere(bench: Bench) -> None:
    (bench.yard / "broken").touch()
    operation = bench.go(bench.approved(Kind.FAILOVER, "a", "broken"))
    assert operation.phase is Phase.PAUSED
    with bench.database.engine.connect() as connection:
        for table in ("operations", "operation_steps", "atomdetails", "flowdetails", "audit"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()  # noqa: S608
            assert "hunter2" not in str(rows), table


@pytest.mark.parametrize("kind", ["UnavailableError", "BusyError"])
def test_a_service_that_cannot_be_reached_is_tried_again(bench: Bench, kind: str) -> None:
    (bench.yard / "broken").write_text(kind)
    operation = bench.go(bench.approved(Kind.FAILOVER, "broken"))
    assert operation.phase is Phase.PAUSED
    [step] = bench.desk.steps(operation.id)
    assert (step.attempts, step.error) == (3, "the crane is stuck")


def test_a_failover_pauses_and_goes_on_when_it_is_retried(bench: Bench) -> None:
    (bench.yard / "broken").touch()
    operation = bench.go(bench.approved(Kind.FAILOVER, "a", "b/broken", "d"))
    assert operation.phase is Phase.PAUSED
    assert bench.lying() == ["a", "b"], "what does not depend on the step is done"
    (bench.yard / "broken").unlink()
    bench.desk.retry(asker(BERT), operation.id)
    assert bench.go(operation).phase is Phase.AWAITING_COMMIT
    assert bench.made() == ["a", "b", "d"], "nothing is made twice"


def test_a_skip_is_recorded_with_its_reason(bench: Bench) -> None:
    (bench.yard / "broken").touch()
    operation = bench.go(bench.approved(Kind.FAILOVER, "a", "broken", "d"))
    bench.desk.skip(asker(BERT), operation.id, step="broken", reason="the crane is not needed")
    operation = bench.go(operation)
    assert operation.phase is Phase.AWAITING_COMMIT
    assert bench.lying() == ["a", "d"]
    [skip] = operation.skips
    assert (skip.step, skip.reason, skip.by) == ("broken", "the crane is not needed", BERT)
    states = {each.name: each.state for each in bench.desk.steps(operation.id)}
    assert states["broken"] is State.SKIPPED
    said = [entry.document for entry in bench.desk.trail(operation.id)]
    assert any(each["did"] == "skipped a step" and each["by"] == "bert" for each in said)


def test_what_cannot_be_taken_away_is_waited_for_and_tried_again(bench: Bench) -> None:
    (bench.yard / "stuck").touch()
    operation = bench.go(bench.approved(Kind.DRILL, "a", "b"))
    assert operation.phase is Phase.PAUSED
    (bench.yard / "stuck").unlink()
    bench.desk.retry(asker(BERT), operation.id)
    ended(bench.go(operation), Outcome.SUCCEEDED)
    assert bench.lying() == []


def test_a_cancelled_operation_completes_its_step_and_rolls_back(bench: Bench) -> None:
    def cancel(place: str) -> None:
        if place == "b inside":
            bench.desk.cancel(asker(), operation.id)
            runner.look()

    runner = bench.new_runner("cancelled", cancel)
    operation = bench.approved(Kind.FAILOVER, "a", "b", "c")
    ended(bench.go(operation, runner), Outcome.ROLLED_BACK)
    assert bench.made() == ["a", "b"]
    assert bench.lying() == []


def test_a_runner_that_is_stopped_leaves_the_rest_to_the_next(bench: Bench) -> None:
    def stop(place: str) -> None:
        if place == "b inside":
            runner.stop()

    runner = bench.new_runner("stopped", stop)
    operation = bench.approved(Kind.FAILOVER, "a", "b", "c")
    assert bench.go(operation, runner).phase is Phase.RUNNING
    assert bench.made() == ["a", "b"]
    assert bench.go(operation, bench.new_runner("second")).phase is Phase.AWAITING_COMMIT
    assert bench.made() == ["a", "b", "c"]


def test_an_engine_whose_lease_was_taken_does_and_writes_nothing_more(bench: Bench) -> None:
    def robbed(place: str) -> None:
        if place == "b before":
            with bench.database.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE leases SET epoch = epoch + 1, owner = 'other'")

    runner = bench.new_runner("robbed", robbed)
    operation = bench.approved(Kind.FAILOVER, "a", "b", "c")
    with pytest.raises(FencedError):
        bench.go(operation, runner)
    assert bench.made() == ["a"]
    steps = {each.name: each.state for each in bench.desk.steps(operation.id)}
    assert steps == {"a": State.DONE, "b": State.RUNNING}
    with bench.database.engine.connect() as connection:
        states = dict(
            tuple(row)
            for row in connection.exec_driver_sql("SELECT name, state FROM atomdetails").all()
        )
    assert states["b"] == "RUNNING", "TaskFlow's own writes are fenced too"


def test_while_one_engine_has_the_lease_another_does_nothing(bench: Bench) -> None:
    operation = bench.approved(Kind.FAILOVER, "a")
    held = holding.take(
        bench.database, subject(operation), owner="x", operation_id=operation.id, lasts=60
    )
    assert held is not None
    assert bench.go(operation).phase is Phase.RUNNING
    assert bench.made() == []
    held.release()
    assert bench.go(operation).phase is Phase.AWAITING_COMMIT


def test_a_failover_ends_a_drill_that_is_in_its_way(bench: Bench) -> None:
    drill = bench.approved(Kind.DRILL, "a")
    failover = bench.approved(Kind.FAILOVER, "f")
    held = holding.take(bench.database, subject(drill), owner="x", operation_id=drill.id, lasts=60)
    assert held is not None
    bench.go(failover)
    assert bench.desk.operation(drill.id).stopping
    held.release()
    ended(bench.go(drill), Outcome.ROLLED_BACK)
    assert bench.go(failover).phase is Phase.AWAITING_COMMIT


def test_the_same_request_made_twice_is_one_operation(bench: Bench) -> None:
    first = bench.request(Kind.FAILOVER, key="k1")
    second = bench.request(Kind.FAILOVER, key="k1")
    assert first.operation.id == second.operation.id
    assert second.code is None, "the code is shown once"
    assert len(bench.desk.operations()) == 1


@pytest.mark.parametrize("origin", [Origin.SCHEDULE, Origin.ALARM])
def test_nothing_but_a_person_reaches_an_approval(bench: Bench, origin: Origin) -> None:
    machine_made = asker(ANNA, origin=origin)
    for kind in (Kind.DRILL, Kind.FAILOVER, Kind.CLEANUP):
        with pytest.raises(errors.PrivilegeError):
            bench.desk.request(machine_made, Request(kind=kind, group_id="g", group="vnf"))
    asked = bench.request(Kind.FAILOVER)
    planned = bench.go(asked.operation)
    assert planned.plan
    assert asked.code
    with pytest.raises(errors.PrivilegeError):
        bench.desk.approve(
            machine_made, planned.id, code=asked.code, plan_digest=planned.plan.digest
        )
    for decide in (bench.desk.commit, bench.desk.roll_back, bench.desk.retry, bench.desk.cancel):
        with pytest.raises(errors.PrivilegeError):
            decide(machine_made, planned.id)
    assert bench.desk.operation(planned.id) == planned


@pytest.mark.parametrize(
    ("kind", "privilege", "enough"),
    [
        (Kind.DRILL, Privilege.DRILL, True),
        (Kind.DRILL, Privilege.OPERATE, False),
        (Kind.DRILL, Privilege.FAILOVER, False),
        (Kind.FAILOVER, Privilege.FAILOVER, True),
        (Kind.FAILOVER, Privilege.OPERATE, False),
        (Kind.FAILOVER, Privilege.DRILL, False),
    ],
)
def test_a_drill_and_a_failover_need_different_privileges(
    bench: Bench, kind: Kind, privilege: Privilege, enough: bool
) -> None:
    asked = bench.request(kind)
    planned = bench.go(asked.operation)
    assert planned.plan
    assert asked.code
    approver = asker(BERT, privilege)
    if enough:
        bench.desk.approve(approver, planned.id, code=asked.code, plan_digest=planned.plan.digest)
        return
    with pytest.raises(errors.PrivilegeError, match="may not approve"):
        bench.desk.approve(approver, planned.id, code=asked.code, plan_digest=planned.plan.digest)


def test_where_four_eyes_are_asked_for_the_requester_cannot_approve(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER, four_eyes=True)
    planned = bench.go(asked.operation)
    assert planned.plan
    assert asked.code
    digest = planned.plan.digest
    with pytest.raises(errors.PrivilegeError, match="was not approved"):
        bench.desk.approve(asker(ANNA), planned.id, code=asked.code, plan_digest=digest)
    bench.desk.approve(asker(BERT), planned.id, code=asked.code, plan_digest=digest)


def test_an_approval_is_for_the_plan_that_was_read(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER)
    planned = bench.go(asked.operation)
    assert asked.code
    with pytest.raises(machine.NotNowError, match="not approved"):
        bench.desk.approve(asker(BERT), planned.id, code=asked.code, plan_digest="another")


def test_after_too_many_wrong_codes_the_right_one_opens_nothing(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER)
    planned = bench.go(asked.operation)
    assert planned.plan
    assert asked.code
    digest = planned.plan.digest
    for left in range(approval.MOST_TRIES - 1, -1, -1):
        with pytest.raises(errors.PrivilegeError) as caught:
            bench.desk.approve(asker(BERT), planned.id, code="AAAA-AAAA", plan_digest=digest)
        assert (f"{left} tries" if left else "any more") in (caught.value.unchanged or "")
    with pytest.raises(machine.NotNowError):
        bench.desk.approve(asker(BERT), planned.id, code=asked.code, plan_digest=digest)
    ended(bench.desk.operation(planned.id), Outcome.NOT_APPROVED)


def test_an_approval_that_comes_too_late_starts_nothing(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER)
    planned = bench.go(asked.operation)
    assert planned.plan
    assert asked.code
    bench.now += approval.LASTS_S + 1
    with pytest.raises(errors.PrivilegeError, match="was not approved"):
        bench.desk.approve(
            asker(BERT), planned.id, code=asked.code, plan_digest=planned.plan.digest
        )
    ended(bench.desk.operation(planned.id), Outcome.NOT_APPROVED)


def test_an_approval_that_nobody_gives_expires(bench: Bench) -> None:
    planned = bench.go(bench.request(Kind.FAILOVER).operation)
    bench.runner.look()
    assert bench.desk.operation(planned.id).phase is Phase.AWAITING_APPROVAL
    bench.now += approval.LASTS_S + 1
    bench.runner.look()
    ended(bench.desk.operation(planned.id), Outcome.NOT_APPROVED)


def test_the_code_is_nowhere_in_the_database(bench: Bench) -> None:
    asked = bench.request(Kind.FAILOVER)
    assert asked.code
    bench.go(asked.operation)
    with bench.database.engine.connect() as connection:
        for table in ("operations", "audit"):
            rows = str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())  # noqa: S608
            assert asked.code not in rows
            assert asked.code.replace("-", "") not in rows


def test_the_trail_is_whole_and_shows_who_did_what(bench: Bench) -> None:
    operation = bench.go(bench.approved(Kind.FAILOVER, "a"))
    bench.desk.commit(asker(BERT), operation.id)
    bench.go(operation)
    entries = bench.desk.trail()
    assert trail.broken(entries) is None
    did = [entry.document["did"] for entry in entries]
    assert did[:2] == ["requested", "planned"]
    assert {"typed the code", "committed"} <= set(did)
    forged = list(entries)
    forged[2] = dataclasses.replace(forged[2], document={**forged[2].document, "by": "anna"})
    assert "entry 3" in (trail.broken(forged) or "")
    assert "missing" in (trail.broken(entries[:1] + entries[2:]) or "")


def test_a_change_that_others_made_first_is_made_from_what_they_left(bench: Bench) -> None:
    operation = bench.approved(Kind.FAILOVER, "a")
    seen: list[Phase] = []

    def event(found: object) -> machine.Event:
        if not seen:
            bench.desk.cancel(asker(), operation.id)
        seen.append(Phase.RUNNING)
        return machine.StepsDone(at=bench.now)

    changed = records.change(bench.database, operation.id, event, did="ran", by="engine")
    assert len(seen) == 2
    assert changed.phase is Phase.ROLLING_BACK, "the cancellation was not lost"


def test_a_trail_of_many_pages_is_read_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 3)
    monkeypatch.setattr(audit.rows, "__kwdefaults__", {"after": 0, "limit": 3})
    for number in range(8):
        bench.database.write(
            lambda session, n=number: trail.note(session, "s", float(n), f"did {n}", "anna")
        )
    entries = bench.desk.trail()
    assert [each.document["did"] for each in entries] == [f"did {n}" for n in range(8)]
    assert trail.broken(entries) is None
