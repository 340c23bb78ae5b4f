"""What is up, since when, and what it costs: read from the process table and the kernel, never from what was intended."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from isthmus.lab import delays, network, processes
from isthmus.lab.environment import Environment
from isthmus.lab.home import Home
from isthmus.lab.processes import Process
from isthmus.lab.units import Unit


class Phase(StrEnum):
    """What a unit's processes do."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class UnitState:
    """One unit: its phase, the age of its oldest process in seconds, and its cost."""

    unit: str
    phase: Phase
    processes: int
    pid: int | None
    age_seconds: float | None
    rss_bytes: int
    pss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class LinkState:
    """One link: open, half open (with the site whose packets are lost) or cut, its delay, and what passed since the start."""

    link: str
    condition: str
    delay_ms: float
    bytes: int
    packets: int


def of_units(home: Home, every: Mapping[str, Unit]) -> list[UnitState]:
    """The state of every unit, in the order of the environment."""
    running = processes.running(home.lab)
    now = processes.uptime()
    return [_state(name, running.get(name, []), now) for name in every]


def of_links(home: Home, environment: Environment) -> list[LinkState]:
    """The state of every link."""
    ends = network.link_ends(environment)
    counted = network.traffic(environment)
    states = []
    for link in environment.links:
        deaf = [end.site for end in ends if end.link == link.name and end.dropping]
        traffic = [t for t in counted if t.link == link.name]
        states.append(
            LinkState(
                link=link.name,
                condition=_condition(deaf, link.peer(deaf[0]).name if deaf else ""),
                delay_ms=delays.current(home, link) or 0.0,
                bytes=sum(t.bytes for t in traffic),
                packets=sum(t.packets for t in traffic),
            )
        )
    return states + [
        # A site that was killed is silent here too; the plain case needs no row.
        LinkState(link=f"{site} management", condition="cut", delay_ms=0.0, bytes=0, packets=0)
        for site in network.silent_sites(environment)
    ]


def _condition(deaf: list[str], peer: str) -> str:
    if not deaf:
        return "open"
    return "cut" if len(deaf) == 2 else f"half open: nothing from {peer} arrives"


def _state(unit: str, found: list[Process], now: float) -> UnitState:
    own = {process.pid for process in found}
    leaders = [p for p in found if p.parent not in own]
    phase = (
        Phase.DEAD if not found else Phase.FROZEN if any(p.frozen for p in found) else Phase.RUNNING
    )
    return UnitState(
        unit=unit,
        phase=phase,
        processes=len(found),
        pid=leaders[0].pid if leaders else None,
        age_seconds=now - min(p.started for p in found) if found else None,
        rss_bytes=sum(p.rss_bytes for p in found),
        pss_bytes=sum(processes.pss(p.pid) for p in found),
        cpu_seconds=sum(p.cpu_seconds for p in found),
    )
