"""Never two places answer for one address: a world that tries to break it.

Three voters, three places (two of them in one site), hosts with a kernel each. Every program has a
clock of its own rate and beginning. Messages are late, lost, doubled and out of order; links are
cut; programs freeze, and end and come back without memory. Everybody wants the address all the
time, so that each gap between promises is tried as soon as it opens.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.network.addresses import gate, lease, voters

TERMS = lease.Terms()
VOTERS = frozenset({"lyon", "madrid", "paris"})
ADDRESS = "a"
PLACES = ("paris/h1", "paris/h2", "lyon/h1")
SECONDS = 10.0
# A timer of the kernel fires at the next tick after its moment: 4 ms at 250 Hz.
TICK = 0.004


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How bad the world is: shares of messages, and events per second."""

    lost: float
    doubled: float
    late: float
    cuts: float
    freezes: float
    restarts: float
    takes: float


CALM = Weather(lost=0, doubled=0, late=0, cuts=0, freezes=0, restarts=0, takes=0.5)
STORM = Weather(lost=0.02, doubled=0.1, late=0.1, cuts=1, freezes=1, restarts=1, takes=4)


@dataclass
class Clock:
    """A clock with its own rate and beginning."""

    rate: float
    start: float

    def at(self, true: float) -> float:
        return self.start + true * self.rate


@dataclass
class Host:
    """A gateway host: an agent that can be restarted, and a kernel that can not."""

    clock: Clock
    gate: gate.Gate
    ends_at: float = 0.0  # true time at which the kernel ends the answering


@dataclass
class World:
    """Everything, on one heap of what happens next."""

    weather: Weather
    luck: random.Random
    clocks: dict[str, Clock]
    now: float = 0.0
    heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    ballots: dict[str, voters.Ballot] = field(default_factory=dict)
    claimants: dict[str, lease.Claimant] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    readings: dict[str, gate.Reading] = field(default_factory=dict)
    frozen: dict[str, float] = field(default_factory=dict)
    cut: dict[frozenset[str], float] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for voter in VOTERS:
            self.ballots[voter] = voters.Ballot()
        for place in PLACES:
            self.claimants[place] = self.fresh(place)
            self.hosts[place] = Host(
                clock=self.clocks[f"host {place}"], gate=gate.Gate(incarnation=f"{place} first")
            )
            self.after(0.0, lambda place=place: self.beat(place))  # type: ignore[misc]
        self.after(0.1, self.disturb)

    # -- time and messages

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (self.now + seconds, next(self.numbers), what))

    def run(self) -> None:
        while self.heap and self.heap[0][0] < SECONDS:
            self.now, _, what = heapq.heappop(self.heap)
            what()

    def time(self, who: str) -> float:
        return self.clocks[who.partition("/")[0]].at(self.now)

    def send(self, sender: str, receiver: str, what: Callable[[], None]) -> None:
        """A message between programs, which are named by site, place or `host <place>`."""
        link = frozenset((self.site(sender), self.site(receiver)))
        weather, luck = self.weather, self.luck
        if self.cut.get(link, 0.0) > self.now or luck.random() < weather.lost:
            return
        for _ in range(2 if luck.random() < weather.doubled else 1):
            late = luck.random() < weather.late
            delay = luck.uniform(0.05, 1.2) if late else luck.uniform(0.0002, 0.003)
            self.after(delay, lambda: self.arrive(receiver, what))

    def arrive(self, receiver: str, what: Callable[[], None]) -> None:
        """What comes to a frozen program waits in its socket."""
        wakes = self.frozen.get(receiver, 0.0)
        if wakes > self.now:
            self.after(wakes - self.now, lambda: self.arrive(receiver, what))
        else:
            what()

    @staticmethod
    def site(who: str) -> str:
        return who.removeprefix("host ").partition("/")[0]

    # -- engines

    def fresh(self, place: str) -> lease.Claimant:
        return lease.Claimant(address=ADDRESS, place=place, voters=VOTERS)

    def name(self) -> str:
        return f"claim {next(self.numbers)}"

    def beat(self, place: str) -> None:
        """An engine's loop: read the host's clock, renew, and want the address."""
        self.after(
            self.luck.uniform(0.02, 0.08), lambda: self.arrive(place, lambda: self.beat(place))
        )
        self.send(place, f"host {place}", lambda: self.read(place))
        renewing = self.luck.random() < 0.95
        now = self.time(place)
        self.step(place, lease.tick(self.claimants[place], TERMS, now, renewing=renewing))
        if self.luck.random() < 0.3:
            state = self.claimants[place]
            self.step(place, lease.campaign(state, self.name(), TERMS, self.time(place)))

    def read(self, place: str) -> None:
        host = self.hosts[place]
        incarnation, clock = host.gate.incarnation, host.clock.at(self.now)

        def received() -> None:
            self.readings[place] = gate.Reading(
                incarnation=incarnation, clock=clock, received_at=self.time(place)
            )

        self.send(f"host {place}", place, received)

    def step(self, place: str, step: lease.Step) -> None:
        self.claimants[place], actions = step
        for action in actions:
            self.act(place, action)

    def act(self, place: str, action: lease.Action) -> None:
        match action:
            case lease.SendAsk(ask=asked):
                for voter in sorted(VOTERS):
                    self.send(place, voter, lambda v=voter: self.vote(v, place, asked))  # type: ignore[misc]
            case lease.SendRelease(release=given):
                for voter in sorted(VOTERS):
                    self.send(place, voter, lambda v=voter: self.release(v, given))  # type: ignore[misc]
            case lease.Hold(claim=claim, until=until) if place in self.readings:
                reading = self.readings[place]
                moment = reading.moment(until, TERMS.drift)
                order = gate.Order(claim=claim, incarnation=reading.incarnation, moment=moment)
                self.send(place, f"host {place}", lambda: self.hold(place, order))
            case lease.Drop(claim=claim):
                self.send(place, f"host {place}", lambda: self.drop(place, claim))
            case lease.PassOn(heir=heir, epoch=epoch, remaining=remaining):
                self.send(place, heir.owner, lambda: self.passed(heir, epoch, remaining))

    def take(self, place: str, holder: str) -> None:
        claim = self.name()
        self.step(place, lease.take(self.claimants[place], claim, self.time(place)))
        if self.claimants[place].claim == claim:
            heir = lease.Heir(claim=claim, owner=place)
            self.send(
                place,
                holder,
                lambda: self.step(
                    holder, lease.give(self.claimants[holder], heir, self.time(holder))
                ),
            )

    def passed(self, heir: lease.Heir, epoch: int, remaining: float) -> None:
        state, now = self.claimants[heir.owner], self.time(heir.owner)
        self.step(heir.owner, lease.passed(state, heir.claim, epoch, remaining, TERMS, now))

    # -- voters

    def vote(self, voter: str, place: str, asked: voters.Ask) -> None:
        self.ballots[voter], said = voters.vote(voter, self.ballots[voter], asked, self.time(voter))
        self.send(
            voter,
            place,
            lambda: self.step(
                place, lease.heard(self.claimants[place], said, TERMS, self.time(place))
            ),
        )

    def release(self, voter: str, given: voters.Release) -> None:
        self.ballots[voter] = voters.release(self.ballots[voter], given)

    # -- hosts

    def hold(self, place: str, order: gate.Order) -> None:
        host = self.hosts[place]
        local = host.clock.at(self.now)
        host.gate, refused = gate.obey(host.gate, order, local)
        if refused:
            return
        host.ends_at = self.now + (host.gate.moment - local) / host.clock.rate + TICK
        if not self.held or self.held[-1] != place:
            self.held.append(place)
        for other in PLACES:
            ends_at = self.hosts[other].ends_at
            assert other == place or ends_at <= self.now, (
                f"{other} answers until {ends_at:.4f}, and {place} from {self.now:.4f} on"
            )

    def drop(self, place: str, claim: str) -> None:
        host = self.hosts[place]
        host.gate = gate.drop(host.gate, claim)
        if not host.gate.claim:
            host.ends_at = min(host.ends_at, self.now)
        self.send(
            f"host {place}",
            place,
            lambda: self.step(place, lease.dropped(self.claimants[place], claim, self.time(place))),
        )

    # -- faults

    def disturb(self) -> None:
        every, weather = 0.1, self.weather
        self.after(every, self.disturb)
        until = self.now + self.luck.uniform(0.2, 2.0)
        if self.chance(weather.cuts * every):
            self.isolate(self.site(self.victim()), until)
        if self.chance(weather.freezes * every):
            place = self.victim()
            self.frozen[self.luck.choice([place, f"host {place}", *VOTERS])] = until
        if self.chance(weather.restarts * every):
            self.restart(self.victim())
        if self.chance(weather.takes * every):
            holder = self.victim()
            self.take(self.luck.choice([each for each in PLACES if each != holder]), holder)

    def victim(self) -> str:
        """Whom a fault hits: mostly the one that it hurts."""
        if self.held and self.chance(0.7):
            return self.held[-1]
        return self.luck.choice(PLACES)

    def isolate(self, site: str, until: float) -> None:
        """Cut a site off, from one of the others or from both."""
        for other in VOTERS - {site}:
            if self.chance(0.8):
                self.cut[frozenset((site, other))] = until

    def chance(self, probability: float) -> bool:
        return self.luck.random() < probability

    def restart(self, place: str) -> None:
        """A program forgets all but what is on disk."""
        kinds = ["engine", "voter", "agent", "voter without disk"]
        (kind,) = self.luck.choices(kinds, weights=[8, 8, 8, 1])
        voter = self.luck.choice(sorted(VOTERS))
        match kind:
            case "engine":
                self.claimants[place] = self.fresh(place)
                self.readings.pop(place, None)
            case "voter":
                self.ballots[voter] = voters.restored(self.ballots[voter], self.time(voter))
            case "voter without disk":
                self.ballots[voter] = voters.blank(self.time(voter))
            case "agent":
                self.hosts[place].gate = gate.Gate(incarnation=f"{place} {next(self.numbers)}")


CLOCKS = [*sorted(VOTERS), *(f"host {place}" for place in PLACES)]
RATES = st.lists(st.sampled_from([0.99, 1.01]), min_size=len(CLOCKS), max_size=len(CLOCKS))
SHARES = st.sampled_from([0.0, 0.02, 0.1])
PER_SECOND = st.sampled_from([0.0, 0.5, 2.0])
WEATHERS = st.one_of(
    st.sampled_from([CALM, STORM]),
    st.builds(
        Weather,
        lost=SHARES,
        doubled=SHARES,
        late=SHARES,
        cuts=PER_SECOND,
        freezes=PER_SECOND,
        restarts=PER_SECOND,
        takes=st.sampled_from([0.0, 1.0, 5.0]),
    ),
)


def world(weather: Weather, seed: int, rates: list[float]) -> World:
    luck = random.Random(seed)  # noqa: S311
    clocks = {
        name: Clock(rate=rate, start=luck.uniform(0, 1e5))
        for name, rate in zip(CLOCKS, rates, strict=True)
    }
    return World(weather=weather, luck=luck, clocks=clocks)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(weather=WEATHERS, seed=st.integers(0, 2**32), rates=RATES)
def test_no_two_places_ever_answer_for_an_address_at_the_same_instant(
    weather: Weather, seed: int, rates: list[float]
) -> None:
    world(weather, seed, rates).run()


def test_the_world_is_one_in_which_the_address_moves_again_and_again() -> None:
    """Else the attack would prove nothing."""
    moves = 0
    for seed in range(5):
        storm = world(STORM, seed, [1.0] * len(CLOCKS))
        storm.run()
        moves += len(storm.held)
    assert moves >= 12


def test_in_calm_weather_a_holder_keeps_the_address_until_it_passes_it_on() -> None:
    calm = world(CALM, 1, [1.0] * len(CLOCKS))
    calm.weather = Weather(lost=0, doubled=0, late=0, cuts=0, freezes=0, restarts=0, takes=0)
    calm.run()
    assert len(calm.held) == 1
