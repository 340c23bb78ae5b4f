"""The gap of a service address, seen by a third host that pings every 10 ms: planned, and when the owner's host or site dies.

Isthmus's moved address and VRRP inside the function (keepalived, the peer), with and without a delay between the sites. A
gap is the longest time between two answers around the event, so the probe's own 10 ms are part of it. Every run also looks whether
two owners ever answered in turns.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import labs, launching, stretching
from bench.addressed import ADDRESS, MEMBERS, VIP, Addressed
from bench.distributions import spread
from bench.launching import Options
from bench.results import Cell, Result, Table
from isthmus.errors import IsthmusError
from isthmus.lab import observing, waiting
from isthmus.lab.names import OBSERVER
from isthmus.lab.observing import Observer

TAKES = "about an hour; --quick 15 minutes"
RUNS, QUICK = 20, 3
# A site that died needs minutes until it is ready for the next time.
SITE_RUNS = 3
DELAYS_MS = (0, 20)
BEFORE, AFTER = 1.0, 1.0  # seconds of answers that a run needs around its event
_TAKEOVER = 20.0
AIMS = {
    "moved planned": 100.0,
    "moved host dies": 2000.0,
    "moved site dies": 2000.0,
    "VRRP 0.1 s host dies": 400.0,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One event: the longest gap in milliseconds, and how many times the owner changed."""

    gap_ms: float
    turns: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done again and again, at `most` so many times: `event` does it, `restore` makes ready for the next time."""

    name: str
    address: str
    namespace: str
    event: Callable[[], None]
    restore: Callable[[], None]
    most: int = RUNS


def measure(options: Options) -> Result:
    """All cases, each from a healthy lab."""
    runs = QUICK if options.quick else RUNS
    result = Result(
        name="addresses",
        about=f"Gap of a service address in milliseconds, {runs} runs each ({min(runs, SITE_RUNS)} of a site's death), pings "
        "every 10 ms from a third host. `moved`: Isthmus, "
        "a lease of 1 s renewed every 0.25 s; VRRP: keepalived in the guests. A host dies by SIGKILL of all that runs on it, its "
        "switch included; a site with its engine and network. WAN delay is one way.",
    )
    rows: list[list[Cell]] = []
    with stretching.prepared("addresses") as lab:
        bench = Addressed(lab)
        try:
            _measure(bench, result, rows, runs)
        except IsthmusError as error:
            # Hours of runs are not to be lost with one that fails.
            print(error.describe(), file=sys.stderr)
            result.notes.append(f"the run ended early: {error}")
        finally:
            with labs.undisturbed():
                _cleared(bench)
    columns = ("case", "WAN delay ms", "p50", "min", "max", "runs", "two owners", "aim p50")
    result.tables.append(Table(title="Gaps (ms)", columns=columns, rows=rows))
    return result


def _measure(bench: Addressed, result: Result, rows: list[list[Cell]], runs: int) -> None:
    bench.build_moved()
    for delay in DELAYS_MS:
        bench.delay(delay)
        bench.ready()
        for case in _moved(bench):
            _record(result, rows, case, delay, _series(bench, case, runs, result))
    bench.delay(0)
    bench.build_vrrp()
    for interval in (0.1, 1.0):
        for site in MEMBERS:
            bench.keep(site, interval)
        for delay in DELAYS_MS:
            bench.delay(delay)
            bench.master("paris")
            for case in _vrrp(bench, interval):
                _record(result, rows, case, delay, _series(bench, case, runs, result))
        bench.delay(0)
        for site in MEMBERS:
            bench.unkeep(site)


def _cleared(bench: Addressed) -> None:
    """Take everything away that was made; a lab that is not well must not keep that from being tried."""
    try:
        labs.restore(bench.lab)
    except IsthmusError as error:
        print(error.describe(), file=sys.stderr)
    bench.remove()


def _moved(bench: Addressed) -> list[Case]:
    at: dict[str, Any] = {"address": ADDRESS, "namespace": OBSERVER}
    return [
        Case(name="moved planned", event=bench.move, restore=bench.ready, **at),
        Case(name="moved host dies", event=bench.kill_host, restore=bench.revived, **at),
        Case(
            name="moved site dies",
            event=bench.kill_site,
            restore=bench.revived,
            most=SITE_RUNS,
            **at,
        ),
    ]


def _vrrp(bench: Addressed, interval: float) -> list[Case]:
    at: dict[str, Any] = {"address": VIP, "namespace": bench.members["third"].namespace}

    def back() -> None:
        bench.keep("paris", interval)
        bench.master("paris")

    name = f"VRRP {interval:g} s"
    return [
        Case(name=f"{name} planned", event=lambda: bench.unkeep("paris"), restore=back, **at),
        Case(
            name=f"{name} host dies",
            event=bench.kill_master_host,
            restore=bench.master_revived,
            **at,
        ),
    ]


def _series(bench: Addressed, case: Case, runs: int, result: Result) -> list[Run]:
    found = []
    runs = min(runs, case.most)
    for number in range(1, runs + 1):
        print(f"addresses: {case.name} {number}/{runs}", file=sys.stderr, flush=True)
        try:
            found.append(_once(case))
        except IsthmusError as error:
            result.notes.append(f"{case.name}, run {number}, was not measured: {error}")
        try:
            case.restore()
        except IsthmusError as error:
            result.notes.append(f"{case.name} ended after run {number}: {error}")
            bench.mend()
            break
    return found


def _once(case: Case) -> Run:
    """One event, watched."""
    with Observer(case.namespace, case.address) as observer:
        began = time.time()
        _answers(observer, began, BEFORE)
        first = observer.current
        event = time.time()
        case.event()
        waiting.until(
            lambda: None if observer.current not in (None, first) else "the other owner is silent",
            deadline=_TAKEOVER,
            what="nobody takes over",
            where=case.name,
            interval=0.02,
        )
        _answers(observer, time.time(), AFTER)
        ended = time.time()
    owners = [owner for owner in observing.owners(observer.answers) if owner[2] >= event]
    return Run(
        gap_ms=observing.gaps(observer.answers, event, ended - 0.1)[0][1] * 1000,
        turns=len(owners) - 1,
    )


def _answers(observer: Observer, since: float, seconds: float) -> None:
    """Wait until answers have come for `seconds`."""
    waiting.until(
        lambda: None if observer.answered_since(since + seconds) else "too few answers",
        deadline=_TAKEOVER,
        what="the address is not answered",
        where=observer.address,
        interval=0.05,
    )


def _record(
    result: Result, rows: list[list[Cell]], case: Case, delay: int, found: list[Run]
) -> None:
    if not found:
        return
    gaps = spread([run.gap_ms for run in found])
    twice = sum(run.turns > 1 for run in found)
    name = f"{case.name.replace(' ', '_')}.{delay}ms.gap"
    aim = AIMS.get(case.name)
    if aim is not None:
        result.aim(name, gaps.p50, "ms", at_most=aim, low=gaps.low, high=gaps.high, runs=len(found))
    else:
        result.spread(name, gaps, "ms")
    row: list[Cell] = [case.name, delay, gaps.p50, gaps.low, gaps.high, len(found), twice, aim]
    rows.append(row)


if __name__ == "__main__":
    raise SystemExit(launching.one("addresses", measure, takes=TAKES))
