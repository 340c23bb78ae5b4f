"""Figures in the text format of Prometheus, each with the label `site`.

Written by hand because that is forty lines: what is counted is counted here, everything else is read
off the engine when it is asked. The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LAG_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds. A port should be there within half a second, and with the next round at the latest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One metric. `samples`: (suffix of the name, labels, value)."""

    name: str
    kind: str
    text: str
    samples: tuple[tuple[str, Mapping[str, str], float], ...]


def gauge(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """A value that goes up and down."""
    listed = tuple(("", labels, value) for labels, value in samples)
    return Family(name=name, kind="gauge", text=text, samples=listed)


def counter(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """A value that only grows while the process lives; the name ends with `_total`."""
    listed = tuple(("", labels, value) for labels, value in samples)
    return Family(name=name, kind="counter", text=text, samples=listed)


class Histogram:
    """How often a value was within each bound. For several threads."""

    def __init__(self, bounds: tuple[float, ...] = LAG_BOUNDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        at = next((i for i, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        with self._lock:
            self._counts[at] += 1
            self._sum += value

    def family(self, name: str, text: str, labels: Mapping[str, str]) -> Family:
        with self._lock:
            counts, total = list(self._counts), self._sum
        return Family(
            name=name,
            kind="histogram",
            text=text,
            samples=tuple(self._samples(counts, total, labels)),
        )

    def _samples(
        self, counts: list[int], total: float, labels: Mapping[str, str]
    ) -> Iterator[tuple[str, Mapping[str, str], float]]:
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            yield (
                "_bucket",
                {**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"},
                below,
            )
        yield "_sum", labels, total
        yield "_count", labels, below


def render(families: Iterable[Family]) -> str:
    """The families as text."""
    return "".join(_family(each) for each in families)


def _family(family: Family) -> str:
    lines = [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}"]
    lines += [
        f"{family.name}{suffix}{_labels(labels)} {value:.12g}"
        for suffix, labels, value in family.samples
    ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
