"""Three engines and two gateways on one clock: addresses are acquired, passed on, lost and kept."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isthmus import errors
from isthmus.network.addresses import lease
from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.lease import Heir, Phase, Terms
from isthmus.network.addresses.links import Report
from isthmus.network.addresses.policy import Standing
from isthmus.network.addresses.steward import Order, Steward
from isthmus.network.addresses.voters import Ask, Release
from isthmus.network.addresses.voting import Knowledge, Voter

TERMS = Terms()
SITES = ("lyon", "madrid", "paris")
HOLDERS = ("lyon", "paris")
ADDRESS = ServiceAddress(
    id="a",
    name="vip",
    address="192.0.2.50",
    kind=Kind.MOVED,
    network="backend",
    targets={"paris": ("10.0.0.11",), "lyon": ("10.0.0.140",)},
    prefer="paris",
)
DELAY = 0.005


class Town:
    """Time, and messages between sites that arrive after DELAY unless somebody is cut off."""

    def __init__(self, folder: Path, address: ServiceAddress = ADDRESS) -> None:
        self.now = 100.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.cut: set[str] = set()
        self.far: dict[str, float] = {}
        self.voters = {site: Voter(site, folder / site, lambda: self.now) for site in SITES}
        assert all(voter.active for voter in self.voters.values())
        self.now += 10.0
        self.sites = {site: Site(self, site, address) for site in HOLDERS}
        self.events: list[dict[str, Any]] = []
        self.later(0.0, self._turns)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), what))

    def send(self, sender: str, receiver: str, what: Callable[[], None]) -> None:
        if sender == receiver:
            self.later(0.0, what)
        elif not {sender, receiver} & self.cut:
            self.later(DELAY + self.far.get(receiver, 0.0), what)

    def _turns(self) -> None:
        self.later(0.05, self._turns)
        for site in self.sites.values():
            site.turn()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = end

    def holders(self) -> list[str]:
        return [name for name, site in self.sites.items() if site.gateway_until > self.now]


class Site:
    """One site: its steward, its gateway, and everything outside as the steward sees it."""

    def __init__(self, town: Town, name: str, address: ServiceAddress) -> None:
        self.town, self.name = town, name
        self.health = "healthy"
        self.gateway_works = True
        self.gateway_until = 0.0
        self.steward = Steward(address, name, SITES, TERMS, self)
        self.steward.prepared("h1", "")

    def turn(self) -> None:
        if self.gateway_works:
            report = Report(
                health=self.health, health_seconds=60.0, reason="", holds=False, claim=""
            )
            self.steward.reported("h1", report)
        self.steward.turn()

    def now(self) -> float:
        return self.town.now

    def ask(self, ask: Ask) -> None:
        for voter in SITES:
            self.town.send(self.name, voter, lambda v=voter: self._vote(v, ask))  # type: ignore[misc]

    def _vote(self, voter: str, ask: Ask) -> None:
        word = self.town.voters[voter].ask(ask)
        self.town.send(voter, self.name, lambda: self.steward.heard(word))

    def release(self, release: Release) -> None:
        for voter in SITES:
            self.town.send(
                self.name,
                voter,
                lambda v=voter: self.town.voters[v].release(release),  # type: ignore[misc]
            )

    def hold(self, host: str, address: str, claim: str, until: float) -> None:
        if self.gateway_works:
            self.gateway_until = until
            assert self.town.holders() == [self.name]
            self.town.later(DELAY, lambda: self.steward.held(claim, ""))

    def drop(self, host: str, address: str, claim: str) -> None:
        if self.gateway_works:
            self.gateway_until = 0.0
            self.town.later(DELAY, lambda: self.steward.dropped(claim))

    def take(self, site: str, address: str, heir: Heir) -> None:
        answer: Future[lease.PassOn] = Future()

        def answered(done: Future[lease.PassOn]) -> None:
            fault = done.exception()
            if fault is not None:
                why = str(fault)
                self.town.send(site, self.name, lambda: self.steward.not_taken(heir.claim, why))
                return
            given = done.result()
            self.town.send(
                site,
                self.name,
                lambda: self.steward.took(heir.claim, given.epoch, given.remaining),
            )

        answer.add_done_callback(answered)
        holder = self.town.sites[site].steward
        self.town.send(self.name, site, lambda: holder.give(heir, answer))

    def offer(self, site: str, address: str, reason: str) -> None:
        other = self.town.sites[site]
        self.town.send(self.name, site, lambda: other.order(by="policy", why=reason))

    def order(self, *, by: str = "admin", why: str = "by command", force: bool = False) -> Any:
        done: Future[dict[str, Any]] = Future()
        until = self.town.now + 10.0
        self.steward.order(Order(by=by, why=why, force=force, until=until, done=done))
        return done

    def know(self, address: str) -> Knowledge:
        return self.town.voters[self.name].know(address)

    def others(self, address: str) -> tuple[Standing, ...]:
        if self.name in self.town.cut:
            return ()
        return tuple(
            site.steward.standing()
            for site in self.town.sites.values()
            if site is not self and site.name not in self.town.cut
        )

    def record(self, address: ServiceAddress, event: dict[str, Any]) -> None:
        self.town.events.append(event)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """A town in which Paris, the preferred site, holds the address."""
    made = Town(tmp_path)
    made.run(3.0)
    assert made.holders() == ["paris"]
    return made


def test_the_preferred_site_gets_a_new_address_and_keeps_it(town: Town) -> None:
    town.run(60.0)
    assert town.holders() == ["paris"]
    assert [each["kind"] for each in town.events] == ["first"]


def test_an_ordered_move_takes_a_few_messages(town: Town) -> None:
    done = town.sites["lyon"].order()
    town.run(1.0)
    event = done.result(0)
    assert (event["kind"], event["from"], event["to"], event["by"]) == (
        "handover",
        "paris/h1",
        "lyon/h1",
        "admin",
    )
    assert event["gap_ms_at_most"] < 50
    town.run(10.0)
    assert town.holders() == ["lyon"]


def test_an_owner_that_is_cut_off_is_followed_within_a_lease_and_a_half_and_stays_away(
    town: Town,
) -> None:
    town.cut.add("paris")
    town.run(1.5)
    assert town.holders() == ["lyon"]
    town.cut.clear()
    town.run(20.0)
    assert town.holders() == ["lyon"]
    assert town.events[-1]["kind"] == "takeover"


def test_a_voter_whose_promise_ends_a_moment_later_costs_that_moment_only(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.far["madrid"] = 0.08
    town.run(4.0)
    assert town.holders() == ["paris"]
    town.cut.add("paris")
    town.run(1.6)
    assert town.holders() == ["lyon"]


def test_an_owner_whose_gateway_host_died_lets_the_other_site_take_over(town: Town) -> None:
    town.sites["paris"].gateway_works = False
    town.sites["paris"].steward.silent("h1", "connection refused")
    # What was not renewed since the host fell silent runs out: a lease, and the doubt before it.
    town.run(1.6)
    assert town.holders() == ["lyon"]
    assert "connection refused" in (town.sites["paris"].steward.trouble or "")


def test_a_gateway_that_is_silent_for_a_moment_keeps_the_address(town: Town) -> None:
    for _ in range(5):
        town.sites["paris"].gateway_works = False
        town.run(TERMS.lease * 0.4)
        town.sites["paris"].gateway_works = True
        town.run(0.5)
        assert town.holders() == ["paris"]
    assert [each["kind"] for each in town.events] == ["first"]


def test_an_unhealthy_target_sends_the_address_away_and_an_equal_one_does_not(town: Town) -> None:
    town.sites["paris"].health = "unhealthy"
    town.run(2.0)
    assert town.holders() == ["lyon"]
    town.sites["lyon"].health = "unhealthy"
    town.run(5.0)
    assert town.holders() == ["lyon"]


def test_the_address_comes_back_to_the_preferred_site_when_that_is_wished(tmp_path: Path) -> None:
    town = Town(tmp_path, replace(ADDRESS, fail_back=30.0))
    town.sites["paris"].gateway_works = False
    town.run(7.0)
    assert town.holders() == ["lyon"]
    town.sites["paris"].gateway_works = True
    town.run(3.0)
    assert town.holders() == ["paris"]


def test_an_address_that_is_moved_by_hand_is_taken_over_by_nobody(tmp_path: Path) -> None:
    town = Town(tmp_path, replace(ADDRESS, automatic=False))
    town.run(3.0)
    town.cut.add("paris")
    town.run(10.0)
    assert town.holders() == []
    done = town.sites["lyon"].order()
    town.run(2.0)
    assert done.result(0)["to"] == "lyon/h1"
    town.cut.clear()
    town.run(5.0)
    assert town.holders() == ["lyon"]


def test_two_cut_off_sites_and_a_dead_witness_leave_nobody(town: Town) -> None:
    town.cut.update(SITES)
    town.run(5.0)
    assert town.holders() == []
    town.cut.clear()
    town.run(3.0)
    assert len(town.holders()) == 1


def test_a_move_to_an_unhealthy_target_is_refused_unless_forced(town: Town) -> None:
    town.sites["lyon"].health = "unhealthy"
    town.run(0.2)
    refused = town.sites["lyon"].order()
    town.run(1.0)
    with pytest.raises(errors.UnavailableError, match="unhealthy"):
        refused.result(0)
    assert town.holders() == ["paris"]
    forced = town.sites["lyon"].order(force=True)
    town.run(1.0)
    assert forced.result(0)["to"] == "lyon/h1"


def test_a_move_to_where_it_is_already_does_nothing(town: Town) -> None:
    done = town.sites["paris"].order()
    town.run(0.5)
    assert done.result(0)["kind"] == "nothing to do"


def test_a_declaration_that_is_being_deleted_is_let_go(town: Town) -> None:
    for site in town.sites.values():
        site.steward.address = replace(ADDRESS, deleting=True)
    town.run(2.0)
    assert town.holders() == []
    assert town.sites["paris"].steward.claimant.phase is Phase.IDLE
