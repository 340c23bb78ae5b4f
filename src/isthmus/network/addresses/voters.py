"""What a voter promises: an address to one claim at a time, until a moment of its own clock.

It exists apart from `lease`, which is the other side, because a voter needs to know nothing of who
asks. What must be on disk, and when, is said here; writing it is `voting`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

LONGEST_LEASE = 10.0
"""Seconds that a voter without memory waits before it promises anything: no lease is longer."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A voter's word: nobody but `claim` gets this address from me before `until`."""

    claim: str
    owner: str
    epoch: int
    lease: float
    until: float


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """One voter's memory of one address.

    Invariant: a promise is replaced by one to another claim only after its `until`, or because its
    own claim passed it on (`release`). `highest` never shrinks.
    """

    promise: Promise | None = None
    highest: int = 0

    def live(self, now: float) -> Promise | None:
        """The promise, unless it has run out."""
        return self.promise if self.promise and now < self.promise.until else None

    def saved(self) -> tuple[str, str, int, float, int]:
        """What must be on disk before an answer leaves; the passing of time needs no writing."""
        kept = self.promise
        if kept is None:
            return "", "", 0, 0.0, self.highest
        return kept.claim, kept.owner, kept.epoch, kept.lease, self.highest


@dataclass(frozen=True, kw_only=True)
class Ask:
    """`claim` asks for a promise of `lease` seconds; `round` numbers the asker's rounds."""

    address: str
    claim: str
    owner: str
    epoch: int
    lease: float
    round: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """`claim` gives the address up: to `successor`'s claim, or to whoever asks next."""

    address: str
    claim: str
    epoch: int
    successor: str | None = None
    successor_owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Word:
    """A voter's answer. `owner`, `remaining`: to whom it is promised now, and for how long still.

    `claim` and `round` are the asker's. `remaining` is in seconds of the voter's clock and is for
    showing and for knowing when to ask again; no right follows from it.
    """

    voter: str
    address: str
    claim: str
    round: int
    granted: bool
    highest: int
    owner: str | None
    remaining: float
    reason: str = ""


def vote(voter: str, ballot: Ballot, ask: Ask, now: float) -> tuple[Ballot, Word]:
    """Promise, or say why not. The new ballot must be safe on disk before the word is sent."""
    live = ballot.live(now)
    reason = _refusal(ballot, live, ask)
    if reason:
        return ballot, _word(voter, ballot, ask, now, reason)
    promise = Promise(
        claim=ask.claim, owner=ask.owner, epoch=ask.epoch, lease=ask.lease, until=now + ask.lease
    )
    after = Ballot(promise=promise, highest=max(ballot.highest, ask.epoch))
    return after, _word(voter, after, ask, now, "")


def _refusal(ballot: Ballot, live: Promise | None, ask: Ask) -> str:
    if not 0 < ask.lease <= LONGEST_LEASE:
        return f"a lease of {ask.lease:g} s is not between 0 and {LONGEST_LEASE:g} s"
    if live and live.claim != ask.claim:
        return f"promised to {live.owner}"
    if ballot.promise and ballot.promise.claim == ask.claim:
        # A message that was overtaken by a later one of the same claim.
        return "" if ask.epoch >= ballot.promise.epoch else "the epoch is old"
    return "" if ask.epoch > ballot.highest else f"the epoch must be above {ballot.highest}"


def _word(voter: str, ballot: Ballot, ask: Ask, now: float, reason: str) -> Word:
    live = ballot.live(now)
    return Word(
        voter=voter,
        address=ask.address,
        claim=ask.claim,
        round=ask.round,
        granted=not reason,
        highest=ballot.highest,
        owner=live.owner if live else None,
        remaining=live.until - now if live else 0.0,
        reason=reason,
    )


def release(ballot: Ballot, given: Release) -> Ballot:
    """Let go of a promise at the word of its own claim.

    With a successor the promise goes over with its end unchanged: the one who gave it up has told
    the successor to count on exactly that.
    """
    promise = ballot.promise
    if promise is None or promise.claim != given.claim:
        return ballot
    highest = max(ballot.highest, given.epoch)
    if given.successor is None or given.successor_owner is None:
        return Ballot(promise=None, highest=highest)
    passed = replace(promise, claim=given.successor, owner=given.successor_owner)
    return Ballot(promise=passed, highest=highest)


def restored(ballot: Ballot, now: float) -> Ballot:
    """The ballot of a voter that was restarted: what it had promised counts as promised just now.

    How long it was away is not asked: the clock may have been another one's.
    """
    if ballot.promise is None:
        return ballot
    return replace(ballot, promise=replace(ballot.promise, until=now + ballot.promise.lease))


def blank(now: float) -> Ballot:
    """The ballot of a voter that has lost its memory: promised to nobody knows whom."""
    unknown = Promise(
        claim="", owner="unknown", epoch=0, lease=LONGEST_LEASE, until=now + LONGEST_LEASE
    )
    return Ballot(promise=unknown)


def agreed(words: Iterable[Word], voters: int) -> str | None:
    """The owner that a majority of `voters` names, None if there is none."""
    named = [word.owner for word in words if word.owner]
    for owner in set(named):
        if named.count(owner) > voters // 2:
            return owner
    return None
