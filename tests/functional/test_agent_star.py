"""The agent against real databases: who is read, who takes the writes, what is followed."""

import datetime
import functools
import json
import signal
from collections.abc import Iterator

import agent_databases as db
import agent_star
import pytest

from conditions import wait_for
from isthmus.checks import registry, running
from isthmus.checks.facts import Facts
from isthmus.sites import fanout, inventory, probe
from isthmus.sites.looking import Answers

pytestmark = pytest.mark.functional

# Limits of the policy (3 s) plus looks, reconnects (1 s apart) and a busy machine.
NOTICED = 12


@pytest.fixture(scope="module")
def star() -> Iterator[agent_star.Star]:
    with agent_star.running() as found:
        yield found


def event(agent: agent_star.Agent) -> str:
    return str(agent.database()["last_event"])


def test_one_site_takes_the_writes_and_every_database_may_be_read(star: agent_star.Star) -> None:
    assert star.writers() == ["paris"]
    assert [agent.reader() for agent in star.agents.values()] == [200, 200, 200]
    cluster = star.agents["lyon"].database()["cluster"]
    assert cluster["members"] == ["lyon", "paris", "arbitrator"]
    assert cluster["size"] == 3


def test_the_agent_is_small(star: agent_star.Star) -> None:
    assert star.agents["madrid"].memory_mb() < 40


def checked(star: agent_star.Star) -> running.Report:
    """The checks over what the three agents say now."""
    roles = {"paris": "writer", "lyon": "writer", "madrid": "replica"}
    lines = [
        f"  - {{name: {n}, role: {r}, agent: '{star.agents[n].url}'}}" for n, r in roles.items()
    ]
    known = inventory.parse("\n".join(["sites:", *lines]), source="sites.yaml")
    asked = fanout.ask_all(
        {each.name: functools.partial(probe.agent, each, timeout=5) for each in known.sites},
        timeout=5,
    )
    now = datetime.datetime.now(datetime.UTC)
    api = probe.IdentityAnswer(url="", version="v3.14", latency_ms=1.0)
    up = fanout.Result(value=api, seconds=0.0, observed_at=now)
    answers = {name: Answers(identity=up, agent=found) for name, found in asked.items()}
    return running.run(registry.CHECKS, Facts(time=now, inventory=known, answers=answers))


def test_the_checks_see_how_the_databases_are_set(star: agent_star.Star) -> None:
    def told() -> bool:
        return all(each.database()["variables"] for each in star.agents.values())

    wait_for("all agents know the variables", told, NOTICED)
    report = checked(star)
    assert {(each.check, each.site) for each in report.findings} == {
        # The databases of this test are set for speed, and know nothing of networks, queues and a second replica.
        *(("durability", site) for site in ("paris", "lyon")),
        *(("dirty-reads", site) for site in ("paris", "lyon")),
        *(("queue", site) for site in star.agents),
        ("replica-filters", "madrid"),
        ("replica-of-each-writer", "madrid"),
    }
    causes = {each.check: each.cause for each in report.findings}
    assert causes["replica-filters"] == "replica-paris: not replicated: isthmus_network.%"
    states = {(each.check, each.site): str(each.state) for each in report.results}
    for check in (
        "galera-releases",
        "one-stream",
        "server-ids",
        "galera-timers",
        "galera-segments",
        "votes",
    ):
        assert states[check, None] == "OK", check
    for check in ("mariadb-release", "binary-log", "coherence"):
        assert {states[check, site] for site in star.agents} == {"OK"}, check
    assert states["replica-read-only", "madrid"] == "OK"
    star.madrid.rows("SET GLOBAL read_only=OFF")
    try:
        wait_for(
            "the check finds it",
            lambda: "replica-read-only" in {each.check for each in checked(star).findings},
            NOTICED,
        )
    finally:
        star.madrid.rows("SET GLOBAL read_only=ON")


def test_a_change_makes_a_new_generation_at_every_site_and_heartbeats_make_none(
    star: agent_star.Star,
) -> None:
    sites = list(star.agents)
    wait_for("all are followed", lambda: None not in map(star.generation, sites), NOTICED)
    before = {site: star.generation(site) for site in sites}
    beats = "SELECT max(sequence) FROM isthmus_identity.heartbeat"
    beat = star.madrid.value(beats)
    wait_for("heartbeats arrive", lambda: star.madrid.value(beats) >= beat + 4, NOTICED)
    wait_for("proofs arrive", lambda: None not in map(star.generation, sites), NOTICED)
    assert {site: star.generation(site) for site in sites} == before
    star.lyon.rows("INSERT INTO keystone.project VALUES (4711)")
    for site in sites:
        wait_for(
            f"{site} has counted it",
            lambda site=site: star.generation(site) not in (None, before[site]),  # type: ignore[misc]
            NOTICED,
        )


def test_a_database_that_stands_still_is_not_followed_and_begins_anew(
    star: agent_star.Star,
) -> None:
    wait_for("it is followed", lambda: star.generation("madrid") is not None, NOTICED)
    before = star.generation("madrid")
    star.madrid.send(signal.SIGSTOP)
    try:
        wait_for("its proof is old", lambda: star.generation("madrid") is None, NOTICED)
    finally:
        star.madrid.send(signal.SIGCONT)
    wait_for("it is followed", lambda: star.generation("madrid") not in (None, before), NOTICED)


def test_a_log_that_was_emptied_makes_a_new_generation(star: agent_star.Star) -> None:
    wait_for("it is followed", lambda: star.generation("madrid") is not None, NOTICED)
    before = star.generation("madrid")
    star.madrid.rows("RESET MASTER")
    wait_for("it begins anew", lambda: star.generation("madrid") not in (None, before), NOTICED)
    coherence = json.loads(star.agents["madrid"].get("status")[1])["coherence"]["replica-paris"]
    assert coherence["followed"] is True
    assert coherence["error"] is None


def test_a_replica_that_does_not_apply_leaves_the_balancer_and_returns(
    star: agent_star.Star,
) -> None:
    madrid = star.agents["madrid"]
    star.madrid.rows("STOP SLAVE SQL_THREAD")
    wait_for("it leaves", lambda: madrid.reader() == 503, NOTICED)
    assert madrid.database()["verdict"] == "lagging"
    star.madrid.rows("START SLAVE SQL_THREAD")
    wait_for("it returns", lambda: madrid.reader() == 200, NOTICED)
    assert madrid.database()["master"] == "paris"


def test_a_second_agent_looks_and_does_not_act(star: agent_star.Star) -> None:
    second = agent_star.Agent(
        star.folder, "second", f"{db.NETWORK}.21", star.document("madrid", star.madrid)
    )
    second.start()
    try:
        wait_for("it serves", lambda: second.reader() == 200, NOTICED)
        refused = "another agent holds the lease"
        wait_for("it knows", lambda: refused in second.database()["lease"]["reason"], NOTICED)
        assert star.agents["madrid"].database()["lease"]["held"] is True
    finally:
        assert second.end() == 0


def test_an_agent_that_is_killed_and_started_again_changes_nothing(star: agent_star.Star) -> None:
    row = star.paris.rows("SELECT site, epoch FROM isthmus_identity.writer")
    for agent in star.agents.values():
        agent.end(signal.SIGKILL)
        agent.start()
    wait_for("all is as before", star.settled, NOTICED)
    assert star.paris.rows("SELECT site, epoch FROM isthmus_identity.writer") == row


def test_a_frozen_database_is_unreachable_within_three_seconds(star: agent_star.Star) -> None:
    madrid = star.agents["madrid"]
    star.madrid.send(signal.SIGSTOP)
    try:
        wait_for("it leaves", lambda: madrid.reader() == 503, 3)
        wait_for("it is named", lambda: madrid.database()["verdict"] == "unreachable", 3)
    finally:
        star.madrid.send(signal.SIGCONT)
    wait_for("it returns", lambda: madrid.reader() == 200, NOTICED)


def test_a_replica_that_is_ahead_of_every_master_is_left_alone(star: agent_star.Star) -> None:
    madrid = star.agents["madrid"]
    star.madrid.rows("STOP SLAVE")
    position = str(star.madrid.value("SELECT @@gtid_slave_pos"))
    star.madrid.rows("SET GLOBAL gtid_slave_pos='100-100-99999'", "START SLAVE")
    wait_for("it is seen", lambda: madrid.database()["verdict"] == "diverged", NOTICED)
    seen = madrid.database()
    assert seen["master"] == "paris"
    assert seen["serving"] is False
    assert "100-100-99999" in seen["reason"]
    assert "reload this replica" in seen["reason"]
    star.madrid.rows("STOP SLAVE", f"SET GLOBAL gtid_slave_pos='{position}'", "START SLAVE")
    wait_for("it serves again", lambda: madrid.reader() == 200, NOTICED)


def test_the_other_site_takes_over_when_the_writer_is_killed_and_the_replica_follows_it(
    star: agent_star.Star,
) -> None:
    madrid = star.agents["madrid"]
    star.paris.end(signal.SIGKILL)
    # The suspect timeout (3 s), the inactive timeout (6 s), then one claim.
    wait_for("lyon takes the writes", lambda: star.writers() == ["lyon"], 20)
    wait_for("the replica follows", lambda: madrid.database()["master"] == "lyon", 20)
    wait_for("it serves", lambda: madrid.reader() == 200, NOTICED)
    star.lyon.rows("INSERT INTO keystone.project VALUES (7)")
    arrived = "SELECT count(*) FROM keystone.project WHERE id = 7"
    wait_for("writes arrive", lambda: star.madrid.value(arrived) == 1, 5)
    # The proof is written down when it is complete, shortly after the switch.
    wait_for("the proof", lambda: "it reached 100-100-" in event(madrid), NOTICED)
    assert "re-pointed from paris to lyon at 100-100-" in event(madrid)


def test_a_writer_that_returns_leaves_the_writes_where_they_are_and_gets_its_replica_back(
    star: agent_star.Star,
) -> None:
    madrid = star.agents["madrid"]
    star.paris.start()
    wait_for("it is in step", lambda: star.agents["paris"].reader() == 200, 30)
    wait_for("the replica is home", lambda: madrid.database()["master"] == "paris", 30)
    wait_for("it serves", lambda: madrid.reader() == 200, NOTICED)
    assert star.writers() == ["lyon"]
    wait_for("the proof", lambda: "re-pointed from lyon to paris" in event(madrid), NOTICED)


def test_a_replica_leaves_a_master_that_is_frozen_and_still_accepts_connections(
    star: agent_star.Star,
) -> None:
    madrid = star.agents["madrid"]
    # The last return home was an action; the next may follow it after twice the patience (6 s).
    star.paris.send(signal.SIGSTOP)
    try:
        wait_for("the replica follows lyon", lambda: madrid.database()["master"] == "lyon", 25)
        wait_for("it serves", lambda: madrid.reader() == 200, NOTICED)
        assert star.writers() == ["lyon"]
        assert star.agents["paris"].database()["verdict"] == "unreachable"
    finally:
        star.paris.send(signal.SIGCONT)


def test_an_agent_ends_cleanly_when_it_is_asked(star: agent_star.Star) -> None:
    agent = star.agents["madrid"]
    assert agent.end(signal.SIGTERM) == 0
    assert db.PASSWORD not in agent.log.read_text()
    agent.start()
