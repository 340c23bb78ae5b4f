"""One agent row per VTEP: guarded while in use, alive while in use, gone after."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from neutron.db import agents_db
from neutron_site import FLOOD, Site, entry
from oslo_db import exception as db_exceptions
from oslo_utils import timeutils

from isthmus.plugins.neutron import housekeeping, mechanism, vteps
from isthmus.plugins.neutron.db import models

HOST = "remote-vtep-10.99.2.31"


def later(seconds: float) -> datetime.datetime:
    """A moment from now, as Neutron stores it."""
    return timeutils.utcnow() + datetime.timedelta(seconds=seconds)


def keep(site: Site, *moments: float) -> None:
    """Run the housekeeping at moments, in seconds from now."""
    for seconds in moments:
        housekeeping.keep(site.context, later(seconds))


def test_ports_of_all_networks_share_the_row_of_their_vtep(site: Site) -> None:
    site.remote_port(site.network())
    site.remote_port(site.network())
    [row] = site.rows().values()
    assert row["host"] == HOST
    assert row["alive"] is True
    assert row["binary"] == "isthmus-remote-port"
    assert row["configurations"]["tunneling_ip"] == "10.99.2.31"
    assert "no process runs behind" in row["description"]


def test_a_row_in_use_is_not_deleted_and_the_words_say_why(site: Site) -> None:
    ports = [site.remote_port(site.network()) for _ in range(2)]
    row = site.rows()[HOST]
    reply = site.ask("DELETE", f"agents/{row['id']}")
    assert reply.status == 409
    assert "2 remote ports use it" in reply.words
    assert HOST in site.rows()
    for port in ports:
        site.done("DELETE", f"ports/{port['id']}")
    assert site.ask("DELETE", f"agents/{row['id']}").status == 204
    assert site.rows() == {}


def test_agents_of_this_site_are_deleted_as_ever(site: Site) -> None:
    [agent] = site.plugin.get_agents(site.context, {"host": ["compute2"]})
    site.plugin.delete_agent(site.context, agent["id"])
    assert site.plugin.get_agents(site.context, {"host": ["compute2"]}) == []


def test_the_database_keeps_a_used_row_from_every_other_way_of_deleting(site: Site) -> None:
    site.remote_port(site.network())
    by_rpc = agents_db.AgentExtRpcCallback(site.plugin)
    with pytest.raises(db_exceptions.DBReferenceError):
        by_rpc.delete_agent(site.context, host=HOST, agent_type=vteps.AGENT_TYPE)
    assert HOST in site.rows()


def test_the_row_of_a_port_goes_with_the_port_and_never_with_its_network_alone(site: Site) -> None:
    network = site.network()
    port = site.remote_port(network)
    assert site.ask("DELETE", f"networks/{network}").status == 409
    site.done("DELETE", f"ports/{port['id']}")
    with site.writing() as session:
        assert session.query(models.RemotePort).count() == 0
    assert site.ask("DELETE", f"networks/{network}").status == 204


def test_a_used_row_is_alive_however_long_ago_it_was_made(site: Site) -> None:
    site.remote_port(site.network())
    keep(site, *range(0, 600, 25))
    row = site.rows()[HOST]
    assert row["heartbeat_timestamp"] > later(570)


def test_a_row_without_ports_goes_with_the_second_run_and_not_at_once(site: Site) -> None:
    port = site.remote_port(site.network())
    keep(site, 0)
    site.done("DELETE", f"ports/{port['id']}")
    keep(site, 25)
    assert HOST in site.rows()
    keep(site, 50)
    assert site.rows() == {}


def test_a_vtep_that_is_used_again_meanwhile_keeps_its_row(site: Site) -> None:
    network = site.network()
    port = site.remote_port(network)
    site.done("DELETE", f"ports/{port['id']}")
    before = site.rows()[HOST]["id"]
    site.remote_port(network)
    keep(site, 100, 200)
    assert site.rows()[HOST]["id"] == before


def test_a_moved_port_lets_go_of_its_old_row(site: Site) -> None:
    port = site.remote_port(site.network())
    site.change(port, remote_vtep="10.99.2.32")
    keep(site, 0, 60, 120)
    assert site.rows().keys() == {"remote-vtep-10.99.2.32"}


def test_the_last_two_ports_deleted_at_once_are_both_taken_back(site: Site) -> None:
    network = site.network()
    ports = [site.remote_port(network) for _ in range(2)]
    site.told()
    deliver = site.plugin.mechanism_manager.delete_port_postcommit

    def second_is_deleted_first(context: Any) -> None:
        """The first deletion is committed; before agents are told of it, the second is done."""
        with mock.patch.object(site.plugin.mechanism_manager, "delete_port_postcommit", deliver):
            site.plugin.delete_port(site.context, ports[1]["id"])
            keep(site, 0, 26)
        deliver(context)

    with mock.patch.object(
        site.plugin.mechanism_manager, "delete_port_postcommit", second_is_deleted_first
    ):
        site.done("DELETE", f"ports/{ports[0]['id']}")
    told = [item for message in site.told() for item in message.entries["10.99.2.31"]]
    assert set(told) == {FLOOD, entry(ports[0]), entry(ports[1])}


def test_two_workers_that_make_the_same_row_at_once_share_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = site.network()
    site.remote_port(network)
    # The second worker's snapshot is older than the first one's commit.
    monkeypatch.setattr(vteps, "_find", once(None, then=vteps._find))
    assert site.remote_port(network)["status"] == "ACTIVE"
    assert site.rows().keys() == {HOST}


def test_two_workers_that_make_the_same_row_at_once_share_one_in_bulk_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = site.network()
    site.remote_port(network)
    monkeypatch.setattr(vteps, "_find", once(None, then=vteps._find))
    wanted = [site.remote_request(network, "10.99.2.31")["port"] for _ in range(2)]
    made = site.done("POST", "ports", {"ports": wanted})
    assert [port["status"] for port in made] == ["ACTIVE", "ACTIVE"]
    assert len(site.done("GET", "ports", query=f"network_id={network}")) == 3


def test_a_row_that_is_collected_under_a_creation_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the snapshot of the request still shows is no longer there.
    monkeypatch.setattr(vteps, "_find", once("collected", then=vteps._find))
    assert site.remote_port(site.network())["status"] == "ACTIVE"
    assert site.rows().keys() == {HOST}


def test_a_row_that_finds_a_port_under_its_collection_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.remote_port(site.network())
    row = site.rows()[HOST]["id"]
    monkeypatch.setattr(vteps, "unused", lambda _session, _before: [row])
    keep(site, 0)
    assert site.rows()[HOST]["id"] == row


def test_a_run_that_fails_is_logged_and_the_next_one_works(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.remote_port(site.network())
    with monkeypatch.context() as broken:
        broken.setattr(vteps, "refresh", mock.Mock(side_effect=RuntimeError("no database")))
        housekeeping.run()
    housekeeping.run()
    assert "were not refreshed" in caplog.text


def test_the_worker_runs_three_times_before_an_agent_counts_as_dead(site: Site) -> None:
    drivers = site.plugin.mechanism_manager.ordered_mech_drivers
    [made] = [driver.obj for driver in drivers if isinstance(driver.obj, mechanism.RemotePort)]
    [worker] = made.get_workers()
    # Zero processes: neutron-periodic-workers groups it with the other small ones.
    assert worker.worker_process_count == 0
    assert worker._interval == 25


def test_the_server_does_not_start_without_what_the_driver_stands_on() -> None:
    mechanism.check_configuration(["remote_port", "l2population"], ["remote_port"])
    with pytest.raises(ValueError, match="extension_drivers does not"):
        mechanism.check_configuration(["remote_port", "l2population"], ["port_security"])
    with pytest.raises(ValueError, match="without l2population"):
        mechanism.check_configuration(["remote_port", "openvswitch"], ["remote_port"])


def once(answer: Any, then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives one answer of its own and then those of another."""
    answers = [answer]
    return lambda *given: answers.pop() if answers else then(*given)
