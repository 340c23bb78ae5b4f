"""Orders about freezes, over HTTP, with the real watchdog process and guests that speak the protocol."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from guest_agent import GuestAgent
from orders_agent import ONE, STARTED_SECONDS, TWO, Agent

from conditions import wait_for
from isthmus.agent.host.freezing import ledger


def test_a_round_is_armed_frozen_thawed_and_disarmed(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    armed = agent.arm("r1", ONE, TWO).json()["freezes"]
    assert [(each["domain"], each["state"]) for each in armed] == [(ONE, "armed"), (TWO, "armed")]
    assert 15 < armed[0]["remaining"] <= 20
    assert armed[0]["watchdogs"] == sorted(agent.watchdogs())
    assert b"MARK=own" in Path(f"/proc/{armed[0]['watchdogs'][0]}/environ").read_bytes().split(
        b"\0"
    )
    frozen = agent.results("/freezes/r1/freeze")
    assert [each["guest"] for each in frozen] == ["frozen", "frozen"]
    assert all(guest.frozen for guest in guests)
    assert {each["state"] for each in agent.told()["freezes"]} == {"frozen"}
    thawed = agent.results("/freezes/r1/thaw")
    assert [(each["guest"], each["was_frozen"]) for each in thawed] == [("thawed", True)] * 2
    assert all(each["frozen_seconds"] > 0 for each in thawed)
    done = agent.call("DELETE", "/freezes/r1").json()
    assert (sorted(done["disarmed"]), done["fired"]) == ([ONE, TWO], [])
    assert agent.told()["freezes"] == []
    wait_for("the watchdog has gone", lambda: not agent.watchdogs(), 5)


def test_levels_freeze_one_after_the_other(agent: Agent, guests: list[GuestAgent]) -> None:
    agent.arm("r1", ONE, TWO)
    assert [e["domain"] for e in agent.results("/freezes/r1/freeze", {"domains": [TWO]})] == [TWO]
    assert [guest.frozen for guest in guests] == [False, True]
    agent.results("/freezes/r1/freeze", {"domains": [ONE]})
    agent.results("/freezes/r1/thaw", {"domains": [ONE]})
    assert [guest.frozen for guest in guests] == [False, True]


def test_at_the_deadline_the_guest_is_thawed_and_the_round_is_void(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    armed = agent.arm("r1", ONE, deadline_s=1.5).json()["freezes"]
    agent.results("/freezes/r1/freeze")
    wait_for("it is thawed", lambda: not guests[0].frozen, 1.5 + 1.0)
    wait_for("it is recorded", lambda: agent.told()["fired"], 2.0)
    [fired] = agent.told()["fired"]
    assert (fired["round"], fired["domain"], fired["filesystems"]) == ("r1", ONE, 2)
    wait_for("the guest has said so", lambda: agent.told()["fired"][0]["late"] is not None, 2.0)
    assert agent.told()["fired"][0]["late"] < 1.0
    assert agent.told()["freezes"][0]["state"] == "void"
    [again] = agent.results("/freezes/r1/freeze")
    assert "is void" in again["error"]
    assert not guests[0].frozen
    assert armed[0]["state"] == "armed"
    done = agent.call("DELETE", "/freezes/r1").json()
    assert [each["domain"] for each in done["fired"]] == [ONE]


def test_without_the_agents_threads_the_watchdog_fires_alone(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    agent.arm("r1", ONE, deadline_s=1.5)
    agent.results("/freezes/r1/freeze")
    agent.stop()
    wait_for("it is thawed", lambda: not guests[0].frozen, 1.5 + 1.0)
    wait_for("it is recorded", lambda: agent.book.outcomes(ONE, "r1"), 2.0)
    assert {each.by for each in agent.book.outcomes(ONE, "r1")} == {ledger.WATCHDOG}


def test_without_the_watchdog_the_agent_fires_alone(agent: Agent, guests: list[GuestAgent]) -> None:
    agent.arm("r1", ONE, deadline_s=1.5)
    [pid] = agent.watchdogs()
    os.kill(pid, signal.SIGKILL)
    agent.results("/freezes/r1/freeze")
    wait_for("it is thawed", lambda: not guests[0].frozen, 1.5 + 1.0)
    wait_for("it is recorded", lambda: agent.book.outcomes(ONE, "r1"), 2.0)
    assert {each.by for each in agent.book.outcomes(ONE, "r1")} == {ledger.AGENT}


def test_a_watchdog_hears_no_polite_signal(agent: Agent, guests: list[GuestAgent]) -> None:
    agent.arm("r1", ONE, deadline_s=2.0)
    agent.results("/freezes/r1/freeze")
    agent.stop()
    for pid in agent.watchdogs():
        os.kill(pid, signal.SIGTERM)
    wait_for("it is thawed", lambda: not guests[0].frozen, 2.0 + 1.0)


def test_a_freeze_that_comes_after_the_deadline_is_ended_too(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    """As when nova-compute was stopped, and goes on with what it was told before."""
    agent.arm("r1", ONE, deadline_s=1.0)
    wait_for("it fired", lambda: agent.book.outcomes(ONE, "r1"), 3.0)
    guests[0].frozen = True
    wait_for("it is thawed", lambda: not guests[0].frozen, 2.5)


def test_a_later_life_goes_on_with_what_was_armed(
    agent: Agent, guests: list[GuestAgent], tmp_path: Path
) -> None:
    agent.arm("r1", ONE, deadline_s=4.0)
    agent.results("/freezes/r1/freeze")
    [before] = agent.watchdogs()
    agent.stop()
    os.kill(before, signal.SIGKILL)
    later = Agent(tmp_path)
    try:
        [told] = later.told()["freezes"]
        assert (told["round"], told["state"]) == ("r1", "frozen")
        wait_for("it has a watchdog again", later.watchdogs, STARTED_SECONDS)
        wait_for("it is thawed", lambda: not guests[0].frozen, 4.0 + 1.0)
    finally:
        later.stop()


def test_a_later_life_leaves_alone_what_was_settled_long_ago(
    agent: Agent, guests: list[GuestAgent], tmp_path: Path
) -> None:
    agent.arm("r1", ONE, deadline_s=1.0)
    wait_for("it is settled", lambda: any(e.late for e in agent.book.outcomes(ONE)), 4.0)
    agent.stop()
    for pid in agent.watchdogs():
        os.kill(pid, signal.SIGKILL)
    entry = agent.book.entry(ONE)
    assert entry is not None
    agent.book.arm(dataclasses.replace(entry, deadline=entry.deadline - 3600.0))
    guests[0].frozen = True  # By a backup of somebody else.
    later = Agent(tmp_path)
    try:
        assert later.told()["freezes"] == []
        assert [each["round"] for each in later.told()["fired"]] == ["r1"]
        assert guests[0].frozen
    finally:
        later.stop()


def test_a_dead_man_stays_armed_while_the_guest_is_frozen(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    agent.arm("r1", ONE, TWO)
    agent.results("/freezes/r1/freeze", {"domains": [ONE]})
    refused = agent.call("DELETE", "/freezes/r1")
    assert refused.status_code == 409
    assert "does not say that it is thawed (frozen)" in refused.json()["error"]["cause"]
    assert len(agent.told()["freezes"]) == 2


def test_orders_may_come_twice(agent: Agent, guests: list[GuestAgent]) -> None:
    first = agent.arm("r1", ONE).json()["freezes"][0]
    assert agent.arm("r1", ONE).json()["freezes"][0]["deadline"] == first["deadline"]
    for _ in range(2):
        assert agent.results("/freezes/r1/freeze")[0]["error"] is None
    for was_frozen in (True, False):
        [result] = agent.results("/freezes/r1/thaw")
        assert (result["guest"], result["was_frozen"]) == ("thawed", was_frozen)
    for disarmed in ([ONE], []):
        assert agent.call("DELETE", "/freezes/r1").json()["disarmed"] == disarmed


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda guest: setattr(guest, "frozen", True), "is frozen already"),
        (lambda guest: guest.deaf.set(), "does not answer"),
        (lambda guest: guest.close(), "does not run on this host"),
    ],
)
def test_a_guest_that_is_not_well_is_not_armed_and_neither_are_the_others(
    agent: Agent, guests: list[GuestAgent], prepare: Callable[[GuestAgent], None], words: str
) -> None:
    prepare(guests[1])
    refused = agent.arm("r1", ONE, TWO)
    assert refused.status_code == 409
    assert words in refused.json()["error"]["cause"]
    assert agent.told()["freezes"] == []


def test_one_guest_has_one_round_at_a_time(agent: Agent, guests: list[GuestAgent]) -> None:
    agent.arm("r1", ONE)
    refused = agent.arm("r2", ONE)
    assert (refused.status_code, "armed for round r1" in refused.text) == (409, True)


def test_an_engine_of_an_earlier_epoch_is_refused(agent: Agent, guests: list[GuestAgent]) -> None:
    agent.arm("r1", ONE, deadline_s=1.0, epoch=5)
    wait_for("it is over", lambda: agent.told()["fired"], 4.0)
    refused = agent.arm("r2", ONE, epoch=4)
    assert (refused.status_code, "epoch 4 is over" in refused.text) == (409, True)


def test_a_guest_that_refuses_to_freeze_stays_thawed(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    guests[0].refuse = "fsfreeze hook has failed"
    agent.arm("r1", ONE)
    [result] = agent.results("/freezes/r1/freeze")
    assert (result["guest"], "fsfreeze hook has failed" in result["error"]) == ("thawed", True)
    assert agent.book.entry(ONE) is not None


def test_what_nova_froze_in_an_armed_round_counts_as_frozen(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    agent.arm("r1", ONE)
    guests[0].frozen = True
    [result] = agent.results("/freezes/r1/freeze")
    assert (result["guest"], result["error"]) == ("frozen", None)


def test_when_the_disk_is_full_nothing_is_armed(
    agent: Agent, guests: list[GuestAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = agent.arm("r1", ONE)
    assert (refused.status_code, "No space left" in refused.text) == (503, True)
    assert agent.told()["freezes"] == []
    assert agent.watchdogs() == set()


@pytest.mark.parametrize("deadline_s", [0.5, 61.0])
def test_a_deadline_out_of_bounds_is_a_bad_request(agent: Agent, deadline_s: float) -> None:
    refused = agent.arm("r1", ONE, deadline_s=deadline_s)
    assert (refused.status_code, "1 to 60 s" in refused.text) == (400, True)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x"])
def test_names_that_could_be_paths_are_refused(agent: Agent, name: str) -> None:
    assert agent.arm("r1", name).status_code == 422
    assert agent.arm(name, ONE).status_code == 422


def test_a_round_that_is_not_armed_here_is_not_found(agent: Agent) -> None:
    assert agent.call("POST", "/freezes/r9/freeze").status_code == 404
