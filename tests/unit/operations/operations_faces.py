"""The routes of recovery over a real desk, and the command line over these routes."""

from __future__ import annotations

import argparse
import dataclasses
import io
from collections.abc import Sequence
from typing import Annotated, Any

import fastapi
import pytest
from operations_bench import Bench
from starlette.testclient import TestClient

from isthmus import errors
from isthmus.cli import checkpoint, network_client, operation_client, recovery_commands
from isthmus.engine.api import faults, groups, operations
from isthmus.engine.rights import Caller
from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code, Finding
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.mapping import Mapping

ROLES = {
    "reader": {"reader"},
    "operator": {"reader", "recovery_operator"},
    "admin": {"admin"},
    "boss": {"reader", "recovery_failover"},
}


def _caller(x_auth_token: Annotated[str, fastapi.Header()] = "") -> Caller:
    if x_auth_token not in ROLES:
        raise errors.PrivilegeError("who are you?")
    return Caller(
        user_id=f"u-{x_auth_token}",
        user=x_auth_token,
        project_id="p1",
        roles=frozenset(ROLES[x_auth_token]),
    )


def _admin(x_auth_token: Annotated[str, fastapi.Header()] = "") -> Caller:
    caller = _caller(x_auth_token)
    if "admin" not in caller.roles:
        raise errors.PrivilegeError(f"{caller.user} may not do this")
    return caller


class Home:
    """What the routes need of an engine."""

    def __init__(self, bench: Bench) -> None:
        self.site, self.four_eyes = "lyon", True
        self.desk, self.declared = bench.desk, Declared(bench.database)
        self.require_reader, self.require_admin = _caller, _admin
        self.created = False

    def validate(self, plan: Mapping, *, create: bool) -> Sequence[Finding]:
        self.created = create
        return (
            Finding(
                code=Code.MISSING, outcome=Outcome.ERROR, subject="flavor m1.small", site="lyon",
                summary="there is no flavor m1.small", cause="nobody made it", remedy="make it",
                servers=("db",),
            ),
        )  # fmt: skip

    def findings(self, group_id: str) -> Sequence[Finding]:
        return (
            Finding(
                code=Code.GROUP_MOVED, outcome=Outcome.WARN, subject="group vnf", site="lyon",
                summary="it belongs to site paris", cause="epoch 7", remedy="start none",
                servers=("web", "db"),
            ),
        )  # fmt: skip

    def rebuild(self) -> tuple[tuple[int, int, int], Sequence[Finding]]:
        return (1, 2, 3), self.validate(Mapping(name="x", source="a", target="b"), create=False)


@dataclasses.dataclass
class Faces:
    bench: Bench
    home: Home
    http: TestClient
    token: str = "admin"

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        headers = {"X-Auth-Token": token or self.token, "Accept": "application/json"}
        return self.http.request(method, path, json=body, headers=headers)

    def declare(self) -> Any:
        """A policy and a group of two."""
        policy = self.call("POST", "/v1/policies", {"name": "gold", "driver": "rbd"})
        assert policy.status_code == 201, policy.text
        body = {
            "name": "vnf", "site": "paris", "backup_site": "lyon", "policy": "gold",
            "members": [{"name": "web", "server_id": "s1", "level": 0, "depends": ["db"]},
                        {"name": "db", "server_id": "s2", "level": 1}],
        }  # fmt: skip
        answer = self.call("POST", "/v1/groups", body)
        assert answer.status_code == 201, answer.text
        return answer.json()["group"]


class InProcess:
    """`network_client.Client`, to the routes instead of over the network."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._faces.call(method, path, body)
        document = answer.json() if answer.content else None
        if answer.status_code >= 400:
            site: Any = argparse.Namespace(name="lyon", engine="http://lyon")
            network_client._refuse(document, site, answer.status_code)
        return document

    def get(self, path: str, **_: Any) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, **_: Any) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any, **_: Any) -> Any:
        return self.call("PATCH", path, body)

    def put(self, path: str, body: Any = None, **_: Any) -> Any:
        return self.call("PUT", path, body)

    def delete(self, path: str, **_: Any) -> Any:
        return self.call("DELETE", path)


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Cli:
    """Runs a command as the person of `faces.token`."""

    def __init__(self, faces: Faces, capsys: pytest.CaptureFixture[str]) -> None:
        self._faces, self._capsys = faces, capsys

    def __call__(self, kind: type[Any], *words: str) -> Ended:
        out = io.StringIO()
        options = argparse.Namespace(sites=None)
        manager = argparse.Namespace(namespace="isthmus.none")
        app = argparse.Namespace(options=options, stdout=out, debug=False, command_manager=manager)
        command = kind(app, None, cmd_name="test")
        parsed = command.get_parser("test").parse_args(list(words))
        code = command.run(parsed) or 0
        return Ended(code, out.getvalue(), self._capsys.readouterr().err)


class LyonOnly(operation_client.Engines):
    """A sites file in which the engine of one site is left."""

    faces: Faces

    def __init__(self, _sites: str | None, _ask: str | None = None) -> None:
        self._names = ["lyon"]

    def of(self, site: str) -> Any:
        return InProcess(self.faces)


def build(bench: Bench) -> Faces:
    home = Home(bench)
    app = fastapi.FastAPI()
    faults.install(app)
    app.include_router(operations.router(home))
    app.include_router(groups.router(home))
    return Faces(bench, home, TestClient(app, raise_server_exceptions=False))


def command_line(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    monkeypatch.setattr(LyonOnly, "faces", faces, raising=False)
    for module in (recovery_commands, checkpoint):
        monkeypatch.setattr(module, "Engines", LyonOnly)
    return Cli(faces, capsys)
