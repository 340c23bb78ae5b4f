"""The verdict on two ports: both directions walked, the first cause found, said in words.

Pure. It tells what follows from the facts, and not that packets pass: only `verify` sends packets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from isthmus.network.tracing import explaining, faults, walking
from isthmus.network.tracing.facts import Facts
from isthmus.network.tracing.faults import Fault
from isthmus.network.tracing.walking import Hop
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """The answer to "why does A not reach B?". `root` is the first cause, None when all is well."""

    summary: str
    outcome: Outcome
    root: Fault | None
    faults: tuple[Fault, ...]
    there: tuple[Hop, ...]
    back: tuple[Hop, ...]


def trace(facts: Facts) -> Trace:
    """Judge `facts`: what A opens to B, and the replies of B to A."""
    there = walking.walk(facts, facts.a, facts.b, opens=True)
    back = walking.walk(facts, facts.b, facts.a, opens=False)
    found = _distinct(
        [*explaining.site_faults(facts), *(hop.fault for hop in (*there, *back) if hop.fault)]
    )
    root = faults.first(found)
    return Trace(
        summary=_summary(facts, root, any(hop.outcome is None for hop in (*there, *back))),
        outcome=root.outcome if root else Outcome.INFO,
        root=root,
        faults=found,
        there=there,
        back=back,
    )


def _summary(facts: Facts, root: Fault | None, unknown: bool) -> str:
    both = f"{facts.a.label} and {facts.b.label}"
    if root and root.outcome is Outcome.ERROR:
        if root.code is faults.Code.MTU_HOLE:
            return f"{both} reach each other with small packets only: {root.summary}"
        return f"{facts.a.label} does not reach {facts.b.label}: {root.summary}"
    rest = f", but: {root.summary}" if root else ""
    if unknown:
        return f"nothing that is known keeps {both} apart; not all is known{rest}"
    return f"{facts.a.label} reaches {facts.b.label} with {facts.packet}{rest}"


def _distinct(found: Iterable[Fault]) -> tuple[Fault, ...]:
    """Each fault once, as both directions meet the same stations; in the order of explanation."""
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda each: (-each.outcome.exit_code, each.code.rank)))
