"""What the program reads from the engine's log, and how it waits."""

import ipaddress
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import following, scaling
from bench.following import follow, portions
from bench.peers.app import Settings
from bench.scaling import Network, Scaled

from isthmus.engine import config
from isthmus.errors import IsthmusError
from isthmus.lab import environment
from isthmus.lab.home import Home

LOG = """2026-02-22T03:00:00.500Z INFO keeping network wide (VNI 4001)
2026-02-22T03:00:02.000Z INFO network wide: 50 actions in 1.25 s
2026-02-22T03:00:03.000Z INFO network wider: 7 actions in 0.25 s
2026-02-22T03:00:04.000Z WARNING network wide: 49 actions in 1.75 s; not done: CreatePort: clash
"""


def test_portions_are_those_of_one_network():
    found = portions(LOG, "wide")
    assert [(each.actions, each.seconds) for each in found] == [(50, 1.25), (49, 1.75)]
    assert found[1].ended - found[0].ended == pytest.approx(2.0)


def test_a_wait_ends_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following.time, "sleep", lambda _: None)
    missing = iter(["one", "two", None])
    assert follow(lambda: next(missing), budget=60.0, what="it")


def test_a_wait_says_what_was_missing_when_its_time_is_over(capsys: pytest.CaptureFixture[str]):
    assert not follow(lambda: "3 of 4", budget=0.0, what="it is late")
    assert "it is late: after 0 s: 3 of 4" in capsys.readouterr().err


@pytest.fixture
def scaled(tmp_path: Path) -> Scaled:
    """For a lab that is not there: what is written for its processes, and what is asked of them."""
    _, wanted = environment.load("network")
    template = SimpleNamespace(secret=lambda _: "0123456789abcdef" * 2)
    lab = SimpleNamespace(
        home=Home(root=tmp_path), environment=wanted, template=template, units={}, progress=None
    )
    own = lab.home.unit_directory("paris/engine")
    own.mkdir(parents=True)
    for name in ("password", "secret", "url"):
        (own / name).touch(mode=0o600)
        (own / name).write_text("0123456789abcdef" * 2)
    document = {
        "site": "paris",
        "listen": ["10.99.1.7:8991", "10.98.0.1:8991"],
        "peers": {"lyon": "http://10.99.2.7:8991", "madrid": "http://10.99.3.7:8991"},
        "database": {
            "reader": "10.99.1.1:3306",
            "writer": "10.99.1.1:3307",
            "user": "engine",
            "password_file": str(own / "password"),
        },
        "identity": {
            "auth_url": "http://10.99.1.1:5000/v3",
            "username": "isthmus",
            "password_file": str(own / "password"),
        },
        "messaging": {"url_file": str(own / "url")},
        "secret_file": str(own / "secret"),
        "hosts": {"compute1": "http://10.99.1.31:8992"},
        "networks": {"vni_range": [4000, 4999]},
        "state": str(own / "state"),
    }
    (own / "engine.yaml").write_text(json.dumps(document))
    return Scaled(lab, 50, 7)  # type: ignore[arg-type]


def test_the_engine_s_configuration_is_the_site_s_own_with_more_peers(
    scaled: Scaled, tmp_path: Path
):
    path = tmp_path / "settings.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(scaled._engine_document()))
    found = config.load(path)
    assert set(found.peers) == {"lyon", "madrid", *scaled.sites}
    assert [str(each) for each in found.listen] == ["10.99.1.7:8991", "10.98.0.1:8991"]
    assert found.state != tmp_path / "lab/units/paris/engine/state"
    assert found.identity.auth_url == "http://10.98.0.1:19696/v3"


def test_simulated_sites_are_where_the_engine_looks_for_them_and_tunnels_where_paris_allows(
    scaled: Scaled,
):
    settings = Settings.model_validate_json(json.dumps(scaled._peers_document()))
    peers = scaled._engine_document()["peers"]
    assert all(peers[site] == settings.url(site) for site in scaled.sites)
    assert settings.keystone == "http://10.99.1.1:5000/v3"
    vteps = [vtep for site in settings.sites.values() for vtep in site.vteps]
    assert len(set(vteps)) == 100
    lyon = scaled.lab.environment.site("lyon")
    taken = {host.address for host in lyon.host_specs}
    assert all(ipaddress.ip_address(v) in ipaddress.ip_network(lyon.subnet) for v in vteps)
    assert not taken & set(vteps)
    assert len({str(each) for each in settings.listen}) == 51


def test_removing_marks_the_network_as_soon_as_an_engine_answers_and_waits_for_its_end(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
):
    log = scaled.lab.home.log("paris/bench-engine")
    log.parent.mkdir(parents=True)
    log.touch()
    asked: list[str] = []
    states: list[Any] = [
        IsthmusError("busy"),
        [{"id": "i", "name": "bscale-1", "deleting": False}],
        [{"id": "i", "name": "bscale-1", "deleting": True}],
        [],
    ]

    def ask(method: str, path: str, body: Any = None, seconds: float = 1.0) -> Any:
        asked.append(f"{method} {path}")
        if path == "/status":
            return {"networks": {"bscale-1": {"remote_ports": 3}}}
        if method == "DELETE":
            return None
        state = states.pop(0)
        if isinstance(state, IsthmusError):
            raise state
        return {"networks": state}

    monkeypatch.setattr(scaled, "ask", ask)
    monkeypatch.setattr(scaled, "tell", lambda *_, **__: {})
    monkeypatch.setattr(scaling.guests, "listed", lambda _: [])
    monkeypatch.setattr(scaling.processes, "running", lambda _: {"paris/bench-engine": [object()]})
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.0)
    network = Network(document={"id": "i", "name": "bscale-1", "vni": 1, "sites": ["paris"]})
    count, _ = scaled.remove(network, 60.0)
    assert count == 3
    assert asked.count("DELETE /v1/networks/bscale-1") == 1
    assert not states
