"""A desk and a runner over a real SQLite file, worked by hand so that a test says what happens when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import operations_yard

from isthmus.operations.desk import Asker, Desk, Request, Requested
from isthmus.operations.kinds import Kind, Origin, Privilege
from isthmus.operations.runner import Runner
from isthmus.operations.values import Operation, Outcome, Person, Phase
from isthmus.store import databases

ANNA = Person(id="u-anna", name="anna")
BERT = Person(id="u-bert", name="bert")
EVERYTHING = frozenset(Privilege)


def asker(person: Person = ANNA, *privileges: Privilege, origin: Origin = Origin.PERSON) -> Asker:
    return Asker(person=person, privileges=frozenset(privileges) or EVERYTHING, origin=origin)


class Bench:
    """`clock` is the people's; leases go by the database's."""

    def __init__(self, database: databases.Database, yard: Path) -> None:
        self.database, self.yard = database, yard
        self.now = time.time()
        self.desk = Desk(database, "lyon", clock=lambda: self.now)
        self.runner = self.new_runner("first")

    def new_runner(self, owner: str, hook: Any = operations_yard.NOTHING, **options: Any) -> Runner:
        recipes = operations_yard.recipes(self.yard, hook, options.pop("findings", ()))
        options.setdefault("lasts", 0.6)
        return Runner(self.database, recipes, owner=owner, clock=lambda: self.now, **options)

    def request(self, kind: Kind, *names: str, group_id: str = "g1", **fields: Any) -> Requested:
        request = Request(
            kind=kind,
            group_id=group_id,
            group="vnf",
            parameters={"wall": list(names) or ["a", "b/c", "d"]},
            **fields,
        )
        return self.desk.request(asker(), request)

    def go(self, operation: Operation, runner: Runner | None = None) -> Operation:
        """Have it worked on until somebody has to decide, or it is finished."""
        (runner or self.runner).work(self.desk.operation(operation.id))
        return self.desk.operation(operation.id)

    def approved(self, kind: Kind, *names: str, **fields: Any) -> Operation:
        """An operation that is approved and not run yet."""
        asked = self.request(kind, *names, **fields)
        planned = self.go(asked.operation)
        assert planned.phase is Phase.AWAITING_APPROVAL, planned.reason
        assert planned.plan is not None
        assert asked.code is not None
        return self.desk.approve(
            asker(BERT), planned.id, code=asked.code, plan_digest=planned.plan.digest
        )

    def lying(self) -> list[str]:
        return operations_yard.bricks(self.yard)

    def made(self) -> list[str]:
        return operations_yard.made(self.yard)


def ended(operation: Operation, outcome: Outcome) -> None:
    """Say why not, if it ended otherwise."""
    assert (operation.phase, operation.outcome) == (Phase.FINISHED, outcome), (
        operation.phase,
        operation.outcome,
        operation.reason,
        operation.troubles,
    )
