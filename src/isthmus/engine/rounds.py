"""When a network is compared whole, whom that waits for, and when it is done again: values only.

A round asks all sites, waits for the own one, and for the others until a deadline, plans, acts, and
looks at the own site again until there is nothing left to do. An answer that comes after the
deadline makes everything be considered again, without asking anybody. It exists as a state machine apart from the thread that runs
it (`isthmus.engine.keeping`), so that every order of answers and failures can be tried.
"""

from __future__ import annotations

import dataclasses
import enum
import math

PASSES = 4
"""How often one round may act. The first creates the network, the second its ports; more than
that means that somebody else keeps changing it."""

FIRST_PAUSE_SECONDS = 1.0
"""How soon a round that failed is begun again; each further failure doubles it."""

LONGEST_PAUSE_SECONDS = 8.0
"""What a service that comes back waits for us at most."""

OWN_SECONDS = 120.0
"""How long the own site is waited for: a look at ten thousand ports takes half a minute."""

PATIENCE_SECONDS = 2.0
"""Least time between two rounds for events: somebody may change security groups all the time."""

_MOST_DOUBLINGS = 16


class End(enum.StrEnum):
    """How a pass of a round ended."""

    EMPTY = "empty"  # nothing was left to do
    ACTED = "acted"  # something was done; whether that was all, the next look will say
    FAILED = "failed"  # something could not be done, or the own site could not be looked at
    WAITING = "waiting"  # nothing to do here, but others are not ready (a deletion)


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Where a network's rounds are. Times are in seconds of one monotonic clock.

    Invariants: a round ends after at most PASSES times OWN_SECONDS, whatever is not answered; a
    round that is over is followed by another; an answer to an older question ends no waiting.
    """

    own: str
    """The own site, without which nothing can be decided."""
    due_at: float = 0.0
    """When the next round begins; infinite while one is under way and nobody wants another."""
    asked_at: float | None = None
    """When the round under way began; None between rounds."""
    asked: bool = False
    """Whether the round under way asked all sites: only then is it an answer to whoever waits."""
    since: float = 0.0
    """Looks that began earlier are not good enough for this pass."""
    waiting: frozenset[str] = frozenset()
    deadline: float = 0.0
    """Until when the other sites are waited for."""
    passes: int = 0
    failures: int = 0
    ended_at: float = float("-inf")
    """When the last round ended."""

    @property
    def under_way(self) -> bool:
        return self.asked_at is not None

    def due(self, now: float) -> bool:
        """Whether a round is to begin."""
        return not self.under_way and now >= self.due_at

    def ready(self, now: float) -> bool:
        """Whether a pass is to be made: all have answered, or no more is waited for."""
        return self.under_way and (not self.waiting or now >= self._patience)

    @property
    def _patience(self) -> float:
        return self.since + OWN_SECONDS if self.own in self.waiting else self.deadline

    def wakes_at(self) -> float:
        """When something is to be done though nothing happens."""
        return self._patience if self.under_way else self.due_at


def begun(state: State, now: float, sites: frozenset[str], timeout: float) -> State:
    """A round begins: these sites are asked now."""
    return dataclasses.replace(
        state,
        due_at=math.inf,
        asked_at=now,
        asked=True,
        since=now,
        waiting=sites,
        deadline=now + timeout,
        passes=0,
    )


def reconsidered(state: State, now: float) -> State:
    """A look came in that nobody waited for any more: decide again with it."""
    if state.under_way:
        return state
    return dataclasses.replace(
        state,
        asked_at=now,
        asked=False,
        since=now,
        waiting=frozenset(),
        deadline=now,
        passes=0,
    )


def answered(state: State, site: str, began: float) -> State:
    """A whole look at `site` came in, good or not; it began at `began`."""
    if not state.under_way or began < state.since:
        return state
    return dataclasses.replace(state, waiting=state.waiting - {site})


def wanted(state: State, now: float, *, patient: bool = False) -> State:
    """Somebody wants a round now; one that is under way is followed by another.

    `patient`: it may wait for a moment after the last one, for whoever wants one with every event.
    """
    earliest = max(now, state.ended_at + PATIENCE_SECONDS) if patient else now
    return dataclasses.replace(state, due_at=min(state.due_at, earliest))


def ended(state: State, end: End, now: float, *, interval: float) -> State:
    """A pass ended. `interval`: until the next round when all is well."""
    if end is End.ACTED and state.passes + 1 < PASSES:
        return dataclasses.replace(
            state,
            since=now,
            waiting=frozenset({state.own}),
            deadline=now,
            passes=state.passes + 1,
        )
    failures = 0 if end is End.EMPTY else min(state.failures + 1, _MOST_DOUBLINGS)
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS)
    pause = pause if failures else interval
    due_at = min(state.due_at, now + min(pause, interval))
    return State(own=state.own, due_at=due_at, failures=failures, ended_at=now)
