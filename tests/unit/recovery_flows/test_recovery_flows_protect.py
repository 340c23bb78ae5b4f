"""The freeze step: sound rounds, void rounds, and an engine that is cut off while guests are frozen."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import pytest
from flows_cloud import Cloud, means_of
from operations_bench import asker, ended
from recovery_values import a_checkpoint, a_group, definitions_of

from isthmus import errors
from isthmus.operations.desk import Desk, Request
from isthmus.operations.kinds import Kind
from isthmus.operations.leases import FencedError
from isthmus.operations.recipes import Recipes, Run
from isthmus.operations.runner import Runner
from isthmus.operations.values import Level, Operation, Outcome, Plan, PlannedStep
from isthmus.operations.values import Phase as OperationPhase
from isthmus.recovery import checkpoints, documents
from isthmus.recovery.checkpoints import Phase
from isthmus.recovery.consistency import Consistency
from isthmus.recovery.declarations import Hook, OnError
from isthmus.recovery.findings import Finding
from isthmus.recovery.flows import checkpointing, protect, protect_undo, rounds
from isthmus.recovery.flows.service import Schedule
from isthmus.recovery.freezing.ledger import Entry, Whereabouts
from isthmus.recovery.freezing.machine import Guest, Report
from isthmus.recovery.snapshots import rbd
from isthmus.store import databases

QUIET = "hook /bin/quiet before the freeze (database): done"
LOUD = "hook /bin/loud after the thaw (database): done"
FLUSHED = ["run /bin/sync", "run /bin/sync"]
"""Both guests, just before they are armed."""


class Hosts:
    """Guests that can be frozen, and what was asked of them in which order."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()
        self.asked: list[str] = []
        self.codes: dict[str, int] = {}
        self.during: dict[str, Callable[[], None]] = {}

    def _report(self, entry: Entry, was: bool | None = None) -> Report:
        guest = Guest.FROZEN if entry.server_id in self.frozen else Guest.THAWED
        return Report(armed=True, guest=guest, fired=False, was_frozen=was)

    def arm(self, host: str, ledger: Any, entries: Sequence[Entry], timeout_s: float) -> Any:
        self.asked.append("arm")
        return {each.server_id: self._report(each) for each in entries}

    def freeze(self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float) -> Any:
        self.asked += [f"freeze {each.name}" for each in entries]
        self.frozen |= {each.server_id for each in entries}
        return {each.server_id: self._report(each) for each in entries}

    def thaw(self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float) -> Any:
        self.asked += [f"thaw {each.name}" for each in entries]
        was = {each.server_id: each.server_id in self.frozen for each in entries}
        self.frozen -= {each.server_id for each in entries}
        return {each.server_id: self._report(each, was[each.server_id]) for each in entries}

    def disarm(self, host: str, round_id: str, timeout_s: float) -> None:
        self.asked.append("disarm")

    def execute(
        self, host: str, domain: str, command: Sequence[str], timeout_s: float
    ) -> tuple[int, str]:
        assert not self.frozen, "a command in a window"
        self.asked.append(f"run {command[0]}")
        self.during.get(command[0], lambda: None)()
        return self.codes.get(command[0], 0), "last words"

    def ran(self, *commands: str) -> list[int]:
        """How often each was run."""
        return [self.asked.count(f"run {each}") for each in commands]


class Driver:
    """One round's snapshots; `during` is called in the window."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.during: Callable[[], None] = lambda: None
        self.preparing: Callable[[], None] = lambda: None
        self.taken = self.discarded = 0
        self.interval_s: float | None = 0.05

    def findings(self) -> Sequence[Finding]:
        self.preparing()
        slow = rbd.proposals(self.interval_s, "paris", "cinder")
        return (slow,) if slow else ()

    def prepare(self) -> None:
        self.preparing()
        assert not self.hosts.frozen, "what is slow comes before the freeze"

    def take(self, timeout_s: float) -> None:
        assert len(self.hosts.frozen) == 2
        self.taken += 1
        self.during()

    def discard(self) -> None:
        self.discarded += 1

    def close(self) -> None:
        """Nothing to close."""


class Define(checkpointing.Define):
    """The definitions as they are known, without a cloud of the source."""

    def act(self, run: Run) -> Any:
        name = checkpointing.checkpoint_id(run.operation.id)
        run.ensure(checkpointing.CHECKPOINT, name, site="paris", find=lambda: name, create=str)
        self._begin(run, name)
        return {"definitions": documents.write(definitions_of(self.means.group(run)))}


class Freeze(rounds.Freeze):
    """Both guests on one host. `armed`: what happens between the hooks and the round."""

    armed: Callable[[], None] = staticmethod(lambda: None)

    def _atom(self, known: Any, driver: Any) -> Any:
        self.armed()
        return super()._atom(known, driver)

    def _whereabouts(self, run: Run) -> Any:
        where = Whereabouts(host="c1", domain="d")
        members = self.means.group(run).members
        return {m.server_id: dataclasses.replace(where, domain=f"i-{m.name}") for m in members}


class Recipe:
    def plan(self, operation: Operation) -> Plan:
        define = PlannedStep(name="define", title="define", action="define")
        freeze = PlannedStep(
            name="freeze", title="freeze", action="freeze", after=("define",), attempts=1
        )
        return Plan(made_at=1.0, steps=(define, freeze))


class Paris:
    def __init__(self, database: databases.Database) -> None:
        self.database, self.hosts = database, Hosts()
        self.driver = Driver(self.hosts)
        found, _ = means_of(database, Cloud())
        hosts: Any = self.hosts
        driver: Any = self.driver
        self.means = dataclasses.replace(
            found, site="paris", hosts=hosts, guests=hosts, snapshots=lambda *_: driver
        )
        self.hooks(before=["/bin/quiet"], after=["/bin/loud"])
        self.desk = Desk(database, "paris")
        self.freeze = Freeze(self.means)
        self.recipes = Recipes(
            kinds={Kind.PROTECT: Recipe()},
            actions={"define": Define(self.means), "freeze": self.freeze},
            removers=protect_undo.removers(self.means),
        )

    def hooks(self, *, before: Sequence[str], after: Sequence[str]) -> None:
        parts = {"pre_hooks": before, "post_hooks": after}
        hooks: Any = {
            part: tuple(Hook(command=(each,), member="database") for each in commands)
            for part, commands in parts.items()
        }
        policy = self.means.declared.policy("gold")
        self.means.declared.change_policy(dataclasses.replace(policy, **hooks))

    def rob(self) -> None:
        """As a kill: whoever worked can write nothing any more, and somebody else may go on."""
        with self.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE leases SET epoch = epoch + 1, expires_at = 0")

    def cut_off(self, operation: Operation) -> None:
        with pytest.raises(FencedError):
            self.go(operation)

    def notes(self, operation: Operation, step: str = "freeze") -> list[str]:
        """What the step has done, in lines without times."""
        [found] = [each for each in self.desk.steps(operation.id) if each.name == step]
        return [re.sub(r" (in|after) [0-9.]+ s", "", each.line) for each in found.notes]

    def request(self) -> Operation:
        group = a_group()
        request = Request(kind=Kind.PROTECT, group_id=group.id, group=group.name)
        return self.desk.request(asker(), request).operation

    def go(self, operation: Operation) -> Operation:
        runner = Runner(self.database, self.recipes, owner="paris-1", lasts=5.0)
        runner.work(self.desk.operation(operation.id))
        return self.desk.operation(operation.id)

    def checkpoint(self, operation: Operation) -> Any:
        return self.means.declared.checkpoint(checkpointing.checkpoint_id(operation.id))


@pytest.fixture
def paris(database: databases.Database) -> Paris:
    return Paris(database)


def test_a_sound_round_freezes_in_order_and_thaws_in_reverse_between_its_hooks(
    paris: Paris,
) -> None:
    operation = paris.go(paris.request())
    ended(operation, Outcome.SUCCEEDED)
    assert paris.hosts.asked == [
        "run /bin/quiet", *FLUSHED, "arm", "freeze middle", "freeze database",
        "thaw database", "thaw middle", "disarm", "run /bin/loud",
    ]  # fmt: skip
    [frozen] = [each for each in paris.desk.steps(operation.id) if each.name == "freeze"]
    assert frozen.result["window_s"] > 0
    assert [each["place"] for each in frozen.result["hooks"]["before"]] == ["database"]
    assert paris.notes(operation) == [QUIET, LOUD]


def test_guests_that_cannot_be_flushed_are_frozen_as_they_are(paris: Paris) -> None:
    paris.hosts.codes["/bin/sync"] = 127
    ended(paris.go(paris.request()), Outcome.SUCCEEDED)
    assert paris.hosts.ran("/bin/sync") == [2]


def test_a_snapshot_that_fails_voids_the_round_and_leaves_all_guests_running(
    paris: Paris,
) -> None:
    def fail() -> None:
        raise errors.UnavailableError("the pool is full")

    paris.driver.during = fail
    operation = paris.go(paris.request())
    ended(operation, Outcome.FAILED)
    assert not paris.hosts.frozen
    assert paris.hosts.asked[-1] == "run /bin/loud"
    assert paris.driver.discarded == 1
    assert paris.checkpoint(operation).phase is Phase.VOID
    assert "pool is full" in paris.checkpoint(operation).reason
    assert paris.notes(operation) == [QUIET, LOUD]


def test_an_engine_that_is_cut_off_in_the_window_is_followed_by_one_that_thaws(
    paris: Paris,
) -> None:
    paris.driver.during = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    assert paris.hosts.ran("/bin/loud") == [0], "that is the next engine's matter"
    # As after a kill, nobody has thawed as far as the next engine can know.
    paris.hosts.frozen = {each.server_id for each in paris.means.declared.group("vnf").members}
    paris.hosts.asked.clear()
    operation = paris.go(operation)
    ended(operation, Outcome.FAILED)
    assert not paris.hosts.frozen
    assert paris.hosts.asked[0].startswith("thaw")
    assert paris.hosts.asked[-1] == "run /bin/loud"
    assert paris.hosts.ran("/bin/quiet", "/bin/loud") == [0, 1]
    assert paris.driver.taken == 1, "no snapshot is taken for a round that was cut off"
    assert paris.checkpoint(operation).phase is Phase.VOID


def test_a_hook_that_must_not_fail_ends_the_round_while_nobody_is_frozen(paris: Paris) -> None:
    paris.hooks(before=["/bin/quiet", "/bin/never"], after=["/bin/loud"])
    paris.hosts.codes["/bin/quiet"] = 3
    operation = paris.go(paris.request())
    ended(operation, Outcome.FAILED)
    assert paris.hosts.asked == ["run /bin/quiet", "run /bin/loud"]
    [trouble] = operation.troubles
    assert "database, command /bin/quiet): exit code 3: last words" in trouble.what
    failed = "hook /bin/quiet before the freeze (database): failed: exit code 3: last words"
    assert paris.notes(operation) == [failed, LOUD]


def test_hooks_that_ended_before_the_engine_was_killed_are_not_run_again(paris: Paris) -> None:
    paris.freeze.armed = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    assert paris.hosts.asked == ["run /bin/quiet", *FLUSHED]
    paris.freeze.armed = lambda: None
    operation = paris.go(operation)
    ended(operation, Outcome.SUCCEEDED)
    assert paris.hosts.ran("/bin/quiet", "/bin/loud") == [1, 1]
    assert paris.notes(operation) == [QUIET, LOUD]


def test_of_several_hooks_only_the_one_that_was_under_way_is_run_again(paris: Paris) -> None:
    paris.hooks(before=["/bin/quiet", "/bin/flush"], after=["/bin/loud"])
    paris.hosts.during["/bin/flush"] = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    paris.hosts.during.clear()
    ended(paris.go(operation), Outcome.SUCCEEDED)
    assert paris.hosts.ran("/bin/quiet", "/bin/flush", "/bin/loud") == [1, 2, 1]


def test_an_engine_that_is_killed_in_the_hooks_after_the_thaw_loses_no_round(paris: Paris) -> None:
    paris.hooks(before=["/bin/quiet"], after=["/bin/loud", "/bin/wide"])
    paris.hosts.during["/bin/wide"] = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    paris.hosts.during.clear()
    ended(paris.go(operation), Outcome.SUCCEEDED)
    assert paris.hosts.ran("/bin/quiet", "/bin/loud", "/bin/wide") == [1, 1, 2]
    assert paris.driver.taken == 1


@pytest.mark.parametrize("frozen", [False, True])
def test_the_round_of_a_cancelled_operation_that_was_cut_off_is_ended_when_it_is_cleaned_up(
    paris: Paris, frozen: bool
) -> None:
    if frozen:
        paris.driver.during = paris.rob
    else:
        paris.freeze.armed = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    if frozen:
        members = paris.means.declared.group("vnf").members
        paris.hosts.frozen = {each.server_id for each in members}
    paris.desk.cancel(asker(), operation.id)
    operation = paris.go(operation)
    assert operation.phase is OperationPhase.FINISHED, operation.troubles
    assert not paris.hosts.frozen
    assert paris.hosts.ran("/bin/quiet", "/bin/loud") == [1, 1]


class Cutting(list[str]):
    """What was asked; cuts the engine off when it has grown to a length."""

    def __init__(self, length: int, cut: Callable[[], None]) -> None:
        super().__init__()
        self._length, self._cut = length, cut

    def append(self, item: str) -> None:
        super().append(item)
        if len(self) == self._length:
            self._cut()

    def extend(self, items: Iterable[str]) -> None:
        for item in items:
            self.append(item)

    def __iadd__(self, items: Iterable[str]) -> Self:  # type: ignore[override]
        self.extend(items)
        return self


@pytest.mark.chaos
@pytest.mark.parametrize("cancelled", [False, True])
def test_wherever_an_engine_is_killed_guests_are_let_go_and_hooks_after_the_thaw_are_run(
    paris: Paris, cancelled: bool
) -> None:
    """At each of the things that are asked of hosts and guests in a round."""
    paris.hooks(before=["/bin/quiet", "/bin/flush"], after=["/bin/loud", "/bin/wide"])
    for length in range(1, 11):
        paris.hosts.asked = Cutting(length, paris.rob)
        operation = paris.request()
        paris.cut_off(operation)
        if cancelled:
            paris.desk.cancel(asker(), operation.id)
        operation = paris.go(operation)
        assert operation.phase is OperationPhase.FINISHED, operation.troubles
        assert not paris.hosts.frozen
        assert all(1 <= n <= 2 for n in paris.hosts.ran("/bin/loud", "/bin/wide")), length
        assert paris.hosts.ran("/bin/quiet") == [2 if length == 1 and not cancelled else 1]
        last = max(n for n, each in enumerate(paris.hosts.asked) if each.startswith("run"))
        assert not any(each.startswith("freeze") for each in paris.hosts.asked[last:])


def test_a_round_whose_hooks_were_ended_before_it_began_is_given_up(paris: Paris) -> None:
    """Else guests would be frozen whose applications were told that all is over."""

    def refuse() -> None:
        raise errors.UnavailableError("the quota is used up")

    paris.freeze.armed = paris.rob
    operation = paris.request()
    paris.cut_off(operation)
    paris.freeze.armed, paris.driver.preparing = (lambda: None), refuse
    paris.hosts.during["/bin/loud"] = paris.rob
    paris.cut_off(operation)
    paris.hosts.during.clear()
    paris.driver.preparing = lambda: None
    operation = paris.go(operation)
    ended(operation, Outcome.FAILED)
    assert "given up" in operation.troubles[0].what
    assert "arm" not in paris.hosts.asked
    assert paris.hosts.ran("/bin/quiet", "/bin/loud") == [1, 2]


@pytest.mark.parametrize(("on_error", "degraded"), [("abort", True), ("continue", False)])
def test_a_hook_after_the_thaw_that_must_not_fail_degrades_the_checkpoint(
    paris: Paris, on_error: str, degraded: bool
) -> None:
    paris.hosts.codes["/bin/loud"] = 4
    policy = paris.means.declared.policy("gold")
    loud = dataclasses.replace(policy.post_hooks[0], on_error=OnError(on_error))
    paris.means.declared.change_policy(dataclasses.replace(policy, post_hooks=(loud,)))
    operation = paris.go(paris.request())
    ended(operation, Outcome.SUCCEEDED)
    [freeze] = [each for each in paris.desk.steps(operation.id) if each.name == "freeze"]
    run: Any = argparse.Namespace(result=lambda _: freeze.result)
    trouble = checkpointing.Publish(paris.means)._trouble(run)
    assert ("/bin/loud after the thaw (database): exit code 4" in (trouble or "")) is degraded
    sound = a_checkpoint(a_group(), phase=Phase.CREATING)
    outcome = checkpoints.available(sound, Consistency.APP_ORDERED, trouble).outcome
    assert outcome == ("degraded" if degraded else "complete")


@pytest.mark.parametrize(
    ("interval_s", "found"),
    [
        (0.05, []),
        (1.0, [(Level.WARN, "ceph config set mon paxos_propose_interval 0.05")]),
        (None, [(Level.INFO, "ceph config get mon paxos_propose_interval")]),
    ],
)
def test_the_precheck_says_how_long_the_storage_holds_the_guests(
    paris: Paris, interval_s: float | None, found: list[tuple[Level, str]]
) -> None:
    paris.driver.interval_s = interval_s
    plan = protect.Recipe(paris.means).plan(paris.request())
    told = [(each.level, each.remedy) for each in plan.findings]
    assert [level for level, _ in told] == [level for level, _ in found]
    assert all(words in remedy for (_, remedy), (_, words) in zip(told, found, strict=True))


def test_a_checkpoint_whose_storage_cannot_be_reached_is_refused_before_it_begins(
    paris: Paris,
) -> None:
    def refuse() -> None:
        raise errors.UnavailableError("cannot reach the Ceph cluster", cause="timed out")

    paris.driver.preparing = refuse
    paris.recipes = dataclasses.replace(
        paris.recipes, kinds={Kind.PROTECT: protect.Recipe(paris.means)}
    )
    operation = paris.go(paris.request())
    ended(operation, Outcome.REFUSED)
    assert "no snapshot could be taken" in (operation.reason or "")
    assert paris.hosts.asked == []


def test_the_schedule_asks_for_checkpoints_when_they_are_due_and_never_for_two(
    paris: Paris,
) -> None:
    declared, now = paris.means.declared, [1000.0]
    desk = Desk(paris.database, "paris", clock=lambda: now[0])
    schedule = Schedule(desk, declared, "paris", clock=lambda: now[0])
    schedule.look()
    assert desk.operations() == (), "the policy says: when asked"
    declared.change_policy(dataclasses.replace(declared.policy("gold"), schedule_s=300.0))
    schedule.look()
    schedule.look()
    [first] = desk.operations()
    assert (first.kind, first.by.name) == (Kind.PROTECT, "schedule")
    paris.go(first)
    now[0] += 299
    schedule.look()
    assert len(desk.operations()) == 1
    now[0] += 1
    schedule.look()
    assert len(desk.operations()) == 2
    Schedule(desk, declared, "lyon", clock=lambda: now[0] + 900).look()
    assert len(desk.operations()) == 2, "another site's groups are not its matter"
