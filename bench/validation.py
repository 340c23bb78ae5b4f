"""What it costs to validate the same token again: ours, stock Keystone with and without memcached, and an empty application.

No lab is needed. The variants take turns (the order moves by one from round to round), so what drifts on the machine drifts for
all of them, and ratios are taken within a round. Every answer is held against stock Keystone's: an error is one that is not 200
or has another body.
"""

import http.client
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench import distributions, keystones, launching
from bench.distributions import Spread
from bench.keystones import FLOOR, MEMCACHED, NULL, OURS, WORDS, Server, Stand
from bench.launching import Options
from bench.results import Cell, Result, Table

TAKES = "6 minutes; --quick 2 minutes"
AIM = 50.0
CLIENTS = 4
# Enough for every process and thread to have made what it makes on first use.
_WARM_REQUESTS = 40


@dataclass(frozen=True, kw_only=True)
class Scope:
    """How much is measured: rounds, and seconds of each variant's turn in one."""

    rounds: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One variant's turn: milliseconds of CPU per operation (its own processes, and what works for it), latencies, rate, errors."""

    cpu: float
    beside: float
    latencies: Sequence[float]
    per_second: float
    errors: int


@dataclass(kw_only=True)
class Answers:
    """What the clients of a turn got."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def measure(options: Options) -> Result:
    """All variants, round by round."""
    result = Result(
        name="validation",
        about="The same token validated again and again (`GET /v3/auth/tokens`, 63 endpoints in the catalog) by "
        f"{CLIENTS} clients that keep their connections, on the loopback; 2 processes with 4 threads under gunicorn. CPU: utime + "
        "stime of the gunicorn processes per operation, median of the rounds (lowest - highest); beside: the database, memcached "
        "and the agent, while this variant was asked, with what they use when idle. The clients use the same cores, so that the "
        "rate of the fast ones is the clients' too. Ratio: variant / ours within a round.",
    )
    scope = Scope(rounds=2, seconds=2.0) if options.quick else Scope(rounds=6, seconds=8.0)
    with keystones.running() as stand:
        expected = keystones.validate(stand.servers[NULL], stand.tokens)[1]
        for server in stand.servers.values():
            _warm_up(server, stand, expected)
        slices = _rounds(stand, scope, expected)
    _record(result, slices)
    return result


def _rounds(stand: Stand, scope: Scope, expected: bytes) -> Mapping[str, list[Slice]]:
    compared = [stand.servers[name] for name in WORDS]
    slices: dict[str, list[Slice]] = {server.name: [] for server in compared}
    for number in range(scope.rounds):
        shift = number % len(compared)
        for server in [*compared[shift:], *compared[:shift]]:
            slices[server.name].append(_slice(server, stand, scope.seconds, expected))
        print(f"validation: round {number + 1} of {scope.rounds}", file=sys.stderr, flush=True)
    return slices


def _slice(server: Server, stand: Stand, seconds: float, expected: bytes) -> Slice:
    beside = [process.pid for process in stand.beside.values()]
    before = server.cpu_seconds(), sum(map(keystones.cpu_seconds, beside)), time.monotonic()
    answers = _put(server, stand, seconds, expected)
    took = time.monotonic() - before[2]
    count = len(answers.latencies)
    return Slice(
        cpu=1000 * (server.cpu_seconds() - before[0]) / count,
        beside=1000 * (sum(map(keystones.cpu_seconds, beside)) - before[1]) / count,
        latencies=answers.latencies,
        per_second=count / took,
        errors=answers.errors,
    )


def _warm_up(server: Server, stand: Stand, expected: bytes) -> None:
    """New connections each time, so that both processes get some."""
    for _ in range(_WARM_REQUESTS):
        _client(server, stand, 0.0, expected, Answers())


def _put(server: Server, stand: Stand, seconds: float, expected: bytes) -> Answers:
    answers = Answers()
    threads = [
        threading.Thread(target=_client, args=(server, stand, seconds, expected, answers))
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _client(
    server: Server, stand: Stand, seconds: float, expected: bytes, answers: Answers
) -> None:
    """Ask on one connection until the time is over, at least once."""
    said = keystones.headers(stand.tokens)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    latencies: list[float] = []
    errors = 0
    until = time.monotonic() + seconds
    while not latencies or time.monotonic() < until:
        began = time.perf_counter()
        connection.request("GET", "/v3/auth/tokens", headers=said)
        answer = connection.getresponse()
        body = answer.read()
        latencies.append(1000 * (time.perf_counter() - began))
        same = len(body) == len(expected) if server.name == FLOOR else body == expected
        errors += 0 if answer.status == 200 and same else 1
    connection.close()
    with answers.lock:
        answers.latencies += latencies
        answers.errors += errors


def _record(result: Result, slices: Mapping[str, list[Slice]]) -> None:
    rows: list[Sequence[Cell]] = []
    for name, found in slices.items():
        cpu = distributions.spread([s.cpu for s in found])
        rates = distributions.spread([s.per_second for s in found])
        latency = distributions.spread([value for s in found for value in s.latencies])
        ratio = distributions.ratios([s.cpu for s in found], [s.cpu for s in slices[OURS]])
        result.spread(f"{name}.cpu", cpu, "ms")
        result.spread(f"{name}.latency", latency, "ms")
        result.figure(f"{name}.rate", rates.p50, "1/s", min=rates.low, max=rates.high)
        result.figure(f"{name}.errors", sum(s.errors for s in found), "requests")
        if ratio is not None and name != OURS:
            aim = {"aim_at_least": AIM, "met": ratio.p50 >= AIM} if name == MEMCACHED else {}
            short = {MEMCACHED: "memcached", NULL: "null", FLOOR: "floor"}[name]
            result.spread(f"cpu_ratio_{short}_over_isthmus", ratio, "times", **aim)
        rows.append(
            [
                WORDS[name],
                _range(cpu),
                distributions.percentile([s.beside for s in found], 0.5),
                latency.p50,
                latency.p99,
                _range(rates),
                latency.count,
                sum(s.errors for s in found),
                None if name == OURS else _range(ratio),
            ]
        )
    result.tables.append(
        Table(
            title="The same token again and again",
            columns=(
                "Keystone",
                "CPU ms",
                "beside it CPU ms",
                "latency p50 ms",
                "latency p99 ms",
                "per second",
                "requests",
                "errors",
                "CPU / ours",
            ),
            rows=rows,
        )
    )


def _range(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    return f"{spread.p50:.3g} ({spread.low:.3g} - {spread.high:.3g})"


if __name__ == "__main__":
    raise SystemExit(launching.one("validation", measure))
