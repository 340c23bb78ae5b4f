"""A verification removes its probes whatever happens, and says what it found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import tracing_world

from isthmus import errors
from isthmus.network.tracing import probes, verifying

# Threads and requests on the loopback; a busy machine takes a multiple of the second that is usual.
ENDED = 30.0


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[tracing_world.World]:
    # Nothing in this world becomes good by waiting.
    monkeypatch.setattr(verifying, "_FIRST_REPLY_SECONDS", 0.2)
    with tracing_world.world() as made:
        yield made


def ended(client: Any, run: dict[str, Any]) -> dict[str, Any]:
    """The run when it has ended."""
    deadline = time.monotonic() + ENDED
    while time.monotonic() < deadline:
        document: dict[str, Any] = client.get(f"/v1/networks/backbone/verify/{run['id']}").json()
        if document["phase"] == "done":
            return document
        time.sleep(0.02)
    raise AssertionError(f"still {document['phase']}")


def verified(world: tracing_world.World, site: str = "paris", **body: Any) -> dict[str, Any]:
    client = world.client(site)
    answer = client.post("/v1/networks/backbone/verify", json=body)
    assert answer.status_code == 202, answer.text
    return ended(client, answer.json())


def test_every_host_reaches_every_other_and_nothing_is_left(world: tracing_world.World) -> None:
    found = verified(world)
    report = found["report"]
    assert report["reached"] is True
    assert len(report["probes"]) == 4
    assert len(report["pairs"]) == 12
    assert {pair["mark"] for pair in report["pairs"]} == {"reached"}
    assert all(pair["whole"] and not pair["beyond"] for pair in report["pairs"])
    assert found["lines"][-1] == "the probes are removed"
    assert world.left() == []


def test_quick_takes_one_host_of_each_site(world: tracing_world.World) -> None:
    report = verified(world, quick=True)["report"]
    assert [probe["host"] for probe in report["probes"]] == ["compute1", "compute1"]
    assert report["reached"] is True


def test_quick_takes_the_next_host_when_the_first_is_away(world: tracing_world.World) -> None:
    world.hosts["lyon"].broken["compute1", "/"] = "connection refused"
    report = verified(world, quick=True)["report"]
    assert [(p["site"], p["host"]) for p in report["probes"]] == [
        ("paris", "compute1"),
        ("lyon", "compute2"),
    ]


def test_a_host_that_is_away_gets_no_port_and_makes_the_verdict_bad(
    world: tracing_world.World,
) -> None:
    world.hosts["lyon"].broken["compute2", "/"] = "connection refused"
    report = verified(world)["report"]
    assert report["reached"] is False
    assert report["problems"] == ["lyon/compute2: connection refused (host compute2)"]
    assert len(report["pairs"]) == 6
    assert world.left() == []


def test_a_port_whose_probe_cannot_be_plugged_is_removed(world: tracing_world.World) -> None:
    world.hosts["paris"].broken["compute2", "/probes"] = "no switch"
    report = verified(world)["report"]
    assert "paris/compute2: no switch (host compute2)" in report["problems"]
    assert world.left() == []


def test_a_pair_that_fails_is_explained(world: tracing_world.World) -> None:
    world.on_ping = lambda: _lose(world, "paris", "lyon")
    report = verified(world, quick=True)["report"]
    assert report["reached"] is False
    marks = {(pair["source"], pair["target"]): pair["mark"] for pair in report["pairs"]}
    assert marks == {
        ("paris/compute1", "lyon/compute1"): "unreached",
        ("lyon/compute1", "paris/compute1"): "reached",
    }
    (trace,) = report["traces"]
    # The hosts of this world hold no entries at all.
    assert trace["root"]["code"] == "fdb-entry-missing"


def _lose(world: tracing_world.World, source: str, target: str) -> None:
    (ours,), (theirs,) = (world.hosts[each].plugged.values() for each in (source, target))
    world.lost.add((ours["ip"], theirs["ip"]))


def test_a_way_that_is_too_narrow_makes_the_verdict_bad(world: tracing_world.World) -> None:
    world.on_ping = lambda: world.widths.update(
        {probe["ip"]: 1400 for probe in world.hosts["lyon"].plugged.values()}
    )
    report = verified(world, quick=True)["report"]
    assert {pair["target"]: pair["mark"] for pair in report["pairs"]} == {
        "lyon/compute1": "narrow",
        "paris/compute1": "reached",
    }


def test_a_cancelled_run_removes_its_probes_and_has_no_report(world: tracing_world.World) -> None:
    world.blind.add("paris")  # It waits for remote ports that do not come.
    client = world.client()
    run = client.post("/v1/networks/backbone/verify", json={}).json()
    path = f"/v1/networks/backbone/verify/{run['id']}"
    deadline = time.monotonic() + ENDED
    while client.get(path).json()["phase"] != "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert world.left()
    client.delete(path)
    found = ended(client, run)
    assert (found["report"], found["error"]) == (None, "cancelled")
    assert world.left() == []


def test_probes_that_are_not_known_in_time_are_named_and_still_measured(
    world: tracing_world.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "READY_SECONDS", 0.5)
    world.blind.add("paris")
    found = verified(world, quick=True)
    assert any("no ACTIVE remote port in lyon" in line for line in found["lines"])
    assert found["report"]["pairs"]
    assert world.left() == []


def test_an_engine_that_is_away_is_a_problem_and_its_site_is_told_to_be_left(
    world: tracing_world.World,
) -> None:
    world.engines["paris"].peers.silent.add("lyon")
    report = verified(world)["report"]
    assert report["reached"] is False
    assert any(each.startswith("lyon: connection refused") for each in report["problems"])
    assert any(each.startswith("lyon: connection refused") for each in report["left"])
    assert [probe["site"] for probe in report["probes"]] == ["paris", "paris"]
    assert world.left() == []


def test_a_neutron_that_does_not_let_go_is_told_and_tidied_later(
    world: tracing_world.World,
) -> None:
    def stuck() -> None:
        for port in world.neutrons["lyon"].probes():
            world.neutrons["lyon"].broken[f"/ports/{port['id']}"] = 500

    world.on_ping = stuck
    report = verified(world, quick=True)["report"]
    assert len(report["left"]) == 1
    assert "500" in report["left"][0]
    world.neutrons["lyon"].broken.clear()
    engine = world.engines["lyon"]
    assert probes.remove_expired(engine, time.time()) == []
    assert world.left(), "its time is not over"
    assert probes.remove_expired(engine, time.time() + verifying.LIFE_SECONDS + 5) == []
    assert world.left() == []


def test_an_error_of_the_engine_itself_removes_the_probes_too(world: tracing_world.World) -> None:
    def wrong() -> None:
        raise ZeroDivisionError

    world.on_ping = wrong
    found = verified(world)
    # A source that cannot be asked is no error of the run: its pairs are unreached.
    assert {pair["mark"] for pair in found["report"]["pairs"]} == {"unreached"}
    assert world.left() == []


def test_two_runs_at_once_do_not_disturb_each_other(world: tracing_world.World) -> None:
    found: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: found.append(verified(world, quick=True))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENDED)
    assert [each["report"]["reached"] for each in found] == [True, True]
    assert world.left() == []


def test_any_site_may_verify(world: tracing_world.World) -> None:
    assert verified(world, "lyon")["report"]["reached"] is True
    assert world.left() == []


def test_a_run_that_is_not_known_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="no verification"):
        verifying.Runs().find("0" * 16)


def test_a_trace_over_http_is_a_verdict(world: tracing_world.World) -> None:
    for site, name in (("paris", "web"), ("lyon", "db")):
        port = world.neutrons[site]._create(
            "ports",
            {"port": {"network_id": tracing_world.NETWORK_IDS[site], "name": name, "binding:host_id": "compute1",
                      "device_owner": "compute:nova", "security_groups": [],
                      "port_security_enabled": False, "admin_state_up": True}},
        )["port"]  # fmt: skip
        world.hosts[site].post("compute1", "/probes", {"port_id": port["id"], "ip": "x"})
    answer = world.client().post("/v1/networks/backbone/trace", json={"a": "web", "b": "db"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["outcome"] == "ERROR"
    assert found["root"]["code"] == "fdb-entry-missing"
    assert {fault["code"] for fault in found["faults"]} <= {
        "fdb-entry-missing", "flood-entry-missing", "tunnel-port-missing",
    }  # fmt: skip
