"""The site that takes over, with its desk and its runner, for the tests of drills and failovers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows_cloud import Cloud, means_of
from operations_bench import BERT, asker

from isthmus.operations.desk import Desk, Request
from isthmus.operations.kinds import Kind
from isthmus.operations.recipes import Recipes
from isthmus.operations.runner import Runner
from isthmus.operations.values import Operation, Phase
from isthmus.recovery.flows import returning
from isthmus.recovery.metadata.definitions import FloatingAddress
from isthmus.store import databases


class Lyon:
    """The engine of the site that takes over, by hand."""

    def __init__(
        self,
        database: databases.Database,
        cloud: Cloud,
        floating: Sequence[FloatingAddress] = (),
    ) -> None:
        self.database, self.cloud = database, cloud
        self.means, self.markers = means_of(database, cloud, floating)
        self.desk = Desk(database, "lyon")
        self.recipes: Recipes = returning.recipes(self.means, database)

    def runner(self) -> Runner:
        return Runner(self.database, self.recipes, owner="lyon-1", lasts=5.0)

    def request(self, kind: Kind, **parameters: Any) -> tuple[Operation, str | None]:
        group = self.means.declared.group("vnf")
        asked = self.desk.request(
            asker(),
            Request(kind=kind, group_id=group.id, group=group.name, parameters=parameters),
        )
        self.runner().work(asked.operation)
        return self.desk.operation(asked.operation.id), asked.code

    def approved(self, kind: Kind) -> Operation:
        planned, code = self.request(kind)
        assert planned.phase is Phase.AWAITING_APPROVAL, planned.reason
        assert planned.plan
        assert code
        return self.desk.approve(
            asker(BERT), planned.id, code=code, plan_digest=planned.plan.digest
        )

    def go(self, operation: Operation) -> Operation:
        self.runner().work(self.desk.operation(operation.id))
        return self.desk.operation(operation.id)
