"""`isthmus network` and `isthmus site lost` against little engines: what is sent, what is shown."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from loopback_cloud import PASSWORD, TOKEN, Cloud, Ended
from loopback_engines import NETWORK, Engines, finding, part, shown

from isthmus import errors

Isthmus = Callable[..., Ended]
CREATE = ["network", "create", "backup", "--cidr", "10.20.0.0/24", "--site", "paris", "--site",
          "lyon"]  # fmt: skip
CREATED = (201, {"network": NETWORK})
ID = NETWORK["id"]


def converged(**parts: dict[str, Any]) -> tuple[int, Any]:
    sites = parts or {"paris": part("paris"), "lyon": part("lyon")}
    done = all(each["converged"] for each in sites.values())
    return 200, {"network": NETWORK, "converged": done, "sites": sites, "lost_sites": []}


def test_create_sends_what_was_said_and_nothing_that_was_not(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["POST /v1/networks"] = CREATED
    ended = isthmus(*CREATE, "--pool", "paris=10.20.0.1-10.20.0.9", "--pool",
                    "paris=10.20.0.20-10.20.0.29", "--partition", "purge", "--purge-after", "600",
                    "--gateway", "per-site", "--gateway-address", "lyon=10.20.0.254")  # fmt: skip
    assert ended.code == 0, ended.err
    [(site, _, body)] = engines.asked
    assert site == "paris", "the first of the file"
    assert uuid.UUID(body.pop("id")), "so that it may be sent again"
    assert body == {
        "name": "backup",
        "cidr": "10.20.0.0/24",
        "sites": ["paris", "lyon"],
        "pools": {"paris": [["10.20.0.1", "10.20.0.9"], ["10.20.0.20", "10.20.0.29"]]},
        "gateway": "per-site",
        "gateways": {"lyon": "10.20.0.254"},
        "partition": "purge",
        "partition_after_seconds": 600.0,
    }
    assert "4000" in ended.out


@pytest.mark.parametrize("form", ["table", "json", "yaml", "value", "shell"])
@pytest.mark.parametrize("words", [CREATE, ["network", "show", "backup"]])
def test_every_format_works(
    engines: Engines, isthmus: Isthmus, words: list[str], form: str
) -> None:
    engines.answers["POST /v1/networks"] = CREATED
    engines.answers["GET /v1/networks/backup"] = (200, shown())
    ended = isthmus(*words, "-f", form)
    assert (ended.code, ended.err) == (0, "")
    assert "10.20.0.64" in ended.out
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}
    assert readers.get(form, len)(ended.out)


def test_json_holds_values_and_not_their_drawing(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["GET /v1/networks/backup"] = (200, shown())
    found = json.loads(isthmus("network", "show", "backup", "-f", "json").out)
    assert found["sites"] == ["paris", "lyon"]
    assert found["vni"] == 4000
    assert {each["site"] for each in found["site_states"]} == {"paris", "lyon"}


def test_create_with_wait_says_what_happens_and_ends_when_all_have_it(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["POST /v1/networks"] = CREATED
    working = part("lyon", converged=False, left=["CreatePort: failed"])
    engines.answers[f"POST /v1/networks/{ID}/sync"] = [
        converged(paris=part("paris"), lyon=working),
        converged(),
    ]
    ended = isthmus(*CREATE, "--wait")
    assert ended.code == 0
    assert "lyon: not converged: CreatePort: failed" in ended.err
    assert "lyon: converged" in ended.err
    assert ended.err.count("paris: converged") == 1, "said once"


def test_create_with_wait_ends_in_time_with_2_when_a_site_does_not_do_it(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["POST /v1/networks"] = CREATED
    silent = part("lyon", converged=False, left=["connection refused"])
    engines.answers[f"POST /v1/networks/{ID}/sync"] = converged(paris=part("paris"), lyon=silent)
    ended = isthmus(*CREATE, "--wait", "--timeout", "0.3")
    assert ended.code == 2
    assert "connection refused" in ended.err


@pytest.mark.parametrize(("outcome", "code"), [("INFO", 0), ("WARN", 1), ("ERROR", 2)])
def test_show_leaves_with_the_worst_finding_and_tells_it_whole(
    engines: Engines, isthmus: Isthmus, outcome: str, code: int
) -> None:
    said = part("paris", findings=[finding(outcome=outcome)])
    twice = part("lyon", findings=[finding(outcome=outcome)])
    engines.answers["GET /v1/networks/backup"] = (200, shown(paris=said, lyon=twice))
    ended = isthmus("network", "show", "backup")
    assert ended.code == code
    for words in ("10.20.0.5 has two owners", "lyon: port web-2 (5a)", "openstack port delete 4f"):
        assert ended.out.count(words) == 1


def test_show_tells_ports_their_origin_and_how_late_they_were(
    engines: Engines, isthmus: Isthmus
) -> None:
    port = {
        "id": "p1",
        "name": "web-1",
        "mac": "fa:16:3e:01:00:01",
        "ips": ["10.20.0.5"],
        "host": "compute1",
        "vtep": "10.99.1.31",
        "status": "ACTIVE",
        "device_owner": "compute:nova",
    }
    remote = {
        "id": "r1",
        "name": "web-1",
        "mac": port["mac"],
        "ips": port["ips"],
        "vtep": "10.99.1.31",
        "status": "ACTIVE",
        "origin": {"site": "paris", "port_id": "p1"},
        "lag_seconds": 0.42,
        "age_seconds": 7.0,
    }
    left = {**remote, "id": "r2", "origin": {"site": "paris", "port_id": "gone"}}
    engines.answers["GET /v1/networks/backup"] = (
        200,
        shown(paris=part("paris", ports=[port]), lyon=part("lyon", remote_ports=[remote, left])),
    )
    out = isthmus("network", "show", "backup").out
    row = next(line for line in out.splitlines() if "web-1" in line)
    assert "compute1" in row
    assert "lyon (lag 0.42 s)" in row
    assert any("not seen there" in line for line in out.splitlines())


def test_a_silent_site_is_a_line_and_an_error_unless_it_is_lost(
    engines: Engines, isthmus: Isthmus
) -> None:
    silent = {"site": "lyon", "error": "connection refused"}
    document = shown(paris=part("paris"), lyon=silent)
    engines.answers["GET /v1/networks/backup"] = (200, document)
    ended = isthmus("network", "show", "backup")
    assert ended.code == 2
    assert "lyon: connection refused" in ended.out
    document["lost_sites"] = ["lyon"]
    assert isthmus("network", "show", "backup").code == 1


def test_list_tells_the_state_of_all_sites_in_one_word(engines: Engines, isthmus: Isthmus) -> None:
    good = {"converged": True, "errors": 0, "warnings": 0, "heard_seconds_ago": 0.5}
    states = {
        "OK": {"paris": good, "lyon": good},
        "paris: OK, lyon: not heard": {"paris": good, "lyon": {**good, "heard_seconds_ago": 60}},
        "paris: WARN, lyon: ERROR": {
            "paris": {**good, "warnings": 1},
            "lyon": {**good, "errors": 1},
        },
        "paris: working, lyon: unknown": {"paris": {**good, "converged": False}, "lyon": None},
    }
    listed = [{**NETWORK, "name": f"n{i}", "state": s} for i, s in enumerate(states.values())]
    engines.answers["GET /v1/networks"] = (200, {"networks": listed})
    found = json.loads(isthmus("network", "list", "-f", "json").out)
    assert [each["State"] for each in found] == list(states)


def test_set_changes_only_what_was_said(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["PATCH /v1/networks/backup"] = (200, {"network": NETWORK})
    assert isthmus("network", "set", "backup", "--mtu", "1400", "--name", "front").code == 0
    assert engines.asked[0][2] == {"mtu": 1400, "name": "front"}
    ended = isthmus("network", "set", "backup")
    assert ended.code == errors.UsageError.exit_code
    assert "nothing to change" in ended.err


def test_delete_with_wait_ends_when_it_is_declared_no_more(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["DELETE /v1/networks/backup"] = (202, {"network": NETWORK})
    gone = (404, {"error": {"kind": "UsageError", "what": "there is no stretched network"}})
    engines.answers[f"POST /v1/networks/{ID}/sync"] = [converged(), gone]
    ended = isthmus("network", "delete", "backup", "--wait", "-f", "json")
    assert ended.code == 0
    assert json.loads(ended.out)["state"] == "deleted"


def test_delete_with_wait_leaves_with_2_when_somebody_keeps_it(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["DELETE /v1/networks/backup"] = (202, {"network": NETWORK})
    kept = part("lyon", converged=False, left=["DeleteNetwork: refused: ports are left"])
    engines.answers[f"POST /v1/networks/{ID}/sync"] = converged(lyon=kept)
    ended = isthmus("network", "delete", "backup", "--wait", "--timeout", "0.2", "-f", "json")
    assert ended.code == 2
    assert json.loads(ended.out)["state"] == "being deleted"
    assert "ports are left" in ended.err


def test_sites_are_attached_and_detached(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["POST /v1/networks/backup/sites"] = (200, {"network": NETWORK})
    engines.answers["DELETE /v1/networks/backup/sites/lyon"] = (200, {"network": NETWORK})
    words = ["network", "attach", "site", "backup", "lyon", "--pool", "10.20.0.64-10.20.0.99"]
    assert isthmus(*words).code == 0
    assert engines.asked[0][2]["pool"] == [["10.20.0.64", "10.20.0.99"]]
    assert isthmus("network", "detach", "site", "backup", "lyon").code == 0


def test_sync_says_of_every_site_what_came_of_it(engines: Engines, isthmus: Isthmus) -> None:
    silent = part("lyon", converged=False, left=["paris: no answer within 5 s"])
    engines.answers["POST /v1/networks/backup/sync"] = converged(paris=part("paris"), lyon=silent)
    ended = isthmus("network", "sync", "backup")
    assert ended.code == 2
    assert "lyon: not converged: paris: no answer within 5 s" in ended.out


WRONG = [
    [*CREATE, "--pool", "paris"],
    [*CREATE, "--pool", "paris=10.20.0.1"],
    [*CREATE, "--gateway-address", "lyon"],
    [*CREATE, "--partition", "perhaps"],
    [*CREATE, "--vni", "many"],
    ["network", "create", "backup"],
    ["network", "show"],
    ["network", "sync", "backup", "--timeout", "-1"],
    ["network", "attach", "site", "backup", "lyon", "--pool", "x"],
]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_are_refused_before_anything_is_asked(
    engines: Engines, isthmus: Isthmus, words: list[str]
) -> None:
    assert isthmus(*words).code == errors.UsageError.exit_code
    assert not engines.asked


def test_a_refusal_is_shown_whole_with_its_exit_code(engines: Engines, isthmus: Isthmus) -> None:
    fault = {
        "kind": "UsageError",
        "exit_code": 64,
        "what": "network backup cannot be declared",
        "cause": "the CIDR is no network",
        "unchanged": "nothing was declared",
        "field": "cidr",
    }
    engines.answers["POST /v1/networks"] = (400, {"error": fault})
    ended = isthmus(*CREATE)
    assert ended.code == 64
    assert "the CIDR is no network" in ended.err
    assert "nothing was declared" in ended.err


def test_a_dead_engine_is_passed_over(engines: Engines, isthmus: Isthmus) -> None:
    engines.kill("paris")
    engines.answers["GET /v1/networks/backup"] = (200, shown())
    assert isthmus("network", "show", "backup").code == 0
    assert {site for site, *_ in engines.asked} == {"lyon"}


def test_an_engine_whose_site_is_cut_off_is_followed_by_the_next(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.cut_off = {"paris"}
    engines.answers["POST /v1/networks"] = CREATED
    assert isthmus(*CREATE).code == 0
    assert [site for site, *_ in engines.asked] == ["paris", "lyon"]
    assert engines.asked[0][2] == engines.asked[1][2], "the same network, though both may do it"


def test_when_no_engine_answers_each_is_named_with_its_reason(
    engines: Engines, isthmus: Isthmus
) -> None:
    for site in ("paris", "lyon", "madrid"):
        engines.kill(site)
    ended = isthmus("network", "list")
    assert ended.code == errors.UnavailableError.exit_code
    for site in ("paris", "lyon", "madrid"):
        assert f"{site}: connection refused" in ended.err


def test_somebody_who_asks_one_site_is_answered_by_no_other(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["GET /v1/networks"] = (200, {"networks": []})
    assert isthmus("network", "list", "--ask", "madrid").code == 0
    assert engines.asked[0][0] == "madrid"
    engines.kill("madrid")
    assert isthmus("network", "list", "--ask", "madrid").code == 69
    assert isthmus("network", "list", "--ask", "atlantis").code == 64


def test_a_sites_file_without_engines_says_what_to_add(cloud: Cloud, isthmus: Isthmus) -> None:
    ended = isthmus("network", "list")
    assert ended.code == errors.ConfigurationError.exit_code
    assert "engine: http://" in ended.err


def test_refused_credentials_are_no_dead_site(
    cloud: Cloud, engines: Engines, isthmus: Isthmus
) -> None:
    cloud.refuse_logins = True
    ended = isthmus("network", "list")
    assert ended.code == errors.PrivilegeError.exit_code
    assert not engines.asked


def test_no_secret_is_shown(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["GET /v1/networks"] = (200, {"networks": []})
    for words in (["network", "list", "--debug"], ["network", "show", "none", "--debug"]):
        ended = isthmus(*words)
        assert PASSWORD not in ended.out + ended.err
        assert TOKEN not in ended.out + ended.err


SITE = {
    "site": "lyon",
    "heard": False,
    "heard_seconds_ago": 42.0,
    "ports": {"backup": 3},
    "lost": True,
    "changed": True,
    "lost_sites": ["lyon"],
}


@pytest.fixture
def losing(engines: Engines) -> Engines:
    engines.answers["GET /v1/sites/lyon"] = (200, SITE)
    engines.answers["POST /v1/sites/lyon/lost"] = (200, SITE)
    engines.answers["POST /v1/sites/lyon/returned"] = (200, {**SITE, "lost": False})
    return engines


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


def test_a_site_is_declared_lost_when_its_name_is_typed(
    losing: Engines, isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("lyon\n"))
    ended = isthmus("site", "lost", "lyon", "-f", "json")
    assert ended.code == 0
    assert json.loads(ended.out)["lost"] is True
    assert "last heard: 42 s ago" in ended.err
    assert "backup: 3" in ended.err


@pytest.mark.parametrize("typed", ["", "yes\n", "paris\n"])
def test_anything_else_declares_nothing(
    losing: Engines, isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert isthmus("site", "lost", "lyon").code == errors.UsageError.exit_code
    assert [question for _, question, _ in losing.asked] == ["GET /v1/sites/lyon"]


def test_without_a_terminal_the_word_is_yes(
    losing: Engines, isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("lyon\n"))
    ended = isthmus("site", "lost", "lyon")
    assert ended.code == errors.UsageError.exit_code
    assert "isthmus site lost lyon --yes" in ended.err
    assert isthmus("site", "lost", "lyon", "--yes").code == 0


def test_a_site_that_answers_is_not_given_up_without_a_warning(
    losing: Engines, isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing.answers["GET /v1/sites/lyon"] = (200, {**SITE, "heard": True})
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    assert "WARNING: the engine of lyon answers" in isthmus("site", "lost", "lyon").err


def test_the_engine_of_the_lost_site_is_asked_last(losing: Engines, isthmus: Isthmus) -> None:
    losing.answers["GET /v1/sites/paris"] = (200, {**SITE, "site": "paris"})
    losing.answers["POST /v1/sites/paris/lost"] = (200, {**SITE, "site": "paris"})
    assert isthmus("site", "lost", "paris", "--yes").code == 0
    assert {site for site, *_ in losing.asked} == {"lyon"}


def test_a_site_returns_without_a_question(losing: Engines, isthmus: Isthmus) -> None:
    ended = isthmus("site", "returned", "lyon", "-f", "json")
    assert (ended.code, json.loads(ended.out)["lost"]) == (0, False)
