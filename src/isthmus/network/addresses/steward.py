"""One address in one site: joins what should be (`policy`) with what may be (`lease`) and does it.

All methods are called from one thread, the loop of `service`, and none of them waits: what is to be
said to voters, hosts and other sites is handed to `Outside`, and what comes of it comes back as a
call. So the whole state of an address changes in one place and one order.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import secrets
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Protocol

from isthmus import errors
from isthmus.network.addresses import lease, policy
from isthmus.network.addresses.declarations import ServiceAddress
from isthmus.network.addresses.health import Health
from isthmus.network.addresses.lease import Claimant, Heir, Phase, Terms
from isthmus.network.addresses.links import Report
from isthmus.network.addresses.policy import Decision, Do, Standing, View
from isthmus.network.addresses.voters import Ask, Release, Word
from isthmus.network.addresses.voting import Knowledge

LOG = logging.getLogger(__name__)

ORDER_SECONDS = 10.0
"""How long an ordered move may take: a lease that has to run out, and a few attempts."""
FRESH_SECONDS = 1.5
"""How old a host's report may be before its gateway counts as not ready."""
OFFER_SECONDS = 1.0
DOUBTED, DISOBEYED = 0.35, 0.75
"""Parts of a lease without a word of the gateway after which the lease is not renewed until it obeys
again, and after which it is given up. What is not renewed is free for the other site that much
sooner, and one late answer costs nothing."""
POLICY = "policy"
"""Who moved an address when no person did."""


class Outside(Protocol):
    """What a steward may have done; nothing of it waits."""

    def now(self) -> float: ...
    def ask(self, ask: Ask) -> None: ...
    def release(self, release: Release) -> None: ...
    def hold(self, host: str, address: str, claim: str, until: float) -> None: ...
    def drop(self, host: str, address: str, claim: str) -> None: ...
    def take(self, site: str, address: str, heir: Heir) -> None: ...
    def offer(self, site: str, address: str, reason: str) -> None: ...
    def know(self, address: str) -> Knowledge: ...
    def others(self, address: str) -> tuple[Standing, ...]: ...
    def record(self, address: ServiceAddress, event: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A person, or the engine that holds the address, wants it here. `done` gets the event."""

    by: str
    why: str
    force: bool
    until: float
    done: Future[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """Why the address is being acquired, for whom, from whom; `gap_from`: since when it may not
    have been answered, by the own clock."""

    by: str = POLICY
    why: str = ""
    previous: str | None = None
    gap_from: float | None = None
    kind: str = "takeover"


class Steward:
    """See the module."""

    def __init__(
        self,
        address: ServiceAddress,
        site: str,
        voters: Iterable[str],
        terms: Terms,
        outside: Outside,
    ) -> None:
        self.address, self.site = address, site
        self.decision = Decision(do=Do.STAY, reason="it has just begun")
        self._terms, self._out = terms, outside
        self._voters = frozenset(voters)
        self._host: str | None = None
        self.claimant = self._fresh("-")
        self._report: tuple[float, Report] | None = None
        self._unready = "the gateway is not prepared yet"
        self.clean = False
        self._failed_at = float("-inf")
        self._told: tuple[str, float] | None = None
        self._obeyed_at = 0.0
        self._confirmed = False
        self._attempt = Attempt()
        self._order: Order | None = None
        self._giving: Future[lease.PassOn] | None = None
        self._offered_at = float("-inf")
        self._free_since: float | None = None
        self.trouble: str | None = None

    def _fresh(self, host: str) -> Claimant:
        place = f"{self.site}/{host}"
        highest = self.claimant.highest if hasattr(self, "claimant") else 0
        return Claimant(address=self.address.id, place=place, voters=self._voters, highest=highest)

    @property
    def host(self) -> str | None:
        """The host that its gateway stands on."""
        return self._host

    # -- what is told to it

    def prepared(self, host: str | None, reason: str) -> None:
        """The gateway stands on `host`; None: nowhere, for this reason."""
        self._unready = reason
        if host != self._host:
            self._do(lease.abandon(self.claimant, f"the gateway moves to {host or 'no host'}"))
            self._host, self._report = host, None
            self.claimant = self._fresh(host or "-")

    def reported(self, host: str, report: Report | None) -> None:
        """The agent of `host` told about its gateway; None: it has none."""
        if host != self._host:
            return
        if report is None:
            self._report, self._unready = None, f"{host} has no gateway for it"
        else:
            self._report = (self._out.now(), report)

    def silent(self, host: str, error: str) -> None:
        """The agent of `host` does not answer."""
        if host == self._host:
            self._report, self._unready = None, error

    def heard(self, word: Word) -> None:
        """A voter answered."""
        if not word.granted and word.owner and word.owner != self.claimant.place:
            self._told = (word.owner, self._out.now() + word.remaining)
        self._do(lease.heard(self.claimant, word, self._terms, self._out.now()))

    def held(self, claim: str, refused: str) -> None:
        """The gateway answers for `claim` from now on, or refuses to."""
        if claim != self.claimant.claim:
            return
        if refused:
            self.trouble = f"the gateway refuses: {refused}"
            return
        self._obeyed_at, self.trouble = self._out.now(), None
        if not self._confirmed and self.claimant.phase is Phase.HOLDING:
            self._confirmed = True
            self._arrived()

    def dropped(self, claim: str) -> None:
        """The gateway does not answer for `claim` any more."""
        self._do(lease.dropped(self.claimant, claim, self._out.now()))

    def give(self, heir: Heir, answer: Future[lease.PassOn]) -> None:
        """Another place asks to be passed the lease."""
        if self._giving is not None or not self.claimant.holds(self._out.now()):
            answer.set_exception(_refused(f"{self.claimant.place} does not hold it"))
            return
        self._giving = answer
        self._do(lease.give(self.claimant, heir, self._out.now()))

    def took(self, claim: str, epoch: int, remaining: float) -> None:
        """The holder passed its lease on."""
        now = self._out.now()
        self._do(lease.passed(self.claimant, claim, epoch, remaining, self._terms, now))

    def not_taken(self, claim: str, why: str) -> None:
        """The holder did not."""
        if claim == self.claimant.claim and self.claimant.phase is Phase.TAKING:
            self._do(lease.abandon(self.claimant, why))

    def order(self, order: Order) -> None:
        """Get the address here."""
        if self._order is not None:
            order.done.set_exception(
                errors.BusyError("another move to this site is under way", where=self.address.name)
            )
            return
        self._order = order

    def leave(self, why: str) -> None:
        """Give the address up."""
        self._do(lease.abandon(self.claimant, why))

    # -- its turn

    def due(self) -> float | None:
        """When it must have its turn at the latest, by the own clock."""
        if self._unanswered(self._out.now()) > DOUBTED:
            return self.claimant.until
        return lease.due(self.claimant, self._terms)

    def _unanswered(self, now: float) -> float:
        """For how much of a lease the gateway has not obeyed, while it is to answer."""
        holding = self.claimant.phase is Phase.HOLDING
        return (now - self._obeyed_at) / self._terms.lease if holding else 0.0

    def turn(self) -> None:
        """Do what is due."""
        now = self._out.now()
        doubted = self._unanswered(now) > DOUBTED
        self._do(lease.tick(self.claimant, self._terms, now, renewing=not doubted))
        if self._unanswered(now) > DISOBEYED:
            why = self.trouble or self._unready or "no answer"
            self._do(lease.abandon(self.claimant, f"its gateway does not obey: {why}"))
        elif doubted and self._host and self.claimant.holds(now):
            # The order may be what was lost: it is given again, for no longer than before.
            address, claim = self.address.id, self.claimant.claim
            self._out.hold(self._host, address, claim, self.claimant.until)
        view = self._view(now)
        if self._order is not None:
            self._follow(self._order, view, now)
        else:
            self.decision = policy.decide(view)
            self._decided(self.decision, view, now)

    def standing(self) -> Standing:
        """What this site says of itself."""
        report, now = self._report, self._out.now()
        if report is None or now - report[0] > FRESH_SECONDS:
            return Standing(
                place=self.claimant.place,
                ready=False,
                health=Health.UNKNOWN,
                reason=self._unready,
                clean=self.clean,
            )
        found = report[1]
        return Standing(
            place=self.claimant.place,
            ready=not self._unready,
            health=Health(found.health),
            health_seconds=found.health_seconds,
            reason=self._unready or found.reason,
        )

    def _view(self, now: float) -> View:
        known = self._out.know(self.address.id)
        holder = known.owner
        if holder is None and self._told and now < self._told[1]:
            holder = self._told[0]
        if holder is not None:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        return View(
            address=self.address,
            own=self.standing(),
            others=self._out.others(self.address.id),
            phase=self.claimant.phase,
            holder=holder,
            free_for=now - (now if self._free_since is None else self._free_since),
            last_owner=known.last,
            rested=now - self._failed_at,
        )

    def _decided(self, decision: Decision, view: View, now: float) -> None:
        match decision.do:
            case Do.CAMPAIGN:
                self._campaign(Attempt(why=decision.reason), view, now)
            case Do.TAKE if decision.place:
                self._take(decision.place, Attempt(why=decision.reason), now)
            case Do.OFFER if decision.place and now - self._offered_at >= OFFER_SECONDS:
                self._offered_at = now
                site = policy.site_of(decision.place)
                self._out.offer(site, self.address.id, decision.reason)
            case Do.LEAVE:
                self._do(lease.abandon(self.claimant, decision.reason))

    def _follow(self, order: Order, view: View, now: float) -> None:
        """Do what was ordered, whatever the policy says."""
        if self.claimant.phase is Phase.HOLDING and self._confirmed:
            self._order = None
            order.done.set_result({"to": self.claimant.place, "kind": "nothing to do"})
            return
        why = _hindrance(order, view, now)
        if why:
            self._order = None
            order.done.set_exception(_refused(why))
        elif self.claimant.phase is Phase.IDLE and view.rested >= policy.REST / 5:
            attempt = Attempt(by=order.by, why=order.why)
            if view.holder and view.holder != self.claimant.place:
                self._take(view.holder, attempt, now)
            elif not view.holder:
                self._campaign(attempt, view, now)

    def _campaign(self, attempt: Attempt, view: View, now: float) -> None:
        # The last owner was alive when the own voter last heard it, a lease before its promise ended.
        known = self._out.know(self.address.id)
        since = None if view.last_owner is None else now - known.free_for - self._terms.lease
        # What the own voter knows need not be learned by being refused, which costs a rest.
        highest = max(self.claimant.highest, known.epoch)
        self.claimant = dataclasses.replace(self.claimant, highest=highest)
        self._attempt = dataclasses.replace(attempt, previous=view.last_owner, gap_from=since)
        self._do(lease.campaign(self.claimant, _claim(), self._terms, now))

    def _take(self, holder: str, attempt: Attempt, now: float) -> None:
        claim = _claim()
        self._do(lease.take(self.claimant, claim, now))
        if self.claimant.claim != claim:
            return
        self._attempt = dataclasses.replace(attempt, previous=holder, gap_from=now, kind="handover")
        heir = Heir(claim=claim, owner=self.claimant.place)
        self._out.take(policy.site_of(holder), self.address.id, heir)

    # -- what follows from the lease

    def _do(self, step: lease.Step) -> None:
        self.claimant, actions = step
        for action in actions:
            self._act(action)

    def _act(self, action: lease.Action) -> None:
        match action:
            case lease.SendAsk(ask=ask):
                self._out.ask(ask)
            case lease.SendRelease(release=release):
                self._out.release(release)
            case lease.Hold(claim=claim, until=until) if self._host:
                self._out.hold(self._host, self.address.id, claim, until)
            case lease.Drop(claim=claim) if self._host:
                self._out.drop(self._host, self.address.id, claim)
            case lease.PassOn() if self._giving is not None:
                self._giving.set_result(action)
                self._giving = None
            case lease.Won(epoch=epoch):
                self._won(epoch)
            case lease.Ended(epoch=epoch, why=why, held=held):
                self._ended(epoch, why, held=held)

    def _won(self, epoch: int) -> None:
        self._confirmed, self._obeyed_at, self.trouble = False, self._out.now(), None
        LOG.info("%s: the lease is won at epoch %d", self.address.name, epoch)

    def _arrived(self) -> None:
        attempt, now = self._attempt, self._out.now()
        gap = None if attempt.gap_from is None else round((now - attempt.gap_from) * 1000)
        event = {
            "kind": attempt.kind if attempt.previous else "first",
            "from": attempt.previous,
            "to": self.claimant.place,
            "by": attempt.by,
            "why": attempt.why,
            "epoch": self.claimant.epoch,
            "gap_ms_at_most": gap,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
        LOG.info("%s: answered at %s; %s", self.address.name, self.claimant.place, attempt.why)
        self._out.record(self.address, event)
        if self._order is not None:
            self._order.done.set_result(event)
            self._order = None

    def _ended(self, epoch: int, why: str, *, held: bool) -> None:
        if self._giving is not None:
            self._giving.set_exception(_refused(why))
            self._giving = None
        if not held:
            self._failed_at = self._out.now()
            if self._told and self._told[1] < self._failed_at + policy.REST:
                # Voters hear of a lease one after the other, so that their promises end one after
                # the other: who came a moment too early comes again when the last one has ended.
                self._failed_at = self._told[1] - policy.REST
            self.trouble = why
            LOG.debug("%s: not acquired: %s", self.address.name, why)
            return
        LOG.info("%s: no longer held (epoch %d): %s", self.address.name, epoch, why)
        if not why.startswith("passed on"):
            self.trouble = why


def _hindrance(order: Order, view: View, now: float) -> str:
    """Why an order cannot be followed (any more)."""
    own = view.own
    if now > order.until:
        return f"it could not be acquired in {ORDER_SECONDS:g} s"
    if not own.ready:
        return f"the gateway in {own.site} is not ready: {own.reason}"
    if own.health is not Health.HEALTHY and not order.force:
        return f"the target in {own.site} is {own.health}: {own.reason}"
    return ""


def _refused(why: str) -> errors.IsthmusError:
    return errors.UnavailableError(
        "the address was not moved",
        cause=why,
        unchanged="who held it holds it, as long as its lease is renewed",
        next_command="isthmus network address show",
    )


def _claim() -> str:
    return secrets.token_hex(8)
