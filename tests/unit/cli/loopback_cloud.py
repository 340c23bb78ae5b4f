"""Little sites on the loopback: real HTTP, a Keystone-like root, an agent's document."""

from __future__ import annotations

import copy
import dataclasses
import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_said import database
from isthmus.cli import check, identity, identity_key, main, site, status

PASSWORD = "not-to-be-shown"
TOKEN = "gAAAA-not-to-be-shown"
ASSIGNMENTS = [
    {
        "role": {"id": "r", "name": "member"},
        "group": {"id": "g", "name": "operators"},
        "scope": {"project": {"id": "p", "name": "demo"}},
    },
    {
        "role": {"id": "r", "name": "admin"},
        "user": {"id": "u", "name": "admin"},
        "scope": {"system": {"all": True}},
    },
]


def document(name: str, databases: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """What the agent of a healthy site says."""
    keys = {"digest": "a1b2c3d4" * 8, "keys": 3, "primary": 2}
    healthy = {
        "site": name,
        "time": "2026-11-22T18:40:07Z",
        "agent": {"pid": 1, "started_at": "2026-11-22T18:00:00Z", "version": "0.1.0"},
        "databases": databases,
        "keys": {"token": keys, "credential": dict(keys)},
        "queue": {"pending": 0, "oldest_age_seconds": None},
    }
    return {**healthy, **changes}


def healthy_documents() -> dict[str, dict[str, Any]]:
    """Star mode with nothing wrong."""
    cluster = {
        "status": "Primary",
        "size": 3,
        "members": ["paris", "lyon", "arbitrator"],
        "state": "Synced",
    }
    return {
        "paris": document(
            "paris", [database("identity-db", "writer", writer=True, cluster=dict(cluster))]
        ),
        "lyon": document("lyon", [database("identity-db", "writer", cluster=dict(cluster))]),
        "madrid": document(
            "madrid",
            [
                database(f"replica-{home}", "replica", lag_seconds=0.2, master=home, home=home)
                for home in ("paris", "lyon")
            ],
        ),
    }


@dataclasses.dataclass
class Cloud:
    """Three sites on the loopback; tests break `documents`, `status` and `refused` as they like."""

    directory: Path
    documents: dict[str, Any]
    status: dict[str, int] = dataclasses.field(default_factory=dict)
    refuse_logins: bool = False
    of_tokens: dict[str, int] = dataclasses.field(default_factory=dict)
    """What sites say of a token that they are shown, if not that it is good."""
    regions: list[str] = dataclasses.field(default_factory=list)
    hang: set[str] = dataclasses.field(default_factory=set)
    released: threading.Event = dataclasses.field(default_factory=threading.Event)
    servers: dict[str, http.server.ThreadingHTTPServer] = dataclasses.field(default_factory=dict)

    def start(self) -> None:
        for name in list(self.documents):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, name))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers[name] = server
        self._write_files()

    def kill(self, name: str) -> None:
        """Nothing listens there any more: connections are refused."""
        server = self.servers[name]
        server.shutdown()
        server.server_close()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.servers[name].server_address[1]}"

    @property
    def sites_file(self) -> Path:
        return self.directory / "sites.yaml"

    def _write_files(self) -> None:
        roles = {"paris": "writer", "lyon": "writer", "madrid": "replica"}
        sites = [
            {"name": name, "region": name, "role": roles[name], "agent": self.url(name)}
            for name in self.servers
        ]
        self.sites_file.write_text(yaml.safe_dump({"topology": "star", "sites": sites}))
        clouds = {
            name: {
                "auth": {
                    "auth_url": f"{self.url(name)}/v3",
                    "username": "admin",
                    "password": PASSWORD,
                    "project_name": "admin",
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
                "region_name": name,
            }
            for name in self.servers
        }
        (self.directory / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))


def _handler(cloud: Cloud, name: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if name in cloud.hang:
                # Held until the test is over: the client must give up by itself.
                cloud.released.wait(30)
            if self.path == "/status":
                self._send(cloud.status.get(f"{name}/agent", 200), cloud.documents[name])
            elif self.path.startswith("/v3/role_assignments"):
                known = self.headers["X-Auth-Token"] == TOKEN
                self._send(200 if known else 401, {"role_assignments": ASSIGNMENTS})
            else:
                self._send(cloud.status.get(name, 200), _version(cloud.url(name)))

        def do_HEAD(self) -> None:
            """A token is shown, to be judged."""
            tokens = (self.headers["X-Auth-Token"], self.headers["X-Subject-Token"])
            known = tokens == (TOKEN, TOKEN) and self.path == "/v3/auth/tokens"
            self.send_response(cloud.of_tokens.get(name, 200) if known else 500)
            self.send_header("Location", cloud.url(name))
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if cloud.refuse_logins:
                self._send(401, {"error": {"code": 401, "message": "no", "title": "Unauthorized"}})
            else:
                self._send(201, _token(cloud), {"X-Subject-Token": TOKEN})

        def _send(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _version(url: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{url}/v3/"}]
    return {"version": {"id": "v3.14", "status": "stable", "links": links}}


def _token(cloud: Cloud) -> dict[str, Any]:
    endpoints = [
        {
            "id": name,
            "region": name,
            "region_id": name,
            "interface": "public",
            "url": f"{cloud.url(name)}/v3",
        }
        for name in cloud.regions or cloud.servers
    ]
    domain = {"id": "default", "name": "Default"}
    service = {"id": "k", "type": "identity", "name": "keystone", "endpoints": endpoints}
    return {
        "token": {
            "methods": ["password"],
            "expires_at": "2026-11-22T19:40:07.000000Z",
            "issued_at": "2026-11-22T18:40:07.000000Z",
            "audit_ids": ["x"],
            "user": {"id": "u", "name": "admin", "domain": domain},
            "project": {"id": "p", "name": "admin", "domain": domain},
            "roles": [{"id": "r", "name": "admin"}],
            "catalog": [service],
        }
    }


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Three healthy sites, with clouds.yaml and sites.yaml in the working directory."""
    # openstacksdk looks into the working directory as it was when it was imported.
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    for variable in ("ISTHMUS_SITES", "OS_CLOUD", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    sites = Cloud(directory=tmp_path, documents=copy.deepcopy(healthy_documents()))
    sites.start()
    yield sites
    sites.released.set()
    for server in sites.servers.values():
        server.shutdown()
        server.server_close()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def isthmus(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command line in this process."""

    handlers = list(logging.getLogger().handlers)

    def run(*words: str) -> Ended:
        application = main.Application()
        commands = {
            "check": check.Check,
            "check list": check.List,
            "site list": site.List,
            "site show": site.Show,
            "status": status.Status,
            "identity status": identity.Status,
            "identity key list": identity_key.List,
            "identity key rotate": identity_key.Rotate,
            "identity key watch": identity_key.Watch,
            "identity key fence": identity_key.Fence,
            "identity key unfence": identity_key.Unfence,
            "identity key replace": identity_key.Replace,
            "identity key history": identity_key.History,
        }
        for name, command in commands.items():
            application.command_manager.add_command(name, command)
        code = main.main(words, application)
        # The handlers of this run hold its captured standard error.
        logging.getLogger().handlers[:] = handlers
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
