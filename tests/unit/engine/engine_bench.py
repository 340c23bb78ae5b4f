"""One engine without its threads: a Keystone on the loopback, declarations in a dictionary."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from starlette.testclient import TestClient

from isthmus import errors
from isthmus.engine import config, rights
from isthmus.engine.api import app
from isthmus.engine.core import Engine
from isthmus.network import databases, records
from isthmus.network.remembering import Documents, Kind
from isthmus.network.store import Store
from isthmus.sites import signing

T = TypeVar("T")

SECRET = b"0123456789abcdef" * 2
TOKENS = {"admin-token": ["admin"], "reader-token": ["reader"], "member-token": ["member"]}
PROJECT = "6a1f4e1c2b3d4c5e8f90a1b2c3d4e5f6"


class Keystone:
    """Knows three tokens and one project; `down` makes it refuse to answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v3"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(keystone: Keystone) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keystone.asked += 1
            token = self.headers["X-Subject-Token"] or ""
            if keystone.down:
                self.send_response(503)
                self.end_headers()
                return
            if token not in TOKENS or self.headers["X-Auth-Token"] != token:
                self.send_response(404)
                self.end_headers()
                return
            document = {
                "token": {
                    "user": {"id": "u1", "name": token.partition("-")[0]},
                    "project": {"id": PROJECT, "name": "vnf"},
                    "roles": [{"id": "r", "name": name} for name in TOKENS[token]],
                }
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *args: object) -> None:
            """Tests are silent."""

    return Handler


class Writer:
    """What the database holds; `down` as when no writer can be reached."""

    def __init__(self) -> None:
        self.down = False
        self.tables = Documents({kind: {} for kind in Kind})
        self.events: list[records.Event] = []
        self.race: Callable[[], None] | None = None
        """Called once before the next write: somebody else is first."""


class MemoryStore(Store):
    """The store with its rules, over a dictionary instead of tables."""

    def __init__(self, writer: Writer, state: Path | None = None) -> None:
        listener = databases.Listener(host="127.0.0.1", port=1, user="u", password="p")
        super().__init__(reader=listener, writer=listener, site="paris", state=state)
        self.writer = writer
        self.replica: Documents | None = None
        """What a replica that lags shows; None for one that does not lag."""

    def _read(self) -> Documents:
        if self.writer.down:
            raise errors.UnavailableError("the declarations cannot be reached", cause="refused")
        return (self.replica or self.writer.tables).copied()

    def _written(self, action: Callable[[Any], T]) -> T:
        if self.writer.down:
            return super()._written(action)  # there is nothing at the address
        if self.writer.race is not None and action.__name__ == "<lambda>":
            race, self.writer.race = self.writer.race, None
            race()
        return action(self.writer)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The statements, on dictionaries: what is unique, and what revision wins."""

    def everything(writer: Writer) -> Documents:
        return writer.tables.copied()

    def put(
        writer: Writer,
        kind: Kind,
        identity: str,
        document: Mapping[str, Any],
        columns: Mapping[str, Any],
    ) -> None:
        table, revision = writer.tables[kind], int(document["revision"])
        for key in columns:
            others = [each for each in table.values() if each["id"] != identity]
            if any(each.get(key) == columns[key] for each in others):
                raise databases.DuplicateError(f"Duplicate entry for key '{key}'")
        if revision == 1 and identity in table:
            raise databases.DuplicateError("Duplicate entry for key 'PRIMARY'")
        known = table.get(identity)
        if revision > 1 and (known is None or known["revision"] != revision - 1):
            raise records.OvertakenError
        table[identity] = json.loads(json.dumps(document))

    def remove(writer: Writer, kind: Kind, identity: str, revision: int) -> None:
        known = writer.tables[kind].get(identity)
        if known is not None and known["revision"] != revision:
            raise records.OvertakenError
        writer.tables[kind].pop(identity, None)

    monkeypatch.setattr(records, "everything", everything)
    monkeypatch.setattr(records, "put", put)
    monkeypatch.setattr(records, "remove", remove)
    monkeypatch.setattr(records, "add_event", lambda writer, event: writer.events.append(event))


def settings(directory: Path, keystone: str, **changes: Any) -> config.Config:
    """A configuration with files of its own."""
    for name, content in {"password": b"secret", "shared": SECRET, "bus": b"rabbit://b"}.items():
        file = directory / name
        file.touch(mode=0o600)
        file.write_bytes(content)
    password = str(directory / "password")
    document = {
        "site": "paris",
        "listen": ["127.0.0.1:8991"],
        "peers": dict.fromkeys(("lyon", "nice", "madrid"), "http://127.0.0.1:1"),
        "database": {
            "reader": "127.0.0.1:1",
            "writer": "127.0.0.1:1",
            "user": "engine",
            "password_file": password,
        },
        "identity": {"auth_url": keystone, "username": "isthmus", "password_file": password},
        "secret_file": str(directory / "shared"),
        "networks": {"vni_range": [4000, 4003]},
        "state": str(directory),
        **changes,
    }
    file = directory / "engine.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(document))
    return config.load(file)


@dataclasses.dataclass
class Bench:
    """An engine that answers, and what it stands on."""

    engine: Engine
    keystone: Keystone
    writer: Writer
    http: TestClient
    guard: rights.Rights

    def reset(self) -> None:
        """As it was before any test."""
        self.keystone.asked, self.keystone.down = 0, False
        self.writer = Writer()
        self.engine.store = MemoryStore(self.writer)
        # The own site is a witness here, so that no keeper asks for a Neutron that is not there.
        self.engine._keepers.catalog.with_neutron = frozenset({"lyon", "nice"})
        self.engine._keepers.catalog.error = None
        self.engine._keepers._woken.clear()
        # A token must be asked for anew, whatever was believed in the test before.
        self.guard._tokens = rights.Tokens(self.keystone.url)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",  # noqa: S107
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        sent = {**({"X-Auth-Token": token} if token else {}), **(headers or {})}
        return self.http.request(method, path, json=body, headers=sent)

    def signed(self, method: str, path: str, body: Any = None, sender: str = "engine/lyon") -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        signer = signing.Signer(SECRET, sender)
        headers = signer.headers(method, path, content, to="engine/paris")
        return self.http.request(
            method, path, content=content, headers={**headers, "Content-Type": "application/json"}
        )

    def create(self, name: str = "backup", **fields: Any) -> Any:
        body = {"name": name, "cidr": "10.20.0.0/24", "sites": ["lyon", "nice"], **fields}
        answer = self.call("POST", "/v1/networks", body)
        assert answer.status_code == 201, answer.text
        return answer.json()["network"]


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """Made once, because the routes take half a second; `Bench.reset` makes it new."""
    keystone, writer = Keystone(), Writer()
    engine = Engine(settings(directory, keystone.url))
    guard = rights.Rights(rights.Tokens(keystone.url), engine.gate)
    engine.require_admin, engine.require_reader = guard.require_admin, guard.require_reader
    with TestClient(app.build(engine), raise_server_exceptions=False) as client:
        yield Bench(engine=engine, keystone=keystone, writer=writer, http=client, guard=guard)
    keystone.stop()
