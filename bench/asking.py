"""What is asked of a Keystone, as values for the load generator; and the tokens and users that it takes."""

import collections
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.labs import Lab
from isthmus.errors import IsthmusError
from isthmus.lab import calling, waiting
from isthmus.lab.calling import Account, Call
from isthmus.lab.components.base import python
from isthmus.lab.environment import SiteSpec
from isthmus.lab.running import run

Ask = Mapping[str, Any]

_DOMAIN = {"id": "default"}


@dataclass(frozen=True, kw_only=True)
class Load:
    """A load: what is asked, by how many clients at once, and its bounds (see `loading`)."""

    asks: Sequence[Ask] = field(repr=False)
    clients: int = 1
    least: int = 3
    most: int = 1_000_000
    seconds: float = 2.0
    period: float = 0.0
    timeout: float = 15.0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a load saw: milliseconds and outcome (a status, or words) of every request, and the seconds of the whole."""

    samples: Sequence[tuple[float, str]]
    seconds: float

    @property
    def outcomes(self) -> dict[str, int]:
        """How many requests ended how."""
        return dict(collections.Counter(outcome for _, outcome in self.samples))

    def good(self, status: int) -> list[float]:
        """Milliseconds of the requests that ended with `status`: the time of an error is not a figure."""
        return [latency for latency, outcome in self.samples if outcome == str(status)]


def put(load: Load, *, namespace: str, host: str, port: int) -> Answers:
    """Put `load` on a server from inside `namespace`."""
    request = {**load.__dict__, "host": host, "port": port}
    # -I keeps this folder off the path: a module of ours must not stand for one of the standard library.
    argv = [python(), "-I", str(Path(__file__).with_name("loading.py"))]
    longest = (
        load.seconds + load.least * load.period + (load.least + load.clients) * load.timeout + 30
    )
    done = run(argv, namespace=namespace, stdin=json.dumps(request), timeout=longest)
    return Answers(**json.loads(done.stdout))


def validation(token: str, by: str) -> Ask:
    """Check `token` as the owner of `by`."""
    return _ask("GET", "/auth/tokens", headers={"X-Auth-Token": by, "X-Subject-Token": token})


def revocation(token: str, by: str) -> Ask:
    """Revoke `token`."""
    return _ask("DELETE", "/auth/tokens", headers={"X-Auth-Token": by, "X-Subject-Token": token})


def login(who: Account) -> Ask:
    """Log in with a password."""
    user = {"name": who.user, "domain": _DOMAIN, "password": who.password}
    return _ask("POST", "/auth/tokens", body=_auth("password", {"user": user}, who.project))


def _auth(method: str, identity: Mapping[str, Any], project: str) -> dict[str, Any]:
    scope = {"project": {"name": project, "domain": _DOMAIN}}
    return {"auth": {"identity": {"methods": [method], method: identity}, "scope": scope}}


def _ask(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None
) -> Ask:
    kind = {"Content-Type": "application/json"} if body else {}
    return {
        "method": method,
        "path": f"/v3{path}",
        "headers": {**kind, **(headers or {})},
        "body": body,
    }


def tokens(site: SiteSpec, token: str, project: str, count: int) -> list[str]:
    """`count` new tokens made from `token` at `site`: no other site has seen them, and no password was hashed for them."""
    client = calling.at(site)
    made = []
    for _ in range(count):
        call = client.identity("POST", "/auth/tokens", body=_auth("token", {"id": token}, project))
        made.append(_good(call, 201, site.name).token)
    return made


@contextmanager
def users(lab: Lab, site: SiteSpec, count: int) -> Iterator[list[Account]]:
    """New members of the project demo, made at `site`, who never logged in; they are deleted afterwards."""
    client, admin = calling.at(site), lab.login(site, "admin")
    demo = lab.account("demo")
    token = lab.login(site, "demo")
    described = _good(client.validate(token), 200, site.name).body["token"]
    path = f"/projects/{described['project']['id']}/users/%s/roles/{described['roles'][0]['id']}"
    made: dict[str, Account] = {}
    try:
        for _ in range(count):
            who = Account(
                user=f"bench-{uuid.uuid4().hex[:8]}",
                password=uuid.uuid4().hex,
                project=demo.project,
            )
            call = client.create(
                "user", admin, name=who.user, password=who.password, domain_id="default"
            )
            user = _good(call, 201, site.name).body["user"]["id"]
            made[user] = who
            _good(client.identity("PUT", path % user, token=admin), 204, site.name)
        for user in made:
            _wait_seen(lab, admin, user)
        yield list(made.values())
    finally:
        for user in made:
            client.identity("DELETE", f"/users/{user}", token=admin)


def _wait_seen(lab: Lab, admin: str, user: str) -> None:
    """Wait until every site's database has the user."""
    for site in lab.environment.sites:
        client = calling.at(site)
        waiting.until(
            lambda c=client: _unless_found(c.identity("GET", f"/users/{user}", token=admin)),  # type: ignore[misc]
            deadline=15.0,
            what="a new user is not seen",
            where=site.name,
        )


def _unless_found(call: Call) -> str | None:
    return None if call.status == 200 else call.said


def _good(call: Call, status: int, where: str) -> Call:
    if call.status != status:
        raise IsthmusError(f"expected {status}", where=where, cause=call.said)
    return call
