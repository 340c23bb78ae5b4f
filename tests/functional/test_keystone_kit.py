"""A replica site's Keystone, connected to the writer site and cut off from it.

The rows are those of the identity recipe's table of what stock Keystone does on a read-only
replica; real MariaDB replication, real Keystone, two worker processes with four threads each.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystone_site import LOCKOUT_ATTEMPTS, PASSWORD, Answer, Site, running_site

from conditions import wait_for
from isthmus.checks import gathering, registry, running
from isthmus.sites import inventory, probe

pytestmark = pytest.mark.functional

# Two processes: enough requests on new connections that both have answered, with a wide margin.
BOTH_WORKERS = 8


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture(params=["connected", "cut off"])
def link(request: pytest.FixtureRequest, site: Site) -> Iterator[Link]:
    one = Link(site, cuts=request.param == "cut off")
    yield one
    site.heal()


@pytest.fixture
def healed(site: Site) -> Iterator[Site]:
    """The site for tests that cut it themselves; it is healed after them."""
    yield site
    site.heal()


class Link:
    """Whether this run of a test is to be cut off, once its preparations are done."""

    def __init__(self, site: Site, *, cuts: bool) -> None:
        self.cuts = cuts
        self._site = site

    def apply(self) -> None:
        self._site.caught_up()
        if self.cuts:
            self._site.cut()


class Person:
    """A user of their own for one test, with the role member in a project of their own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.name = f"user-{uuid.uuid4().hex[:8]}"
        user = site.create("users", "user", name=self.name, password=PASSWORD, domain_id="default")
        project = site.create("projects", "project", name=self.name, domain_id="default")
        self.id, self.project = user["id"], project["id"]
        self.role = site.member
        path = f"/v3/projects/{self.project}/users/{self.id}/roles/{self.role}"
        assert site("PUT", path, token=site.admin).status == 204

    def login(self, password: str = PASSWORD, **how: Any) -> Answer:
        return self.site.login(self.name, password, **how)

    def was_last_active(self, day: datetime.date) -> None:
        statement = "UPDATE keystone.user SET last_active_at = %s WHERE id = %s"
        self.site.master.run(statement, day, self.id)
        self.site.caught_up()

    def trust(self, trustee: Person, uses: int | None) -> str:
        body = {
            "trustor_user_id": self.id,
            "trustee_user_id": trustee.id,
            "project_id": self.project,
            "impersonation": False,
            "roles": [{"id": self.role}],
            "remaining_uses": uses,
        }
        token = self.login(project=self.project).token
        answer = self.site("POST", "/v3/OS-TRUST/trusts", {"trust": body}, token=token)
        assert answer.status == 201, answer
        return str(answer.body["trust"]["id"])


REVOCATIONS = "SELECT count(*) FROM keystone.revocation_event WHERE audit_id = %s"


def audit(site: Site, token: str) -> str:
    body = site("GET", "/v3/auth/tokens", token=site.admin, subject=token).body
    return str(body["token"]["audit_ids"][0])


@pytest.fixture
def person(site: Site) -> Person:
    return Person(site)


def today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def assert_refused_clearly(answer: Answer) -> None:
    assert answer.status == 503, answer
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["retry-after"]) > 0
    error = answer.body["error"]
    assert (error["code"], error["title"]) == (503, "Service Unavailable")
    assert "writer site" in error["message"]
    assert "Nothing was changed" in error["message"]
    assert "127.0.0.1" not in error["message"]
    assert "SQL" not in error["message"]


def test_a_token_is_validated_and_rescoped(site: Site, person: Person, link: Link) -> None:
    token = person.login().token
    link.apply()
    assert site.validate(token) == 200
    identity = {"methods": ["token"], "token": {"id": token}}
    scope = {"project": {"id": person.project}}
    body = {"auth": {"identity": identity, "scope": scope}}
    assert site("POST", "/v3/auth/tokens", body).status == 201


def test_a_user_who_was_active_today_logs_in(person: Person, link: Link) -> None:
    person.was_last_active(today())
    link.apply()
    assert person.login(project=person.project).status == 201


def test_the_first_login_of_the_day_succeeds_and_its_day_reaches_the_writer(
    site: Site, person: Person, link: Link
) -> None:
    person.was_last_active(today() - datetime.timedelta(days=1))
    link.apply()
    assert person.login().status == 201
    assert person.login().status == 201
    site.heal()
    assert site.account(person.id, site.master)[2] == today()


def test_a_wrong_password_is_401_and_is_counted_at_the_writer(
    site: Site, person: Person, link: Link
) -> None:
    link.apply()
    assert person.login("wrong").status == 401
    site.heal()
    count, failed_at, _ = site.account(person.id, site.master)
    assert count == 1
    assert failed_at is not None


def test_a_right_password_resets_the_counter(site: Site, person: Person, link: Link) -> None:
    link.apply()
    assert person.login("wrong").status == 401
    assert person.login().status == 201
    site.heal()
    assert site.account(person.id, site.master)[:2] == (0, None)


def test_the_lockout_holds_at_once_and_after_healing(
    site: Site, person: Person, link: Link
) -> None:
    link.apply()
    for _ in range(LOCKOUT_ATTEMPTS):
        assert person.login("wrong").status == 401
    for _ in range(BOTH_WORKERS):
        assert person.login().status == 401
    site.heal()
    assert site.account(person.id, site.master)[0] == LOCKOUT_ATTEMPTS
    assert site.account(person.id, site.replica)[0] == LOCKOUT_ATTEMPTS
    assert person.login().status == 401


def test_failures_from_before_the_cut_count_towards_the_lockout(
    healed: Site, person: Person
) -> None:
    assert person.login("wrong").status == 401
    healed.heal()
    healed.cut()
    for _ in range(LOCKOUT_ATTEMPTS - 1):
        assert person.login("wrong").status == 401
    assert person.login().status == 401


def test_an_application_credential_logs_in(site: Site, person: Person, link: Link) -> None:
    token = person.login(project=person.project).token
    path = f"/v3/users/{person.id}/application_credentials"
    made = site("POST", path, {"application_credential": {"name": "one"}}, token=token)
    assert made.status == 201
    credential = made.body["application_credential"]
    link.apply()
    secret = {"id": credential["id"], "secret": credential["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": secret}
    assert site("POST", "/v3/auth/tokens", {"auth": {"identity": identity}}).status == 201


def test_an_ec2_credential_logs_in(site: Site, person: Person, link: Link) -> None:
    token = person.login(project=person.project).token
    path = f"/v3/users/{person.id}/credentials/OS-EC2"
    made = site("POST", path, {"tenant_id": person.project}, token=token)
    assert made.status == 201
    credential = made.body["credential"]
    link.apply()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parameters = {"SignatureVersion": "0", "Action": "Test", "Timestamp": now}
    signed = hmac.new(credential["secret"].encode(), f"Test{now}".encode(), hashlib.sha1).digest()
    body = {
        "access": credential["access"],
        "host": "h",
        "verb": "GET",
        "path": "/",
        "params": parameters,
        "signature": base64.b64encode(signed).decode(),
    }
    answer = site("POST", "/v3/ec2tokens", {"credentials": body}, token=site.admin)
    assert answer.status == 200, answer


def test_an_unlimited_trust_logs_in(site: Site, person: Person, link: Link) -> None:
    trustee = Person(site)
    trust = person.trust(trustee, uses=None)
    link.apply()
    assert trustee.login(trust=trust).status == 201


def test_a_limited_trust_is_counted_or_refused(site: Site, person: Person, link: Link) -> None:
    trustee = Person(site)
    trust = person.trust(trustee, uses=1)
    link.apply()
    answer = trustee.login(trust=trust)
    if link.cuts:
        assert_refused_clearly(answer)
    else:
        assert answer.status == 201
        assert trustee.login(trust=trust).status in (401, 403)


@pytest.mark.parametrize("what", ["project", "application credential", "ec2 credential", "trust"])
def test_whatever_is_created_is_written_or_refused(
    site: Site, person: Person, link: Link, what: str
) -> None:
    own = person.login(project=person.project).token
    name = uuid.uuid4().hex
    path, body, token = {
        "project": ("/v3/projects", {"project": {"name": name}}, site.admin),
        "application credential": (
            f"/v3/users/{person.id}/application_credentials",
            {"application_credential": {"name": name}},
            own,
        ),
        "ec2 credential": (
            f"/v3/users/{person.id}/credentials/OS-EC2",
            {"tenant_id": person.project},
            own,
        ),
        "trust": (
            "/v3/OS-TRUST/trusts",
            {
                "trust": {
                    "trustor_user_id": person.id,
                    "trustee_user_id": person.id,
                    "project_id": person.project,
                    "impersonation": False,
                    "roles": [{"id": person.role}],
                }
            },
            own,
        ),
    }[what]
    link.apply()
    answer = site("POST", path, body, token=token)
    if link.cuts:
        assert_refused_clearly(answer)
    else:
        assert answer.status == 201, answer


def test_the_own_password_is_changed_or_the_change_is_refused(
    site: Site, person: Person, link: Link
) -> None:
    token = person.login(project=person.project).token
    link.apply()
    body = {"user": {"password": "another horse", "original_password": PASSWORD}}
    answer = site("POST", f"/v3/users/{person.id}/password", body, token=token)
    if link.cuts:
        assert_refused_clearly(answer)
        assert person.login().status == 201
        assert site.validate(token) == 200
    else:
        assert answer.status == 204, answer
        assert person.login("another horse").status == 201
        assert site.validate(token, by=site.admin) == 404


def test_a_revoked_token_is_refused_by_every_worker_and_stored_once(
    site: Site, person: Person, link: Link
) -> None:
    token = person.login().token
    other = person.login().token
    admin = site.admin
    audit_id = audit(site, token)
    link.apply()
    # Every worker holds a cached validation of the token.
    assert {site.validate(token, by=admin) for _ in range(BOTH_WORKERS)} == {200}
    assert site("DELETE", "/v3/auth/tokens", token=admin, subject=token).status == 204
    assert {site.validate(token, by=admin) for _ in range(BOTH_WORKERS)} == {404}
    assert site.validate(other, by=admin) == 200
    site.heal()
    query = "SELECT count(*) FROM keystone.revocation_event WHERE %s IN (audit_id, audit_chain_id)"
    # Keystone revokes the token and the chain that hangs on it: two events.
    assert site.master.run(query, audit_id) == [(2,)]
    listed = site("GET", "/v3/OS-REVOKE/events", token=admin).body["events"]
    assert sum(event.get("audit_id") == audit_id for event in listed) == 1
    assert {site.validate(token, by=admin) for _ in range(BOTH_WORKERS)} == {404}


def test_a_queued_revocation_is_listed_before_and_after_the_replay(
    healed: Site, person: Person
) -> None:
    token, admin = person.login().token, healed.admin
    audit_id = audit(healed, token)
    healed.cut()
    assert healed("DELETE", "/v3/auth/tokens", token=admin, subject=token).status == 204
    listed = healed("GET", "/v3/OS-REVOKE/events", token=admin).body["events"]
    assert sum(event.get("audit_id") == audit_id for event in listed) == 1


def test_without_a_working_queue_logins_go_on_and_a_revocation_is_written_or_refused(
    site: Site, person: Person, link: Link
) -> None:
    token, admin = person.login().token, site.admin
    link.apply()
    with site.full_disk():
        assert person.login("wrong").status == 401
        assert person.login().status == 201
        answer = site("DELETE", "/v3/auth/tokens", token=admin, subject=token)
        if link.cuts:
            assert answer.status == 503, answer
            assert "Nothing was revoked" in answer.body["error"]["message"]
        else:
            assert answer.status == 204, answer
        seen = {site.validate(token, by=admin) for _ in range(BOTH_WORKERS)}
    assert seen == {200 if link.cuts else 404}
    assert person.login("wrong").status == 401


def test_the_token_of_a_user_disabled_at_the_writer_site_is_refused(
    site: Site, person: Person
) -> None:
    token = person.login().token
    change = {"user": {"enabled": False}}
    assert site("PATCH", f"/v3/users/{person.id}", change, token=site.admin).status == 200
    assert site.validate(token, by=site.admin) == 404
    assert person.login().status == 401


def test_a_disabled_user_stays_refused_while_cut_off(healed: Site, person: Person) -> None:
    token, admin = person.login().token, healed.admin
    change = {"user": {"enabled": False}}
    assert healed("PATCH", f"/v3/users/{person.id}", change, token=admin).status == 200
    healed.cut()
    assert {healed.validate(token, by=admin) for _ in range(BOTH_WORKERS)} == {404}
    assert person.login().status == 401


def test_the_entries_of_a_user_deleted_meanwhile_block_nothing(
    healed: Site, person: Person
) -> None:
    other = Person(healed)
    healed.caught_up()
    healed.cut()
    assert person.login("wrong").status == 401
    assert other.login("wrong").status == 401
    healed.master.run("DELETE FROM keystone.user WHERE id = %s", person.id)
    healed.heal()
    assert healed.account(other.id, healed.master)[0] == 1


def test_nothing_is_lost_when_keystone_is_killed_with_a_full_queue(
    healed: Site, person: Person
) -> None:
    token, admin = person.login().token, healed.admin
    audit_id = audit(healed, token)
    other = Person(healed)
    other.was_last_active(today() - datetime.timedelta(days=1))
    healed.cut()
    assert healed("DELETE", "/v3/auth/tokens", token=admin, subject=token).status == 204
    assert other.login().status == 201
    assert person.login("wrong").status == 401
    waiting = healed.pending()
    healed.kill_keystone()
    # Still cut off: a Keystone that starts without its writer must answer all the same.
    healed.start_keystone()
    assert healed.pending() == waiting
    assert healed.validate(token, by=admin) == 404
    healed.heal()
    assert healed.account(person.id, healed.master)[0] == 1
    assert healed.account(other.id, healed.master)[2] == today()
    assert healed.master.run(REVOCATIONS, audit_id) == [(1,)]


def test_what_is_replayed_again_is_not_applied_again(site: Site, person: Person) -> None:
    token, admin = person.login().token, site.admin
    audit_id = audit(site, token)
    assert person.login("wrong").status == 401
    assert site("DELETE", "/v3/auth/tokens", token=admin, subject=token).status == 204
    wait_for("the queue has been replayed", lambda: site.pending() == 0, 15)
    site.forget_replays()
    wait_for("the queue has been replayed again", lambda: site.pending() == 0, 15)
    assert site.account(person.id, site.master)[0] == 1
    assert site.master.run(REVOCATIONS, audit_id) == [(1,)]


def test_a_revocation_holds_until_a_lagging_replica_shows_it(healed: Site, person: Person) -> None:
    token, admin = person.login().token, healed.admin
    audit_id = audit(healed, token)
    healed.caught_up()
    healed.replica.run("STOP SLAVE SQL_THREAD")
    assert healed("DELETE", "/v3/auth/tokens", token=admin, subject=token).status == 204
    wait_for("the revocation is at the writer site", lambda: healed.pending() == 0, 15)
    assert healed.master.run(REVOCATIONS, audit_id) == [(1,)]
    assert healed.replica.run(REVOCATIONS, audit_id) == [(0,)]
    assert {healed.validate(token, by=admin) for _ in range(BOTH_WORKERS)} == {404}


def test_what_was_written_is_seen_by_the_same_and_the_next_request_while_the_replica_lags(
    healed: Site,
) -> None:
    admin = healed.admin
    healed.replica.run("STOP SLAVE SQL_THREAD")
    try:
        # Keystone reads the new project back to answer; the replica does not have it.
        made = healed.create("projects", "project", name=uuid.uuid4().hex, domain_id="default")
    finally:
        healed.replica.run("START SLAVE SQL_THREAD")
    healed.caught_up()
    for _ in range(BOTH_WORKERS):
        made = healed.create("projects", "project", name=uuid.uuid4().hex, domain_id="default")
        path = f"/v3/projects/{made['id']}"
        assert healed("GET", path, token=admin).status == 200


def test_reads_use_the_replica_only(site: Site, person: Person) -> None:
    token = person.login().token
    site.caught_up()
    before = _selects(site)
    for _ in range(BOTH_WORKERS):
        assert site.validate(token) == 200
    assert _selects(site) == before


def test_the_queue_is_readable_by_its_owner_only(site: Site) -> None:
    for path in site.queue.parent.glob("queue.sqlite*"):
        assert path.stat().st_mode & 0o077 == 0, path


def _selects(site: Site) -> int:
    """SELECT statements on the writer, our own questions left out."""
    rows = site.master.run("SHOW GLOBAL STATUS LIKE 'Com_select'")
    return int(rows[0][1])


def test_the_replica_shows_how_far_the_queue_has_been_replayed(site: Site, person: Person) -> None:
    assert person.login("wrong").status == 401
    wait_for("the queue has been replayed", lambda: site.pending() == 0, 15)
    site.caught_up()
    query = "SELECT sequence FROM isthmus_identity.replay_position WHERE site = 'madrid'"
    assert site.replica.run(query) == site.master.run(query) != [(0,)]


def test_a_fenced_site_issues_no_token_says_so_and_still_validates(site: Site) -> None:
    keys = site.root / "keystone" / "fernet-keys"
    token = site.admin
    mark = keys / "isthmus.json"
    mark.write_text('{"revision": 7, "fenced": "its link is cut"}')
    try:
        answer = site.login("admin")
        assert answer.status == 503
        assert "This site is fenced (its link is cut)" in answer.body["error"]["message"]
        assert int(answer.headers["retry-after"]) > 0
        assert site.validate(token) == 200
    finally:
        mark.unlink()
    assert site.login("admin").status == 201


class Forged:
    """A session with a token that no key has sealed."""

    def get_token(self) -> str:
        return "gAAAAA" + "x" * 170


def test_checks_put_their_questions_to_a_real_keystone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries of the sites file lead to the same Keystone: enough for one to judge the other's token."""
    auth = {
        "auth_url": f"http://127.0.0.1:{site.port}",
        "username": "admin",
        "password": PASSWORD,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    names = ("madrid", "twin")
    clouds_file = tmp_path / "clouds.yaml"
    entries = {name: {"auth": auth, "region_name": name} for name in names}
    clouds_file.write_text(yaml.safe_dump({"clouds": entries}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_file))
    lines = [f"  - {{name: {name}, role: replica}}" for name in names]
    known = inventory.parse("\n".join(["sites:", *lines]), source="sites.yaml")
    user = site.create("users", "user", name=f"direct-{uuid.uuid4().hex[:8]}", password=PASSWORD)
    project = site.create("projects", "project", name=f"for-{user['name']}")
    place = f"/v3/projects/{project['id']}/users/{user['id']}/roles/{site.member}"
    assert site("PUT", place, token=site.admin).status == 204
    site.caught_up()

    clouds = probe.Clouds()
    facts = gathering.gather(
        known,
        clouds,
        sites=known.sites,
        timeout=30,
        login=True,
        cache=tmp_path / "cache.json",
        differences=None,
    )
    report = running.run(registry.CHECKS, facts)
    states = {(each.check, each.site): str(each.state) for each in report.results}
    for check in ("identity-api", "login", "token-accepted"):
        assert {states[check, name] for name in names} == {"OK"}, check
    assert states["group-roles", None] == "WARN"
    assert facts.assignments is not None
    assert facts.assignments.result.value is not None
    direct = [each for each in facts.assignments.result.value if each.user == user["name"]]
    assert [(each.role, each.scope) for each in direct] == [
        ("member", f"project {project['name']}")
    ]
    entrance = dataclasses.replace(
        probe.enter(clouds, known.sites[0], timeout=30), session=Forged()
    )
    refusal = probe.refusal(clouds, entrance, known.sites[1], timeout=30)
    assert refusal is not None
    assert refusal.startswith("401 ")
