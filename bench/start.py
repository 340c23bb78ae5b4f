"""How long the environment takes to start, cold and warm, what it costs in memory, and how long it takes to go.

Runs the commands that a person types, so the seconds include the start of the interpreter. Cold means: no template, as after
a change of the packages; the kernel's page cache is not dropped in either case.
"""

import re
import shutil
import sys
import time
from collections.abc import Sequence

from bench import distributions, labs, launching
from bench.launching import Options
from bench.results import Cell, Result, Table
from isthmus.lab import bringup, calling, running, state
from isthmus.lab.components.base import script

WARM_AIM = 60.0
COLD_AIM = 180.0
MEMORY_AIM = 2560.0

_MEBI = 1 << 20

# Three times the aim: what takes longer has failed.
_DEADLINE = 540.0

_LINE = re.compile(r"^\[ *[0-9.]+\] (?P<step>\S.*?) +(?P<seconds>[0-9.]+) s\b")

Seconds = dict[str, float]


def measure(options: Options) -> Result:
    """Start once cold and a few times warm; the lab is up afterwards."""
    result = Result(
        name="start",
        about=f"`isthmus lab up {labs.ENVIRONMENT}` and `isthmus lab down`, seconds as a person waits for them. Cold: without "
        "the template (schema migrations run); warm: with it.",
    )
    repetitions = 1 if options.quick else 5
    warm: list[Seconds] = []
    downs: list[float] = []
    try:
        downs.append(_down())
        shutil.rmtree(labs.place().templates, ignore_errors=True)
        cold = _up()
        for _ in range(repetitions):
            downs.append(_down())
            warm.append(_up())
        _memory(result)
    except BaseException:
        # Whoever had a lab has one again; `up` finishes what was begun.
        with labs.undisturbed():
            _up()
        raise
    _record(result, cold, warm, downs)
    return result


def _up() -> Seconds:
    """Bring the lab up; seconds by step, and of everything under the empty name."""
    began = time.monotonic()
    done = running.run([script("isthmus"), "lab", "up", labs.ENVIRONMENT], timeout=_DEADLINE)
    total = time.monotonic() - began
    print(f"up after {total:.1f} s", file=sys.stderr, flush=True)
    return {**steps(done.stderr), "": total}


def _down() -> float:
    began = time.monotonic()
    running.run([script("isthmus"), "lab", "down"], timeout=_DEADLINE)
    return time.monotonic() - began


def steps(progress: str) -> Seconds:
    """Seconds by step, from the progress lines of `isthmus lab up` without a terminal."""
    found = (_LINE.match(line) for line in progress.splitlines())
    return {match["step"]: float(match["seconds"]) for match in found if match}


def _record(result: Result, cold: Seconds, warm: Sequence[Seconds], downs: Sequence[float]) -> None:
    result.aim("cold", cold[""], "s", at_most=COLD_AIM)
    totals = distributions.spread([run[""] for run in warm])
    result.aim(
        "warm",
        totals.p50,
        "s",
        at_most=WARM_AIM,
        min=totals.low,
        max=totals.high,
        count=totals.count,
    )
    result.spread("down", distributions.spread(downs), "s")
    rows: list[list[Cell]] = [
        ["whole", cold[""], *_three([r[""] for r in warm])],
        *([name, cold.get(name), *_three(values)] for name, values in _by_step(cold, warm).items()),
    ]
    result.tables.insert(
        0,
        Table(
            title=f"Seconds; aims: cold at most {COLD_AIM:g}, warm at most {WARM_AIM:g}. Units start in parallel",
            columns=("step", "cold", "warm p50", "warm min", "warm max"),
            rows=rows,
        ),
    )
    for name, values in _by_step(cold, warm).items():
        if values and "/" in name:
            result.spread(f"unit.{name}", distributions.spread(values), "s")


def _by_step(cold: Seconds, warm: Sequence[Seconds]) -> dict[str, list[float]]:
    names = [name for name in dict.fromkeys([*cold, *warm[0]]) if name]
    return {name: [run[name] for run in warm if name in run] for name in names}


def _three(values: Sequence[float]) -> list[Cell]:
    if not values:
        return [None, None, None]
    found = distributions.spread(values)
    return [found.p50, found.low, found.high]


def _memory(result: Result) -> None:
    """What the lab occupies after every site has answered a login and a few checks: an unused service is smaller."""
    with labs.prepared("start") as lab:
        for site in lab.environment.sites:
            token = lab.login(site, "demo")
            for _ in range(20):
                calling.at(site).validate(token)
                calling.at(site).images(token)
        found = state.of_units(lab.home, bringup.loaded(lab.home))
    sums: dict[str, list[float]] = {}
    for unit in found:
        component = unit.unit.partition("/")[2]
        kind = "replica" if component.startswith("replica-") else component
        total = sums.setdefault(kind, [0, 0, 0, 0])
        for i, value in enumerate(
            (1, unit.pss_bytes / _MEBI, unit.rss_bytes / _MEBI, unit.cpu_seconds)
        ):
            total[i] += value
    whole = [sum(column) for column in zip(*sums.values(), strict=True)]
    result.aim("memory_pss", whole[1], "MiB", at_most=MEMORY_AIM)
    result.aim("memory_rss", whole[2], "MiB", at_most=MEMORY_AIM)
    result.figure("cpu_until_used", whole[3], "s")
    rows: list[list[Cell]] = [["whole", *whole]]
    rows += [[kind, *values] for kind, values in sorted(sums.items(), key=lambda s: -s[1][1])]
    result.tables.append(
        Table(
            title="Memory in use; PSS counts shared pages once, RSS in every process. CPU: seconds since the start",
            columns=("component", "how many", "PSS MiB", "RSS MiB", "CPU s"),
            rows=rows,
        )
    )


if __name__ == "__main__":
    raise SystemExit(launching.one("start", measure))
