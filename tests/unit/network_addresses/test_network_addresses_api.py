"""The routes of service addresses: what people and other engines may say, and what they get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
import pytest
from fastapi import testclient

from isthmus import errors
from isthmus.engine.api import faults
from isthmus.network.addresses import api, service
from isthmus.network.addresses.voters import LONGEST_LEASE

NEW = {
    "address": "192.0.2.50",
    "kind": "moved",
    "network": "backend",
    "targets": {"paris": ["10.0.0.11"], "lyon": ["10.0.0.140"]},
    "check": "tcp:80",
    "name": "web",
}


class Store:
    """Declarations in memory."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.freshness = SimpleNamespace(error=None)

    def addresses(self) -> tuple[Any, ...]:
        return tuple(self.documents.values())

    def put_address(self, document: Any) -> None:
        self.documents[document["id"]] = document

    def remove_address(self, document: Any) -> None:
        self.documents.pop(document["id"], None)

    def events(self, subject: str, subject_id: str, *, limit: int) -> tuple[Any, ...]:
        return ()


class Callees:
    """Nobody answers."""

    names = ("lyon", "madrid")

    def call(self, method: str, name: str, path: str, body: Any, timeout: float) -> Any:
        raise errors.UnavailableError("no connection", where=name)


class Engine:
    """What the routes need of the engine of Paris; the service is made but not started."""

    def __init__(self, state: Path) -> None:
        timing = SimpleNamespace(lease_seconds=1.0, renew_seconds=0.25)
        self.config = SimpleNamespace(
            timing=timing, state=state, sites=("lyon", "madrid", "paris"), networks=None
        )
        self.site, self.store, self.peers = "paris", Store(), Callees()
        self.hosts = SimpleNamespace(names=())
        self.neutron_sites = frozenset({"lyon", "paris"})
        self.lost_sites: frozenset[str] = frozenset()
        self.require_admin = lambda: SimpleNamespace(user="admin")
        self.require_reader = self.require_admin
        self.require_engine = lambda: "lyon"

    def declared(self) -> None:
        """Nobody has to be told."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    now = [0.0]
    served = service.Service(made)
    served.voter._clock = lambda: now[0]
    assert served.voter.active
    now[0] += LONGEST_LEASE * 2
    service._services[made] = served
    yield made
    served.voter.close()


@pytest.fixture
def client(engine: Engine) -> testclient.TestClient:
    app = fastapi.FastAPI()
    faults.install(app)
    app.include_router(api.router(engine))
    return testclient.TestClient(app)


def test_an_address_is_declared_shown_and_deleted(client: testclient.TestClient) -> None:
    made = client.post("/v1/addresses", json=NEW)
    assert made.status_code == 201
    assert made.json()["address"]["check"]["port"] == 80
    shown = client.get("/v1/addresses/web").json()["address"]
    assert (shown["address"], shown["holder"]) == ("192.0.2.50", None)
    assert {each["site"] for each in shown["voters"]} == {"lyon", "madrid", "paris"}
    assert shown["findings"][0]["code"] == "no-majority"
    gone = client.delete("/v1/addresses/192.0.2.50")
    assert gone.status_code == 202
    assert gone.json()["address"]["deleting"]


def test_what_cannot_be_declared_is_refused_with_its_field(client: testclient.TestClient) -> None:
    wrong = client.post("/v1/addresses", json={**NEW, "check": "http"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["field"] == "check"
    nowhere = client.post("/v1/addresses", json={**NEW, "targets": {"madrid": ["10.0.0.1"]}})
    assert nowhere.status_code == 400
    misshapen = client.post("/v1/addresses", json={**NEW, "address": "no"})
    assert misshapen.status_code == 400
    assert client.get("/v1/addresses").json() == {"addresses": []}


def test_an_unknown_address_is_answered_with_those_there_are(
    client: testclient.TestClient,
) -> None:
    client.post("/v1/addresses", json=NEW)
    missing = client.get("/v1/addresses/other")
    assert missing.status_code == 404
    assert "web" in missing.json()["error"]["cause"]


def test_the_history_has_what_could_not_be_written_yet(client: testclient.TestClient) -> None:
    client.post("/v1/addresses", json=NEW)
    events = client.get("/v1/addresses/web/history").json()["events"]
    assert [(each["kind"], each["by"], each["written"]) for each in events] == [
        ("declared", "admin", False)
    ]


def test_a_move_to_a_site_without_a_target_or_of_a_vrrp_address_is_refused(
    client: testclient.TestClient,
) -> None:
    client.post("/v1/addresses", json=NEW)
    refused = client.post("/v1/addresses/web/move", json={"to": "madrid"})
    assert refused.status_code == 404
    assert "lyon, paris" in refused.json()["error"]["cause"]
    client.post("/v1/addresses", json={**NEW, "kind": "vrrp", "name": "vip"})
    assert client.post("/v1/addresses/vip/move", json={"to": "lyon"}).status_code == 404


def test_another_engine_gets_the_voters_word_for_its_own_places_only(
    client: testclient.TestClient,
) -> None:
    ask = {"address": "a", "claim": "c1", "epoch": 1, "lease": 1.0, "round": 1}
    said = {"asks": [{**ask, "owner": "lyon/h"}, {**ask, "owner": "paris/h", "claim": "c2"}]}
    words = client.post("/v1/votes", json=said).json()["words"]
    assert [(word["claim"], word["granted"], word["voter"]) for word in words] == [
        ("c1", True, "paris")
    ]
    told = client.post("/v1/votes/told", json={"addresses": ["a"]}).json()["words"]["a"]
    assert (told["owner"], told["epoch"]) == ("lyon/h", 1)


def test_a_lease_that_is_not_held_here_is_not_given(client: testclient.TestClient) -> None:
    body = {"address": "a", "claim": "c1", "owner": "lyon/h"}
    assert client.post("/v1/votes/give", json=body).status_code == 503
    stolen = client.post("/v1/votes/give", json={**body, "owner": "paris/h"})
    assert stolen.status_code == 403
