"""Ours and the peer's, measured one after the other in the same run: medians, spread, and the ratio within each run. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.distributions import percentile, ratios, spread
from bench.results import Cell, Result

COLUMNS = (
    "runs ours/peer", "ours median", "ours min", "ours p95", "ours max",
    "peer median", "peer min", "peer max", "peer / ours median", "min", "max",
)  # fmt: skip
"""Those of `row`, after the name."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What one run gave, in one unit for both; None: that half failed."""

    ours: float | None
    theirs: float | None


def ours(pairs: Sequence[Pair]) -> list[float]:
    """Ours of all runs that have it."""
    return [each.ours for each in pairs if each.ours is not None]


def theirs(pairs: Sequence[Pair]) -> list[float]:
    """The peer's of all runs that have it."""
    return [each.theirs for each in pairs if each.theirs is not None]


def times(pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Peer's and ours of each run that has both."""
    both = ((each.theirs, each.ours) for each in pairs)
    return [(theirs, ours) for theirs, ours in both if theirs is not None and ours is not None]


def row(name: str, pairs: Sequence[Pair]) -> list[Cell]:
    """The runs as a row with `COLUMNS`; what no run gave is None."""
    mine, other, both = ours(pairs), theirs(pairs), times(pairs)
    ratio = ratios([a for a, _ in both], [b for _, b in both])
    return [
        name,
        f"{len(mine)}/{len(other)}",
        *((percentile(mine, 0.5), min(mine), percentile(mine, 0.95), max(mine)) if mine else (None,) * 4),
        *((percentile(other, 0.5), min(other), max(other)) if other else (None,) * 3),
        *((ratio.p50, ratio.low, ratio.high) if ratio else (None,) * 3),
    ]  # fmt: skip


def record(
    result: Result, name: str, pairs: Sequence[Pair], unit: str, *, at_least: float | None = None
) -> None:
    """Figures `NAME.ours`, `NAME.peer` and `NAME.times`: how many times the peer's is of ours, run by run.

    `at_least`: the aim of the median of `times`.
    """
    if mine := ours(pairs):
        result.spread(f"{name}.ours", spread(mine), unit, p95=percentile(mine, 0.95))
    if other := theirs(pairs):
        result.spread(f"{name}.peer", spread(other), unit)
    both = times(pairs)
    ratio = ratios([a for a, _ in both], [b for _, b in both])
    if ratio is None:
        return
    aim: dict[str, float | bool] = {}
    if at_least is not None:
        aim = {"aim_at_least": at_least, "met": ratio.p50 >= at_least}
    result.spread(f"{name}.times", ratio, "times", **aim)
