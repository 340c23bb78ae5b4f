"""Lists of simulated Neutrons, and the catalog that names them."""

import json
from typing import Any

import pytest
from bench.peers.catalogs import extended, relinked
from bench.peers.neutrons import Neutrons
from test_bench_peers_generating import cloud

from isthmus.network import wire

PORTS = [("fields", each) for each in wire.PORT_FIELDS]


def asked(path: str, *query: tuple[str, str], page: int | None = None, status: int = 200) -> Any:
    made = cloud(ports=5)
    answer = Neutrons(made, page).answer(made.sites["p01"], "GET", path, list(query))
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def network() -> str:
    return str(asked("networks")["networks"][0]["id"])


def test_a_network_is_found_by_its_vni_and_its_tag():
    assert asked("networks", ("provider:segmentation_id", "4000"))["networks"]
    assert not asked("networks", ("provider:segmentation_id", "4001"))["networks"]
    assert asked("networks", ("tags", "isthmus"))["networks"]
    assert not asked("networks", ("tags", "isthmus,other"))["networks"]


def test_only_the_fields_that_were_asked_for_are_shown():
    row = asked("networks", ("fields", "id"), ("fields", "name"))["networks"][0]
    assert set(row) == {"id", "name"}


def test_ports_are_read_by_the_product_with_those_of_all_other_sites():
    rows = asked("ports", ("network_id", network()), *PORTS)["ports"]
    ports = [wire.port(row) for row in rows]
    assert len(ports) == 30
    assert sum(port.ours for port in ports) == 25
    assert {port.network_id for port in ports} == {network()}
    assert len({port.id for port in ports}) == 30


def test_the_text_that_is_made_once_says_what_the_rows_say():
    quick = asked("ports", ("network_id", network()), *PORTS)["ports"]
    slow = asked("ports", ("network_id", network()), *PORTS, ("limit", "1000"))["ports"]
    ignored = {"id"}  # of remote ports, which the text has the same in all sites

    def known(rows: list[dict[str, Any]]) -> list[str]:
        cut = [{k: v for k, v in row.items() if k not in ignored} for row in rows]
        return sorted(json.dumps(row, sort_keys=True) for row in cut)

    assert known(quick) == known(slow)


def test_pages_follow_each_other_to_the_end():
    found: list[str] = []
    marker: list[tuple[str, str]] = []
    while True:
        body = asked("ports", ("network_id", network()), ("fields", "id"), *marker, page=7)
        found += [row["id"] for row in body["ports"]]
        if "ports_links" not in body:
            break
        marker = [("marker", body["ports"][-1]["id"])]
    assert len(found) == len(set(found)) == 30


def test_one_device_owner_and_several_ids_filter():
    owner = ("device_owner", "isthmus:remote")
    assert len(asked("ports", owner)["ports"]) == 25
    ids = [row["id"] for row in asked("ports", ("device_owner", "compute:nova"))["ports"]]
    assert len(asked("ports", ("id", ids[0]), ("id", ids[1]))["ports"]) == 2


@pytest.mark.parametrize("path", ["networks", "ports", "security-groups"])
def test_a_filter_that_no_object_has_is_refused(path: str):
    asked(path, ("no_such", "1"), status=400)


def test_nothing_can_be_written():
    made = cloud()
    assert Neutrons(made).answer(made.sites["p01"], "POST", "ports", []).status == 403


def test_a_port_can_be_shown_and_one_that_is_not_there_is_not_found():
    port = asked("ports", ("device_owner", "compute:nova"))["ports"][0]
    assert asked(f"ports/{port['id']}")["port"] == port
    asked("ports/none", status=404)
    asked("quotas/vnf/details")


def test_a_token_gets_the_sites_in_its_catalog_and_keeps_the_rest():
    network = {"type": "network", "endpoints": [{"region": "paris"}]}
    token = {"token": {"user": "u", "catalog": [{"type": "identity", "endpoints": []}, network]}}
    found = extended(token, {"p01": "http://a", "p02": "http://b"})["token"]
    entries = next(each for each in found["catalog"] if each["type"] == "network")["endpoints"]
    assert found["user"] == "u"
    assert entries[0] == {"region": "paris"}
    assert {each["url"] for each in entries[1:] if each["interface"] == "internal"} == {
        "http://a",
        "http://b",
    }


@pytest.mark.parametrize("document", [{"token": {"user": "u"}}, {"users": []}, [], "text"])
def test_what_is_no_catalog_passes_as_it_is(document: Any):
    assert extended(document, {"p01": "http://a"}) == document


def test_links_of_the_version_lead_back():
    document = {"version": {"id": "v3.14", "links": [{"rel": "self", "href": "http://real/v3/"}]}}
    assert relinked(document, "http://own/v3")["version"]["links"][0]["href"] == "http://own/v3/"
