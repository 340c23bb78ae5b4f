"""Checking tokens and logging in at a replica site: CPU and latency of ours against stock Keystone, side by side in one run.

The variants take turns (the order moves by one from round to round), so what drifts on the machine drifts for all of them, and
ratios are taken within a round.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import asking, behaviour, distributions, labs, launching, metering, servers
from bench.asking import Load
from bench.distributions import Spread
from bench.labs import Lab
from bench.launching import Options
from bench.metering import Reading
from bench.results import Cell, Result, Table
from bench.servers import OURS, Caching, Database, Server, Stock
from isthmus.lab import faults, waiting
from isthmus.lab.components import identity_db, replica

STOCKS = (
    Stock(database=Database.WRITER, caching=Caching.SAME),
    Stock(database=Database.WRITER, caching=Caching.DEFAULT),
    Stock(database=Database.REPLICA, caching=Caching.SAME),
    Stock(database=Database.REPLICA, caching=Caching.DEFAULT),
    Stock(database=Database.REPLICA, caching=Caching.NONE),
)

WORDS = {
    "first": "the first check of a token at this site, one client",
    "repeated": "the same token again and again, one client",
    "crowd": "the same token again and again, eight clients",
    "login": "a login with a password, one client",
}

_STATUS = {"first": 200, "repeated": 200, "crowd": 200, "login": 201}

# Distinct tokens for each slice of "first": they take as long to make as to check.
_TOKENS = 40


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One variant's turn with one kind of load: milliseconds of CPU per operation, of latency, operations per second, errors."""

    cpu: float
    databases: float
    rest: float
    latencies: Sequence[float]
    per_second: float
    errors: int


Slices = dict[tuple[str, str], list[Slice]]  # by kind and server, one a round


@dataclass(frozen=True, kw_only=True)
class Scope:
    """How much is measured."""

    rounds: Mapping[int, int]  # by delay in ms
    seconds: float
    stocks: Sequence[Stock]


def measure(options: Options) -> Result:
    """All variants, at each delay; then what does not work at all."""
    result = Result(
        name="tokens",
        about="Requests to each Keystone's gunicorn at Madrid, past HAProxy. Keystone CPU: utime + stime of the gunicorn processes "
        "per operation, median of the rounds (lowest - highest). Databases: all identity databases of all sites; rest: the "
        "variant's memcached and Madrid's HAProxy; both without their idle background. Ratio: ours / stock within a round, "
        "median (lowest - highest): below 1 ours is cheaper or faster. Each turn begins with what the variant's cache still holds: "
        "nothing with our cache settings (5 s), everything at 600 s. Delay: one way.",
    )
    scope = (
        Scope(rounds={0: 2, 20: 1}, seconds=0.7, stocks=(STOCKS[0], STOCKS[2]))
        if options.quick
        else Scope(rounds={0: 3, 20: 2}, seconds=1.5, stocks=STOCKS)
    )
    with labs.prepared("tokens") as lab, servers.running(lab, scope.stocks) as compared:
        for delay in scope.rounds:
            with _delayed(lab, delay):
                _record(result, delay, compared, _rounds(lab, scope, compared, delay))
        # What fails does not depend on how long answers are cached.
        plain = [s for s in compared if s.name == OURS or s.name.endswith(Caching.SAME)]
        result.tables.append(behaviour.table(lab, plain, cut=not options.quick))
    return result


@contextmanager
def _delayed(lab: Lab, delay: int) -> Iterator[None]:
    for link in lab.environment.links:
        faults.delay(lab.home, lab.environment, link.name, delay)
    try:
        yield
    finally:
        faults.heal(lab.home, lab.environment, None)


def _rounds(lab: Lab, scope: Scope, compared: Sequence[Server], delay: int) -> Slices:
    slices: Slices = {}
    by = lab.login(lab.paris, "admin")
    token = lab.login(lab.paris, "demo")
    for server in compared:
        _warm_up(lab, server, token, by, times=1 if delay else 2)
    idle = metering.idle(lab, lab.madrid, 6.0)
    for number in range(scope.rounds[delay]):
        fresh = asking.tokens(lab.paris, token, lab.account("demo").project, _TOKENS)
        loads = _loads(lab, scope, fresh, by, least=1 if delay else 2)
        shift = number % len(compared)
        for server in [*compared[shift:], *compared[:shift]]:
            for kind, load in loads.items():
                found = _slice(lab, server, load, idle, _STATUS[kind])
                slices.setdefault((kind, server.name), []).append(found)
        print(
            f"tokens: {delay} ms, round {number + 1} of {scope.rounds[delay]}",
            file=sys.stderr,
            flush=True,
        )
    return slices


def _loads(lab: Lab, scope: Scope, fresh: Sequence[str], by: str, *, least: int) -> dict[str, Load]:
    """One round's loads; a variant that asks another site's database over a slow link gets few requests, not more time."""
    same = asking.validation(fresh[0], by)
    return {
        "first": Load(
            asks=[asking.validation(token, by) for token in fresh],
            least=least,
            most=_TOKENS,
            seconds=scope.seconds,
        ),
        "repeated": Load(asks=[same], least=least, seconds=scope.seconds),
        "crowd": Load(asks=[same], clients=8, least=8, seconds=scope.seconds),
        "login": Load(
            asks=[asking.login(lab.account("demo"))], least=least, seconds=1.5 * scope.seconds
        ),
    }


def _warm_up(lab: Lab, server: Server, token: str, by: str, *, times: int) -> None:
    """What a Keystone makes on first use is not part of any figure; and the user's login of today must have replicated."""

    def cold() -> str | None:
        asks = [asking.login(lab.account("demo")), asking.validation(token, by)]
        for ask, status in zip(asks, (201, 200), strict=True):
            answers = _put(server, Load(asks=[ask], least=times, most=times))
            if len(answers.good(status)) < times:
                return f"{answers.outcomes}"
        return None

    waiting.until(cold, deadline=60.0, what=f"{server.name} does not answer", where="madrid")


def _put(server: Server, load: Load) -> asking.Answers:
    return asking.put(load, namespace=server.namespace, host=server.host, port=server.port)


def _slice(lab: Lab, server: Server, load: Load, idle: Reading, status: int) -> Slice:
    before = metering.read(lab, lab.madrid)
    answers = _put(server, load)
    used = metering.read(lab, lab.madrid) - before
    beyond, good = used.beyond(idle), answers.good(status)
    count = len(answers.samples)
    return Slice(
        cpu=1000 * used.cpu_of([server.unit]) / count,
        databases=1000 * beyond.cpu_of(_databases(lab)) / count,
        rest=1000 * beyond.cpu_of([server.cache, f"{lab.madrid.name}/haproxy"]) / count,
        latencies=good,
        per_second=len(good) / answers.seconds,
        errors=count - len(good),
    )


def _databases(lab: Lab) -> list[str]:
    kinds = (identity_db.IdentityDatabase, replica.Replica)
    return [name for name, unit in lab.units.items() if isinstance(unit.component, kinds)]


def _record(result: Result, delay: int, compared: Sequence[Server], slices: Slices) -> None:
    for kind in WORDS:
        rows = []
        ours = slices[kind, OURS]
        for server in compared:
            theirs = slices[kind, server.name]
            ratios = {} if server.name == OURS else _ratios(ours, theirs)
            _figures(result, f"{delay}ms.{kind}", server.name, theirs, ratios)
            rows.append(_row(server.name, theirs, ratios))
        result.tables.append(
            Table(
                title=f"Links of {delay} ms each way: {WORDS[kind]}",
                columns=(
                    "Keystone",
                    "Keystone CPU ms",
                    "databases CPU ms",
                    "rest CPU ms",
                    "latency p50 ms",
                    "latency p99 ms",
                    "per second",
                    "requests",
                    "errors",
                    "CPU ratio",
                    "latency ratio",
                ),
                rows=rows,
            )
        )


def _ratios(ours: Sequence[Slice], theirs: Sequence[Slice]) -> dict[str, Spread]:
    """Of Keystone's CPU, of all CPU, and of the median latency."""
    kinds = {
        "cpu": ([s.cpu for s in ours], [s.cpu for s in theirs]),
        "all_cpu": ([_whole(s) for s in ours], [_whole(s) for s in theirs]),
        "latency": ([_median(s) for s in ours], [_median(s) for s in theirs]),
    }
    found = {name: distributions.ratios(*both) for name, both in kinds.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


def _whole(found: Slice) -> float:
    return found.cpu + found.databases + found.rest


def _median(found: Slice) -> float:
    return distributions.percentile(found.latencies, 0.5) if found.latencies else 0.0


def _figures(
    result: Result, prefix: str, name: str, found: Sequence[Slice], ratios: Mapping[str, Spread]
) -> None:
    result.spread(f"{prefix}.{name}.cpu", distributions.spread([s.cpu for s in found]), "ms")
    result.spread(
        f"{prefix}.{name}.all_cpu", distributions.spread([_whole(s) for s in found]), "ms"
    )
    if latencies := [latency for s in found for latency in s.latencies]:
        result.spread(f"{prefix}.{name}.latency", distributions.spread(latencies), "ms")
    rates = distributions.spread([s.per_second for s in found])
    result.figure(f"{prefix}.{name}.rate", rates.p50, "1/s", min=rates.low, max=rates.high)
    result.figure(f"{prefix}.{name}.errors", sum(s.errors for s in found), "requests")
    for kind, spread in ratios.items():
        result.spread(f"{prefix}.{kind}_ratio_to.{name}", spread, "ours/stock")


def _row(name: str, found: Sequence[Slice], ratios: Mapping[str, Spread]) -> list[Cell]:
    latencies = [latency for s in found for latency in s.latencies]
    seen = distributions.spread(latencies) if latencies else None
    return [
        servers.WORDS[name],
        _range(distributions.spread([s.cpu for s in found])),
        distributions.percentile([s.databases for s in found], 0.5),
        distributions.percentile([s.rest for s in found], 0.5),
        seen.p50 if seen else None,
        seen.p99 if seen else None,
        distributions.percentile([s.per_second for s in found], 0.5),
        len(latencies),
        sum(s.errors for s in found),
        _range(ratios.get("cpu")),
        _range(ratios.get("latency")),
    ]


def _range(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    return f"{spread.p50:.3g} ({spread.low:.3g} - {spread.high:.3g})"


if __name__ == "__main__":
    raise SystemExit(launching.one("tokens", measure))
