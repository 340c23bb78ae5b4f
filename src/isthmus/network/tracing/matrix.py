"""Who reaches whom: what probes measured, as pairs, as a matrix of sites, and as a verdict.

Pure. A pair has a direction, because ways are asymmetric more often than one thinks.
"""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Iterable, Mapping
from typing import Any


class Mark(enum.StrEnum):
    """What became of a pair."""

    REACHED = "reached"
    LOSSY = "lossy"  # some packets of the measurement were lost
    NARROW = "narrow"  # small packets arrive, those of the declared MTU do not
    UNREACHED = "unreached"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A probe: a port of ours on one host of one site."""

    site: str
    host: str
    port_id: str
    ip: str

    @property
    def place(self) -> str:
        return f"{self.site}/{self.host}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """What `source` measured towards `target`. `whole`: a packet of the declared MTU arrived, not
    fragmented; `beyond`: one with a byte more did too. None: not measured."""

    source: Probe
    target: Probe
    sent: int = 0
    received: int = 0
    min_ms: float | None = None
    avg_ms: float | None = None
    max_ms: float | None = None
    whole: bool | None = None
    beyond: bool | None = None

    @property
    def mark(self) -> Mark:
        if not self.received:
            return Mark.UNREACHED
        if self.whole is False:
            return Mark.NARROW
        return Mark.LOSSY if self.received < self.sent else Mark.REACHED

    @property
    def good(self) -> bool:
        """Whether the pair counts as reached: loss is told, but is no verdict on the way."""
        return self.mark in (Mark.REACHED, Mark.LOSSY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """All pairs from one site to one site."""

    source: str
    target: str
    pairs: int
    reached: int
    min_ms: float | None
    median_ms: float | None
    max_ms: float | None


def pairs(
    probes: Iterable[Probe],
    measured: Mapping[tuple[str, str], Mapping[str, Any]],
    whole: Mapping[tuple[str, str], bool],
    beyond: Mapping[tuple[str, str], bool],
) -> tuple[Pair, ...]:
    """Every ordered pair of different probes. The mappings are by (source, target) port id."""
    every = tuple(probes)
    return tuple(
        Pair(
            source=source,
            target=target,
            whole=whole.get((source.port_id, target.port_id)),
            beyond=beyond.get((source.port_id, target.port_id)),
            **_numbers(measured.get((source.port_id, target.port_id), {})),
        )
        for source in every
        for target in every
        if source is not target
    )


def _numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    names = ("sent", "received", "min_ms", "avg_ms", "max_ms")
    return {name: result[name] for name in names if name in result}


def cells(found: Iterable[Pair]) -> tuple[Cell, ...]:
    """The matrix of sites, by source and target."""
    sides: dict[tuple[str, str], list[Pair]] = {}
    for pair in found:
        sides.setdefault((pair.source.site, pair.target.site), []).append(pair)
    return tuple(_cell(*key, inside) for key, inside in sorted(sides.items()))


def _cell(source: str, target: str, inside: list[Pair]) -> Cell:
    averages = [pair.avg_ms for pair in inside if pair.avg_ms is not None]
    lows = [pair.min_ms for pair in inside if pair.min_ms is not None]
    highs = [pair.max_ms for pair in inside if pair.max_ms is not None]
    return Cell(
        source=source,
        target=target,
        pairs=len(inside),
        reached=sum(pair.good for pair in inside),
        min_ms=min(lows, default=None),
        median_ms=round(statistics.median(averages), 3) if averages else None,
        max_ms=max(highs, default=None),
    )
