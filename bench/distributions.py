"""Percentiles, ratios and their spread. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the values of one measurement lie: median, 99th percentile, lowest, highest, and how many there are."""

    p50: float
    p99: float
    low: float
    high: float
    count: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie, linear between neighbours. `values` must not be empty."""
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = math.ceil(place)
    if ordered[below] == ordered[above]:
        return ordered[below]
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Sequence[float]) -> Spread:
    """The spread of `values`, which must not be empty."""
    return Spread(
        p50=percentile(values, 0.5),
        p99=percentile(values, 0.99),
        low=min(values),
        high=max(values),
        count=len(values),
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Ours / theirs, round by round, and the spread of these quotients; None if no round has both.

    Both lists hold one value a round. A quotient within a round is free of what drifts from round to round. Rounds whose divisor
    is not positive (a counter that did not move) say nothing and are left out.
    """
    quotients = [a / b for a, b in zip(ours, theirs, strict=True) if b > 0]
    return spread(quotients) if quotients else None
