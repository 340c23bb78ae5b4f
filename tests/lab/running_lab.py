"""The lab as the tests see it: its sites, its users, its faults, and what has to hold before a test begins.

Everything here asks the running lab; nothing is remembered but the admin token. Waits have deadlines with reasons.
"""

import contextlib
import functools
import json
import os
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.identity.config import AGENT_PORT
from isthmus.lab import bringup, calling, clients, delays, faults, home, network, state, waiting
from isthmus.lab.calling import Account, Call, Client
from isthmus.lab.components import base, mariadb
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.units import OUTSIDE, Unit

# A killed site starts its databases, then its services: 15 s on two idle cores, and the replicas' agent proves them for some
# seconds more. Three times that is a fault.
HEALTHY_DEADLINE = 60.0

# Group communication takes 6 s to exclude a dead member, the next writer waits its turn, the load balancer 2 s to follow.
WRITES_DEADLINE = 45.0


class Quiet:
    """Progress that tells nobody."""

    def begin(self, step: str) -> None:
        """A step has begun."""

    def end(self, step: str, seconds: float, note: str = "") -> None:
        """A step is done."""

    def fail(self, step: str, seconds: float, cause: str) -> None:
        """A step failed; the exception says it."""

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of their own for one test, a member of project demo."""

    id: str
    account: Account

    @property
    def wrong(self) -> Account:
        return Account(user=self.account.user, password="wrong", project=self.account.project)


@dataclass(kw_only=True)
class Lab:
    """The running lab; `lock` is the machine's lab lock, which the session holds."""

    home: Home
    environment: Environment
    lock: contextlib.ExitStack = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def units(self) -> Mapping[str, Unit]:
        return bringup.loaded(self.home)

    def forget(self) -> None:
        """Forget what belongs to a lab that was taken down: the keys are new, and so may be the template."""
        self.tokens.clear()
        self.__dict__.pop("units", None)

    @property
    def paris(self) -> SiteSpec:
        return self.environment.site("paris")

    @property
    def lyon(self) -> SiteSpec:
        return self.environment.site("lyon")

    @property
    def madrid(self) -> SiteSpec:
        return self.environment.site("madrid")

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        return self.environment.sites

    def account(self, name: str) -> Account:
        return calling.account(next(iter(self.units.values())).context.template, name)

    @property
    def login(self) -> Client:
        """A client of the one login URL."""
        return Client(self.environment.login_address)

    @property
    def admin(self) -> str:
        """An admin token, good at every site for the whole session."""
        if "admin" not in self.tokens:
            call = calling.at(self.paris).login(self.account("admin"))
            assert call.status == 201, call.said
            self.tokens["admin"] = call.token
        return self.tokens["admin"]

    # Faults

    def cut(self, target: str, *, silenced: str | None = None) -> None:
        faults.cut(self.environment, target, silenced=silenced)

    def heal(self, target: str | None = None) -> None:
        faults.heal(self.home, self.environment, target)

    def delay(self, target: str, milliseconds: float) -> None:
        faults.delay(self.home, self.environment, target, milliseconds)

    def kill(self, target: str) -> int:
        return faults.kill(self.home, self.units, target)

    def freeze(self, target: str) -> int:
        return faults.freeze(self.home, self.units, target)

    def resume(self, target: str) -> None:
        faults.resume(self.home, self.units, target, Quiet())

    # What the parts say of themselves

    def status(self, site: SiteSpec) -> dict[str, Any]:
        """What the site's agent says."""
        url = f"http://{site.management}:{AGENT_PORT}/status"
        with urllib.request.urlopen(url, timeout=5) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def database(self, unit: str) -> dict[str, Any]:
        """What the agent says of one database, named `site/database`."""
        site, name = unit.split("/")
        documents = self.status(self.environment.site(site))["databases"]
        return next(document for document in documents if document["name"] == name)

    def writers(self) -> list[str]:
        """Sites whose agents call their node the writer; a site that does not answer is left out."""
        found = []
        for site in self.environment.writers:
            with contextlib.suppress(OSError):
                if self.status(site)["databases"][0]["writer"]:
                    found.append(site.name)
        return found

    def pending(self, site: SiteSpec) -> int:
        """How many writes wait in the site's queue."""
        return int(self.status(site)["queue"]["pending"])

    def balancer(self, place: str) -> dict[str, str]:
        """State of every server of a site's load balancer (`outside`: the login front), by `backend/server`."""
        unit = self.units[f"{place}/{'login' if place == OUTSIDE else 'haproxy'}"]
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(5)
            stream.connect(str(unit.context.directory / "stats.sock"))
            stream.sendall(b"show stat\n")
            text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
        return {
            f"{row[0]}/{row[1]}": row[17] for row in rows if row[1] not in ("FRONTEND", "BACKEND")
        }

    def sql(self, unit: str, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        """Ask a database directly, past everything that is tested."""
        return mariadb.query(self.units[unit].context, statement, arguments)

    def identity_databases(self) -> list[str]:
        names = ("identity-db", "replica-paris", "replica-lyon")
        return [unit for unit in self.units if unit.split("/")[1] in names]

    # Users

    def new_user(self) -> User:
        """A user made at Paris, known at every site."""
        client, name, password = (
            calling.at(self.paris),
            f"user-{uuid.uuid4().hex[:8]}",
            uuid.uuid4().hex,
        )
        made = client.create("user", self.admin, name=name, password=password, domain_id="default")
        assert made.status == 201, made.said
        user = User(
            id=made.body["user"]["id"],
            account=Account(user=name, password=password, project="demo"),
        )
        path = f"/projects/{self.project('demo')}/users/{user.id}/roles/{self.role('member')}"
        assert client.identity("PUT", path, token=self.admin).status == 204
        self.caught_up()
        return user

    def project(self, name: str) -> str:
        statement = "SELECT id FROM keystone.project WHERE name = %s"
        return str(self.sql("paris/identity-db", statement, name)[0]["id"])

    def role(self, name: str) -> str:
        statement = "SELECT id FROM keystone.role WHERE name = %s"
        return str(self.sql("paris/identity-db", statement, name)[0]["id"])

    def new_project(self, site: SiteSpec, token: str | None = None) -> Call:
        """Try to make a project at a site: the plainest write that must be strict."""
        name = f"project-{uuid.uuid4().hex[:12]}"
        return calling.at(site).create(
            "project", token or self.admin, name=name, domain_id="default"
        )

    def new_trust(self, trustor: User, trustee: User, *, uses: int | None) -> str:
        """A trust in project demo; `uses` limits it. Returns its id, known at every site."""
        client = calling.at(self.paris)
        body = {
            "trustor_user_id": trustor.id,
            "trustee_user_id": trustee.id,
            "project_id": self.project("demo"),
            "impersonation": False,
            "roles": [{"id": self.role("member")}],
            "remaining_uses": uses,
        }
        token = client.login(trustor.account).token
        made = client.identity("POST", "/OS-TRUST/trusts", token=token, body={"trust": body})
        assert made.status == 201, made.said
        self.caught_up()
        return str(made.body["trust"]["id"])

    def login_by_trust(self, site: SiteSpec, trustee: User, trust: str) -> Call:
        """The trustee logs in at a site to use the trust."""
        account = {"id": trustee.id, "password": trustee.account.password}
        identity = {"methods": ["password"], "password": {"user": account}}
        body = {"auth": {"identity": identity, "scope": {"OS-TRUST:trust": {"id": trust}}}}
        return calling.at(site).identity("POST", "/auth/tokens", body=body)

    def new_application_credential(self, user: User) -> dict[str, Any]:
        """An application credential of the user: the body of a login with it, good at every site."""
        client = calling.at(self.paris)
        token = client.login(user.account).token
        made = client.identity(
            "POST",
            f"/users/{user.id}/application_credentials",
            token=token,
            body={"application_credential": {"name": "lab"}},
        )
        assert made.status == 201, made.said
        made_as = made.body["application_credential"]
        self.caught_up()
        secret = {"id": made_as["id"], "secret": made_as["secret"]}
        identity = {"methods": ["application_credential"], "application_credential": secret}
        return {"auth": {"identity": identity}}

    def caught_up(self) -> None:
        """Wait until both replicas hold what the writer holds now."""
        goal = self.sql("paris/identity-db", "SELECT @@gtid_binlog_pos AS p")[0]["p"]
        for unit in ("madrid/replica-paris", "madrid/replica-lyon"):
            # Milliseconds; five seconds is what the load balancer tolerates.
            rows = self.sql(unit, "SELECT MASTER_GTID_WAIT(%s, 5) AS late", goal)
            assert rows[0]["late"] == 0, f"{unit} is not at {goal} after 5 s"

    def everywhere(self, projects: Sequence[str], *, deadline: float, why: str) -> None:
        """Every identity database has all these projects before the deadline."""
        assert projects, "nothing was written, so nothing is proven"
        marks = ", ".join(["%s"] * len(projects))
        statement = f"SELECT COUNT(*) AS n FROM keystone.project WHERE id IN ({marks})"  # noqa: S608

        def missing() -> str | None:
            for unit in self.identity_databases():
                found = self.sql(unit, statement, *projects)[0]["n"]
                if found != len(projects):
                    return f"{unit} has {found} of {len(projects)} projects"
            return None

        waiting.until(missing, deadline=deadline, what=f"writes are missing ({why})", where="lab")

    # Commands

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[None]:
        """Give the lab's lock to the commands that are run meanwhile."""
        self.lock.close()
        try:
            yield
        finally:
            self.lock.enter_context(home.locked(self.home, "the lab tests"))

    def environ(self) -> dict[str, str]:
        return {**os.environ, **clients.exports(self.home, self.environment)}

    def command(
        self, *words: str, program: str = "isthmus", timeout: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the locked environment as an operator does."""
        return subprocess.run(
            [base.script(program), *words],
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=Path("/"),
        )

    # What holds before a test

    def mend(self) -> None:
        """Heal, continue and start whatever an earlier test (or a person) has left behind, and wait until all is well."""
        for end in network.link_ends(self.environment):
            if end.dropping:
                network.heal(self.environment.link(end.link))
        for link in self.environment.links:
            if delays.current(self.home, link) is not None:
                delays.set_delay(self.home, self.environment, link, 0)
        for site in self.sites:
            network.heal_management(site)
        for place in (*(site.name for site in self.sites), OUTSIDE):
            found = state.of_units(self.home, self.units)
            if any(u.phase != "running" for u in found if u.unit.startswith(f"{place}/")):
                self.resume(place)
        self.healthy()

    def healthy(self, *, deadline: float = HEALTHY_DEADLINE) -> float:
        """Wait until every part serves: agents, load balancers, one writer, empty queues. Returns the seconds."""
        return waiting.until(
            self.ailing, deadline=deadline, what="the lab is not healthy", where="lab"
        )

    def ailing(self) -> str | None:
        """What is not well, None if all is."""
        for site in self.sites:
            try:
                status = self.status(site)
            except OSError as error:
                return f"{site.name}: the agent does not answer: {error}"
            for database in status["databases"]:
                if not database["serving"] or not database["lease"]["held"]:
                    return f"{site.name}/{database['name']}: {database['reason']}"
            if status["queue"].get("pending") != 0:
                return f"{site.name}: the queue holds {status['queue']}"
        if len(writers := self.writers()) != 1:
            return f"writers: {writers}"
        return self.unbalanced()

    def unbalanced(self) -> str | None:
        """A server that a load balancer does not use although it should."""
        for place in (*(site.name for site in self.sites), OUTSIDE):
            try:
                servers = self.balancer(place)
            except OSError as error:
                return f"{place}: the load balancer does not answer: {error}"
            # Of the two writer nodes one is down by design.
            down = [
                name
                for name, said in servers.items()
                if not said.startswith("UP") and not name.startswith("writer/")
            ]
            if down:
                return f"{place}: the load balancer holds {', '.join(down)} for down"
            if place != OUTSIDE and not any(
                said.startswith("UP")
                for name, said in servers.items()
                if name.startswith("writer/")
            ):
                return f"{place}: the load balancer has no writer"
        return None
