"""The recovery chapter of the tour, with people who need no lab: what it shows, and what it does not let pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import IsthmusError, UnavailableError
from isthmus.lab import environment, errors, faults, progress, recovering, vnf, waiting
from isthmus.lab.commands import touring
from isthmus.lab.guest_image.records import Cut
from isthmus.lab.home import Home
from isthmus.lab.running import Completed
from isthmus.lab.tour import recovery
from isthmus.lab.tour.steps import Tour
from isthmus.lab.vnf import Member, Vnf

MADE = Vnf(
    name=recovery.NAME,
    site="paris",
    project_id="p",
    members=tuple(
        Member(role=role, server_id=f"s-{role}", address="10.80.0.10", volumes=("a", "b"))
        for role in vnf.ROLES
    ),
)
CHECKPOINT = {
    "id": "c-1", "seq": 1, "consistency": "app-ordered", "window_s": 0.31, "reason": None,
    "backups": [{"stored_bytes": 1000}] * 6,
}  # fmt: skip
AT_BOOT = {
    "test-1": {"issued_at_boot": 12},
    "test-2": {"acknowledged_at_boot": 11},
    "test-3": {"persisted_at_boot": 11, "records_bad": 0},
}


def operation(kind: str, phase: str, outcome: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": f"o-{kind}", "kind": kind, "group": recovery.NAME, "site": "lyon", "phase": phase,
            "outcome": outcome, "reason": None, "findings": [], "steps": [], "checkpoint": "c-1",
            **changes}  # fmt: skip


@dataclasses.dataclass
class Cloud:
    """A site: what is in it."""

    roles: dict[str, str]
    present: set[str]

    def servers(self, name: str) -> dict[str, str]:
        assert name == recovery.NAME
        return self.roles


class People:
    """Does at once what it is asked for. Tests change what it finds."""

    def __init__(self) -> None:
        self.clouds = {"paris": Cloud({}, {"s-1 ACTIVE"}), "lyon": Cloud({}, set())}
        self.results: Mapping[str, Any] = AT_BOOT
        self.checkpoint = dict(CHECKPOINT)
        self.drilled = operation("drill", "finished", "succeeded")
        self.bad = 0
        self.left_in_lyon: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []
        self.numbers = 10

    def isthmus(self, *words: str, **_: Any) -> Any:
        answers = {
            ("checkpoint", "show"): self.checkpoint,
            ("checkpoint", "list"): [{"ID": "c-1"}],
            ("recovery", "rebuild"): [],
            ("plan", "validate"): [],
        }
        return answers[words[:2]]  # type: ignore[index]

    def cloud(self, site: Any) -> Cloud:
        return self.clouds[site.name]

    def things(self) -> dict[str, set[str]]:
        return {f"{name} servers": set(each.present) for name, each in self.clouds.items()}

    def declare(self, made: Vnf, *, backup_site: str, policy: str) -> Any:
        assert (made, backup_site, policy) == (MADE, "lyon", recovery.POLICY)
        return {"members": [{"name": "database", "level": 2}, {"name": "client", "level": 0}]}

    def protect(self, group: str) -> Any:
        return operation("protect", "finished", "succeeded")

    def ask(self, kind: str, group: str, *, ask: str, disaster_at: str | None = None) -> Any:
        self.asked.append((kind, disaster_at))
        return {**operation(kind, "awaiting-approval"), "code": "AAAA-BBBB"}

    def approve(self, asked: Mapping[str, Any], *, ask: str) -> Any:
        assert asked["code"] == "AAAA-BBBB"
        if asked["kind"] == "drill":
            self.clouds["lyon"].present |= self.left_in_lyon
            return self.drilled
        self.clouds["lyon"].roles = {role: f"t-{role}" for role in vnf.ROLES}
        return operation("failover", "awaiting-commit")

    def commit(self, identity: str, *, ask: str) -> Any:
        assert identity == "o-failover"
        return operation("failover", "finished", "succeeded")

    def report(self, identity: str, *, ask: str) -> Any:
        return {"operation_id": identity, "site": ask, "results": self.results, "left": [],
                "approved_by": "approver", "figures": {"rpo_s": 41.5, "rto_s": 97.25}}  # fmt: skip

    def logs_in(self, site: Any) -> float:
        return 6.5

    def counts(self, site: Any, servers: Mapping[str, str]) -> Cut:
        self.numbers += 1
        return Cut(issued=self.numbers, acknowledged=self.numbers, persisted=self.numbers)

    def goes_on(self, site: Any, servers: Mapping[str, str], *, beyond: Cut | None = None) -> Cut:
        return self.counts(site, servers)

    def judged(self, site: Any, servers: Mapping[str, str]) -> tuple[int, int]:
        return 4321, self.bad


@dataclasses.dataclass
class Stand:
    """The chapter on a lab that nobody brought up."""

    people: People
    killed: list[str]
    place: Home

    def toured(self) -> Tour:
        tour = Tour(progress=progress.Silent())
        recovery.take(tour, self.place, {}, environment.load("recovery")[1])
        return tour


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    people, killed = People(), []

    def kill(_home: Home, _units: Any, target: str) -> int:
        killed.append(target)
        return 60

    monkeypatch.setattr(recovery, "Recovering", lambda **_: people)
    monkeypatch.setattr(vnf, "create", lambda *_, **__: MADE)
    monkeypatch.setattr(faults, "kill", kill)
    return Stand(people=people, killed=killed, place=Home(root=tmp_path))


def failed(tour: Tour) -> str:
    """The detail of the step that failed; those after it were not run."""
    outcomes = [str(each.outcome) for each in tour.steps]
    at = outcomes.index("failed")
    assert set(outcomes[at + 1 :]) <= {"not run"}
    return tour.steps[at].detail


def test_the_chapter_shows_the_whole_way_and_measures_what_counts(stand: Stand) -> None:
    tour = stand.toured()
    assert [(each.outcome, each.detail) for each in tour.steps if each.outcome != "passed"] == []
    assert {name: figure.value for name, figure in tour.figures.items() if name != "drill_s"} == {
        "freeze_window_s": 0.31, "rpo_s": 41.5, "rto_s": 97.25,
        "records_verified": 4321, "records_bad": 0,
    }  # fmt: skip
    assert stand.killed == ["paris"]
    (drill, none), (failover, since) = stand.people.asked
    assert (drill, none, failover) == ("drill", None, "failover")
    assert since, "the recovery time is counted from the disaster"
    assert "AAAA-BBBB" not in json.dumps(tour.document())


def test_what_a_drill_leaves_behind_is_named_and_paris_is_not_destroyed(stand: Stand) -> None:
    stand.people.left_in_lyon = {"s-forgotten ACTIVE"}
    assert "lyon servers: s-forgotten ACTIVE" in failed(stand.toured())
    assert stand.killed == []


def test_volumes_that_are_not_of_one_point_in_time_fail_the_drill(stand: Stand) -> None:
    stand.people.results = {**AT_BOOT, "test-1": {"issued_at_boot": 10}}
    assert "11 acknowledged, only 10 issued" in failed(stand.toured())
    assert stand.killed == []


def test_a_drill_that_fails_says_why_and_where_to_look(stand: Stand) -> None:
    step = {"title": "start client", "state": "failed", "error": "no host has room"}
    stand.people.drilled = operation("drill", "finished", "failed", steps=[step])
    detail = failed(stand.toured())
    assert "start client: no host has room" in detail
    assert "isthmus operation show o-drill --ask lyon" in detail


def test_a_checkpoint_that_is_less_than_the_best_is_not_passed_off_as_it(stand: Stand) -> None:
    stand.people.checkpoint |= {"consistency": "fs-per-vm", "reason": "the dead-man fired"}
    assert "fs-per-vm: the dead-man fired" in failed(stand.toured())


def test_bad_records_are_measured_and_fail_the_last_step(stand: Stand) -> None:
    stand.people.bad = 2
    tour = stand.toured()
    assert "2 of 4323" in failed(tour)
    assert tour.figures["records_bad"].value == 2


def test_a_lab_in_which_the_tour_was_taken_is_not_toured_again(stand: Stand) -> None:
    stand.people.clouds["lyon"].roles = {"client": "t-1"}
    assert "isthmus lab down" in failed(stand.toured())


def test_every_tour_is_of_an_environment_that_is_packaged() -> None:
    assert {environment.load(name)[1].name for name in touring.CHAPTERS} == set(touring.CHAPTERS)
    assert touring.CHAPTERS["recovery"] == (recovery.take,)


def test_progress_is_made_of_the_steps_that_are_done() -> None:
    lines: list[tuple[str, float]] = []

    class Heard(progress.Silent):
        def end(self, step: str, seconds: float, note: str = "") -> None:
            lines.append((step, seconds))

    hear = recovery._heard(Tour(progress=Heard()))
    for line in (
        "running",
        "  restore vda of tour-client ... 40 %",
        "  restore vda of tour-client: done in 31.5 s, 2 tries",
        "  start client: failed: no",
    ):
        hear(line)
    assert lines == [("  restore vda of tour-client", 31.5)]


def people(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *answers: Completed
) -> tuple[Any, list[Any]]:
    ran: list[Any] = []
    left = iter(answers)

    def run(argv: Any, **options: Any) -> Completed:
        ran.append((list(argv)[1:], options))
        return next(left)

    monkeypatch.setattr(recovering, "run", run)
    env = environment.load("recovery")[1]
    return recovering.Recovering(home=Home(root=tmp_path), environment=env, units={}), ran


def ended(document: Any, code: int = 0, stderr: str = "") -> Completed:
    return Completed(argv=("isthmus",), code=code, stdout=json.dumps(document), stderr=stderr)


def test_the_code_goes_over_standard_input_and_the_other_person_types_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asker, ran = people(
        monkeypatch, tmp_path,
        ended({**operation("drill", "planning"), "code": "AAAA-BBBB"}),
        ended(operation("drill", "awaiting-approval")),
        ended(operation("drill", "finished", "succeeded")),
    )  # fmt: skip
    asked = asker.ask("drill", "tour", ask="lyon")
    asker.approve(asked, ask="lyon")
    assert all("AAAA-BBBB" not in words for words, _ in ran)
    assert ran[-1][1]["stdin"] == "AAAA-BBBB"
    files = [options["env"]["OS_CLIENT_CONFIG_FILE"] for _, options in ran]
    assert files[0] == files[1] != files[2]


def test_a_refused_plan_is_told_with_its_findings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finding = {"level": "ERROR", "summary": "flavor big is missing", "cause": None}
    asker, _ = people(
        monkeypatch, tmp_path,
        ended({**operation("failover", "planning"), "code": "AAAA-BBBB"}),
        ended(operation("failover", "finished", "refused", findings=[finding]), code=2),
    )  # fmt: skip
    with pytest.raises(IsthmusError, match=r"failover of group tour is refused.*flavor big"):
        asker.ask("failover", "tour", ask="lyon")


def test_a_command_that_fails_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asker, _ = people(monkeypatch, tmp_path, ended(None, code=69, stderr="no engine answers"))
    with pytest.raises(errors.CommandFailed, match="exit 69: no engine answers"):
        asker.isthmus("policy", "list")


def test_a_vnf_that_was_made_anew_is_not_protected_under_the_old_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = {"members": [{"server_id": "s-old"}]}
    asker, ran = people(
        monkeypatch, tmp_path, ended([{"Name": "tour"}]), ended([{"Name": "tour"}]), ended(old)
    )
    with pytest.raises(errors.BadRequest, match="isthmus group delete tour"):
        asker.declare(MADE, backup_site="lyon", policy="tour")
    assert not any("set" in words for words, _ in ran)


def test_guests_that_still_boot_or_stand_still_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int | None] = [None, 0, 3, 4]
    monkeypatch.setattr(waiting.time, "sleep", lambda _: None)

    def counts(_self: Any, _site: Any, _servers: Any) -> Cut:
        if (number := seen.pop(0)) is None:
            raise UnavailableError("the guest agent does not answer")
        return Cut(issued=5, acknowledged=5, persisted=number)

    monkeypatch.setattr(recovering.Recovering, "counts", counts)
    asker, _ = people(monkeypatch, tmp_path)
    begun = Cut(issued=4, acknowledged=3, persisted=3)
    assert asker.goes_on(asker.environment.site("paris"), {}, beyond=begun).persisted == 4
