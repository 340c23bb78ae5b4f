"""Everything that a validation's answer can depend on: users, scopes, delegations, tokens of each kind, and what may change.

Made through the stock Keystone only, so that a site which answers the same has it from its database.
"""

from __future__ import annotations

import base64
import itertools
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
from coherent_site import Client, CoherentSite, Reply
from cryptography.fernet import Fernet, MultiFernet
from keystone_site import PASSWORD

QUERIES = ("", "?nocatalog", "?allow_expired=1", "?allow_expired=1&nocatalog", "?allow_expired=no")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"OpenStack-Identity-Access-Rules": "1.0"},
    {"Accept-Language": "de"},
    {"X-Service-Token": "not-a-token"},
    {"User-Agent": "one"},
    {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "login.example"},
)
GARBAGE = {
    "empty": "",
    "word": "x",
    "cut": "gAAAAABm",
    "null": "null",
    "long": "g" * 4000,
    "unicode": "%C3%A4",
}


# Does one thing through a Keystone: `CoherentSite.here` or `CoherentSite.elsewhere`.
Act = Callable[[Callable[..., Reply]], object]
# The tokens about which another answer is given after it, and what is done.
Change = tuple[Sequence[str], Act]


@dataclass(frozen=True)
class Case:
    """One validation: names of tokens, and the rest as it is sent."""

    method: str
    caller: str
    subject: str
    query: str
    header: int

    def send(self, client: Client, tokens: dict[str, str]) -> Reply:
        said = dict(HEADERS[self.header])
        if self.caller != "nobody":
            said["X-Auth-Token"] = tokens[self.caller]
        if self.subject != "nobody":
            said["X-Subject-Token"] = tokens[self.subject]
        return client.ask(self.method, f"/v3/auth/tokens{self.query}", said)


class World:
    """Users and tokens; `changes` maps what may be done to them to a function of `do` (here or elsewhere)."""

    def __init__(self, site: CoherentSite) -> None:
        self.site = site
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._mark = secrets.token_hex(4)
        self._objects()
        self._grants()
        self._delegations()
        self._tokens()
        site.proven()

    def cases(self, source: random.Random, count: int) -> list[Case]:
        """Cases, mostly of callers who may ask; every subject is among them as soon as there is room."""
        subjects = [*self.tokens, "nobody"]
        callers = ["admin", "svc", "system-reader"] * 4 + subjects
        return [
            Case(
                method=source.choice(("GET", "GET", "GET", "HEAD")),
                caller=subject if source.random() < 0.15 else source.choice(callers),
                subject=subject,
                query=source.choice(QUERIES[:1] * 4 + QUERIES),
                header=source.choice([0] * 8 + list(range(len(HEADERS)))),
            )
            for subject in itertools.islice(itertools.cycle(_shuffled(source, subjects)), count)
        ]

    def _make(self, collection: str, singular: str, name: str, **what: Any) -> str:
        # Names are the world's own, so that a site can hold several.
        body = {singular: {"name": f"{name}-{self._mark}", **what}}
        answer = self.site.elsewhere("POST", f"/{collection}", body)
        self.ids[name] = str(answer.json[singular]["id"])
        return self.ids[name]

    def _user(self, name: str, domain: str = "default") -> str:
        return self._make("users", "user", name, password=PASSWORD, domain_id=domain)

    def add_user(self, name: str) -> str:
        """A new user of the default domain; their id."""
        return self._user(name)

    def _objects(self) -> None:
        other = self._make("domains", "domain", "other")
        first = self._make("projects", "project", "first", domain_id="default")
        self._make("projects", "project", "second", domain_id="default", parent_id=first)
        self._make("projects", "project", "abroad", domain_id=other)
        for name in ("alice", "bob", "carol", "dave", "erin", "svc"):
            self._user(name)
        self._user("frank", other)
        self._make("groups", "group", "staff", domain_id="default")
        for name in ("senior", "junior", "watcher"):
            self._make("roles", "role", name)
        for role in self.site.elsewhere("GET", "/roles").json["roles"]:
            self.ids[f"role:{role['name'].removesuffix(f'-{self._mark}')}"] = role["id"]
        self._make("services", "service", "compute", type="compute")
        self._endpoint("public", self.site.elsewhere)

    def _endpoint(self, interface: str, do: Callable[..., Reply]) -> str:
        endpoint = {
            "service_id": self.ids["compute"],
            "interface": interface,
            "url": "http://compute.example/v2.1/$(project_id)s",
            "region_id": "madrid",
        }
        answer = do("POST", "/endpoints", {"endpoint": endpoint})
        self.ids[f"endpoint:{interface}"] = answer.json["endpoint"]["id"]
        return self.ids[f"endpoint:{interface}"]

    def grant(self, kind: str, target: str, who: str, role: str) -> str:
        """The path of a grant: `kind` is projects or domains, `who` a user or a group."""
        actor = "groups" if who == "staff" else "users"
        return f"/{kind}/{self.ids.get(target, target)}/{actor}/{self.ids[who]}/roles/{self.ids[f'role:{role}']}"

    def _grants(self) -> None:
        put = lambda path: self.site.elsewhere("PUT", path)  # noqa: E731
        self.inherited = "/OS-INHERIT" + self.grant("projects", "first", "alice", "senior")
        self.inherited += "/inherited_to_projects"
        self.implied = f"/roles/{self.ids['role:senior']}/implies/{self.ids['role:junior']}"
        self.system = f"/system/users/{self.ids['alice']}/roles/{self.ids['role:reader']}"
        self.membership = f"/groups/{self.ids['staff']}/users/{self.ids['alice']}"
        put(self.implied)
        put(self.membership)
        put(self.system)
        put(f"/system/users/{self.ids['bob']}/roles/{self.ids['role:reader']}")
        put(self.inherited)
        put(self.grant("projects", "second", "staff", "watcher"))
        put(self.grant("domains", "default", "alice", "member"))
        for name in ("alice", "carol", "dave", "erin"):
            put(self.grant("projects", "first", name, "member"))
        put(self.grant("projects", "first", "bob", "reader"))
        put(self.grant("projects", "abroad", "frank", "member"))
        put(self.grant("projects", "first", "svc", "service"))

    def _delegations(self) -> None:
        alice = self._login("alice", project="first")
        for name, impersonation in (("trust", False), ("disguise", True)):
            trust = {
                "trustor_user_id": self.ids["alice"],
                "trustee_user_id": self.ids["bob"],
                "project_id": self.ids["first"],
                "impersonation": impersonation,
                "roles": [{"id": self.ids["role:member"]}],
            }
            answer = self.site.elsewhere(
                "POST", "/OS-TRUST/trusts", {"trust": trust}, **{"X-Auth-Token": alice}
            )
            self.ids[name] = answer.json["trust"]["id"]
        rules = [{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]
        self.secrets: dict[str, dict[str, str]] = {}
        for name, more in (
            ("credential", {}),
            ("ruled", {"access_rules": rules}),
            ("free", {"unrestricted": True}),
        ):
            path = f"/users/{self.ids['alice']}/application_credentials"
            body = {"application_credential": {"name": name, **more}}
            answer = self.site.elsewhere("POST", path, body, **{"X-Auth-Token": alice})
            made = answer.json["application_credential"]
            self.ids[name] = made["id"]
            self.secrets[name] = {"id": made["id"], "secret": made["secret"]}

    def _login(self, user: str, **scope: str) -> str:
        kind, target = next(iter(scope.items()), ("", ""))
        chosen: Any = None
        if kind == "system":
            chosen = {"system": {"all": True}}
        elif kind == "trust":
            chosen = {"OS-TRUST:trust": {"id": self.ids[target]}}
        elif kind:
            chosen = {kind: {"id": self.ids.get(target, target)}}
        return self.site.token({"id": self.ids[user]}, chosen)

    def _tokens(self) -> None:
        make = self._login
        found = {
            "admin": self.site.admin,
            "svc": make("svc", project="first"),
            "system-reader": make("bob", system="all"),
            "alice": make("alice"),
            "alice-first": make("alice", project="first"),
            "alice-second": make("alice", project="second"),
            "alice-domain": make("alice", domain="default"),
            "alice-system": make("alice", system="all"),
            "bob-first": make("bob", project="first"),
            "trusted": make("bob", trust="trust"),
            "disguised": make("bob", trust="disguise"),
            "carol": make("carol", project="first"),
            "carol-rescoped": self._rescoped(make("carol"), "first"),
            "dave": make("dave", project="first"),
            "erin": make("erin", project="first"),
            "frank": make("frank", project="abroad"),
        }
        for name, secret in self.secrets.items():
            identity = {"methods": ["application_credential"], "application_credential": secret}
            found[f"by-{name}"] = self.site.token(identity)
        self.tokens = {**found, **GARBAGE}
        self.tokens["expired"] = self._aged(found["bob-first"], 300)
        self.tokens["long-expired"] = self._aged(found["bob-first"], 4 * 86400)
        self.tokens["forged"] = self.tokens["carol"][:-8] + "AAAAAAA="

    def _rescoped(self, token: str, project: str) -> str:
        identity = {"methods": ["token"], "token": {"id": token}}
        return self.site.token(identity, {"project": {"id": self.ids[project]}})

    def _aged(self, token: str, seconds: float) -> str:
        return sealed_again(self.site.homes[0] / "fernet-keys", token, time.time() - seconds)

    @property
    def changes(self) -> dict[str, Change]:
        """What may change, in an order in which each changes what is answered about the tokens that it names."""
        ids = self.ids

        def patch(path: str, singular: str, **what: Any) -> Act:
            return lambda do: do("PATCH", path, {singular: what})

        def delete(path: str, **headers: str) -> Act:
            return lambda do: do("DELETE", path, **headers)

        def put(path: str) -> Act:
            return lambda do: do("PUT", path)

        def named(name: str) -> dict[str, str]:
            return {"name": f"{name}-{self._mark}"}

        first, second = f"/projects/{ids['first']}", f"/projects/{ids['second']}"
        compute, other = f"/services/{ids['compute']}", f"/domains/{ids['other']}"
        dave, alice = f"/users/{ids['dave']}", f"/users/{ids['alice']}"
        carol = {"X-Subject-Token": self.tokens["carol-rescoped"]}
        watcher = self.grant("projects", "first", "alice", "watcher")
        credential = f"{alice}/application_credentials/{ids['credential']}"
        return {
            "a role is granted": (("alice-first",), put(watcher)),
            "a role is taken away": (("alice-first",), delete(watcher)),
            "an implied role goes": (("alice-second",), delete(self.implied)),
            "an implied role comes": (("alice-second",), put(self.implied)),
            "a user is renamed": (
                ("alice", "disguised", "by-free"),
                patch(alice, "user", **named("alicia")),
            ),
            "a project is renamed": (
                ("bob-first", "trusted"),
                patch(first, "project", **named("premier")),
            ),
            "a domain is renamed": (("frank",), patch(other, "domain", **named("elsewhere"))),
            "an endpoint comes": (("svc",), lambda do: self._endpoint("internal", do)),
            "a service is disabled": (("svc",), patch(compute, "service", enabled=False)),
            "a service is enabled": (("svc",), patch(compute, "service", enabled=True)),
            "an endpoint goes": (
                ("svc",),
                lambda do: do("DELETE", f"/endpoints/{ids['endpoint:internal']}"),
            ),
            "a project is disabled": (("alice-second",), patch(second, "project", enabled=False)),
            # Disabling it has ended its tokens: this changes nothing for them.
            "a project is enabled": ((), patch(second, "project", enabled=True)),
            "a token is revoked": (("carol-rescoped",), delete("/auth/tokens", **carol)),
            "a user is disabled": (("dave",), patch(dave, "user", enabled=False)),
            "a user is enabled": ((), patch(dave, "user", enabled=True)),
            "a user is deleted": (("erin",), delete(f"/users/{ids['erin']}")),
            "a password changes": (
                ("carol",),
                patch(f"/users/{ids['carol']}", "user", password="another one"),
            ),
            "a domain is disabled": (("frank",), patch(other, "domain", enabled=False)),
            "a trust is deleted": (
                ("trusted",),
                lambda do: do("DELETE", f"/OS-TRUST/trusts/{ids['trust']}", **self._as("alice")),
            ),
            "a credential is deleted": (
                ("by-credential",),
                lambda do: do("DELETE", credential, **self._as("alice")),
            ),
            "a system role goes": (("alice-system",), delete(self.system)),
            "an inherited role goes": ((), delete(self.inherited)),
            "a group is left": ((), delete(self.membership)),
            "a project is deleted": ((), delete(second)),
        }

    def _as(self, user: str) -> dict[str, str]:
        return {"X-Auth-Token": self._login(user, project="first")}


def sealed_again(keys: Path, token: str, expires_at: float) -> str:
    """A Fernet token with another end of its life, sealed with the keys of a repository."""
    files = sorted(keys.iterdir(), key=lambda path: int(path.name), reverse=True)
    box = MultiFernet([Fernet(path.read_bytes()) for path in files])
    parts = msgpack.unpackb(box.decrypt(token + "=" * (-len(token) % 4)), raw=True)
    parts = [expires_at if isinstance(part, float) else part for part in parts]
    return box.encrypt(msgpack.packb(parts, use_bin_type=False)).rstrip(b"=").decode()


def new_key() -> bytes:
    return base64.urlsafe_b64encode(secrets.token_bytes(32))


def _shuffled(source: random.Random, names: Sequence[str]) -> list[str]:
    return source.sample(list(names), len(names))
