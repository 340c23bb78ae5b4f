"""CPU and WAN counters between two moments, with what an idle lab uses anyway taken out.

CPU is utime + stime of the processes, in the kernel's ticks of 10 ms: a figure per operation needs a second of work below it.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.labs import Lab
from isthmus.lab import network, processes, waiting
from isthmus.lab.environment import SiteSpec


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Seconds of CPU by unit, and bytes on one site's links by kind: since the start, or between two readings."""

    at: float
    cpu: Mapping[str, float]
    wan: Mapping[str, float]

    def __sub__(self, before: "Reading") -> "Reading":
        """What was used between `before` and this one; `at` becomes the seconds in between."""
        return Reading(
            at=self.at - before.at,
            cpu={unit: value - before.cpu.get(unit, 0.0) for unit, value in self.cpu.items()},
            wan={kind: value - before.wan.get(kind, 0.0) for kind, value in self.wan.items()},
        )

    def beyond(self, idle: "Reading") -> "Reading":
        """This difference without what the lab would have used in the same time without a load. Noise can make it negative."""
        share = self.at / idle.at
        return Reading(
            at=self.at,
            cpu={unit: value - share * idle.cpu.get(unit, 0.0) for unit, value in self.cpu.items()},
            wan={kind: value - share * idle.wan.get(kind, 0.0) for kind, value in self.wan.items()},
        )

    def cpu_of(self, units: Iterable[str]) -> float:
        """Seconds of CPU of some units."""
        return sum(self.cpu.get(unit, 0.0) for unit in units)


def read(lab: Lab, site: SiteSpec) -> Reading:
    """All counters now; `site` is the one whose links are counted."""
    running = processes.running(lab.home.lab)
    wan: dict[str, float] = {}
    for traffic in network.traffic(lab.environment):
        if site.name in traffic.link.split("-"):
            wan[traffic.kind] = wan.get(traffic.kind, 0.0) + traffic.bytes
    return Reading(
        at=time.monotonic(),
        cpu={unit: sum(p.cpu_seconds for p in found) for unit, found in running.items()},
        wan=wan,
    )


def idle(lab: Lab, site: SiteSpec, seconds: float) -> Reading:
    """What the lab uses in `seconds` in which nobody asks anything."""
    before = read(lab, site)
    waiting.until(
        lambda: None if time.monotonic() - before.at >= seconds else "measuring",
        deadline=seconds + 5.0,
        what="the idle window does not end",
        where=site.name,
    )
    return read(lab, site) - before
