"""Requests to a Neutron and what answers mean; the server is one on the loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import loopback_neutron
import pytest
from loopback_neutron import SECRET, LoopbackNeutron
from network_model import PROJECT, declaration

from isthmus import errors
from isthmus.network import actions, views
from isthmus.network.findings import Code
from isthmus.network.neutrons import Neutron, Result
from isthmus.network.views import Origin

BACKUP = declaration()


@pytest.fixture
def server() -> Iterator[LoopbackNeutron]:
    yield from loopback_neutron.serve()


@pytest.fixture
def paris(server: LoopbackNeutron) -> Neutron:
    return Neutron(server.session, "paris", connect_seconds=1.0, read_seconds=2.0)


def build(server: LoopbackNeutron, ports: int = 0) -> str:
    """The network of the declaration, its subnet, and real ports."""
    marks = list(views.marks(BACKUP.id))
    network = server.add(
        "networks", name="backup", project_id=PROJECT, mtu=1450, tags=marks,
        **{"provider:segmentation_id": 4000, "provider:network_type": "vxlan"},
    )["id"]  # fmt: skip
    server.add(
        "subnets", network_id=network, project_id=PROJECT, name="backup", cidr=BACKUP.cidr,
        ip_version=4, allocation_pools=[{"start": "10.50.0.1", "end": "10.50.0.63"}], tags=marks,
    )  # fmt: skip
    server.add("security_groups", id="sg-default", name="default", project_id=PROJECT)
    for number in range(ports):
        port(server, network, number)
    return str(network)


def port(server: LoopbackNeutron, network: str, number: int, **values: Any) -> dict[str, Any]:
    plain = {
        "id": f"port-{number:03}",
        "network_id": network,
        "mac_address": f"FA:16:3E:01:00:{number:02X}",
        "fixed_ips": [{"ip_address": f"10.50.0.{number}", "subnet_id": "s"}],
        "vtep_ip": "10.99.1.31",
        "remote_vtep": None,
        "status": "ACTIVE",
        "device_owner": "compute:nova",
        "security_groups": ["sg-default"],
    }
    return server.add("ports", **{**plain, **values})


def create(network: str, number: int) -> actions.CreatePort:
    return actions.CreatePort(
        network_id=network, project_id=PROJECT, origin=Origin(site="lyon", port_id=f"o{number}"),
        name=f"vm{number}", mac=f"fa:16:3e:02:00:{number:02x}", ips=(f"10.50.0.{number}",),
        vtep="10.99.2.31", security_groups=frozenset({"sg-default"}),
    )  # fmt: skip


def results(outcomes: list[Any]) -> list[Result]:
    return [each.result for each in outcomes]


def test_a_view_holds_all_there_is(server: LoopbackNeutron, paris: Neutron) -> None:
    build(server, ports=3)
    view = paris.view(BACKUP)
    assert view.error is None
    assert view.network is not None
    assert (len(view.subnets), len(view.ports), len(view.security_groups)) == (1, 3, 1)
    assert view.ports[0].mac == "fa:16:3e:01:00:00"
    assert view.quota == views.Quota(limit=-1, used=3)
    assert not view.same_vni
    assert not view.other_subnets


def test_lists_are_read_to_their_last_page(server: LoopbackNeutron, paris: Neutron) -> None:
    build(server, ports=23)
    server.page = 5
    assert len(paris.view(BACKUP).ports) == 23


def test_who_is_no_administrator_any_more_sees_an_error_and_not_an_empty_site(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    build(server, ports=3)
    whole = paris.view(BACKUP)
    server.auth.roles = ["service"]
    for view in (
        paris.view(BACKUP),
        paris.refresh(whole, BACKUP, [Origin(site="paris", port_id="port-001")]),
    ):
        assert "lost its role admin" in str(view.error)
    with pytest.raises(errors.UnavailableError):
        paris.tagged()


def test_a_neutron_that_hides_quotas_or_our_attributes_is_not_believed(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    server.broken = {"/details": 403}
    assert "403" in str(paris.view(BACKUP).error)
    server.broken = {}
    del port(server, network, 1)["vtep_ip"]
    assert "remote_port" in str(paris.view(BACKUP).error)


@pytest.mark.parametrize("status", [500, 502, 503, 401, 404])
def test_a_failing_api_makes_a_view_with_an_error(
    server: LoopbackNeutron, paris: Neutron, status: int
) -> None:
    build(server)
    server.broken = {"/ports": status}
    assert str(status) in str(paris.view(BACKUP).error)


def test_a_slow_api_and_a_dead_one_are_given_up(server: LoopbackNeutron) -> None:
    server.delay = 0.5
    slow = Neutron(server.session, "paris", connect_seconds=0.2, read_seconds=0.2)
    assert slow.view(BACKUP).error == "no answer within 0.2 s"
    server.auth.url = "http://127.0.0.1:9"
    assert slow.view(BACKUP).error == "connection refused"


def test_a_region_without_an_endpoint_is_a_witness(server: LoopbackNeutron, paris: Neutron) -> None:
    assert paris.offered()
    server.auth.url = None
    assert not paris.offered()
    assert "no network endpoint for region paris" in str(paris.view(BACKUP).error)


def test_an_endpoint_with_a_version_is_understood(server: LoopbackNeutron, paris: Neutron) -> None:
    build(server)
    server.auth.url = server.url + "/v2.0/"
    assert paris.view(BACKUP).good


def test_somebody_elses_network_with_the_vni_is_not_ours(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    server.tables["networks"][network]["project_id"] = "other"
    view = paris.view(BACKUP)
    assert view.network is None
    assert [each.id for each in view.same_vni] == [network]


def test_a_refresh_is_one_request_and_knows_what_it_did_not_look_at(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server, ports=3)
    view = paris.view(BACKUP)
    server.requests.clear()
    del server.tables["ports"]["port-001"]
    port(server, network, 7)
    asked = [Origin(site="paris", port_id=each) for each in ("port-001", "port-007")]
    fresh = paris.refresh(view, BACKUP, asked)
    assert len(server.requests) == 1
    assert fresh.only == {"port-001", "port-007"}
    assert {each.id for each in fresh.ports} == {"port-000", "port-002", "port-007"}
    assert fresh.security_groups == view.security_groups


def test_a_refresh_of_the_own_site_finds_remote_ports_by_their_origin(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    view = paris.view(BACKUP)
    paris.apply(BACKUP, [create(network, 70), create(network, 71)])
    fresh = paris.refresh(view, BACKUP, [Origin(site="lyon", port_id="o70")])
    assert [each.device_id for each in fresh.ports] == ["lyon/o70"]
    assert fresh.only == {"o70"}


def test_a_refresh_asks_for_groups_it_does_not_know(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    view = paris.view(BACKUP)
    server.add("security_groups", id="sg-web", name="web", project_id="another")
    port(server, network, 1, security_groups=["sg-web"])
    fresh = paris.refresh(view, BACKUP, [Origin(site="paris", port_id="port-001")])
    assert fresh.group_name("sg-web") == "web"


def test_ports_are_made_a_hundred_at_a_time(server: LoopbackNeutron, paris: Neutron) -> None:
    network = build(server)
    server.requests.clear()
    outcomes = paris.apply(BACKUP, [create(network, number) for number in range(1, 231)])
    assert set(results(outcomes)) == {Result.DONE}
    assert server.requests == ["POST /v2.0/ports"] * 3
    assert len({each.object_id for each in outcomes}) == 230


def test_a_clash_in_a_bulk_request_keeps_only_its_own_port_from_being_made(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    port(server, network, 73, name="squatter")
    outcomes = paris.apply(BACKUP, [create(network, number) for number in range(70, 79)])
    assert [each.result is Result.DONE for each in outcomes] == [n != 3 for n in range(9)]
    finding = outcomes[3].finding
    assert finding is not None
    assert finding.code is Code.IP_CLASH
    assert "squatter" in finding.owners[1]
    assert "o73" in finding.owners[0]


def test_what_another_engine_was_faster_with_is_done(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    first = paris.apply(BACKUP, [create(network, 70)])
    again = paris.apply(BACKUP, [create(network, 70), create(network, 71)])
    assert results(again) == [Result.DONE, Result.DONE]
    assert again[0].object_id == first[0].object_id
    gone = actions.DeletePort(port_id="nowhere", origin=None, why="")
    assert results(paris.apply(BACKUP, [gone])) == [Result.DONE]


def test_a_quota_lets_in_what_fits_and_is_told_once(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    server.quota = 3
    outcomes = paris.apply(BACKUP, [create(network, number) for number in range(1, 205)])
    done = [each for each in outcomes if each.result is Result.DONE]
    told = [each.finding for each in outcomes if each.finding]
    assert len(done) == 3
    assert [each.code for each in told] == [Code.QUOTA]
    assert len(server.requests) < 20


def test_a_network_is_made_and_marked_and_a_second_engine_finds_it(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    marks = views.marks(BACKUP.id)
    network = actions.CreateNetwork(
        name="backup", project_id=PROJECT, vni=4000, mtu=1450, tags=marks,
        description=views.network_tag(BACKUP.id),
    )  # fmt: skip
    subnet = actions.CreateSubnet(
        network_id=None, project_id=PROJECT, name="backup", cidr=BACKUP.cidr, pools=(), gateway=None,
        dhcp=False, description=views.network_tag(BACKUP.id), tags=marks,
    )  # fmt: skip
    first = paris.apply(BACKUP, [network, subnet])
    second = paris.apply(BACKUP, [network, subnet])
    assert results(first) == results(second) == [Result.DONE, Result.DONE]
    assert [each.object_id for each in first] == [each.object_id for each in second]
    (row,) = server.tables["networks"].values()
    assert set(row["tags"]) == set(marks)
    stranger = declaration(id="another")
    clash = paris.apply(stranger, [network, subnet])
    assert results(clash) == [Result.CLASH, Result.SKIPPED]
    assert clash[0].finding is not None
    assert clash[0].finding.code is Code.VNI_CLASH


def test_tags_change_one_by_one_so_that_those_of_others_stay(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server)
    server.tables["networks"][network]["tags"] += ["theirs", "isthmus-stale=nice"]
    change = actions.ChangeTags(
        network_id=network, add=("isthmus-stale=lyon",), remove=("isthmus-stale=nice", "no-such")
    )
    assert results(paris.apply(BACKUP, [change])) == [Result.DONE]
    tags = set(server.tables["networks"][network]["tags"])
    assert tags == {*views.marks(BACKUP.id), "theirs", "isthmus-stale=lyon"}


def test_an_action_that_fails_is_told_and_the_others_go_on(
    server: LoopbackNeutron, paris: Neutron
) -> None:
    network = build(server, ports=2)
    server.broken = {"/port-000": 500, "/port-001": 403}
    planned = [
        actions.DeletePort(port_id="port-000", origin=None, why=""),
        actions.DeletePort(port_id="port-001", origin=None, why=""),
        create(network, 70),
    ]
    outcomes = paris.apply(BACKUP, planned)
    assert results(outcomes) == [Result.FAILED, Result.REFUSED, Result.DONE]
    assert "role admin" in str(outcomes[1].finding and outcomes[1].finding.remedy)


def test_no_text_holds_the_token(
    server: LoopbackNeutron, paris: Neutron, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    network = build(server)
    server.broken = {"/ports": 503}
    told = [str(paris.view(BACKUP)), str(paris.apply(BACKUP, [create(network, 1)]))]
    assert not any(SECRET in each for each in (*told, caplog.text))
