"""Who may hold a service address: a lease that a majority of voters promises to one claim.

It exists so that no partition, crash or lost message lets two places hold one address at the same
instant. The shape is PaxosLease (Trencseni, Gazso, Reinhardt, 2012) with one round instead of two,
because here a promise *is* the lease: a voter promises to one claim at a time and breaks no promise
before it has run out on the voter's own clock.

A *place* is where an address can be answered: `<site>/<host>`. A *claim* is one place's attempt to
hold an address, from its campaign until it gives up: it has an identity of its own that is never
used again, so that a program that forgot (a restart) or a second one with the same name is a
stranger to the voters until the promise to the first has ended. The *epoch* grows with every claim
that wins; it orders messages and history, and nobody's right rests on it.

Not for the question who *should* hold an address: that is `policy`. All times are seconds of the
clock of the one who states them; clocks are never compared, and nobody's may be set back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from isthmus.network.addresses.voters import Ask, Release, Word

ROUNDS_KEPT = 4
"""Rounds of asks whose answers still count. A round starts every quarter of a lease: an older one
could not lengthen the right any more."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What voters and claimants agree upon.

    `lease` is what a voter promises, `renew` how often a holder asks again. `drift` is how much the
    rate of any clock may differ from true time: 1 %, a hundred times what quartz does and twenty
    times what a clock discipline may slew. `margin` is for what is not counted otherwise: a timer
    of the kernel that fires a tick late (4 ms at 250 Hz), a packet that was on its way.
    """

    lease: float = 1.0
    renew: float = 0.25
    drift: float = 0.01
    margin: float = 0.02

    def usable(self, promised: float) -> float:
        """Seconds, by the holder's clock, of a promise of `promised` seconds by another's.

        The promise lasts at least `promised / (1 + drift)` of true time; what the holder counts as
        x seconds takes at most `x / (1 - drift)`.
        """
        return promised * (1 - self.drift) / (1 + self.drift) - self.margin


class Phase(StrEnum):
    """What a place does about an address."""

    IDLE = "idle"
    ASKING = "asking"
    """A campaign: the voters are asked for a first promise."""
    TAKING = "taking"
    """The holder was asked to pass its lease on."""
    HOLDING = "holding"
    YIELDING = "yielding"
    """A successor waits; the address must be down here before the lease may be passed on."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of asks; `asked_at` was read *before* the first of them was sent."""

    number: int
    asked_at: float
    granted: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Heir:
    """The claim that a lease is passed to."""

    claim: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """One place's side of the lease of one address.

    Invariant: `until` (own clock) never lies after the moment at which the promises it rests on may
    end: of a majority that answered a round asked at `until - usable(lease)` or later, or of the
    holder that passed its lease on. The address may be answered here before `until`, in HOLDING
    only; a claim that was given up is never used again.
    """

    address: str
    place: str
    voters: frozenset[str]
    phase: Phase = Phase.IDLE
    claim: str = ""
    epoch: int = 0
    until: float = 0.0
    began: float = 0.0
    round: int = 0
    rounds: tuple[Round, ...] = ()
    highest: int = 0
    heir: Heir | None = None

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    def holds(self, now: float) -> bool:
        """Whether the address may be answered here at `now`."""
        return self.phase is Phase.HOLDING and now < self.until


@dataclass(frozen=True, kw_only=True)
class SendAsk:
    """Send this to every voter, at once."""

    ask: Ask


@dataclass(frozen=True, kw_only=True)
class SendRelease:
    """Send this to every voter; it may be lost."""

    release: Release


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Let the gateway answer for the address until `until` (own clock)."""

    claim: str
    until: float


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Let the gateway stop answering for `claim`, for good; `dropped` when it has said so."""

    claim: str


@dataclass(frozen=True, kw_only=True)
class PassOn:
    """Tell `heir` that it may count on the lease for `remaining` seconds from its question."""

    heir: Heir
    epoch: int
    remaining: float


@dataclass(frozen=True, kw_only=True)
class Won:
    """The address is held from now on."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The address is not held any more, or a campaign has failed; `why` in words."""

    epoch: int
    why: str
    held: bool


Action = SendAsk | SendRelease | Hold | Drop | PassOn | Won | Ended
Step = tuple[Claimant, tuple[Action, ...]]


def campaign(self: Claimant, claim: str, terms: Terms, now: float) -> Step:
    """Ask the voters for the address with a fresh `claim`; only when IDLE."""
    if self.phase is not Phase.IDLE:
        return self, ()
    begun = replace(
        self,
        phase=Phase.ASKING,
        claim=claim,
        epoch=self.highest + 1,
        began=now,
        until=0.0,
        rounds=(),
    )
    return _ask(begun, terms, now)


def take(self: Claimant, claim: str, now: float) -> Step:
    """Prepare to be passed the lease; the question to the holder is the caller's, after this."""
    if self.phase is not Phase.IDLE:
        return self, ()
    return replace(self, phase=Phase.TAKING, claim=claim, began=now, until=0.0, rounds=()), ()


def passed(
    self: Claimant, claim: str, epoch: int, remaining: float, terms: Terms, now: float
) -> Step:
    """The holder passed its lease on: count from before it was asked, then ask the voters."""
    if self.phase is not Phase.TAKING or self.claim != claim:
        return self, ()
    until = self.began + terms.usable(remaining)
    after = replace(self, highest=max(self.highest, epoch))
    if now >= until:
        return _end(after, "the lease that was passed on had run out when it arrived", told=False)
    after = replace(after, phase=Phase.HOLDING, epoch=after.highest + 1, until=until)
    won = (Won(epoch=after.epoch), Hold(claim=claim, until=until))
    after, asks = _ask(after, terms, now)
    return after, (*won, *asks)


def heard(self: Claimant, word: Word, terms: Terms, now: float) -> Step:
    """A voter answered."""
    self = replace(self, highest=max(self.highest, word.highest))
    if self.phase not in (Phase.ASKING, Phase.HOLDING) or word.claim != self.claim:
        return self, ()
    if word.voter not in self.voters:
        return self, ()
    self = replace(self, rounds=tuple(_noted(each, word) for each in self.rounds))
    if self.phase is Phase.ASKING and not word.granted:
        return _refused(self, word)
    until = _until(self, terms)
    if until <= self.until or now >= until:
        return self, ()
    first = self.phase is Phase.ASKING
    self = replace(self, phase=Phase.HOLDING, until=until)
    won: tuple[Action, ...] = (Won(epoch=self.epoch),) if first else ()
    return self, (*won, Hold(claim=self.claim, until=until))


def tick(self: Claimant, terms: Terms, now: float, *, renewing: bool = True) -> Step:
    """Renew what is due unless `renewing` is not wanted, notice what has run out. To be called at
    `due`."""
    if self.phase in (Phase.HOLDING, Phase.YIELDING) and now >= self.until:
        return _end(self, "the lease ran out", told=False)
    if self.phase in (Phase.ASKING, Phase.TAKING) and now >= self.began + terms.lease / 2:
        asking = self.phase is Phase.ASKING
        who = "no majority of the voters" if asking else "no holder"
        return _end(self, f"{who} answered in time", told=asking)
    if renewing and self.phase is Phase.HOLDING and now >= _last_asked(self) + terms.renew:
        return _ask(replace(self, epoch=max(self.epoch, _epoch_needed(self))), terms, now)
    return self, ()


def due(self: Claimant, terms: Terms) -> float | None:
    """When `tick` has something to do, by the own clock; None: not before another event."""
    match self.phase:
        case Phase.HOLDING:
            return min(self.until, _last_asked(self) + terms.renew)
        case Phase.YIELDING:
            return self.until
        case Phase.ASKING | Phase.TAKING:
            return self.began + terms.lease / 2
        case _:
            return None


def give(self: Claimant, heir: Heir, now: float) -> Step:
    """Somebody asks to be passed the lease: stop answering first."""
    if not self.holds(now):
        return self, ()
    after = replace(self, phase=Phase.YIELDING, heir=heir)
    return after, (Drop(claim=self.claim),)


def dropped(self: Claimant, claim: str, now: float) -> Step:
    """The gateway has stopped answering for `claim`: pass on what is left of the lease."""
    if self.phase is not Phase.YIELDING or self.claim != claim or self.heir is None:
        return self, ()
    heir, remaining = self.heir, max(self.until - now, 0.0)
    release = Release(
        address=self.address,
        claim=claim,
        epoch=self.epoch,
        successor=heir.claim,
        successor_owner=heir.owner,
    )
    return _idle(self), (
        PassOn(heir=heir, epoch=self.epoch, remaining=remaining),
        SendRelease(release=release),
        Ended(epoch=self.epoch, why=f"passed on to {heir.owner}", held=True),
    )


def abandon(self: Claimant, why: str) -> Step:
    """Give up. A holder stops answering but does not take its voters' promises back.

    They end by themselves: nobody has confirmed that the gateway is silent, and its element in the
    kernel ends before they do.
    """
    if self.phase is Phase.IDLE:
        return self, ()
    return _end(self, why, told=self.phase is Phase.ASKING)


def _ask(self: Claimant, terms: Terms, now: float) -> Step:
    number = self.round + 1
    ask = Ask(
        address=self.address,
        claim=self.claim,
        owner=self.place,
        epoch=self.epoch,
        lease=terms.lease,
        round=number,
    )
    rounds = (*self.rounds, Round(number=number, asked_at=now))[-ROUNDS_KEPT:]
    return replace(self, round=number, rounds=rounds), (SendAsk(ask=ask),)


def _noted(each: Round, word: Word) -> Round:
    if each.number != word.round:
        return each
    if word.granted:
        return replace(each, granted=each.granted | {word.voter})
    return replace(each, refused=each.refused | {word.voter})


def _refused(self: Claimant, word: Word) -> Step:
    """A campaign that cannot win any more ends at once, so that the winner is not kept waiting."""
    hopeful = len(self.voters) - len(self.rounds[-1].refused) >= self.majority
    return (self, ()) if hopeful else _end(self, f"refused: {word.reason}", told=True)


def _until(self: Claimant, terms: Terms) -> float:
    """Until when the promises of the best round with a majority last."""
    won = [each.asked_at for each in self.rounds if len(each.granted) >= self.majority]
    return max(won) + terms.usable(terms.lease) if won else 0.0


def _last_asked(self: Claimant) -> float:
    return self.rounds[-1].asked_at if self.rounds else self.began


def _epoch_needed(self: Claimant) -> int:
    """A voter that promised to a later claim in vain asks for a higher epoch from then on."""
    return self.epoch if self.highest <= self.epoch else self.highest + 1


def _end(self: Claimant, why: str, *, told: bool) -> Step:
    """Back to IDLE; `told`: nothing was held, so the voters may know at once."""
    held = self.phase in (Phase.HOLDING, Phase.YIELDING)
    actions: tuple[Action, ...] = (Drop(claim=self.claim),) if held else ()
    if told:
        gone = Release(address=self.address, claim=self.claim, epoch=self.epoch)
        actions = (*actions, SendRelease(release=gone))
    return _idle(self), (*actions, Ended(epoch=self.epoch, why=why, held=held))


def _idle(self: Claimant) -> Claimant:
    return replace(self, phase=Phase.IDLE, claim="", until=0.0, rounds=(), heir=None)
