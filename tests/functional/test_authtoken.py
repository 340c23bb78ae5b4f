"""Services behind the filter, with real Keystones that are killed, frozen, failing, slow, stale, and back again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from authtoken_sites import (
    STALE_LIMIT,
    TIMEOUT,
    TOKEN_CACHE,
    Keystone,
    Service,
    Sites,
    running_sites,
)

from conditions import wait_for

# Several real daemons for minutes: `make test-long`.
pytestmark = [pytest.mark.functional, pytest.mark.long]

# What one request may take beyond the filter's own times on a machine that is busy with other things.
ROOM = 8.0
# Probes come at most a second apart and check a token; the rest is room.
BACK = 20.0


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


@pytest.fixture(autouse=True)
def asked_at_home(sites: Sites) -> None:
    """Every test begins with services that ask their own Keystone."""
    returns_to(sites, sites.at_madrid, sites.madrid, sites.paris)
    returns_to(sites, sites.at_paris, sites.paris, sites.madrid)


def returns_to(sites: Sites, service: Service, own: Keystone, other: Keystone) -> None:
    """Wait until new tokens are checked at the own Keystone and the other one is left alone."""

    def at_home() -> bool:
        before = own.relay.asked, other.relay.asked
        assert service(sites.login()) == 200
        return own.relay.asked > before[0] and other.relay.asked == before[1]

    wait_for("the service asks its own Keystone", at_home, BACK)


def timed(service: Service, token: str) -> tuple[int, float]:
    began = time.monotonic()
    return service(token), time.monotonic() - began


def test_a_killed_keystone_is_replaced_for_all_threads_and_asked_again_when_it_is_back(
    sites: Sites,
) -> None:
    tokens = [sites.login() for _ in range(16)]
    assert [sites.at_madrid(token) for token in tokens[:2]] == [200, 200]
    sites.madrid.signal(signal.SIGKILL)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(sites.at_madrid, tokens[2:])) == {200}
    sites.madrid.start()
    returns_to(sites, sites.at_madrid, sites.madrid, sites.paris)


def test_a_frozen_keystone_costs_the_requests_of_that_moment_one_timeout_and_later_ones_nothing(
    sites: Sites,
) -> None:
    tokens = [sites.login() for _ in range(8)]
    sites.madrid.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(4) as pool:
            at_once = list(pool.map(lambda token: timed(sites.at_madrid, token), tokens[:4]))
        assert {status for status, _ in at_once} == {200}
        assert max(seconds for _, seconds in at_once) < TIMEOUT + ROOM
        later = [timed(sites.at_madrid, token) for token in tokens[4:]]
        assert {status for status, _ in later} == {200}
        # Probes of the frozen one run meanwhile and time out; none of these requests waits for one.
        assert sum(seconds for _, seconds in later) < len(later) * TIMEOUT
    finally:
        sites.madrid.signal(signal.SIGCONT)
    returns_to(sites, sites.at_madrid, sites.madrid, sites.paris)


def test_a_keystone_that_answers_503_is_replaced(sites: Sites) -> None:
    token = sites.login()
    sites.site.replica.stop()
    try:
        # Its own word for a database that is down.
        assert sites.madrid.validates(token) == 503
        assert sites.at_madrid(token) == 200
    finally:
        sites.site.replica.start()
    sites.site.caught_up()
    returns_to(sites, sites.at_madrid, sites.madrid, sites.paris)


def test_a_slow_keystone_is_used_until_it_is_slower_than_the_timeout(sites: Sites) -> None:
    tokens = [sites.login() for _ in range(2)]
    relay = sites.paris.relay
    spared = relay.asked
    sites.madrid.relay.delay = 0.2
    try:
        assert sites.at_madrid(tokens[0]) == 200
        assert relay.asked == spared
        sites.madrid.relay.delay = 2 * TIMEOUT
        assert sites.at_madrid(tokens[1]) == 200
        assert relay.asked > spared
    finally:
        sites.madrid.relay.delay = 0.0
    returns_to(sites, sites.at_madrid, sites.madrid, sites.paris)


def test_a_revoked_token_is_refused_within_the_bound_while_keystones_come_and_go(
    sites: Sites,
) -> None:
    """Two services use a token all the time; around the revocation each Keystone fails once."""
    token, spared = sites.login(), sites.login()
    stop = threading.Event()
    accepted = {"madrid": 0.0, "paris": 0.0}
    refused = {"madrid": 0, "paris": 0}

    def client(name: str, service: Service) -> None:
        while not stop.is_set():
            status = service(token)
            assert status in (200, 401, 503), status
            if status == 200:
                accepted[name] = time.monotonic()
            elif status == 401:
                refused[name] += 1

    def both(seen: dict[str, float] | dict[str, int], after: float) -> bool:
        return all(value > after for value in seen.values())

    with ThreadPoolExecutor(2) as pool:
        clients = [
            pool.submit(client, "madrid", sites.at_madrid),
            pool.submit(client, "paris", sites.at_paris),
        ]
        try:
            wait_for("both services accept the token", lambda: both(accepted, 0.0), BACK)
            sites.madrid.signal(signal.SIGSTOP)
            wait_for("accepted past the freeze", lambda: both(accepted, time.monotonic() - 1), BACK)
            revoked = sites.revoke(token)
            sites.madrid.signal(signal.SIGCONT)
            sites.paris.signal(signal.SIGKILL)
            ended = revoked + TOKEN_CACHE
            wait_for("the bound has passed", lambda: time.monotonic() > ended, TOKEN_CACHE + 1)
            sites.paris.start()
            already = dict(refused)
            wait_for(
                "both services refuse it",
                lambda: all(refused[name] > already[name] + 3 for name in refused),
                BACK,
            )
        finally:
            stop.set()
            sites.madrid.signal(signal.SIGCONT)
        for each in clients:
            each.result()
    # The replica applied it within a moment, Keystones here cache nothing, the rest is the filter's:
    # one token_cache_time and the request that was on its way.
    assert max(accepted.values()) - revoked < TOKEN_CACHE + ROOM, accepted
    assert sites.at_madrid(spared) == 200


def test_a_stale_site_cannot_bring_a_revoked_token_back(sites: Sites) -> None:
    revoked, seen, good = sites.login(), sites.login(), sites.login()
    sites.site.replica.run("STOP SLAVE SQL_THREAD")
    try:
        sites.revoke(revoked)
        sites.revoke(seen)
        assert sites.at_paris(seen) == 401
        # The danger is real: the stale Keystone says that the revoked token is good.
        assert sites.madrid.validates(revoked) == 200
        # From the first write that it lacks.
        stale = time.monotonic() + STALE_LIMIT
        wait_for("madrid is too old", lambda: time.monotonic() > stale, STALE_LIMIT + 1)
        sites.paris.signal(signal.SIGKILL)
        assert sites.at_paris(revoked) == 503
        assert sites.at_paris(seen) in (401, 503)
        assert sites.at_paris(good) == 503
    finally:
        sites.site.replica.run("START SLAVE SQL_THREAD")
    sites.site.caught_up()
    wait_for("the fresh madrid is asked", lambda: sites.at_paris(good) == 200, BACK)
    assert sites.at_paris(revoked) == 401
    sites.paris.start()


def test_a_revocation_that_waits_in_the_own_queue_is_not_undone_by_another_site(
    sites: Sites,
) -> None:
    """Revoked at the cut-off madrid, which then loses its Keystone: paris does not know of it."""
    token = sites.login()
    sites.site.cut()
    try:
        answer = sites.site("DELETE", "/v3/auth/tokens", token=token, subject=token)
        assert answer.status == 204, answer
        sites.madrid.signal(signal.SIGKILL)
        assert sites.paris.validates(token) == 200
        assert sites.at_madrid(token) == 503
    finally:
        sites.madrid.start()
        sites.site.heal()
    assert sites.at_madrid(token) == 401


def test_no_log_holds_a_token_or_a_password(sites: Sites) -> None:
    for service in (sites.at_madrid, sites.at_paris):
        assert "gAAAAA" not in service.log()
        assert "correct horse" not in service.log()
