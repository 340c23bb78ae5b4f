"""`isthmus network address` against little engines: what is sent, what is shown, how it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from loopback_cloud import Ended
from loopback_engines import Engines

from isthmus.network.addresses import showing
from isthmus.network.addresses.declarations import Check, Kind, Probe, ServiceAddress
from isthmus.network.addresses.showing import Told

Isthmus = Callable[..., Ended]
WEB = ServiceAddress(
    id="11111111-2222-3333-4444-555555555555",
    name="web",
    address="192.0.2.50",
    kind=Kind.MOVED,
    network="backend",
    targets={"paris": ("10.0.0.11",), "lyon": ("10.0.0.140",)},
    check=Check(probe=Probe.TCP, port=80),
)
CREATE = ["network", "address", "create", "192.0.2.50/26", "--kind", "moved", "--network", "backend",
          "--target", "paris=10.0.0.11", "--target", "lyon=10.0.0.140"]  # fmt: skip
EVENT = {"kind": "handover", "from": "paris/h1", "to": "lyon/h1", "by": "admin", "epoch": 4,
         "why": "by command", "gap_ms_at_most": 41, "at": "2026-11-23T01:00:00.000+00:00"}  # fmt: skip


def told(site: str, **more: Any) -> Told:
    values: dict[str, Any] = {"owner": "paris/h1", "remaining": 0.8, "epoch": 3}
    if site != "madrid":
        values |= {"place": f"{site}/h1", "ready": True, "health": "healthy", "phase": "idle"}
    return Told(site=site, **{**values, **more})


def document(address: ServiceAddress = WEB, **more: Any) -> dict[str, Any]:
    words = {site: told(site) for site in ("lyon", "madrid", "paris")}
    return showing.document(address, {**words, **more})


def test_create_sends_what_was_said(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["POST /v1/addresses"] = (201, {"address": WEB.to_document()})
    ended = isthmus(*CREATE, "--name", "web", "--check", "tcp:80", "--prefer", "paris", "--manual",
                    "--fail-back", "60", "--fall", "5", "--host", "lyon=compute2")  # fmt: skip
    assert ended.code == 0, ended.err
    [(_, _, body)] = engines.asked
    assert {name: value for name, value in body.items() if value not in (None, {})} == {
        "address": "192.0.2.50",
        "prefix": 26,
        "kind": "moved",
        "network": "backend",
        "name": "web",
        "targets": {"paris": ["10.0.0.11"], "lyon": ["10.0.0.140"]},
        "check": "tcp:80",
        "automatic": False,
        "prefer": "paris",
        "fail_back": 60.0,
        "fall": 5,
        "hosts": {"lyon": "compute2"},
    }
    assert "tcp:80 every 0.5 s" in ended.out


def test_a_prefix_that_is_none_is_refused_before_anything_is_sent(
    engines: Engines, isthmus: Isthmus
) -> None:
    ended = isthmus(*[word.replace("/26", "/99") for word in CREATE])
    assert ended.code == 64
    assert engines.asked == []


@pytest.mark.parametrize("form", ["table", "json", "yaml", "value"])
def test_show_says_who_holds_it_and_what_each_voter_promises(
    engines: Engines, isthmus: Isthmus, form: str
) -> None:
    engines.answers["GET /v1/addresses/web"] = (200, {"address": document()})
    ended = isthmus("network", "address", "show", "web", "-f", form)
    assert (ended.code, ended.err) == (0, "")
    assert "paris/h1" in ended.out
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}
    assert readers.get(form, len)(ended.out)
    if form == "table":
        assert "madrid: paris/h1 for 0.80 s more (epoch 3)" in ended.out


def test_show_leaves_with_the_verdict(engines: Engines, isthmus: Isthmus) -> None:
    silent = {"owner": None, "error": "no answer within 2 s", "place": None}
    for words, code, text in (
        ({"madrid": told("madrid", **silent)}, 1, "voter-silent"),
        ({s: told(s, **silent) for s in ("madrid", "lyon")}, 2, "no-majority"),
    ):
        engines.answers["GET /v1/addresses/web"] = (200, {"address": document(**words)})
        ended = isthmus("network", "address", "show", "web")
        assert ended.code == code
        assert text in ended.out


def test_list_has_a_line_for_each_of_both_kinds(engines: Engines, isthmus: Isthmus) -> None:
    vip = document(replace(WEB, kind=Kind.VRRP, name="vip", id="other"))
    engines.answers["GET /v1/addresses"] = (200, {"addresses": [document(), vip]})
    rows = json.loads(isthmus("network", "address", "list", "-f", "json").out)
    assert [(row["Name"], row["Kind"], row["Holder"], row["State"]) for row in rows] == [
        ("web", "moved", "paris/h1", "OK"),
        ("vip", "vrrp", "-", "OK"),
    ]


def test_move_waits_until_the_voters_name_the_new_holder(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers["POST /v1/addresses/web/move"] = (200, {"event": EVENT})
    words = {site: told(site, owner="lyon/h1") for site in ("lyon", "madrid", "paris")}
    engines.answers["GET /v1/addresses/web"] = [
        (200, {"address": document()}),
        (200, {"address": document(**words)}),
    ]
    ended = isthmus("network", "address", "move", "web", "--to", "lyon", "--wait", "-f", "json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["gap_ms_at_most"] == 41
    assert engines.asked[0][2] == {"to": "lyon", "force": False}


def test_a_move_that_is_refused_tells_why(engines: Engines, isthmus: Isthmus) -> None:
    refused = {"kind": "UnavailableError", "what": "the address was not moved",
               "cause": "the target in lyon is unhealthy", "exit_code": 69}  # fmt: skip
    engines.answers["POST /v1/addresses/web/move"] = (503, {"error": refused})
    ended = isthmus("network", "address", "move", "web", "--to", "lyon")
    assert ended.code == 69
    assert "the target in lyon is unhealthy" in ended.err


def test_delete_waits_until_it_is_declared_no_more(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers["DELETE /v1/addresses/web"] = (202, {"address": WEB.to_document()})
    engines.answers["GET /v1/addresses"] = [
        (200, {"addresses": [document()]}),
        (200, {"addresses": []}),
    ]
    ended = isthmus("network", "address", "delete", "web", "--wait", "-f", "value", "-c", "state")
    assert (ended.code, ended.out.strip()) == (0, "deleted")


def test_history_shows_the_newest_first_and_dashes_for_what_is_not_known(
    engines: Engines, isthmus: Isthmus
) -> None:
    first = {"kind": "declared", "by": "admin", "at": "2026-11-23T00:00:00.000+00:00"}
    engines.answers["GET /v1/addresses/web/history?limit=20"] = (200, {"events": [EVENT, first]})
    engines.answers["GET /v1/addresses/web/history"] = (200, {"events": [EVENT, first]})
    rows = json.loads(isthmus("network", "address", "history", "web", "-f", "json").out)
    assert [(row["Kind"], row["To"]) for row in rows] == [
        ("handover", "lyon/h1"),
        ("declared", "-"),
    ]
