"""Threads that carry words: to the voter of another site, to the own voter, to a host's agent.

Each has its own partner, so that a partner that hangs delays no other. What waits to be sent is
replaced by what is newer: an ask that could not leave in time is worth nothing. They decide nothing;
what comes back is given to the loop of `service`.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pydantic

from isthmus import errors
from isthmus.network.addresses import gate
from isthmus.network.addresses.policy import Standing
from isthmus.network.addresses.voters import Ask, Release, Word
from isthmus.network.addresses.voting import Voter

LOG = logging.getLogger(__name__)

GOSSIP_SECONDS = 0.5
"""How often standings are exchanged when nothing else is said."""
READ_SECONDS = 0.25
"""How often a host is asked for its clock and its targets' health."""
IDLE_SECONDS = 3.0
"""How often either is done while this site may hold no address."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """What one engine says to another; the answer has the words for its asks."""

    asks: tuple[Ask, ...] = ()
    releases: tuple[Release, ...] = ()
    words: tuple[Word, ...] = ()
    standings: Mapping[str, Standing] = dataclasses.field(default_factory=dict)


_EXCHANGE = pydantic.TypeAdapter(Exchange)


class Callees(Protocol):
    """Signed calls, as `isthmus.engine.calling` has them."""

    def call(self, method: str, name: str, path: str, body: Any, timeout: float) -> Any: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """When a partner last answered (monotonic seconds, None: never) and why not since then."""

    at: float | None = None
    error: str | None = "not asked yet"

    def lately(self, now: float, seconds: float = 2.0) -> bool:
        return self.at is not None and now - self.at < seconds


class Link(threading.Thread):
    """A thread that does `work` when it is woken, and every `interval` seconds."""

    def __init__(self, name: str, interval: float) -> None:
        super().__init__(name=name, daemon=True)
        self._interval = interval
        self._changed = threading.Condition()
        self._woken = True
        self._stopping = False
        self.heard = Heard()

    def run(self) -> None:
        while self._wait():
            try:
                self.work()
            except errors.IsthmusError as error:
                self._silent(error)
            except Exception as error:
                LOG.exception("%s: an error in the engine itself; it goes on", self.name)
                self.heard = dataclasses.replace(self.heard, error=str(error))

    def _wait(self) -> bool:
        with self._changed:
            if not self._woken and not self._stopping:
                self._changed.wait(self._interval)
            self._woken = False
            return not self._stopping

    def _silent(self, error: errors.IsthmusError) -> None:
        if self.heard.error is None:
            LOG.info("%s: %s", self.name, error)
        self.heard = dataclasses.replace(self.heard, error=str(error))

    def answered(self) -> None:
        if self.heard.error is not None:
            LOG.info("%s: it answers", self.name)
        self.heard = Heard(at=time.monotonic(), error=None)

    def pace(self, interval: float) -> None:
        """Have it work every so many seconds from now on."""
        with self._changed:
            if interval < self._interval:
                self._changed.notify()
            self._interval = interval

    def wake(self) -> None:
        """Have it work at once."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def work(self) -> None:
        """One round. Raises `errors.IsthmusError` when the partner does not answer."""
        raise NotImplementedError


class Ballots(Link):
    """A link to a voter: asks and releases go out, words come back."""

    def __init__(self, name: str, interval: float, hear: Callable[[Word], None]) -> None:
        super().__init__(name, interval)
        self._hear = hear
        self._asks: dict[str, Ask] = {}
        self._releases: dict[str, Release] = {}

    def ask(self, ask: Ask) -> None:
        with self._changed:
            self._asks[ask.address] = ask
        self.wake()

    def release(self, release: Release) -> None:
        with self._changed:
            waiting = self._asks.get(release.address)
            if waiting and waiting.claim == release.claim:
                del self._asks[release.address]
            self._releases[release.claim] = release
        self.wake()

    def take_out(self) -> tuple[tuple[Ask, ...], tuple[Release, ...]]:
        with self._changed:
            asks, releases = tuple(self._asks.values()), tuple(self._releases.values())
            self._asks, self._releases = {}, {}
        return asks, releases


class OwnVoter(Ballots):
    """The link to the voter in this process; a thread, because it writes to disk."""

    def __init__(self, voter: Voter, hear: Callable[[Word], None]) -> None:
        super().__init__(f"voter of {voter.site}", 60.0, hear)
        self._voter = voter

    def work(self) -> None:
        asks, releases = self.take_out()
        for release in releases:
            self._voter.release(release)
        for ask in asks:
            self._hear(self._voter.ask(ask))
        self.answered()


class Peer(Ballots):
    """The link to another site's engine: votes, and what both say of themselves."""

    def __init__(
        self,
        site: str,
        peers: Callees,
        *,
        timeout: float,
        hear: Callable[[Word], None],
        standings: Callable[[], Mapping[str, Standing]],
        told: Callable[[str, Mapping[str, Standing]], None],
    ) -> None:
        super().__init__(f"voter of {site}", GOSSIP_SECONDS, hear)
        self.site = site
        self._peers, self._timeout = peers, timeout
        self._standings, self._told = standings, told

    def work(self) -> None:
        asks, releases = self.take_out()
        said = Exchange(asks=asks, releases=releases, standings=self._standings())
        body = _EXCHANGE.dump_python(said, mode="json")
        answer = self._peers.call("POST", self.site, "/v1/votes", body, self._timeout)
        try:
            exchange = _EXCHANGE.validate_python(answer)
        except pydantic.ValidationError as error:
            raise errors.InputError("the answer has not the promised shape") from error
        self.answered()
        for word in exchange.words:
            if word.voter == self.site:
                self._hear(word)
        self._told(self.site, exchange.standings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a host's agent says of one address."""

    health: str
    health_seconds: float
    reason: str
    holds: bool
    claim: str


class Listener(Protocol):
    """Who is told what came of it all; called from a link's thread."""

    def host_seen(self, host: str, reports: Mapping[str, Report]) -> None: ...
    def host_silent(self, host: str, error: str) -> None: ...
    def held(self, address: str, claim: str, refused: str) -> None: ...
    def dropped(self, address: str, claim: str) -> None: ...


class Host(Link):
    """The link to one host's agent: orders, its clock, the health of targets.

    Orders are made from the last reading of the host's clock (`gate`), so that an order that is
    late is refused there and never does harm.
    """

    def __init__(
        self,
        host: str,
        hosts: Callees,
        *,
        timeout: float,
        drift: float,
        clock: Callable[[], float],
        listener: Listener,
    ) -> None:
        super().__init__(f"host {host}", READ_SECONDS)
        self.host = host
        self._hosts, self._timeout, self._drift, self._clock = hosts, timeout, drift, clock
        self._listener = listener
        self._reading: gate.Reading | None = None
        self._holds: dict[str, tuple[str, float]] = {}
        self._drops: dict[str, str] = {}
        self._read_at = float("-inf")
        self.reports: Mapping[str, Report] = {}
        """What the agent said last of every gateway that it has, by address."""

    def hold(self, address: str, claim: str, until: float) -> None:
        with self._changed:
            self._holds[address] = (claim, until)
        self.wake()

    def drop(self, address: str, claim: str) -> None:
        with self._changed:
            if self._holds.get(address, ("", 0.0))[0] == claim:
                del self._holds[address]
            self._drops[claim] = address
        self.wake()

    def work(self) -> None:
        with self._changed:
            holds, drops = self._holds, self._drops
            self._holds, self._drops = {}, {}
        for claim, address in drops.items():
            self._order(address, "drop", {"claim": claim})
            self._listener.dropped(address, claim)
        for address, (claim, until) in holds.items():
            self._hold(address, claim, until)
        if time.monotonic() - self._read_at >= READ_SECONDS:
            self._read()

    def _silent(self, error: errors.IsthmusError) -> None:
        super()._silent(error)
        self._listener.host_silent(self.host, str(error))

    def _hold(self, address: str, claim: str, until: float) -> None:
        if self._reading is None:
            self._read()
        reading = self._reading
        if reading is None:
            return
        body = {
            "claim": claim,
            "incarnation": reading.incarnation,
            "moment": reading.moment(until, self._drift),
        }
        answer = self._order(address, "hold", body)
        self._listener.held(address, claim, str(answer.get("refused", "")))

    def _order(self, address: str, what: str, body: Any) -> Mapping[str, Any]:
        path = f"/addresses/{address}/{what}"
        answer = self._hosts.call("POST", self.host, path, body, self._timeout)
        return self._noted(answer)

    def _read(self) -> None:
        answer = self._noted(self._hosts.call("GET", self.host, "/addresses", None, self._timeout))
        self._read_at = time.monotonic()
        self.reports = {name: _report(each) for name, each in answer["addresses"].items()}
        self._listener.host_seen(self.host, self.reports)

    def _noted(self, answer: Any) -> Mapping[str, Any]:
        """Take the host's clock from an answer; the own one is read after it had arrived."""
        now = self._clock()
        try:
            incarnation, clock = str(answer["incarnation"]), float(answer["clock"])
        except (TypeError, KeyError, ValueError) as error:
            raise errors.InputError("the answer has not the promised shape") from error
        self._reading = gate.Reading(incarnation=incarnation, clock=clock, received_at=now)
        self.answered()
        found: Mapping[str, Any] = answer
        return found


def _report(document: Mapping[str, Any]) -> Report:
    return Report(
        health=str(document["health"]),
        health_seconds=float(document["health_seconds"]),
        reason=str(document["reason"]),
        holds=bool(document["holds"]),
        claim=str(document["claim"]),
    )
