"""Drills and failovers over one small site: what is made, in which order, how often, and what is left."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import uuid
from pathlib import Path
from typing import Any

import fastapi
import pytest
from flows_cloud import Cloud
from flows_lyon import Lyon
from operations_bench import BERT, asker, ended
from starlette.testclient import TestClient

from isthmus import errors
from isthmus.engine.api import operations_home
from isthmus.engine.rights import Caller
from isthmus.operations import reporting
from isthmus.operations.kinds import Kind
from isthmus.operations.leases import FencedError
from isthmus.operations.values import Outcome, Phase
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.service import Service
from isthmus.recovery.rebuild import Rebuilt
from isthmus.store import databases, schema

NO_STALE: Any = argparse.Namespace(findings=lambda _group_id: ())
EMPTY = {"servers": [], "volumes": [], "networks": ["inside"], "subnets": ["inside-4"], "ports": [],
         "floatingips": []}  # fmt: skip


@pytest.fixture
def lyon(database: databases.Database, cloud: Cloud) -> Lyon:
    return Lyon(database, cloud)


def test_a_drill_brings_the_group_up_apart_and_leaves_nothing(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.DRILL))
    ended(operation, Outcome.SUCCEEDED)
    assert lyon.cloud.own() == EMPTY
    made = collections.Counter(kind for kind, _ in lyon.cloud.made)
    assert made == {"networks": 1, "subnets": 1, "ports": 2, "servers": 2, "volumes": 4}
    results = {each.name: each.result for each in lyon.desk.steps(operation.id)}
    tests = [each for name, each in results.items() if name.startswith("test-")]
    assert [each["records_bad"] for each in tests] == [0, 0]
    assert not lyon.markers.claims, "a drill claims nothing"


def test_a_drill_touches_no_network_of_production(lyon: Lyon) -> None:
    ports: list[Any] = []
    lyon.cloud.changed = lambda: ports.extend(lyon.cloud.all["ports"].values())
    lyon.go(lyon.approved(Kind.DRILL))
    assert ports
    assert all(each["network_id"] != "n-prod" for each in ports)


def test_the_database_boots_before_what_needs_it(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    assert operation.phase is Phase.AWAITING_COMMIT, operation.troubles
    booted = [name for kind, name in lyon.cloud.made if kind == "servers"]
    assert booted == ["database", "middle"]


def test_a_failover_brings_back_addresses_macs_and_the_right_content(lyon: Lyon) -> None:
    lyon.go(lyon.approved(Kind.FAILOVER))
    ports = lyon.cloud.all["ports"].values()
    assert {each["network_id"] for each in ports} == {"n-prod"}
    found = {(p["fixed_ips"][0]["ip_address"], p["mac_address"]) for p in ports}
    assert found == {("10.0.0.10", "fa:16:3e:00:00:0a"), ("10.0.0.11", "fa:16:3e:00:00:0b")}
    for server in lyon.cloud.all["servers"].values():
        for disk in server["block_device_mapping_v2"]:
            volume = lyon.cloud.all["volumes"][disk["uuid"]]
            assert volume["content"] in lyon.cloud.all["backups"]


def test_a_failover_claims_the_group_once_and_is_made_final(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    [claim] = lyon.markers.claims
    assert (claim.epoch, claim.site) == (1, "lyon")
    lyon.desk.commit(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.SUCCEEDED)
    assert len(lyon.cloud.all["servers"]) == 2


def test_the_plan_and_the_report_of_a_failover_say_that_the_lost_bytes_are_not_known(
    lyon: Lyon,
) -> None:
    planned, _ = lyon.request(Kind.FAILOVER)
    assert planned.plan
    assert planned.plan.lost_bytes is None
    assert planned.plan.facts["Written since"].startswith("not known: no snapshot")
    told = reporting.report(planned, lyon.desk.steps(planned.id), ())
    assert "Written since" in reporting.to_text(told)
    drill, _ = lyon.request(Kind.DRILL)
    assert drill.plan
    assert "Written since" not in drill.plan.facts, "a drill gives nothing up"


def test_a_failover_is_not_made_final_when_another_site_claimed_the_group(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    stolen = lyon.markers.claims[-1]
    lyon.markers.claims.append(
        type(stolen)(
            group_id=stolen.group_id, epoch=2, site="madrid", operation_id="x", at=stolen.at,
            nonce="y",
        )
    )  # fmt: skip
    lyon.desk.commit(asker(BERT), operation.id)
    operation = lyon.go(operation)
    assert operation.phase is Phase.PAUSED
    assert "madrid" in operation.troubles[0].what


def test_a_failover_that_is_rolled_back_leaves_nothing(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert lyon.cloud.own() == EMPTY


def test_a_failover_that_is_rolled_back_gives_the_group_back_when_nothing_runs_here(
    lyon: Lyon,
) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    there: list[int] = []
    claim = lyon.markers.claim
    lyon.means.epochs.claim = lambda marker: (
        there.append(  # type: ignore[method-assign]
            sum(len(lyon.cloud.all[kind]) for kind in ("servers", "volumes", "ports"))
        )
        or claim(marker)
    )
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert there == [0], "as long as a server runs here, the group is this site's"
    assert [(each.epoch, each.site) for each in lyon.markers.claims] == [(1, "lyon"), (2, "paris")]
    again = lyon.go(lyon.approved(Kind.FAILOVER))
    assert again.phase is Phase.AWAITING_COMMIT, again.troubles
    assert lyon.markers.claims[-1].site == "lyon"


def test_a_group_that_somebody_claimed_since_is_not_given_back(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    first = lyon.markers.claims[-1]
    lyon.markers.claims.append(dataclasses.replace(first, epoch=2, site="madrid", nonce="theirs"))
    lyon.desk.roll_back(asker(BERT), operation.id)
    ended(lyon.go(operation), Outcome.ROLLED_BACK)
    assert [each.site for each in lyon.markers.claims] == ["lyon", "madrid"]


@pytest.mark.parametrize("kind", [Kind.DRILL, pytest.param(Kind.FAILOVER, marks=pytest.mark.chaos)])
def test_an_engine_that_is_cut_off_after_every_single_change_makes_nothing_twice(
    lyon: Lyon, kind: Kind
) -> None:
    """What it knew when it was cut off is lost, as after a kill: it can write nothing any more."""

    def rob() -> None:
        with lyon.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE leases SET epoch = epoch + 1, owner = 'thief', expires_at = 0"
            )

    operation, cuts = lyon.approved(kind), 0
    lyon.cloud.changed = rob
    while operation.phase not in (Phase.FINISHED, Phase.AWAITING_COMMIT):
        try:
            operation = lyon.go(operation)
        except FencedError:
            cuts += 1
            assert cuts < 100, "it comes nowhere"
        operation = lyon.desk.operation(operation.id)
        assert operation.phase is not Phase.PAUSED, operation.troubles
    assert cuts > 5
    twice = [each for each, n in collections.Counter(lyon.cloud.made).items() if n > 1]
    assert twice == []
    if kind is Kind.DRILL:
        ended(operation, Outcome.SUCCEEDED)
        assert lyon.cloud.own() == EMPTY
    else:
        assert len(lyon.cloud.all["servers"]) == 2
        assert len(lyon.cloud.all["ports"]) == 2
        assert len(lyon.markers.claims) == 1


def test_an_address_that_is_taken_refuses_a_failover_and_not_a_drill(lyon: Lyon) -> None:
    lyon.cloud.all["ports"]["other"] = {
        "id": "other", "name": "other", "network_id": "n-prod", "mac_address": "fa:00:00:00:00:01",
        "fixed_ips": [{"subnet_id": "s-prod", "ip_address": "10.0.0.10"}], "device_owner": "",
        "device_id": "",
    }  # fmt: skip
    refused, _ = lyon.request(Kind.FAILOVER)
    ended(refused, Outcome.REFUSED)
    assert "10.0.0.10" in (refused.reason or "")
    ended(lyon.go(lyon.approved(Kind.DRILL)), Outcome.SUCCEEDED)


def test_without_a_checkpoint_or_a_plan_nothing_is_planned(lyon: Lyon) -> None:
    lyon.means.declared.delete_plan("p-l")
    refused, _ = lyon.request(Kind.DRILL)
    ended(refused, Outcome.REFUSED)
    assert "no recovery plan" in (refused.reason or "")
    lyon.means.declared.forget_checkpoint(lyon.means.declared.checkpoints()[0].id)
    refused, _ = lyon.request(Kind.FAILOVER)
    assert "no such checkpoint" in (refused.reason or "")


def test_a_second_failover_of_a_group_is_refused_while_one_waits(lyon: Lyon) -> None:
    lyon.go(lyon.approved(Kind.FAILOVER))
    refused, _ = lyon.request(Kind.FAILOVER)
    ended(refused, Outcome.REFUSED)
    assert "awaiting-commit" in (refused.reason or "")


def test_cleanup_takes_away_what_a_rollback_left(lyon: Lyon) -> None:
    operation = lyon.go(lyon.approved(Kind.FAILOVER))
    network = lyon.cloud.all["ports"]
    lyon.cloud.all["ports"] = {}
    lyon.desk.roll_back(asker(BERT), operation.id)
    operation = lyon.go(operation)
    ended(operation, Outcome.ROLLED_BACK)
    lyon.cloud.all["ports"] = network
    refused, _ = lyon.request(Kind.CLEANUP, operation="unknown")
    ended(refused, Outcome.REFUSED)
    cleaned, _ = lyon.request(Kind.CLEANUP, operation=operation.id)
    assert cleaned.phase is Phase.FINISHED


def test_a_database_that_was_lost_is_rebuilt_from_manifests(lyon: Lyon, tmp_path: Path) -> None:
    """Lyon's controller knows nothing but the store afterwards, and can fail over all the same."""
    fresh = databases.connect(f"sqlite:///{tmp_path}/fresh.db")
    schema.upgrade(fresh)
    declared = Declared(fresh)
    service = Service(fresh, dataclasses.replace(lyon.means, declared=declared), NO_STALE)
    learnt, findings = service.rebuild()
    assert learnt == (1, 1, 1)
    assert findings == ()
    assert declared.groups() == lyon.means.declared.groups()
    assert declared.checkpoints() == lyon.means.declared.checkpoints()
    assert service.rebuild()[0] == (0, 0, 0)


def test_a_group_that_gives_its_name_up_does_so_before_another_takes_it(lyon: Lyon) -> None:
    declared = lyon.means.declared
    old = declared.group("vnf")
    members = tuple(
        dataclasses.replace(each, server_id=f"new-{each.server_id}") for each in old.members
    )
    new = dataclasses.replace(old, id=str(uuid.uuid4()), members=members)
    rebuilt = Rebuilt(
        groups=(new, dataclasses.replace(old, name="vnf-old")),
        policies=(),
        checkpoints=(),
        manifests={},
        findings=(),
    )
    assert declared.keep(rebuilt)[0] == 2
    assert {each.id: each.name for each in declared.groups()} == {new.id: "vnf", old.id: "vnf-old"}
    assert declared.keep(rebuilt)[0] == 0


def test_of_two_changes_of_a_group_from_the_same_reading_one_is_refused(lyon: Lyon) -> None:
    declared = lyon.means.declared
    read = declared.group("vnf")
    declared.change_group(dataclasses.replace(read, name="first", revision=read.revision + 1))
    with pytest.raises(errors.BusyError, match="not changed"):
        declared.change_group(dataclasses.replace(read, name="second", revision=read.revision + 1))
    assert declared.group(read.id).name == "first"


def test_an_engine_offers_all_routes_of_recovery(lyon: Lyon) -> None:
    def nobody() -> Caller:
        return Caller(user_id="u", user="anna", project_id="p", roles=frozenset({"admin"}))

    engine: Any = argparse.Namespace(site="lyon", require_admin=nobody, require_reader=nobody)
    app = fastapi.FastAPI()
    service = Service(lyon.database, lyon.means, NO_STALE)
    app.include_router(operations_home.router(engine, service))
    with TestClient(app) as http:
        assert [each["name"] for each in http.get("/v1/groups").json()["groups"]] == ["vnf"]
        asked = http.post("/v1/operations", json={"kind": "failover", "group": "vnf"}).json()
        assert asked["operation"]["four_eyes"]
        found = http.post("/v1/plans/p-l/validate").json()["findings"]
        assert [each for each in found if each["outcome"] == "ERROR"] == []
