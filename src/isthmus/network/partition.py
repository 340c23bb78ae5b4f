"""What to do with the ports of a site that is not heard: decisions, no I/O.

It exists because both errors hurt: to keep ports of a dead site sends packets into nothing, to
withdraw ports because the own link is down cuts a data plane that may well be working. The policy of
the network says which error its owner prefers; the rule here says when the worse error is excluded.
It is not failure detection: who is heard is an input.
"""

from __future__ import annotations

import dataclasses
import enum


class Policy(enum.StrEnum):
    """What a network's owner wants done with the ports of a site that is not heard."""

    KEEP = "keep"  # nothing: packets flow if the data plane still works
    MARK = "mark"  # nothing is removed, the network is tagged
    PURGE = "purge"  # the ports are withdrawn, where the rule allows it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hearing:
    """Which engines of the cloud this engine hears.

    `engines`: the sites of all engines, the own and the witness included. `heard`: those whose
    engine answered lately (the own may be left out). An engine is heard by its own answer, not by
    its Neutron's.
    """

    own: str
    engines: frozenset[str]
    heard: frozenset[str]

    @property
    def majority(self) -> bool:
        """Whether this engine and those it hears are more than half of all."""
        together = (self.heard | {self.own}) & (self.engines | {self.own})
        return 2 * len(together) > len(self.engines | {self.own})


class State(enum.StrEnum):
    """What follows for one silent site."""

    KEPT = "kept"
    STALE = "stale"  # kept, and marked
    PURGED = "purged"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """`reason` is a sentence without a final stop; `held` says that the policy wanted a purge which
    the rule forbids."""

    state: State
    reason: str
    held: bool = False


def judge(
    policy: Policy,
    after_seconds: float,
    *,
    site: str,
    silent_seconds: float,
    hearing: Hearing | None,
) -> Judgement:
    """What to do with the ports of `site`, which could not be looked at for `silent_seconds`.

    Invariants: without `hearing` nothing is ever purged; nothing is purged while fewer than a
    majority of all engines (own included) is heard; nothing is purged when every other engine is
    silent, because then this engine is the isolated one; nothing is purged of a site whose engine
    is heard, because then only its API is in trouble; nothing happens before `after_seconds`.
    """
    if silent_seconds < after_seconds:
        return Judgement(state=State.KEPT, reason=f"silent for {silent_seconds:.0f} s")
    if policy is Policy.KEEP:
        return Judgement(state=State.KEPT, reason="the policy is to keep its ports")
    if policy is Policy.MARK:
        return Judgement(state=State.STALE, reason="the policy is to keep and mark its ports")
    obstacle = _obstacle(site, hearing)
    if obstacle:
        return Judgement(state=State.STALE, reason=obstacle, held=True)
    return Judgement(state=State.PURGED, reason="a majority of engines is heard, this one is not")


def _obstacle(site: str, hearing: Hearing | None) -> str | None:
    """Why nothing may be purged; None when it may."""
    if hearing is None:
        return "it is not known which engines are heard"
    if site in hearing.heard:
        return f"the engine of {site} answers, only its Neutron cannot be asked"
    if not (hearing.engines & hearing.heard) - {hearing.own}:
        return "no other engine is heard, so that this site may be the one that is cut off"
    if not hearing.majority:
        return "no majority of the engines is heard, so that this site may be cut off"
    return None
