"""The thread that keeps one network right in the own site.

It exists so that a network with a thousand ports to create holds up no other network, and a site that
does not answer none at all: looking is done by the observers' threads, which put what they saw into
this one's inbox. Two ways lead to the same decision: a *round* compares everything, now and then and
when something may have been missed; the *quick* way compares only the ports that somebody poked
about, at once. Whatever is decided is decided by `isthmus.network.reconciling`; when rounds are due,
by `isthmus.engine.rounds`. Nothing is kept on disk: a keeper that was killed begins with a round.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

from isthmus.engine import rounds
from isthmus.engine.config import Timing
from isthmus.engine.looks import Memory
from isthmus.engine.observing import Seen
from isthmus.engine.reports import Lag, Report, left_undone
from isthmus.engine.rounds import End
from isthmus.engine.surroundings import Portions, Surroundings, Ticket, origin_of
from isthmus.network import reconciling
from isthmus.network.actions import Action
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Finding
from isthmus.network.neutrons import Outcome, Result
from isthmus.network.views import Origin, SiteView

LOG = logging.getLogger(__name__)

SETTLE_SECONDS = 10.0
"""How long a port takes to become ACTIVE after it was bound, which Neutron tells nobody: the agent
polls every 2 s."""

JITTER = 0.2
"""Largest random part of the interval: engines that were started together shall not ask together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Declared:
    declaration: StretchedNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A round is wanted; `patient`: not more often than now and then."""

    patient: bool


class Keeper(threading.Thread):
    """Keeps one network right; its methods may be called from any thread.

    Invariants: only this thread acts on the network in this process; every action follows from
    views that were complete when they were taken (`Memory`); a round follows every change of the
    declaration and every loss or return of a site.
    """

    def __init__(self, declaration: StretchedNetwork, around: Surroundings) -> None:
        super().__init__(name=f"keep-{declaration.name}", daemon=True)
        self._declaration, self._around = declaration, around
        self._inbox: queue.SimpleQueue[Seen | _Declared | _Wanted | Ticket | None] = (
            queue.SimpleQueue()
        )
        self._state = rounds.State(own=around.site)
        self._memories: dict[str, Memory] = {}
        self._lost: frozenset[str] = frozenset()
        self._acted = 0
        self._changed_at = float("-inf")
        self._heard: dict[Origin, float] = {}
        self._touched: set[Origin] = set()
        self._lags: dict[str, Lag] = {}
        self._troubles: dict[Origin, Finding] = {}
        self._tickets: list[Ticket] = []
        self._stopping = False
        self._report = Report(
            site=around.site, network_id=declaration.id, revision=declaration.revision, at=0.0
        )

    @property
    def declaration(self) -> StretchedNetwork:
        return self._declaration

    @property
    def report(self) -> Report:
        """What is known now; `views` and `lags` are newer than the last round."""
        return dataclasses.replace(
            self._report,
            findings=(*self._report.findings, *list(self._troubles.values())),
            views=self.views,
            lags=dict(self._lags),
        )

    @property
    def views(self) -> dict[str, SiteView]:
        """What decisions are based on, by site."""
        since = self._around.started_at
        memories = dict(self._memories)
        return {site: each.view(site, unseen_since=since) for site, each in memories.items()}

    def known(self, site: str) -> SiteView | None:
        """The last good view of a site."""
        memory = self._memories.get(site)
        return memory.latest if memory else None

    def declare(self, declaration: StretchedNetwork) -> None:
        """The declaration has changed."""
        self._inbox.put(_Declared(declaration=declaration))

    def want_round(self, *, patient: bool = False) -> None:
        """Something may have changed that nobody can name. `patient`: this may be said often."""
        self._inbox.put(_Wanted(patient=patient))

    def sync(self) -> Ticket:
        """Want a round and be told when it has ended."""
        ticket = Ticket()
        self._inbox.put(ticket)
        return ticket

    def poked(self, site: str, origins: Mapping[Origin, float]) -> None:
        """Something happened to these ports, `site` being where to look; the values are when, in
        seconds since 1970."""
        self._heard.update(origins)
        self._around.observer(site).ask_ports(self, origins)

    def touched_here(self, origins: Iterable[Origin]) -> None:
        """Somebody did something to the remote ports that stand for these, in the own site."""
        self._around.observer(self._around.site).ask_ports(self, origins)

    def changed_here(self, ports: Iterable[str]) -> None:
        """Somebody made, changed or deleted these real ports in the own site."""
        self._changed_at = time.monotonic()
        self.touched_here(Origin(site=self._around.site, port_id=each) for each in ports)

    @property
    def settled(self) -> bool:
        """Whether the own site was looked at whole since its ports last changed, and after they had
        time to become active."""
        memory = self._memories.get(self._around.site, Memory())
        return memory.whole_at >= self._changed_at + SETTLE_SECONDS

    def seen(self, seen: Seen) -> None:
        self._inbox.put(seen)

    def stop(self) -> None:
        self._stopping = True
        self._inbox.put(None)

    def run(self) -> None:
        while not self._stopping:
            try:
                self._receive(wait=True)
                self._quick()
                self._advance()
            except Exception:
                # A thread that died would leave its network unkept without a word.
                LOG.exception("%s: an error in the engine itself; it goes on", self.name)
                due_at = time.monotonic() + self._timing.reconcile_seconds
                self._state = rounds.State(own=self._around.site, due_at=due_at)

    @property
    def _timing(self) -> Timing:
        return self._around.timing

    def _receive(self, *, wait: bool) -> None:
        """Take everything out of the inbox; wait for the first if nothing is due."""
        timeout = max(self._state.wakes_at() - time.monotonic(), 0.0) if wait else 0.0
        try:
            self._take(self._inbox.get(timeout=timeout))
            while True:
                self._take(self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _take(self, event: Seen | _Declared | _Wanted | Ticket | None) -> None:
        match event:
            case Seen():
                self._remember(event)
                return
            case _Declared():
                self._declaration = event.declaration
            case Ticket():
                self._tickets.append(event)
        patient = isinstance(event, _Wanted) and event.patient
        self._state = rounds.wanted(self._state, time.monotonic(), patient=patient)

    def _remember(self, seen: Seen) -> None:
        memory = self._memories.get(seen.site, Memory())
        if seen.whole:
            self._memories[seen.site] = memory.after_whole(seen.began, seen.view)
            self._state = rounds.answered(self._state, seen.site, seen.began)
            # Late, or asked for by somebody else: it counts all the same.
            self._state = rounds.reconsidered(self._state, time.monotonic())
        elif seen.view.good:
            self._memories[seen.site] = memory.after_narrow(seen.began, seen.view)
        else:
            self._state = rounds.wanted(self._state, time.monotonic())
        if seen.view.good:
            self._touched |= seen.origins

    def _quick(self) -> None:
        """Decide about the ports that were just looked at, and only about them."""
        touched, self._touched = frozenset(self._touched), set()
        own = self._own()
        if not touched or not own.good or own.network is None:
            return
        narrowed = dataclasses.replace(own, only=frozenset(each.port_id for each in touched))
        plan = self._plan(narrowed)
        if plan.actions:
            self._note(self._applied(plan.actions))
            self._look_after(touched)
        for origin in touched:
            self._heard.pop(origin, None)
        self._settle(touched)

    def _settle(self, touched: frozenset[Origin]) -> None:
        """Want a round when a party to a clash has changed: the other one may be free to go on."""
        named = (f.names(each.port_id) for f in self.report.findings for each in touched)
        if any(named):
            self._state = rounds.wanted(self._state, time.monotonic(), patient=True)

    def _own(self) -> SiteView:
        memory = self._memories.get(self._around.site, Memory())
        return memory.view(self._around.site, unseen_since=self._around.started_at)

    def _plan(self, own: SiteView) -> reconciling.Plan:
        peers = {site: view for site, view in self.views.items() if site != own.site}
        lost, hearing = self._around.lost_sites, self._around.hearing()
        return reconciling.plan(self._declaration, own, peers, lost, time.time(), hearing=hearing)

    def _applied(self, actions: Iterable[Action]) -> list[Outcome]:
        """Carry out actions and write down how long they took to get here."""
        listed, began = list(actions), time.monotonic()
        outcomes = self._around.neutron().apply(self._declaration, listed)
        now = time.time()
        for each in outcomes:
            origin = origin_of(each.action)
            if not origin or each.result is not Result.DONE:
                continue
            if heard := self._heard.pop(origin, None):
                self._lags[str(origin)] = Lag(seconds=max(now - heard, 0.0), applied_at=now)
                self._around.applied(max(now - heard, 0.0))
        self._log(outcomes, time.monotonic() - began)
        return outcomes

    def _note(self, outcomes: Iterable[Outcome]) -> None:
        """Keep what the quick way could not do until the next round; that decides about retries."""
        for each in outcomes:
            origin = origin_of(each.action)
            if each.result is not Result.DONE:
                self._state = rounds.wanted(self._state, time.monotonic())
            if each.finding and origin:
                self._troubles[origin] = each.finding

    def _look_after(self, origins: frozenset[Origin]) -> None:
        """Look at what the quick way has just changed in the own site."""
        site, began = self._around.site, time.monotonic()
        if (known := self.known(site)) is not None:
            view = self._around.neutron().refresh(known, self._declaration, origins)
            self._memories[site] = self._memories[site].after_narrow(began, view)

    def _advance(self) -> None:
        """Begin a round if one is due; make its next pass if all answers are there."""
        now = time.monotonic()
        if self._state.due(now):
            self._begin(now)
        if self._state.ready(now):
            self._pass()

    def _begin(self, now: float) -> None:
        lost = self._around.lost_sites
        for site in lost - self._lost:
            # What it held may be long gone when it returns.
            self._memories.pop(site, None)
        self._lost, self._acted = lost, 0
        sites = self._sites() - lost | {self._around.site}
        for site in set(self._memories) - sites:
            del self._memories[site]
        timeout = self._timing.peer_timeout_seconds
        self._state = rounds.begun(self._state, now, sites, timeout)
        for site in sites:
            self._around.observer(site).ask_whole(self)

    def _sites(self) -> frozenset[str]:
        """Whom a round asks: those that are declared, or all that might still hold something."""
        with_neutron = self._around.neutron_sites
        declared = frozenset(self._declaration.sites)
        if self._declaration.deleting:
            return with_neutron
        return declared & with_neutron if self._around.site in declared else frozenset()

    def _pass(self) -> None:
        own = self._own()
        plan = self._plan(own)
        self._troubles = {}
        outcomes = list(self._carried_out(plan.actions))
        end = self._end(own, plan, outcomes)
        began, asked = self._state.asked_at or 0.0, self._state.asked
        if end is End.ACTED:
            self._around.observer(own.site).ask_whole(self)
        now = time.monotonic()
        self._state = rounds.ended(
            self._state,
            end,
            now,
            interval=self._timing.reconcile_seconds * (1 + JITTER * random.random()),  # noqa: S311
        )
        self._publish(end, plan, outcomes, seconds=now - began)
        if asked and end is not End.FAILED:
            self._tell(began)
        if end is End.EMPTY and self._declaration.deleting:
            self._around.finished(self._declaration)

    def _end(self, own: SiteView, plan: reconciling.Plan, outcomes: list[Outcome]) -> End:
        if not own.good or any(each.result is not Result.DONE for each in outcomes):
            return End.FAILED
        if plan.actions or plan.again:
            return End.ACTED
        if not self._declaration.deleting:
            return End.EMPTY
        views = {site: Memory().view(site, unseen_since=0.0) for site in self._around.neutron_sites}
        gone = reconciling.finished(self._declaration, {**views, **self.views})
        return End.EMPTY if gone else End.WAITING

    def _carried_out(self, actions: tuple[Action, ...]) -> Iterator[Outcome]:
        """The outcomes of all actions, in their order. Between portions of ports, pokes have their
        turn; what they settle is left out."""
        settled: frozenset[Origin] = frozenset()
        portions = Portions(actions)
        for portion in portions:
            left = [each for each in portion if origin_of(each) not in settled]
            if left and not self._stopping:
                began = time.monotonic()
                yield from self._applied(left)
                if origin_of(left[0]) is not None:
                    portions.took(len(left), time.monotonic() - began)
            self._receive(wait=False)
            settled |= self._touched
            self._quick()

    def _publish(
        self, end: End, plan: reconciling.Plan, outcomes: list[Outcome], *, seconds: float
    ) -> None:
        held = {port.device_id for port in self._own().remotes()}
        self._lags = {origin: lag for origin, lag in self._lags.items() if origin in held}
        self._acted += len(outcomes)
        self._report = Report(
            site=self._around.site,
            network_id=self._declaration.id,
            revision=self._declaration.revision,
            at=time.time(),
            end=end,
            seconds=seconds,
            actions=self._acted,
            findings=(*plan.findings, *(each.finding for each in outcomes if each.finding)),
            left=left_undone(outcomes),
        )

    def _tell(self, began: float) -> None:
        """Answer those whose round has ended."""
        if self._state.under_way:
            return
        report = self.report
        for ticket in [each for each in self._tickets if each.at <= began]:
            ticket.resolve(report)
            self._tickets.remove(ticket)

    def _log(self, outcomes: list[Outcome], seconds: float) -> None:
        undone = left_undone(outcomes)
        LOG.log(
            logging.WARNING if undone else logging.INFO,
            "network %s: %d actions in %.2f s%s",
            self._declaration.name,
            len(outcomes) - len(undone),
            seconds,
            f"; not done: {'; '.join(undone[:5])}" if undone else "",
        )
