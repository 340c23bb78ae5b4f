"""The HTTP API: who may do what, what refusals look like, what is written."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import PROJECT, Bench

from isthmus.network.remembering import Kind

CREATE = {"name": "backup", "cidr": "10.20.0.0/24", "sites": ["lyon", "nice"]}


def refusal(answer: Any, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["kind"] == kind
    assert error["request_id"] == answer.headers["X-OpenStack-Request-ID"]
    return error


def test_an_administrator_declares_a_network(stand: Bench) -> None:
    network = stand.create()
    assert network["project_id"] == PROJECT, "the project of the token"
    assert network["vni"] in range(4000, 4004)
    assert set(network["pools"]) == {"lyon", "nice"}
    assert stand.writer.tables[Kind.NETWORK][network["id"]] == network
    [event] = stand.writer.events
    assert event.document["did"] == "created"
    assert event.document["by"] == "admin"


def test_a_network_is_found_by_name_and_by_id(stand: Bench) -> None:
    network = stand.create()
    for name in (network["name"], network["id"]):
        answer = stand.call("GET", f"/v1/networks/{name}", token="reader-token")
        assert answer.json()["network"] == network


def test_a_site_that_does_not_answer_is_a_line_and_no_error(stand: Bench) -> None:
    stand.create()
    answer = stand.call("GET", "/v1/networks/backup").json()
    assert set(answer["sites"]) == {"lyon", "nice"}
    assert "connection refused" in answer["sites"]["lyon"]["error"]


def test_a_list_asks_nobody_and_shows_unknown_states(stand: Bench) -> None:
    stand.create()
    [network] = stand.call("GET", "/v1/networks", token="reader-token").json()["networks"]
    assert network["state"] == {"lyon": None, "nice": None}


CHANGES = [
    ("POST", "/v1/networks", CREATE),
    ("PATCH", "/v1/networks/backup", {"mtu": 1400}),
    ("DELETE", "/v1/networks/backup", None),
    ("POST", "/v1/networks/backup/sites", {"site": "nice"}),
    ("DELETE", "/v1/networks/backup/sites/nice", None),
    ("POST", "/v1/networks/backup/sync", {}),
    ("POST", "/v1/sites/lyon/lost", None),
    ("POST", "/v1/sites/lyon/returned", None),
]
READS = [
    ("GET", "/v1/networks", None),
    ("GET", "/v1/networks/backup", None),
    ("GET", "/v1/networks/backup/events", None),
    ("GET", "/v1/sites", None),
    ("GET", "/v1/sites/lyon", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES + READS)
def test_nobody_without_a_good_token_is_answered(
    stand: Bench, method: str, path: str, body: Any
) -> None:
    for token in (None, "expired"):
        error = refusal(stand.call(method, path, body, token=token), 401, "PrivilegeError")
        assert error["exit_code"] == 77
    assert not stand.writer.events


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_reader_changes_nothing(stand: Bench, method: str, path: str, body: Any) -> None:
    for token in ("reader-token", "member-token"):
        refusal(stand.call(method, path, body, token=token), 403, "PrivilegeError")
    assert not stand.writer.events


@pytest.mark.parametrize(("method", "path", "body"), READS)
def test_a_member_reads_nothing(stand: Bench, method: str, path: str, body: Any) -> None:
    refusal(stand.call(method, path, body, token="member-token"), 403, "PrivilegeError")


def test_a_keystone_that_is_down_is_no_refusal_of_the_person(stand: Bench) -> None:
    stand.keystone.down = True
    error = refusal(stand.call("GET", "/v1/networks"), 503, "UnavailableError")
    assert "token cannot be checked" in error["what"]


def test_a_token_is_not_checked_for_every_request(stand: Bench) -> None:
    for _ in range(5):
        assert stand.call("GET", "/v1/networks").status_code == 200
    assert stand.keystone.asked == 1


def test_without_a_writer_nothing_is_declared_and_reading_goes_on(stand: Bench) -> None:
    stand.create()
    stand.writer.down = True
    error = refusal(stand.call("POST", "/v1/networks", CREATE), 503, "UnavailableError")
    assert error["exit_code"] == 69
    assert error["next_command"].startswith("isthmus status")
    assert stand.call("GET", "/v1/networks").status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cidr": None}, "cidr"),
        ({"sites": []}, "sites"),
        ({"sites": "lyon"}, "sites"),
        ({"mtu": "large"}, "mtu"),
        ({"gateway": "both"}, "gateway"),
        ({"pools": {"lyon": ["10.20.0.1-10.20.0.9"]}}, "pools.lyon.0"),
        ({"colour": "red"}, "colour"),
        ({"name": "x" * 300}, "name"),
    ],
)
def test_a_misshapen_field_is_named(stand: Bench, change: dict[str, Any], field: str) -> None:
    error = refusal(stand.call("POST", "/v1/networks", {**CREATE, **change}), 400, "InputError")
    assert error["field"] == field
    assert not stand.writer.tables[Kind.NETWORK]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cidr": "10.20.0.0/33"}, "cidr"),
        ({"sites": ["lyon", "atlantis"]}, "sites"),
        ({"vni": 17}, "vni"),
        ({"mtu": 9000}, "mtu"),
        ({"name": "no spaces"}, "name"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_the_field(
    stand: Bench, change: dict[str, Any], field: str
) -> None:
    error = refusal(stand.call("POST", "/v1/networks", {**CREATE, **change}), 400, "UsageError")
    assert error["field"] == field


def test_a_body_that_is_no_json_is_refused(stand: Bench) -> None:
    answer = stand.http.post(
        "/v1/networks",
        content=b"{",
        headers={"X-Auth-Token": "admin-token", "Content-Type": "application/json"},
    )
    refusal(answer, 400, "InputError")


def test_a_name_that_is_taken_is_refused(stand: Bench) -> None:
    stand.create()
    error = refusal(stand.call("POST", "/v1/networks", CREATE), 400, "UsageError")
    assert error["field"] == "name"


def test_a_request_whose_answer_was_lost_is_made_again_without_harm(stand: Bench) -> None:
    given = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
    network = stand.create(id=given)
    assert network["id"] == given
    assert stand.create(id=given) == network
    assert len(stand.writer.tables[Kind.NETWORK]) == 1


def test_a_vni_that_another_engine_takes_in_the_same_moment_is_chosen_anew(stand: Bench) -> None:
    first = stand.create()

    def race() -> None:
        stand.writer.tables[Kind.NETWORK]["other"] = {
            **first, "id": "other", "name": "other", "vni": first["vni"] + 1, "revision": 1
        }  # fmt: skip

    stand.writer.race = race
    second = stand.create("second", cidr="10.30.0.0/24")
    assert second["vni"] not in (first["vni"], first["vni"] + 1)


def test_somebody_who_was_slower_is_told_and_nothing_is_lost(stand: Bench) -> None:
    network = stand.create()

    def race() -> None:
        held = stand.writer.tables[Kind.NETWORK][network["id"]]
        stand.writer.tables[Kind.NETWORK][network["id"]] = {**held, "mtu": 1300, "revision": 2}

    stand.writer.race = race
    error = refusal(stand.call("PATCH", "/v1/networks/backup", {"mtu": 1400}), 409, "IsthmusError")
    assert "somebody else" in error["what"]
    assert stand.writer.tables[Kind.NETWORK][network["id"]]["mtu"] == 1300


def test_a_change_has_the_next_revision_and_one_that_changes_nothing_has_none(
    stand: Bench,
) -> None:
    stand.create()
    for _ in range(2):
        answer = stand.call("PATCH", "/v1/networks/backup", {"mtu": 1400})
        assert answer.json()["network"]["revision"] == 2


def test_a_network_is_deleted_in_two_steps(stand: Bench) -> None:
    stand.create()
    answer = stand.call("DELETE", "/v1/networks/backup")
    assert answer.status_code == 202
    assert answer.json()["network"]["deleting"] is True
    assert stand.call("DELETE", "/v1/networks/backup").status_code == 202, "it goes on"
    answer = stand.call("PATCH", "/v1/networks/backup", {"mtu": 1400})
    refusal(answer, 400, "UsageError")


def test_a_site_is_attached_and_detached(stand: Bench) -> None:
    stand.create(sites=["lyon"])
    answer = stand.call("POST", "/v1/networks/backup/sites", {"site": "nice"})
    assert answer.json()["network"]["sites"] == ["lyon", "nice"]
    answer = stand.call("DELETE", "/v1/networks/backup/sites/lyon")
    assert answer.json()["network"]["sites"] == ["nice"]


def test_a_network_that_is_not_there_is_not_found(stand: Bench) -> None:
    for method, path in (("GET", "/v1/networks/none"), ("DELETE", "/v1/networks/none")):
        error = refusal(stand.call(method, path), 404, "UsageError")
        assert error["next_command"] == "isthmus network list"


def test_a_site_is_declared_lost_and_returned(stand: Bench) -> None:
    answer = stand.call("POST", "/v1/sites/lyon/lost").json()
    assert (answer["lost"], answer["changed"]) == (True, True)
    assert stand.engine.lost_sites == {"lyon"}
    assert stand.call("POST", "/v1/sites/lyon/lost").json()["changed"] is False
    answer = stand.call("POST", "/v1/sites/lyon/returned").json()
    assert (answer["lost"], answer["changed"]) == (False, True)
    assert [each.document["did"] for each in stand.writer.events] == [
        "declared lost",
        "declared returned",
    ]


def test_a_site_that_somebody_else_declares_lost_in_the_same_moment_is_lost(stand: Bench) -> None:
    def race() -> None:
        said = {"site": "lyon", "lost": True, "by": "operator", "at": "now", "revision": 1}
        stand.writer.tables[Kind.SITE]["lyon"] = said

    stand.writer.race = race
    answer = stand.call("POST", "/v1/sites/lyon/lost").json()
    assert answer["changed"] is False
    assert stand.writer.tables[Kind.SITE]["lyon"]["by"] == "operator"


def test_not_all_sites_can_be_lost(stand: Bench) -> None:
    stand.call("POST", "/v1/sites/lyon/lost")
    error = refusal(stand.call("POST", "/v1/sites/nice/lost"), 404, "UsageError")
    assert "last site" in error["what"]
    refusal(stand.call("POST", "/v1/sites/atlantis/lost"), 404, "UsageError")


def test_until_the_catalog_is_read_nothing_is_declared(stand: Bench) -> None:
    stand.engine._keepers.catalog.with_neutron = frozenset()
    stand.engine._keepers.catalog.error = "connection refused"
    error = refusal(stand.call("POST", "/v1/networks", CREATE), 503, "UnavailableError")
    assert error["cause"] == "connection refused"


def test_engines_are_heard_only_with_a_signature(stand: Bench) -> None:
    assert stand.signed("GET", "/v1/presence").json()["site"] == "paris"
    assert stand.signed("POST", "/v1/poke", {"declarations": True}).status_code == 200
    refusal(stand.http.get("/v1/presence"), 401, "PrivilegeError")
    refusal(stand.call("GET", "/v1/presence"), 401, "PrivilegeError")


def test_a_host_agent_is_no_engine(stand: Bench) -> None:
    answer = stand.signed("POST", "/v1/poke", {}, sender="host/paris/compute1")
    error = refusal(answer, 401, "PrivilegeError")
    assert "is not an engine" in error["cause"]


def test_a_misshapen_poke_is_refused(stand: Bench) -> None:
    answer = stand.signed("POST", "/v1/poke", {"ports": {"n": ["p"]}})
    refusal(answer, 400, "InputError")


def test_a_poke_about_an_unknown_network_has_the_declarations_read(stand: Bench) -> None:
    stand.signed("POST", "/v1/poke", {"whole": ["unknown"]})
    assert stand.engine._keepers._woken.is_set()


def test_a_wait_for_a_revision_that_does_not_come_ends(stand: Bench) -> None:
    question = {"revision": 1, "deleting": False, "timeout": 0.3}
    answer = stand.signed("POST", "/v1/networks/unknown/converge", question).json()
    assert answer["converged"] is False
    assert "has not arrived" in answer["left"][0]


def test_a_network_that_was_being_deleted_and_is_unknown_is_gone(stand: Bench) -> None:
    question = {"revision": 2, "deleting": True, "timeout": 0.3}
    answer = stand.signed("POST", "/v1/networks/unknown/converge", question).json()
    assert (answer["converged"], answer["gone"]) == (True, True)


def test_a_sync_says_of_every_site_what_is_left(stand: Bench) -> None:
    stand.create()
    answer = stand.call("POST", "/v1/networks/backup/sync", {"timeout": 1}).json()
    assert answer["converged"] is False
    assert "connection refused" in answer["sites"]["lyon"]["left"][0]


@pytest.mark.parametrize("path", ["/healthcheck", "/status", "/metrics", "/openapi.json"])
def test_health_is_told_without_a_token(stand: Bench, path: str) -> None:
    stand.create()
    answer = stand.http.get(path)
    assert answer.status_code == 200
    assert "0123456789abcdef" not in answer.text


def test_a_request_keeps_the_id_that_it_came_with(stand: Bench) -> None:
    given = "req-6f9619ff-8b86-4011-b42d-00c04fc964ff"
    for sent, kept in ((given, True), ("req-1\r\nX: y", False), ("x" * 500, False)):
        headers = {"X-OpenStack-Request-ID": sent.replace("\r\n", " ")}
        answer = stand.http.get("/healthcheck", headers=headers)
        assert (answer.headers["X-OpenStack-Request-ID"] == sent) is kept


def test_a_body_that_is_too_long_is_not_read(stand: Bench) -> None:
    large = stand.http.post("/v1/poke", content=b"x" * (5 << 20))
    refusal(large, 413, "InputError")
    endless = stand.http.post("/v1/poke", content=iter([b"x"]))
    refusal(endless, 413, "InputError")


def test_a_path_that_does_not_exist_is_refused_in_the_same_shape(stand: Bench) -> None:
    refusal(stand.http.get("/v2/networks"), 404, "UsageError")
    refusal(stand.http.put("/v1/networks"), 405, "UsageError")


def test_an_error_in_the_engine_itself_shows_no_stack(
    stand: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("with a secret inside")

    monkeypatch.setattr(stand.engine.store, "networks", broken)
    answer = stand.call("GET", "/v1/networks")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["exit_code"] == 70
