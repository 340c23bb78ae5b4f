"""The filter: which answers end the search, which do not, what is kept, and what it costs."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback_keystone import Endpoint, Service, endpoints

from conditions import wait_for


@pytest.fixture
def sites() -> Iterator[list[Endpoint]]:
    with endpoints("madrid", "paris", "lyon") as running:
        yield running


@pytest.fixture
def service(sites: list[Endpoint]) -> Service:
    return Service(sites[0], sites[1:])


def test_the_own_endpoint_is_asked_alone(sites: list[Endpoint], service: Service) -> None:
    assert service() == (200, "madrid")
    assert sites[1].validated == sites[2].validated == []
    assert service() == (200, "madrid")
    assert len(sites[0].validated) == 1, "the second answer comes from the cache"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_who_cannot_answer_is_passed_over(
    sites: list[Endpoint], service: Service, status: int
) -> None:
    sites[0].status = status
    assert service() == (200, "paris")
    sites[1].status = status
    assert service("another") == (200, "lyon")


def test_an_answer_that_is_not_keystones_is_passed_over(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].garbage = True
    assert service() == (200, "paris")


def test_a_closed_port_is_passed_over(sites: list[Endpoint], service: Service) -> None:
    assert service() == (200, "madrid")
    sites[0].stop()
    assert service("another") == (200, "paris")


def test_silence_is_passed_over_after_the_timeout_and_costs_the_next_request_nothing(
    sites: list[Endpoint],
) -> None:
    service = Service(sites[0], sites[1:], ours={"timeout": 1.0, "come_back_seconds": 60.0})
    assert service() == (200, "madrid")
    sites[0].delay = 30.0
    assert service("second")[0] == 200
    asked = len(sites[0].validated)
    assert service("third")[0] == 200
    assert "third" not in sites[0].validated[asked:]


def test_a_refused_token_is_not_shown_to_anybody_else(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].status = 404
    assert service()[0] == 401
    assert sites[1].validated == sites[2].validated == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_of_the_service_is_an_answer(
    sites: list[Endpoint], service: Service, status: int
) -> None:
    sites[0].status = status
    assert service()[0] == 503
    assert sites[1].validated == sites[2].validated == []


def test_a_wrong_password_is_tried_once_and_nowhere_else(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].refuses_login = True
    assert service()[0] == 503
    assert (sites[0].logins, sites[1].logins, sites[2].logins) == (1, 0, 0)


def test_when_nobody_answers_the_client_hears_503(sites: list[Endpoint], service: Service) -> None:
    for each in sites:
        each.status = 503
    assert service()[0] == 503
    assert service()[0] == 503


def test_what_was_refused_stays_refused_when_a_staler_endpoint_is_asked(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].status = 404
    assert service("revoked")[0] == 401
    sites[0].status = 503
    assert service("revoked")[0] == 401
    assert service("another") == (200, "paris")


def test_another_sites_answer_is_not_kept_when_the_bound_leaves_no_time(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].status = 503
    assert service() == (200, "paris")
    sites[1].status = 404
    assert service()[0] == 401


def test_another_sites_answer_is_kept_for_the_rest_of_the_bound(sites: list[Endpoint]) -> None:
    service = Service(sites[0], sites[1:], token_cache_time="12")  # 5 + 5 + 2
    sites[0].status = 503
    assert service() == (200, "paris")
    sites[1].status = 404
    accepted = time.monotonic()
    assert service() == (200, "paris")
    wait_for("the kept answer ends", lambda: service()[0] == 401, 6)
    # The cache counts whole seconds, so up to one more.
    assert time.monotonic() - accepted < 5


@pytest.mark.parametrize("lag", [6.0, None])
def test_a_stale_site_does_not_count(
    sites: list[Endpoint], service: Service, lag: float | None
) -> None:
    sites[0].status = 503
    sites[1].lag = lag
    assert service() == (200, "lyon")
    assert sites[1].validated == []


def test_nobody_else_counts_while_writes_wait_in_the_own_queue(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].status, sites[0].pending = 503, 1
    assert service()[0] == 503
    assert sites[1].validated == sites[2].validated == []


def test_a_frozen_agent_holds_up_a_crowd_once_and_not_one_after_the_other(
    sites: list[Endpoint],
) -> None:
    service = Service(sites[0], [sites[1]], ours={"timeout": 1.5})
    assert service() == (200, "madrid")
    sites[0].status, sites[1].agent_delay = 503, 30.0
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: service(f"t{number}")[0], range(8)))
    assert set(answers) == {503}
    # One after the other would be 12 s at least.
    assert time.monotonic() - began < 8


def test_an_answer_that_outlives_its_proof_does_not_count(sites: list[Endpoint]) -> None:
    service = Service(sites[0], [sites[1]], ours={"timeout": 1.9, "proof_seconds": 2.0})
    sites[0].status = 503
    assert service("first") == (200, "paris")
    far = service.filter._identity_server._servers[1]
    prove = far._prove
    far._prove, far._proven = lambda: prove() - 2.0, float("-inf")
    assert service("second")[0] == 503


def test_failing_over_costs_no_login(sites: list[Endpoint], service: Service) -> None:
    assert service() == (200, "madrid")
    sites[0].status = 503
    assert service("another") == (200, "paris")
    assert sites[1].logins == 0


def test_a_probe_elsewhere_costs_no_login_either(sites: list[Endpoint], service: Service) -> None:
    assert service() == (200, "madrid")
    service.filter._identity_server._servers[1].probe()
    assert len(sites[1].validated) == 1
    assert sites[1].logins == 0


def test_a_service_that_starts_in_an_outage_logs_in_elsewhere(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].stop()
    assert service() == (200, "paris")
    assert sites[1].logins == 1


def test_the_own_endpoint_is_asked_again_when_it_is_back(
    sites: list[Endpoint], service: Service
) -> None:
    sites[0].status = 503
    assert service() == (200, "paris")
    sites[0].status = 200

    def back() -> bool:
        return service(f"token-{time.monotonic()}") == (200, "madrid")

    # The longest pause here is 0.5 s; the rest is the machine's.
    wait_for("the own endpoint answers again", back, 10)


def test_many_threads_fail_over_and_come_back_without_an_error(
    sites: list[Endpoint], service: Service
) -> None:
    assert service() == (200, "madrid")
    stop = threading.Event()
    seen: list[tuple[int, str]] = []

    def client(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            seen.append(service(f"{number}-{turn}"))

    def told(answer: tuple[int, str]) -> bool:
        assert {status for status, _ in seen} <= {200}
        return answer in seen[1:]

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        try:
            for status, expected in ((503, "paris"), (200, "madrid"), (500, "paris")):
                sites[0].status = status
                del seen[:-1]
                wait_for(f"{expected} answers", functools.partial(told, (200, expected)), 20)
        finally:
            stop.set()
        for each in clients:
            each.result()
    assert {status for status, _ in seen} == {200}


def test_one_probe_at_a_time_looks_after_a_silent_endpoint(sites: list[Endpoint]) -> None:
    service = Service(sites[0], sites[1:])
    sites[0].status, sites[0].delay = 503, 0.3
    assert service()[0] == 200
    server = service.filter._identity_server._servers[0]
    running, most, probe = 0, 0, server.probe
    lock = threading.Lock()

    def counted() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            probe()
        finally:
            with lock:
                running -= 1

    server.probe = counted
    before = len(sites[0].validated)
    with ThreadPoolExecutor(6) as pool:
        wait_for(
            "several probes",
            lambda: (
                all(pool.map(lambda n: service(f"t{n}")[0] == 200, range(6)))
                and len(sites[0].validated) >= before + 3
            ),
            20,
        )
    assert most == 1


def test_changes_are_told_once_and_without_secrets(
    sites: list[Endpoint], service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sites[0].status = 503
    for number in range(5):
        assert service(f"user-token-{number}")[0] == 200
    told = [r for r in caplog.records if "does not answer" in r.getMessage()]
    assert len(told) == 1
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("isthmus")]
    assert "user-token" not in "".join(ours)
    assert "hunter2" not in caplog.text


def test_without_others_the_stock_identity_server_is_used(sites: list[Endpoint]) -> None:
    service = Service(sites[0], [])
    assert service() == (200, "madrid")
    assert type(service.filter._identity_server).__module__.startswith("keystonemiddleware")
