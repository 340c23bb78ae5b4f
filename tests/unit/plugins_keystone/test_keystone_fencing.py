"""A fenced site: what is refused, what is not, and what the client is told."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keystone.conf
import pytest

from isthmus.identity.keys import repository
from isthmus.plugins.keystone import fencing

KEY = b"A" * 43 + b"="


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone", default_config_files=[])
    keystone.conf.CONF.set_override("key_repository", str(tmp_path / "keys"), "fernet_tokens")
    return tmp_path / "keys"


def ask(method: str, path: str) -> tuple[str, bytes]:
    told: list[str] = []

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        return [b"inside"]

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
    body = fencing.Middleware(application)(environ, lambda status, _: told.append(status))
    return told[0], b"".join(body)


ISSUING = [
    ("POST", "/v3/auth/tokens"),
    ("POST", "/v3/auth/tokens/"),
    ("POST", "/v3/ec2tokens"),
    ("POST", "/v3/s3tokens"),
    ("POST", "/v3/OS-OAUTH2/token"),
    ("GET", "/v3/OS-FEDERATION/identity_providers/idp/protocols/saml2/auth"),
    ("POST", "/v3/auth/OS-FEDERATION/identity_providers/idp/protocols/p/websso/auth"),
    ("GET", "/v3/auth/OS-FEDERATION/websso/saml2"),
]
OTHER = [
    ("GET", "/v3/auth/tokens"),
    ("HEAD", "/v3/auth/tokens"),
    ("DELETE", "/v3/auth/tokens"),
    ("POST", "/v3/users"),
    ("GET", "/v3/OS-FEDERATION/identity_providers/idp/protocols/saml2"),
]


@pytest.mark.parametrize(("method", "path"), ISSUING)
def test_a_fenced_site_issues_no_token_and_says_so(keys: Path, method: str, path: str) -> None:
    repository.install(keys, {0: KEY, 1: KEY}, repository.Mark(revision=3, fenced="link cut"))
    status, body = ask(method, path)
    assert status == "503 Service Unavailable"
    error = json.loads(body)["error"]
    assert error["code"] == 503
    assert "This site is fenced (link cut)" in error["message"]
    assert KEY.decode() not in error["message"]


@pytest.mark.parametrize(("method", "path"), OTHER)
def test_everything_else_goes_on(keys: Path, method: str, path: str) -> None:
    repository.install(keys, {0: KEY, 1: KEY}, repository.Mark(revision=3, fenced="link cut"))
    assert ask(method, path) == ("200 OK", b"inside")


@pytest.mark.parametrize("mark", [None, repository.Mark(revision=4)])
def test_a_site_that_is_not_fenced_issues(keys: Path, mark: repository.Mark | None) -> None:
    assert ask("POST", "/v3/auth/tokens") == ("200 OK", b"inside"), "no repository at all"
    repository.install(keys, {0: KEY, 1: KEY}, mark)
    assert ask("POST", "/v3/auth/tokens") == ("200 OK", b"inside")


def test_both_sides_mean_the_same_file() -> None:
    assert fencing.MARK == repository.MARK
