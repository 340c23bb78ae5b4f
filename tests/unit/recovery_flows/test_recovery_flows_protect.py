"""The freeze step: sound rounds, void rounds, and an engine that is cut off while guests are frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flows_cloud import Cloud, means_of
from operations_bench import asker, ended
from recovery_values import a_group, definitions_of

from isthmus import errors
from isthmus.operations.desk import Desk, Request
from isthmus.operations.kinds import Kind
from isthmus.operations.leases import FencedError
from isthmus.operations.recipes import Recipes, Run
from isthmus.operations.runner import Runner
from isthmus.operations.values import Operation, Outcome, Plan, PlannedStep
from isthmus.recovery import documents
from isthmus.recovery.checkpoints import Phase
from isthmus.recovery.declarations import Hook
from isthmus.recovery.flows import checkpointing, protect_undo
from isthmus.recovery.flows.service import Schedule
from isthmus.recovery.freezing.ledger import Entry, Whereabouts
from isthmus.recovery.freezing.machine import Guest, Report
from isthmus.store import databases


class Hosts:
    """Guests that can be frozen, and what was asked of them in which order."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()
        self.asked: list[str] = []

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
        self.asked.append(f"run {command[0]}")
        return 0, ""


class Driver:
    """One round's snapshots; `during` is called in the window."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.during: Callable[[], None] = lambda: None
        self.taken = self.discarded = 0

    def prepare(self) -> None:
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


class Freeze(checkpointing.Freeze):
    """Both guests on one host."""

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
        hooks = {"pre_hooks": (Hook(command=("/bin/quiet",), member="database"),),
                 "post_hooks": (Hook(command=("/bin/loud",), member="database"),)}  # fmt: skip
        policy = found.declared.policy("gold")
        found.declared.change_policy(dataclasses.replace(policy, **hooks))  # type: ignore[arg-type]
        self.desk = Desk(database, "paris")
        self.recipes = Recipes(
            kinds={Kind.PROTECT: Recipe()},
            actions={"define": Define(self.means), "freeze": Freeze(self.means)},
            removers=protect_undo.removers(self.means),
        )

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
        "run /bin/quiet", "arm", "freeze middle", "freeze database",
        "thaw database", "thaw middle", "disarm", "run /bin/loud",
    ]  # fmt: skip
    [frozen] = [each for each in paris.desk.steps(operation.id) if each.name == "freeze"]
    assert frozen.result["window_s"] > 0


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


def test_an_engine_that_is_cut_off_in_the_window_is_followed_by_one_that_thaws(
    paris: Paris,
) -> None:
    def rob() -> None:
        with paris.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE leases SET epoch = epoch + 1, expires_at = 0")

    paris.driver.during = rob
    operation = paris.request()
    with pytest.raises(FencedError):
        paris.go(operation)
    # As after a kill, nobody has thawed as far as the next engine can know.
    paris.hosts.frozen = {each.server_id for each in paris.means.declared.group("vnf").members}
    paris.hosts.asked.clear()
    operation = paris.go(operation)
    ended(operation, Outcome.FAILED)
    assert not paris.hosts.frozen
    assert paris.hosts.asked[0].startswith("thaw")
    assert "run /bin/loud" in paris.hosts.asked
    assert paris.driver.taken == 1, "no snapshot is taken for a round that was cut off"
    assert paris.checkpoint(operation).phase is Phase.VOID


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
