"""Routes and commands of recovery: who may do what, what is shown, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from operations_bench import Bench
from operations_faces import Cli, Faces, build, command_line

from isthmus import errors
from isthmus.cli import (
    checkpoint,
    group,
    operation,
    operation_request,
    operation_screens,
    plan,
    policy,
)
from isthmus.operations.values import Operation


@pytest.fixture
def faces(bench: Bench) -> Faces:
    return build(bench)


@pytest.fixture
def isthmus(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    return command_line(faces, monkeypatch, capsys)


def planned(faces: Faces, kind: str = "failover") -> tuple[Any, str]:
    """A request of the operator's, planned."""
    body = {"kind": kind, "group": "vnf"}
    answer = faces.call("POST", "/v1/operations", body, token="operator")
    assert answer.status_code == 202, answer.text
    found = answer.json()
    faces.bench.runner.work(faces.bench.desk.operation(found["operation"]["id"]))
    shown = faces.call("GET", f"/v1/operations/{found['operation']['id']}").json()["operation"]
    return shown, found["code"]


def stored(faces: Faces, shown: Any) -> Operation:
    return faces.bench.desk.operation(shown["id"])


def test_a_failover_takes_the_code_and_a_role_of_its_own(faces: Faces) -> None:
    faces.declare()
    shown, code = planned(faces)
    assert shown["possible"] == ["approve", "cancel"]
    assert shown["lost_seconds"] > 0
    body = {"code": code, "plan_digest": shown["plan"]["digest"]}
    route = f"/v1/operations/{shown['id']}/approve"
    for token in ("reader", "operator", "admin"):
        refused = faces.call("POST", route, body, token=token)
        assert refused.status_code == 403, token
    approved = faces.call("POST", route, body, token="boss")
    assert approved.status_code == 200, approved.text
    assert approved.json()["operation"]["approval"]["by"] == "boss"


def test_neither_code_nor_hash_is_ever_shown_again(faces: Faces) -> None:
    faces.declare()
    shown, code = planned(faces)
    lock = stored(faces, shown).lock
    assert lock
    for route in ("", "/report", "/report?format=html", "/audit"):
        text = faces.call("GET", f"/v1/operations/{shown['id']}{route}").text
        assert code not in text
        assert lock.hash not in text
        assert lock.salt not in text


def test_a_wrong_code_is_refused_with_what_is_left(faces: Faces) -> None:
    faces.declare()
    shown, _ = planned(faces)
    body = {"code": "AAAA-AAAA", "plan_digest": shown["plan"]["digest"]}
    answer = faces.call("POST", f"/v1/operations/{shown['id']}/approve", body, token="boss")
    assert answer.status_code == 403
    assert "4 tries are left" in answer.json()["error"]["unchanged"]


def test_a_reader_may_look_and_do_nothing(faces: Faces) -> None:
    faces.declare()
    shown, _ = planned(faces)
    reads = ("/v1/operations", "/v1/groups", "/v1/policies", "/v1/plans", "/v1/checkpoints",
             f"/v1/operations/{shown['id']}")  # fmt: skip
    for route in reads:
        assert faces.call("GET", route, token="reader").status_code == 200, route
        assert faces.call("GET", route, token="nobody").status_code == 403, route
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/v1/operations", {"kind": "protect", "group": "vnf"}),
        ("POST", f"/v1/operations/{shown['id']}/cancel", None),
        ("POST", "/v1/groups", {}),
        ("PATCH", "/v1/groups/vnf", {}),
        ("DELETE", "/v1/groups/vnf", None),
        ("PUT", "/v1/plans/p", {}),
        ("POST", "/v1/plans/p/validate", None),
        ("DELETE", "/v1/policies/gold", None),
    ]
    for method, route, body in changes:
        assert faces.call(method, route, body, token="reader").status_code == 403, route


def test_a_decision_that_cannot_be_made_now_is_a_conflict(faces: Faces) -> None:
    faces.declare()
    shown, _ = planned(faces)
    answer = faces.call("POST", f"/v1/operations/{shown['id']}/commit", token="boss")
    assert answer.status_code == 409
    assert "awaiting-approval" in answer.json()["error"]["cause"]


def test_what_is_in_use_is_not_deleted(faces: Faces) -> None:
    faces.declare()
    shown, _ = planned(faces)
    assert faces.call("DELETE", "/v1/groups/vnf").status_code == 409
    assert faces.call("DELETE", "/v1/policies/gold").status_code == 409
    faces.call("POST", f"/v1/operations/{shown['id']}/cancel")
    assert faces.call("DELETE", "/v1/groups/vnf").status_code == 204
    assert faces.call("DELETE", "/v1/policies/gold").status_code == 204


def test_a_group_that_cannot_work_is_refused_by_its_field(faces: Faces) -> None:
    declared = faces.declare()
    answer = faces.call("PATCH", "/v1/groups/vnf", {"backup_site": "paris"})
    assert answer.json()["error"]["field"] == "backup_site"
    again = {**declared, "id": "11111111-1111-4111-8111-111111111111"}
    assert "vnf" in faces.call("POST", "/v1/groups", again).json()["error"]["what"]
    changed = faces.call("PATCH", "/v1/groups/vnf", {"name": "vnf2"}).json()["group"]
    assert (changed["name"], changed["revision"]) == ("vnf2", 2)
    assert faces.call("GET", "/v1/groups/vnf").status_code == 404


def test_the_whole_way_from_the_command_line(faces: Faces, isthmus: Cli, tmp_path: Path) -> None:
    made = isthmus(policy.Create, "gold", "--site", "lyon", "--driver", "rbd", "--keep", "3",
                   "--pre-hook", "db:/usr/bin/flush tables", "-f", "json")  # fmt: skip
    assert json.loads(made.out)["keep"] == 3
    isthmus(group.Create, "vnf", "--site", "paris", "--backup-site", "lyon", "--policy", "gold",
            "--member", "web=s1:0:db", "--member", "db=s2:1")  # fmt: skip
    listed = json.loads(isthmus(group.List, "-f", "json").out)
    assert listed[0]["Name"] == "vnf"
    faces.token = "operator"
    asked = isthmus(operation_request.Failover, "vnf", "-f", "json")
    assert "code that approves it" in asked.err
    found = json.loads(asked.out)
    faces.bench.runner.work(faces.bench.desk.operation(found["id"]))
    faces.token = "boss"
    secret = tmp_path / "code"
    secret.write_text(found["code"] + "\n")
    approved = isthmus(operation.Approve, found["id"], "--code-file", str(secret), "-f", "json")
    assert "WILL BE LOST" in approved.err
    assert "lay a" in approved.err
    assert json.loads(approved.out)["approved_by"] == "boss"
    faces.bench.runner.work(faces.bench.desk.operation(found["id"]))
    waited = isthmus(operation.Wait, found["id"], "-f", "json")
    assert json.loads(waited.out)["phase"] == "awaiting-commit"
    isthmus(operation.Commit, found["id"])
    faces.bench.runner.work(faces.bench.desk.operation(found["id"]))
    shown = isthmus(operation.Show, found["id"])
    assert shown.code == 0
    assert "succeeded" in shown.out
    assert json.loads(isthmus(operation.List, "-f", "json").out)[0]["Outcome"] == "succeeded"
    report = isthmus(operation.Report, found["id"], "--format", "html")
    assert report.out.startswith("<!doctype html>")
    assert "Recovery time" in isthmus(operation.Report, found["id"]).out
    figures = json.loads(isthmus(operation.Report, found["id"], "--format", "json").out)["figures"]
    assert figures["rpo_s"] == pytest.approx(60.0, abs=1e-3)
    did = [
        row["Did"] for row in json.loads(isthmus(operation.Audit, found["id"], "-f", "json").out)
    ]
    assert did[0] == "requested"
    assert "committed" in did


def test_an_operation_that_failed_says_so_by_its_exit_code(faces: Faces, isthmus: Cli) -> None:
    faces.declare()
    (faces.bench.yard / "stuck").touch()
    shown, code = planned(faces, "drill")
    body = {"code": code, "plan_digest": shown["plan"]["digest"]}
    route = f"/v1/operations/{shown['id']}/approve"
    assert faces.call("POST", route, body, token="admin").status_code == 200
    faces.bench.runner.work(stored(faces, shown))
    ended = isthmus(operation.Show, shown["id"], "-f", "json")
    assert ended.code == 1
    assert json.loads(ended.out)["possible"] == ["retry", "skip"]


def test_nobody_approves_without_a_terminal_or_a_file(
    faces: Faces, isthmus: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces.declare()
    shown, _ = planned(faces)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(errors.UsageError, match="not approved"):
        isthmus(operation.Approve, shown["id"])


def test_a_plan_is_declared_from_a_file_and_validated(
    faces: Faces, isthmus: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("source: paris\ntarget: lyon\nflavors: {m1.small: m1.small}\n")
    isthmus(plan.Set, "p-l", "--file", str(file))
    changed = json.loads(isthmus(plan.Set, "p-l", "--file", str(file), "-f", "json").out)
    assert changed["revision"] == 2
    found = isthmus(plan.Validate, "p-l", "--create", "-f", "json")
    assert found.code == 2
    assert json.loads(found.out)[0]["Subject"] == "flavor m1.small"
    assert faces.home.created
    assert "paris" in isthmus(plan.List).out
    file.write_text("source: paris\n")
    with pytest.raises(errors.InputError, match="refused"):
        isthmus(plan.Set, "p-l", "--file", str(file))


def test_what_does_not_exist_is_told_with_what_does(faces: Faces, isthmus: Cli) -> None:
    faces.declare()
    with pytest.raises(errors.UsageError) as caught:
        isthmus(group.Show, "vmf")
    assert "vnf" in (caught.value.cause or "")
    with pytest.raises(errors.UsageError):
        isthmus(checkpoint.Show, "none")
    assert isthmus(checkpoint.List).code == 0


def test_what_was_declared_is_shown_changed_and_forgotten(
    faces: Faces, isthmus: Cli, tmp_path: Path
) -> None:
    isthmus(policy.Create, "gold", "--site", "lyon", "--driver", "rbd", "--full-every", "5")
    isthmus(policy.Set, "gold", "--keep", "3")
    shown = json.loads(isthmus(policy.Show, "gold", "-f", "json").out)
    assert (shown["keep"], shown["full_every"]) == (3, 5)
    isthmus(group.Create, "vnf", "--site", "lyon", "--backup-site", "paris", "--policy", "gold",
            "--member", "web=s1")  # fmt: skip
    isthmus(group.Set, "vnf", "--name", "vnf2")
    assert json.loads(isthmus(group.Show, "vnf2", "-f", "json").out)["revision"] == 2
    file = tmp_path / "plan.yaml"
    file.write_text("source: paris\ntarget: lyon\n")
    isthmus(plan.Set, "p-l", "--file", str(file))
    assert json.loads(isthmus(plan.Show, "p-l", "-f", "json").out)["target"] == "lyon"
    for kind, name in ((plan, "p-l"), (group, "vnf2"), (policy, "gold")):
        isthmus(kind.Delete, name)
        with pytest.raises(errors.UsageError):
            isthmus(kind.Show, name)


def test_an_engine_learns_from_the_store_and_says_what_it_refused(
    faces: Faces, isthmus: Cli
) -> None:
    ended = isthmus(checkpoint.Rebuild, "--site", "lyon", "-f", "json")
    assert ended.code == 2
    assert "1 groups, 2 policies, 3 checkpoints" in ended.err
    assert faces.call("POST", "/v1/rebuild", token="reader").status_code == 403


def test_what_a_step_has_done_is_shown_below_it() -> None:
    note = {"what": "hook /x before the freeze", "where": "db", "seconds": 1.25, "error": None}
    failed = {**note, "error": "exit code 3"}
    step = {"title": "freeze", "state": "failed", "seconds": 3.0, "attempts": 1, "error": "void"}
    assert operation_screens.step_lines([{**step, "notes": [note, failed]}, step]) == [
        "freeze: failed in 3.0 s: void",
        "  hook /x before the freeze (db): done in 1.2 s",
        "  hook /x before the freeze (db): failed in 1.2 s: exit code 3",
        "freeze: failed in 3.0 s: void",
    ]


def test_a_group_says_whether_its_servers_may_run_in_its_site(faces: Faces) -> None:
    faces.declare()
    shown = faces.call("GET", "/v1/groups/vnf").json()["group"]
    lines = group.described(shown)["findings"]
    assert "WARN it belongs to site paris (web, db): epoch 7; start none" in lines.human_readable()
