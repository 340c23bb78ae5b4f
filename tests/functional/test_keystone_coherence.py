"""A site that answers validations from memory is held against a stock Keystone: the same bytes, before and after every change.

Real MariaDB replication, a real agent, two worker processes with four threads each.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from coherent_site import (
    CACHE_SECONDS,
    PROOF_SECONDS,
    Client,
    CoherentSite,
    Reply,
    running_coherent_site,
)
from coherent_world import Case, World, new_key, sealed_again

from conditions import wait_for

# Several real daemons for minutes: `make test-long`.
pytestmark = [pytest.mark.functional, pytest.mark.long]

# Two processes: enough requests on new connections that both have answered, with a wide margin.
BOTH_WORKERS = 8
BEFORE, AFTER_EACH = 60, 2
SEED = 20260823
# What a busy machine may add to a bound.
SLACK_SECONDS = 5.0
CASES_OF_CHAOS = 3000


@pytest.fixture(scope="module")
def site() -> Iterator[CoherentSite]:
    with running_coherent_site() as running:
        yield running


@pytest.fixture(scope="module")
def world(site: CoherentSite) -> World:
    return World(site)


class Judge:
    """Asks both Keystones the same and compares.

    The site is asked twice, the second time from memory if the answer may be kept.
    """

    def __init__(self, site: CoherentSite, world: World) -> None:
        self._ours, self._stock = Client(site.port), Client(site.stock_port)
        self._world = world
        self.statuses: dict[int, int] = {}

    def compare(
        self, cases: Sequence[Case], when: str, settled: Callable[[], None] = lambda: None
    ) -> list[Reply]:
        """The stock Keystone's replies, which the site's have equalled.

        The site is asked at once: what it kept from before a change is what could be stale. `settled` waits until the writer has
        what the site has queued.
        """
        tokens = self._world.tokens
        asked = [[case.send(self._ours, tokens) for _ in range(2)] for case in cases]
        settled()
        replies = []
        for case, answers in zip(cases, asked, strict=True):
            # Stock Keystone validates a caller with what its thread's last request had cached, until it has: a request that
            # asks nothing leaves nothing behind. The site kit begins every request with nothing.
            assert self._stock.ask("GET", "/v3", {}).status == 200
            expected = case.send(self._stock, tokens)
            self.statuses[expected.status] = self.statuses.get(expected.status, 0) + 1
            for answer in answers:
                assert answer == expected, (when, case, answer, expected)
                assert answer.request_id.startswith("req-")
            assert answers[0].request_id != answers[1].request_id
            replies.append(expected)
        return replies


def plain(subject: str) -> Case:
    return Case(method="GET", caller="admin", subject=subject, query="", header=0)


def validations(site: CoherentSite, token: str) -> set[int]:
    """What both workers say of a token, on new connections."""
    said = {**site.admin_headers, "X-Subject-Token": token}
    answers = [
        Client(site.port).ask("GET", "/v3/auth/tokens", said).status for _ in range(BOTH_WORKERS)
    ]
    return set(answers)


def person(site: CoherentSite, world: World, name: str) -> tuple[str, str]:
    """A new user's id, and a token of theirs."""
    return world.add_user(name), site.token({"id": world.ids[name]})


def test_repeated_validations_do_not_ask_the_database(site: CoherentSite, world: World) -> None:
    """A database that stands still answers nothing, so that whoever answers does it from memory."""
    client, case = Client(site.port), plain("frank")
    first = case.send(client, world.tokens)
    site.proven()

    def asked_again() -> bool:
        assert case.send(client, world.tokens) == first
        return time.monotonic() - began > CACHE_SECONDS + 1

    # On the same connection, so that it is the same worker; and until Keystone's own caches have forgotten it.
    began = time.monotonic()
    wait_for("Keystone's own caches have expired", asked_again, CACHE_SECONDS + SLACK_SECONDS)
    with site.frozen(site.replica.pid):
        began = time.monotonic()
        assert case.send(client, world.tokens) == first
        assert time.monotonic() - began < PROOF_SECONDS


def test_answers_are_the_same_bytes_before_and_after_every_change(
    site: CoherentSite, world: World
) -> None:
    source = random.Random(SEED)  # noqa: S311
    judge = Judge(site, world)
    judge.compare(world.cases(source, BEFORE), "before")
    for number, (what, (names, change)) in enumerate(world.changes.items()):
        concerned = [plain(name) for name in names]
        before = judge.compare(concerned, f"before {what}")
        # Made half at this site, which must show it to the next request, and half elsewhere.
        if number % 2:
            change(site.here)
        else:
            change(site.elsewhere)
            site.proven()
        after = judge.compare(concerned, f"after {what}", site.replayed)
        assert not any(one == other for one, other in zip(before, after, strict=True)), what
        judge.compare(world.cases(source, AFTER_EACH), f"after {what}")
    assert judge.statuses.keys() >= {200, 401, 403, 404}, judge.statuses
    assert sum(judge.statuses.values()) > 150


def test_a_revocation_holds_at_every_worker_at_once_also_when_cut_off(
    site: CoherentSite, world: World
) -> None:
    for cuts in (False, True):
        _, token = person(site, world, f"revoked-{cuts}")
        site.proven()
        assert validations(site, token) == {200}
        if cuts:
            site.cut()
        try:
            site.here("DELETE", "/auth/tokens", **{"X-Subject-Token": token})
            assert validations(site, token) == {404}
        finally:
            site.heal()


def test_no_answer_outlives_its_token(site: CoherentSite, world: World) -> None:
    _, token = person(site, world, "short")
    site.proven()
    ends = time.time() + 4
    token = sealed_again(site.homes[0] / "fernet-keys", token, ends)
    said = {**site.admin_headers, "X-Subject-Token": token}
    client = Client(site.port)
    answers = []
    while not answers or answers[-1][1] == 200:
        before = time.time()
        answers.append((before, client.ask("GET", "/v3/auth/tokens", said).status))
    # Keystone's own tokens end at a whole second; this one's life is rounded as Keystone reads it.
    assert answers[-1][1] == 404
    assert all(at < ends + 1 for at, status in answers if status == 200)
    assert len(answers) > 5


def test_a_federated_user_is_never_answered_for_from_memory(
    site: CoherentSite, world: World
) -> None:
    path = "/OS-FEDERATION/identity_providers/idp"
    site.elsewhere("PUT", path, {"identity_provider": {"enabled": True}})
    rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]
    site.elsewhere("PUT", "/OS-FEDERATION/mappings/map", {"mapping": {"rules": rules}})
    site.elsewhere("PUT", f"{path}/protocols/saml2", {"protocol": {"mapping_id": "map"}})
    user, token = person(site, world, "guest")
    bond = {"idp_id": "idp", "protocols": [{"protocol_id": "saml2", "unique_id": "guest"}]}
    site.elsewhere("PATCH", f"/users/{user}", {"user": {"federated": [bond]}})
    site.proven()
    assert validations(site, token) == {200}
    said = {**site.admin_headers, "X-Subject-Token": token}
    began = time.monotonic()
    expired = CACHE_SECONDS + 1
    wait_for("its caches have expired", lambda: time.monotonic() - began > expired, expired + 1)
    with site.frozen(site.replica.pid), pytest.raises(TimeoutError):
        # A database that stands still answers nothing, so that whoever waits has asked it.
        Client(site.port, seconds=PROOF_SECONDS / 3).once("GET", "/v3/auth/tokens", said)


def test_a_change_of_the_policy_holds_at_once(site: CoherentSite, world: World) -> None:
    case = Case(method="GET", caller="svc", subject="bob-first", query="", header=0)
    judge = Judge(site, world)
    judge.compare([case], "before")
    files = [home / "policy.yaml" for home in site.homes]
    try:
        for file in files:
            file.write_text('"identity:validate_token": "!"\n')
        judge.compare([case], "with a policy that refuses")
    finally:
        for file in files:
            file.unlink()
    assert 403 in judge.statuses


def test_a_late_agent_hides_nothing_for_longer_than_its_proof(
    site: CoherentSite, world: World
) -> None:
    user, token = person(site, world, "late")
    site.proven()
    assert validations(site, token) == {200}
    assert site.agent is not None
    with site.frozen(site.agent.pid):
        site.elsewhere("PATCH", f"/users/{user}", {"user": {"enabled": False}})
        site.caught_up()
        # The answers in memory end with the proof; Keystone's own caches, then used as without Isthmus, by their time.
        bound = PROOF_SECONDS + CACHE_SECONDS + SLACK_SECONDS
        wait_for("both workers refuse", lambda: validations(site, token) == {404}, bound)
        # Who asks first after the caches' time may be refused a moment before the proof ends.
        wait_for("nothing is proven any more", lambda: site.view() is None, PROOF_SECONDS)
    wait_for("it is followed again", lambda: site.view() is not None, 15)
    assert validations(site, token) == {404}


def test_without_an_agent_it_is_as_without_and_with_it_again_as_before(
    site: CoherentSite, world: World
) -> None:
    user, token = person(site, world, "again")
    site.proven()
    assert validations(site, token) == {200}
    site.end_agent()
    assert not site.generations.exists()
    assert validations(site, token) == {200}
    site.elsewhere("PATCH", f"/users/{user}", {"user": {"enabled": False}})
    site.caught_up()
    site.start_agent()
    # What happened while nobody followed is not known, and so nothing from before is used.
    assert validations(site, token) == {404}


def test_writes_of_isthmus_itself_change_no_generation(site: CoherentSite) -> None:
    site.proven()
    before = site.view()
    assert before is not None
    for sequence in range(20):
        site.master.run(
            "REPLACE INTO isthmus_identity.replay_position VALUES ('x', 'y', %s, NOW())", sequence
        )
    site.proven()
    after = site.view()
    assert after is not None
    assert after.generations == before.generations
    site.master.run("DELETE FROM keystone.revocation_event WHERE id < 0")
    site.master.run("INSERT INTO keystone.config_register VALUES ('t', 'd')")
    site.proven()
    changed = site.view()
    assert changed is not None
    assert changed.generations != before.generations


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_thousands_of_cases_around_changes_in_any_order(site: CoherentSite) -> None:
    """Fresh worlds, each with its changes in another order and place, until enough cases were compared."""
    source = random.Random()  # noqa: S311
    seed = source.randrange(10**9)
    source.seed(seed)
    compared = 0
    while compared < CASES_OF_CHAOS:
        world = World(site)
        judge = Judge(site, world)
        changes = list(world.changes.items())
        source.shuffle(changes)
        for what, (names, change) in changes:
            cases = [*map(plain, names), *world.cases(source, 20)]
            judge.compare(cases, f"seed {seed}: before {what}")
            elsewhere = source.random() < 0.5
            # In another order some changes are refused, because their object is gone: nothing was changed then.
            with contextlib.suppress(AssertionError):
                change(site.elsewhere if elsewhere else site.here)
            if elsewhere:
                site.proven()
            judge.compare(cases, f"seed {seed}: after {what}", site.replayed)
        compared += sum(judge.statuses.values())


def test_z_a_key_that_is_gone_ends_its_tokens_at_once(site: CoherentSite, world: World) -> None:
    """The last one: it ends every token there is."""
    _, token = person(site, world, "sealed")
    site.proven()
    assert validations(site, token) == {200}
    keys = site.homes[0] / "fernet-keys"
    fresh = keys.with_name("fresh")
    fresh.mkdir(mode=0o700)
    for index in "01":
        (fresh / index).write_bytes(new_key())
    old = keys.with_name("old")
    keys.rename(old)
    fresh.rename(keys)
    said = {**site.admin_headers, "X-Subject-Token": token}
    statuses = {
        Client(site.port).ask("GET", "/v3/auth/tokens", said).status for _ in range(BOTH_WORKERS)
    }
    assert statuses == {401}
    shutil.rmtree(old)
