"""Until when a host's gateway may answer for an address: orders that come late do no harm.

It exists because the engine that holds a lease and the host that answers for the address are two
programs on two clocks, and a request between them can be delayed, doubled or overtaken, or wait for
a second in the socket of a frozen agent. So an order names a moment *of the host's own clock*, made
from a reading of that clock which the engine had before; and a claim that was dropped stays dropped.

Not for the kernel's part (`isthmus.agent.host.holding`), which ends the answering by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

CLOSED_KEPT = 64
"""Dropped claims that are remembered. An order is refused by its moment alone after ten seconds."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A host's clock as an engine has read it.

    `clock` is in seconds since the host's boot, `incarnation` names the agent process that counts
    by it, `received_at` is the engine's clock *after* the reading had arrived.
    """

    incarnation: str
    clock: float
    received_at: float

    def moment(self, until: float, drift: float) -> float:
        """A moment of the host's clock that does not lie after the engine's `until`."""
        return self.clock + (until - self.received_at) * (1 - drift) / (1 + drift)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Answer for the address until `moment` of the clock of the agent `incarnation`."""

    claim: str
    incarnation: str
    moment: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What an agent remembers of one address.

    Invariant: `moment` was ordered by a claim that had not been dropped before; nothing is ordered
    for a moment that has passed.
    """

    incarnation: str
    claim: str = ""
    moment: float = 0.0
    closed: tuple[str, ...] = ()

    def holds(self, now: float) -> bool:
        return bool(self.claim) and now < self.moment


def obey(gate: Gate, order: Order, now: float) -> tuple[Gate, str]:
    """The gate after `order`, and why it is refused (empty: it is not)."""
    if order.incarnation != gate.incarnation:
        return gate, "the order was made for an agent that has ended since"
    if order.claim in gate.closed:
        return gate, "the claim was dropped here"
    if order.moment <= now:
        return gate, f"the order came {now - order.moment:.3f} s too late"
    if order.claim != gate.claim:
        gate = drop(gate, gate.claim)
        return replace(gate, claim=order.claim, moment=order.moment), ""
    return replace(gate, moment=max(gate.moment, order.moment)), ""


def drop(gate: Gate, claim: str) -> Gate:
    """The gate after `claim` was given up; another claim's right stays."""
    if not claim:
        return gate
    closed = (*(each for each in gate.closed if each != claim), claim)[-CLOSED_KEPT:]
    if gate.claim != claim:
        return replace(gate, closed=closed)
    return replace(gate, claim="", moment=0.0, closed=closed)
