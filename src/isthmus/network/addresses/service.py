"""All service addresses of one site, in the engine: a loop, a voter, and links to everybody else.

It exists so that the engine has one thing to start and to stop. The loop is one thread that owns all
stewards; links, the voter and the preparer are threads that talk to one partner each and hand what
they hear to the loop.
"""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from isthmus import errors
from isthmus.network.addresses import lease, links, recording, voting
from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.findings import Finding
from isthmus.network.addresses.lease import Heir, Terms
from isthmus.network.addresses.links import Exchange, Report
from isthmus.network.addresses.policy import Standing
from isthmus.network.addresses.preparing import Preparer
from isthmus.network.addresses.steward import ORDER_SECONDS, POLICY, Order, Steward
from isthmus.network.addresses.voters import Ask, Release
from isthmus.network.addresses.voting import Knowledge

LOG = logging.getLogger(__name__)

TURN_SECONDS = 0.05
"""How often every address has its turn though nothing happened."""
HEARD_SECONDS = 1.5
"""How long what a site said of itself is believed."""

_services: weakref.WeakKeyDictionary[Any, Service] = weakref.WeakKeyDictionary()


def of(engine: Any) -> Service:
    """The service of an engine. Raises UnavailableError while it is not started."""
    found = _services.get(engine)
    if found is None:
        raise errors.UnavailableError(
            "service addresses are not served yet", cause="the engine is starting or ending"
        )
    return found


def clock() -> float:
    """The clock of leases: seconds since boot, suspension included, so that a host that was
    suspended knows that its lease has run out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Service:
    """See the module. Methods may be called from any thread."""

    def __init__(self, engine: Any) -> None:
        timing = engine.config.timing
        self.engine = engine
        self.terms = Terms(lease=timing.lease_seconds, renew=timing.renew_seconds)
        self.voter = voting.Voter(engine.site, engine.config.state / "addresses")
        self.recorder = recording.Recorder(engine.store, engine.config.state / "addresses")
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stewards: dict[str, Steward] = {}
        self._said: dict[str, dict[str, tuple[float, Standing]]] = {}
        self._own: Mapping[str, Standing] = {}
        self._stopping = False
        self._all_at = 0.0
        self._pool = concurrent.futures.ThreadPoolExecutor(8, thread_name_prefix="handover")
        timeout = self.terms.lease / 2
        self._own_voter = links.OwnVoter(self.voter, self._word)
        self.peers = {
            site: links.Peer(
                site,
                engine.peers,
                timeout=timeout,
                hear=self._word,
                standings=lambda: self._own,
                told=self._told,
            )
            for site in engine.peers.names
        }
        self.hosts = {
            host: links.Host(
                host,
                engine.hosts,
                timeout=timeout,
                drift=self.terms.drift,
                clock=clock,
                listener=self,
            )
            for host in engine.hosts.names
        }
        self.preparer = Preparer(engine, self)
        self._loop = threading.Thread(target=self._run, name="service addresses", daemon=True)

    def start(self) -> None:
        """Start all threads; nothing is waited for."""
        _services[self.engine] = self
        for link in self._links:
            link.start()
        self.recorder.start()
        self.preparer.start()
        self._loop.start()

    def stop(self) -> None:
        """Ask all threads to end. A lease that is held runs out by itself, as in a crash."""
        _services.pop(self.engine, None)
        self._stopping = True
        self._inbox.put(lambda: None)
        for link in self._links:
            link.stop()
        self.recorder.stop()
        self.preparer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _links(self) -> tuple[links.Link, ...]:
        return (self._own_voter, *self.peers.values(), *self.hosts.values())

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._round()
            except Exception:
                LOG.exception("an error in the engine itself; service addresses go on")
        self.voter.close()

    def _round(self) -> None:
        """Do what came in; then give their turn to the addresses for which something is due, and
        now and then to all."""
        now = clock()
        dues = [due for each in self._stewards.values() if (due := each.due()) is not None]
        wait = min([self._all_at, *dues]) - now
        try:
            self._inbox.get(timeout=max(wait, 0.001))()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            pass
        now = clock()
        everybody = now >= self._all_at
        # A second engine of the site keeps still: it could not vote.
        for steward in self._stewards.values() if self.voter.active else ():
            due = steward.due()
            if everybody or (due is not None and due <= now):
                steward.turn()
        if everybody:
            self._all_at = now + TURN_SECONDS
            self._pace()
            own = {name: each.standing() for name, each in self._stewards.items()}
            self._own = {**self.preparer.standings(), **own}

    def _pace(self) -> None:
        """Ask others often while there is something to hold, else seldom."""
        busy = bool(self._stewards)
        for peer in self.peers.values():
            peer.pace(links.GOSSIP_SECONDS if busy else links.IDLE_SECONDS)
        for host in self.hosts.values():
            host.pace(links.READ_SECONDS if busy else links.IDLE_SECONDS)

    def _later(self, address: str, what: Callable[[Steward], None]) -> None:
        """Have the loop do something with a steward, if there is one."""

        def act() -> None:
            steward = self._stewards.get(address)
            if steward is not None:
                what(steward)

        self._inbox.put(act)

    # -- declarations

    def declared(self) -> tuple[ServiceAddress, ...]:
        """All declared addresses that can be read."""
        found = []
        for document in self.engine.store.addresses():
            try:
                found.append(ServiceAddress.from_document(document))
            except errors.InputError as error:
                LOG.warning("%s", error)
        return tuple(found)

    def find(self, name: str) -> ServiceAddress:
        """The address with this name, address or id. Raises UsageError, also when several fit."""
        known = self.declared()
        found = [each for each in known if name in (each.id, each.name)]
        found = found or [each for each in known if each.address == name]
        if len(found) == 1:
            return found[0]
        names = ", ".join(each.name for each in (found or known)) or "none"
        what = "there are several service addresses" if found else "there is no service address"
        raise errors.UsageError(
            f"{what} {name!r}",
            cause=f"{'they are called' if found else 'declared are'}: {names}",
            next_command="isthmus network address list",
        )

    def follow(self, addresses: tuple[ServiceAddress, ...]) -> None:
        """Have a steward for each address that this site may hold, and no other. From the loop."""
        mine = {
            each.id: each
            for each in addresses
            if each.kind is Kind.MOVED and self.engine.site in each.targets
        }
        for address in self._stewards.keys() - mine.keys():
            self._stewards.pop(address).leave("it is no longer declared")
        for address, declared in mine.items():
            if address in self._stewards:
                self._stewards[address].address = declared
            else:
                sites = self.engine.config.sites
                new = Steward(declared, self.engine.site, sites, self.terms, self)
                self._stewards[address] = new

    def prepared(
        self,
        addresses: tuple[ServiceAddress, ...],
        places: Mapping[str, tuple[str | None, str]],
        clean: frozenset[str],
    ) -> None:
        """The preparer has looked: where gateways stand (host or None, why not), what is gone."""

        def act() -> None:
            self.follow(addresses)
            for address, (host, reason) in places.items():
                if address in self._stewards:
                    self._stewards[address].prepared(host, reason)
            for address, steward in self._stewards.items():
                steward.clean = address in clean

        self._inbox.put(act)

    # -- what stewards may have done (`steward.Outside`); called from the loop

    def now(self) -> float:
        return clock()

    def ask(self, ask: Ask) -> None:
        for link in (self._own_voter, *self.peers.values()):
            link.ask(ask)

    def release(self, release: Release) -> None:
        for link in (self._own_voter, *self.peers.values()):
            link.release(release)

    def hold(self, host: str, address: str, claim: str, until: float) -> None:
        self.hosts[host].hold(address, claim, until)

    def drop(self, host: str, address: str, claim: str) -> None:
        self.hosts[host].drop(address, claim)

    def take(self, site: str, address: str, heir: Heir) -> None:
        self._pool.submit(self._take, site, address, heir)

    def offer(self, site: str, address: str, reason: str) -> None:
        self._pool.submit(self._offer, site, address, reason)

    def know(self, address: str) -> Knowledge:
        return self.voter.know(address)

    def others(self, address: str) -> tuple[Standing, ...]:
        now = time.monotonic()
        said = self._said.get(address, {})
        return tuple(each for at, each in said.values() if now - at < HEARD_SECONDS)

    def record(self, address: ServiceAddress, event: dict[str, Any]) -> None:
        self.recorder.add(address.id, {"address": address.name, **event})

    # -- what comes back; called from the links' threads

    def _word(self, word: Any) -> None:
        self._later(word.address, lambda steward: steward.heard(word))

    def _told(self, site: str, standings: Mapping[str, Standing]) -> None:
        now = time.monotonic()

        def act() -> None:
            for address, standing in standings.items():
                if standing.site == site:
                    self._said.setdefault(address, {})[site] = (now, standing)

        self._inbox.put(act)

    def host_seen(self, host: str, reports: Mapping[str, Report]) -> None:
        def act() -> None:
            for address, steward in self._stewards.items():
                steward.reported(host, reports.get(address))
                if steward.host == host and address not in reports:
                    self.preparer.hurry(address)

        self._inbox.put(act)

    def host_silent(self, host: str, error: str) -> None:
        def act() -> None:
            for steward in self._stewards.values():
                steward.silent(host, error)

        self._inbox.put(act)

    def held(self, address: str, claim: str, refused: str) -> None:
        self._later(address, lambda steward: steward.held(claim, refused))

    def dropped(self, address: str, claim: str) -> None:
        self._later(address, lambda steward: steward.dropped(claim))

    # -- moves

    def exchange(self, site: str, said: Exchange) -> Exchange:
        """What another engine says, answered with votes; asks for other sites' places get none."""
        for release in said.releases:
            self.voter.release(release)
        words = [self.voter.ask(ask) for ask in said.asks if ask.owner.startswith(f"{site}/")]
        self._told(site, said.standings)
        return Exchange(words=tuple(words), standings=self._own)

    def give(self, address: str, heir: Heir) -> lease.PassOn:
        """Pass the lease on to `heir`. Raises UnavailableError if it is not held here."""
        answer: Future[lease.PassOn] = Future()
        if address not in self._stewards:
            raise errors.UnavailableError("the address is not held here", where=self.engine.site)
        self._later(address, lambda steward: steward.give(heir, answer))
        try:
            return answer.result(self.terms.lease)
        except concurrent.futures.TimeoutError as error:
            raise errors.UnavailableError(
                "the address is not passed on", cause="the gateway does not say that it is silent"
            ) from error

    def _take(self, site: str, address: str, heir: Heir) -> None:
        try:
            if site == self.engine.site:
                given = self.give(address, heir)
                epoch, remaining = given.epoch, given.remaining
            else:
                body = {"address": address, "claim": heir.claim, "owner": heir.owner}
                answer = self.engine.peers.call(
                    "POST", site, "/v1/votes/give", body, self.terms.lease
                )
                epoch, remaining = int(answer["epoch"]), float(answer["remaining"])
        except (errors.IsthmusError, KeyError, TypeError, ValueError) as error:
            why = str(error)
            self._later(address, lambda steward: steward.not_taken(heir.claim, why))
            return
        self._later(address, lambda steward: steward.took(heir.claim, epoch, remaining))

    def _offer(self, site: str, address: str, reason: str) -> None:
        body = {"address": address, "why": reason}
        try:
            self.engine.peers.call("POST", site, "/v1/votes/offer", body, self.terms.lease)
        except errors.IsthmusError as error:
            LOG.info("%s does not take the address: %s", site, error)

    def move(
        self, address: ServiceAddress, *, by: str, why: str, force: bool = False
    ) -> dict[str, Any]:
        """Get the address to this site and wait for it. Raises UnavailableError, BusyError."""
        if address.id not in self._stewards:
            raise errors.UsageError(
                f"{address.name} cannot be in {self.engine.site}",
                cause=f"its targets are in {', '.join(address.sites)}",
            )
        done: Future[dict[str, Any]] = Future()
        until = clock() + ORDER_SECONDS
        order = Order(by=by, why=why, force=force, until=until, done=done)
        self._later(address.id, lambda steward: steward.order(order))
        try:
            return done.result(ORDER_SECONDS + 2.0)
        except concurrent.futures.TimeoutError as error:
            raise errors.UnavailableError(
                "the address was not moved", cause=f"nothing came of it in {ORDER_SECONDS:g} s"
            ) from error

    def offered(self, address: str, why: str) -> None:
        """The holder wants this site to take the address: as if ordered, by the policy."""
        done: Future[dict[str, Any]] = Future()
        until = clock() + ORDER_SECONDS / 2
        order = Order(by=POLICY, why=why, force=False, until=until, done=done)
        self._later(address, lambda steward: steward.order(order))

    # -- what is shown

    def standings(self, address: str) -> dict[str, Standing]:
        """What every site says of itself, as far as it was heard lately."""
        found = {each.site: each for each in self.others(address)}
        own = self._own.get(address)
        return {**found, **({self.engine.site: own} if own else {})}

    def steward(self, address: str) -> Steward | None:
        return self._stewards.get(address)

    def findings(self, address: str) -> tuple[Finding, ...]:
        """What the preparer found wrong in this site."""
        return self.preparer.findings(address)
