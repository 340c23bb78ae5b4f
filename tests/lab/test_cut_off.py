"""Madrid cut off from the WAN: what its users can do alone, and what arrives after healing.

One cut serves the whole module. `alone` does what users do at a cut-off site and keeps what they were told; `healed` kills
Madrid's Keystone while its queue is full, starts it again, and heals the links.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from running_lab import Lab, User
from users import Users, lasting, names

from isthmus.identity import config
from isthmus.lab import calling, waiting
from isthmus.lab.calling import Call

pytestmark = pytest.mark.lab

LOCKOUT_ATTEMPTS = 6

# Two workers answer in turn: enough new connections that both have answered, with a wide margin.
BOTH_WORKERS = 8

# The longest pause between two attempts to replay (4 s), the load balancer's view of the writer (2 s), and as much again.
REPLAY_DEADLINE = 12.0


@dataclass(frozen=True, kw_only=True)
class Alone:
    """What was prepared before the cut, and what Madrid's users were told during it."""

    newcomer: User
    first: Call
    clumsy: User
    wrong: Call
    locked: User
    attempts: list[Call]
    revoked: str
    audit: str
    revoking: Call
    right_after: list[int]
    credential: Call
    trusted: Call
    counted: Call
    created: Call


@pytest.fixture(scope="module")
def alone(lab_up: Lab) -> Iterator[Alone]:
    """Madrid cut off, and its users at work."""
    lab_up.mend()
    madrid = calling.at(lab_up.madrid)
    newcomer, clumsy, locked, trustee = (lab_up.new_user() for _ in range(4))
    credential = lab_up.new_application_credential(trustee)
    unlimited = lab_up.new_trust(clumsy, trustee, uses=None)
    limited = lab_up.new_trust(clumsy, trustee, uses=1)
    revoked = calling.at(lab_up.paris).login(lab_up.account("demo")).token
    for site in lab_up.sites:
        known = calling.at(site).validate(revoked)
        assert known.status == 200
        assert calling.at(site).images(revoked).status == 200
    lab_up.cut("madrid")
    first = madrid.login(newcomer.account)
    revoking = madrid.revoke(revoked, by=lab_up.admin)
    yield Alone(
        newcomer=newcomer,
        first=first,
        clumsy=clumsy,
        wrong=madrid.login(clumsy.wrong),
        locked=locked,
        attempts=[madrid.login(locked.wrong) for _ in range(LOCKOUT_ATTEMPTS)],
        revoked=revoked,
        audit=known.body["token"]["audit_ids"][0],
        revoking=revoking,
        right_after=[madrid.validate(revoked, by=lab_up.admin).status for _ in range(BOTH_WORKERS)],
        credential=madrid.identity("POST", "/auth/tokens", body=credential),
        trusted=lab_up.login_by_trust(lab_up.madrid, trustee, unlimited),
        counted=lab_up.login_by_trust(lab_up.madrid, trustee, limited),
        created=lab_up.new_project(lab_up.madrid),
    )
    lab_up.heal()


@pytest.fixture(scope="module")
def healed(lab_up: Lab, alone: Alone) -> Lab:
    """Madrid's Keystone killed with a full queue and started while still cut off; then healed and drained."""
    waiting_before = lab_up.pending(lab_up.madrid)
    lab_up.kill("madrid/keystone")
    lab_up.resume("madrid/keystone")
    assert lab_up.pending(lab_up.madrid) == waiting_before > 0
    lab_up.heal("madrid")
    waiting.until(
        lambda: f"{n} writes wait" if (n := lab_up.pending(lab_up.madrid)) else None,
        deadline=REPLAY_DEADLINE,
        what="the queue does not drain",
        where="madrid",
    )
    lab_up.healthy()
    lab_up.caught_up()
    return lab_up


def test_stock_clients_get_a_token_and_list_images(lab_up: Lab, alone: Alone) -> None:
    token = lab_up.command(
        "--os-cloud", "madrid", "token", "issue", "-f", "value", "-c", "id", program="openstack"
    )
    assert token.returncode == 0, token.stderr
    assert calling.at(lab_up.madrid).validate(token.stdout.strip()).status == 200
    images = lab_up.command("--os-cloud", "madrid", "image", "list", program="openstack")
    assert images.returncode == 0, images.stderr


def test_a_user_who_never_logged_in_gets_a_token_that_glance_accepts(
    lab_up: Lab, alone: Alone
) -> None:
    assert alone.first.status == 201, alone.first.said
    assert calling.at(lab_up.madrid).images(alone.first.token).status == 200


def test_a_wrong_password_is_401(alone: Alone) -> None:
    assert alone.wrong.status == 401, alone.wrong.said


def test_an_application_credential_logs_in(lab_up: Lab, alone: Alone) -> None:
    assert alone.credential.status == 201, alone.credential.said
    assert calling.at(lab_up.madrid).images(alone.credential.token).status == 200


def test_an_unlimited_trust_logs_in(alone: Alone) -> None:
    assert alone.trusted.status == 201, alone.trusted.said


def test_a_trust_for_a_single_use_is_refused_with_503(alone: Alone) -> None:
    _assert_refused_clearly(alone.counted)


def test_a_write_is_refused_with_a_503_that_says_what_was_not_done(alone: Alone) -> None:
    _assert_refused_clearly(alone.created)


def _assert_refused_clearly(call: Call) -> None:
    assert call.status == 503, call.said
    assert call.body["error"]["code"] == 503
    assert "writer site" in call.body["error"]["message"]
    assert "Nothing was changed" in call.body["error"]["message"]
    # connect_timeout is 3 s, and Keystone asks once; a user who waits longer thinks that the site is dead.
    assert call.seconds < 8.0


def test_a_revocation_holds_at_once_at_every_worker(alone: Alone) -> None:
    assert alone.revoking.status == 204, alone.revoking.said
    assert set(alone.right_after) == {404}


def test_the_revoked_token_is_refused_by_glance_when_its_cache_has_expired(
    lab_up: Lab, alone: Alone
) -> None:
    client = calling.at(lab_up.madrid)
    waiting.until(
        lambda: None if (call := client.images(alone.revoked)).status == 401 else call.said,
        deadline=10.0 + config.CACHE_SECONDS,
        what="Glance accepts a revoked token",
        where="madrid",
    )


def test_the_lockout_holds_at_every_worker(lab_up: Lab, alone: Alone) -> None:
    assert {call.status for call in alone.attempts} == {401}
    right = [calling.at(lab_up.madrid).login(alone.locked.account) for _ in range(BOTH_WORKERS)]
    assert {call.status for call in right} == {401}


def test_stale_replicas_go_on_serving_without_an_error(lab_up: Lab, alone: Alone) -> None:
    # The agent calls both stale after its lag limit of 5 s, and the load balancer follows after two checks.
    waiting.until(
        lambda: _fresh(lab_up),
        deadline=15.0,
        what="the load balancer takes stale replicas for fresh",
        where="madrid",
    )
    for unit in ("madrid/replica-paris", "madrid/replica-lyon"):
        assert not lab_up.database(unit)["serving"]
    with Users(lab_up, names([lab_up.madrid], "check", "read", "login", "image")) as users:
        begun = users.now()
        lasting(4, why="each kind of work several times")
        users.assert_unbothered(begun)


def _fresh(lab: Lab) -> str | None:
    servers = lab.balancer("madrid")
    fresh = [n for n, said in servers.items() if n.startswith("reader_fresh/") and said == "UP"]
    return f"{', '.join(fresh)} still UP" if fresh else None


def test_the_day_of_the_first_login_is_stored_after_a_kill_of_keystone_and_healing(
    healed: Lab, alone: Alone
) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    statement = "SELECT last_active_at AS day FROM keystone.user WHERE id = %s"
    for unit in healed.identity_databases():
        assert healed.sql(unit, statement, alone.newcomer.id)[0]["day"] == today, unit


def test_the_revocation_is_stored_exactly_once_and_holds_everywhere(
    healed: Lab, alone: Alone
) -> None:
    for site in healed.sites:
        client = calling.at(site)
        waiting.until(
            lambda c=client: (  # type: ignore[misc]
                None
                if (call := c.validate(alone.revoked, by=healed.admin)).status == 404
                else call.said
            ),
            deadline=config.CACHE_SECONDS + 5.0,
            what="a revoked token is valid",
            where=site.name,
        )
    statement = "SELECT COUNT(*) AS n FROM keystone.revocation_event WHERE audit_id = %s"
    for unit in healed.identity_databases():
        assert healed.sql(unit, statement, alone.audit)[0]["n"] == 1, unit


def test_failed_logins_are_counted_exactly_in_every_database(healed: Lab, alone: Alone) -> None:
    statement = "SELECT failed_auth_count AS n FROM keystone.local_user WHERE user_id = %s"
    for unit in healed.identity_databases():
        assert healed.sql(unit, statement, alone.clumsy.id)[0]["n"] == 1, unit
        assert healed.sql(unit, statement, alone.locked.id)[0]["n"] == LOCKOUT_ATTEMPTS, unit


def test_a_trust_that_was_refused_was_not_used_up(healed: Lab, alone: Alone) -> None:
    rows = healed.sql(
        "paris/identity-db",
        "SELECT remaining_uses AS n FROM keystone.trust WHERE trustor_user_id = %s ORDER BY remaining_uses",
        alone.clumsy.id,
    )
    assert [row["n"] for row in rows] == [None, 1]
