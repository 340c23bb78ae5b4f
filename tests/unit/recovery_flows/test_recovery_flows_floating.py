"""Floating addresses of a failover: made or led, once, and taken away or let go when it is rolled back."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pytest
from flows_cloud import Cloud
from flows_lyon import Lyon
from operations_bench import BERT, asker, ended
from recovery_values import an_id

from isthmus.operations.kinds import Kind
from isthmus.operations.leases import FencedError
from isthmus.operations.values import Level, Outcome, Phase
from isthmus.recovery.metadata.definitions import FloatingAddress
from isthmus.store import databases

PUBLIC = FloatingAddress(
    address="203.0.113.9", fixed="10.0.0.10", network_id="n-paris", description="the front door"
)


class Outside(Lyon):
    """Lyon with an external network, and a group with a floating address."""

    def __init__(self, database: databases.Database, cloud: Cloud) -> None:
        cloud.with_an_outside()
        super().__init__(database, cloud, [PUBLIC])
        self.empty = cloud.own()

    def leads(self, **floating: str) -> None:
        plan = self.means.declared.plan("p-l")
        names = {key.replace("_", "."): value for key, value in floating.items()}
        self.means.declared.put_plan(dataclasses.replace(plan, floating=names))

    def there(self, **changes: Any) -> dict[str, Any]:
        """A floating address that the project has."""
        found = {
            "id": an_id("fip"), "floating_ip_address": "198.51.100.7", "port_id": None,
            "floating_network_id": "n-ext", "project_id": an_id("project"), "description": "ours",
            **changes,
        }  # fmt: skip
        self.cloud.all["floatingips"][found["id"]] = found
        return found

    @property
    def floating(self) -> list[dict[str, Any]]:
        return list(self.cloud.all["floatingips"].values())

    @property
    def port(self) -> str:
        """The port with the address that the source's floating address led to."""
        ports = self.cloud.all["ports"].values()
        return next(p["id"] for p in ports if p["fixed_ips"][0]["ip_address"] == "10.0.0.10")


@pytest.fixture
def lyon(database: databases.Database, cloud: Cloud) -> Outside:
    return Outside(database, cloud)


BY_NETWORK = {"n-paris": "outside"}
BY_ADDRESS = {"203_0_113_9": "198.51.100.7"}


@pytest.mark.parametrize("floating", [BY_NETWORK, BY_ADDRESS])
def test_one_that_is_not_there_is_made_and_taken_away_again(
    lyon: Outside, floating: dict[str, str]
) -> None:
    lyon.leads(**floating)
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    assert operation.phase is Phase.AWAITING_COMMIT, operation.troubles
    [made] = lyon.floating
    assert (made["port_id"], made["fixed_ip_address"]) == (lyon.port, "10.0.0.10")
    assert made["floating_network_id"] == "n-ext"
    assert made["description"].endswith(": the front door")
    if floating is BY_ADDRESS:
        assert made["floating_ip_address"] == "198.51.100.7"
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert lyon.cloud.own() == lyon.empty


def test_one_that_leads_nowhere_is_led_and_let_go_again(lyon: Outside) -> None:
    lyon.leads(**BY_ADDRESS)
    mine = lyon.there()
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    assert operation.phase is Phase.AWAITING_COMMIT, operation.troubles
    assert (mine["port_id"], mine["description"]) == (lyon.port, "ours")
    results = {each.name: each.result for each in lyon.desk.steps(operation.id)}
    [led] = [each for name, each in results.items() if name.startswith("lead-")]
    assert led == {"203.0.113.9": "198.51.100.7"}
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert [(each["id"], each["port_id"]) for each in lyon.floating] == [(mine["id"], None)]


def test_one_that_somebody_led_elsewhere_since_is_not_let_go(lyon: Outside) -> None:
    lyon.leads(**BY_ADDRESS)
    mine = lyon.there()
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    mine["port_id"] = "r-out"
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert mine["port_id"] == "r-out"


def test_a_drill_does_not_touch_them_and_says_that_it_tests_none(lyon: Outside) -> None:
    lyon.leads(**BY_ADDRESS)
    mine, planned = lyon.there(), lyon.approved(Kind.DRILL)
    assert planned.plan
    [said] = [each for each in planned.plan.findings if "floating" in each.summary]
    assert (said.level, "not tested" in said.summary) == (Level.INFO, True)
    ended(lyon.go(planned), Outcome.SUCCEEDED)
    assert lyon.floating == [mine]
    assert mine["port_id"] is None


def test_one_that_is_not_mapped_is_said_and_does_not_come_back(lyon: Outside) -> None:
    planned = lyon.approved(Kind.FAILOVER)
    assert planned.plan
    [said] = [each for each in planned.plan.findings if "floating" in each.summary]
    assert (said.level, "does not come back" in said.summary) == (Level.WARN, True)
    lyon.go(planned)
    assert lyon.floating == []


def test_one_that_somebody_has_refuses_the_failover_before_anything_is_done(lyon: Outside) -> None:
    lyon.leads(**BY_ADDRESS)
    lyon.there(port_id="r-out")
    refused, _ = lyon.request(Kind.FAILOVER)
    ended(refused, Outcome.REFUSED)
    assert "198.51.100.7" in (refused.reason or "")


def test_what_neutron_refuses_after_all_waits_for_a_person_with_the_server_running(
    lyon: Outside,
) -> None:
    lyon.leads(**BY_NETWORK)
    planned = lyon.approved(Kind.FAILOVER)
    router = lyon.cloud.all["ports"].pop("r-in")
    operation = lyon.go(planned)
    assert operation.phase is Phase.PAUSED
    [trouble] = operation.troubles
    assert "203.0.113.9 leads nowhere" in trouble.what
    assert "not reachable from subnet" in trouble.what
    assert len(lyon.cloud.all["servers"]) == 2
    lyon.cloud.all["ports"]["r-in"] = router
    lyon.desk.retry(asker(BERT), operation.id)
    operation = lyon.go(operation)
    assert operation.phase is Phase.AWAITING_COMMIT, operation.troubles
    assert len(lyon.floating) == 1


def test_one_that_somebody_took_after_the_plan_is_not_taken_from_them(lyon: Outside) -> None:
    lyon.leads(**BY_ADDRESS)
    mine, planned = lyon.there(), lyon.approved(Kind.FAILOVER)
    mine["port_id"] = "r-out"
    operation = lyon.go(planned)
    assert operation.phase is Phase.PAUSED
    assert "it leads to port r-out" in operation.troubles[0].what
    assert mine["port_id"] == "r-out"


@pytest.mark.parametrize("there", [False, True])
def test_an_engine_that_is_cut_off_after_every_change_of_them_makes_and_leaves_none_twice(
    lyon: Outside, there: bool
) -> None:
    lyon.leads(**BY_ADDRESS)
    if there:
        lyon.there()
    operation, seen, cuts = lyon.approved(Kind.FAILOVER), [""], 0

    def rob() -> None:
        now = str(lyon.floating)
        if now == seen[-1]:
            return
        seen.append(now)
        with lyon.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE leases SET epoch = epoch + 1, owner = 'thief', expires_at = 0"
            )

    def through() -> int:
        count = 0
        lyon.cloud.changed = rob
        while lyon.desk.operation(operation.id).phase in (Phase.RUNNING, Phase.ROLLING_BACK):
            try:
                lyon.go(operation)
            except FencedError:
                count += 1
        return count

    seen.append(str(lyon.floating))
    cuts = through()
    assert lyon.desk.operation(operation.id).phase is Phase.AWAITING_COMMIT
    assert [each["port_id"] for each in lyon.floating] == [lyon.port]
    lyon.desk.roll_back(asker(BERT), operation.id)
    cuts += through()
    assert cuts == 2, "once when it came, once when it went"
    ended(lyon.desk.operation(operation.id), Outcome.ROLLED_BACK)
    assert [each["port_id"] for each in lyon.floating] == ([None] if there else [])
    twice = [each for each, n in collections.Counter(lyon.cloud.made).items() if n > 1]
    assert twice == []
