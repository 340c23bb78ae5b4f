"""Bytes on the WAN per token check and login at a replica site, by kind: ours against stock on the writer's database.

The counters are those of `isthmus lab traffic`: IP bytes on Madrid's links, both directions. What passes without a request
(replication, the cluster's votes, health checks) is measured in an idle window before each load and taken out.
"""

from collections.abc import Sequence

from bench import asking, labs, launching, metering, servers
from bench.asking import Load
from bench.labs import Lab
from bench.launching import Options
from bench.metering import Reading
from bench.results import Cell, Result, Table
from bench.servers import Caching, Database, Server, Stock
from isthmus.errors import IsthmusError
from isthmus.lab import network, waiting

KINDS = (*network.TRAFFIC, network.OTHER)

STOCKS = (
    Stock(database=Database.WRITER, caching=Caching.SAME),
    Stock(database=Database.WRITER, caching=Caching.DEFAULT),
    Stock(database=Database.WRITER, caching=Caching.NONE),
)

# Operations per second: a cache that expires after 5 s is filled at this pace, so its cost per operation depends on it.
_CHECKS = 10
_LOGINS = 1

_WORDS = {"first": "first check of a token", "repeated": "same token again", "login": "login"}


def measure(options: Options) -> Result:
    """Bytes per operation for each Keystone, and of the idle lab."""
    result = Result(
        name="wan",
        about=f"Bytes on Madrid's links per operation at {_CHECKS} checks or {_LOGINS} login a second, links without "
        "delay. Idle background is taken out, so values of a "
        "few bytes either way are noise; identity and sql are exact.",
    )
    stocks = STOCKS[:1] if options.quick else STOCKS
    with labs.prepared("wan") as lab, servers.running(lab, stocks) as compared:
        idle = metering.idle(lab, lab.madrid, 4.0 if options.quick else 15.0)
        _record_idle(result, idle)
        rows: list[Sequence[Cell]] = []
        for server in compared:
            rows += _server(lab, result, server, idle, 5 if options.quick else 10)
    result.tables.append(
        Table(
            title="Bytes per operation beyond the idle background",
            columns=("Keystone", "operation", "operations", *KINDS),
            rows=rows,
        )
    )
    return result


def _record_idle(result: Result, idle: Reading) -> None:
    rates = {kind: idle.wan.get(kind, 0.0) / idle.at for kind in KINDS}
    for kind, rate in rates.items():
        result.figure(f"idle.{kind}", rate, "B/s")
    result.figure("idle.all", sum(rates.values()), "B/s")
    result.tables.append(
        Table(
            title=f"Idle background of Madrid's two links, bytes per second ({idle.at:.0f} s)",
            columns=(*KINDS, "all"),
            rows=[[*rates.values(), sum(rates.values())]],
        )
    )


def _server(
    lab: Lab, result: Result, server: Server, idle: Reading, seconds: int
) -> list[list[Cell]]:
    by, token = lab.login(lab.paris, "admin"), lab.login(lab.paris, "demo")
    _warm_up(lab, server, token, by)
    fresh = asking.tokens(lab.paris, token, lab.account("demo").project, seconds * _CHECKS)
    loads = {
        "first": (200, [asking.validation(t, by) for t in fresh], seconds * _CHECKS),
        "repeated": (200, [asking.validation(token, by)], seconds * _CHECKS),
        "login": (201, [asking.login(lab.account("demo"))], seconds * _LOGINS),
    }
    rows: list[list[Cell]] = []
    for kind, (status, asks, operations) in loads.items():
        before = metering.read(lab, lab.madrid)
        load = Load(
            asks=asks,
            least=operations,
            most=operations,
            seconds=0.0,
            period=seconds / operations,
        )
        answers = asking.put(load, namespace=server.namespace, host=server.host, port=server.port)
        used = (metering.read(lab, lab.madrid) - before).beyond(idle)
        if len(answers.good(status)) != operations:
            raise IsthmusError(
                f"expected {status} only", where=server.name, cause=f"seen: {answers.outcomes}"
            )
        each = {name: used.wan.get(name, 0.0) / operations for name in KINDS}
        for name, octets in each.items():
            result.figure(f"{server.name}.{kind}.{name}", octets, "B", operations=operations)
        rows.append([servers.WORDS[server.name], _WORDS[kind], operations, *each.values()])
    return rows


def _warm_up(lab: Lab, server: Server, token: str, by: str) -> None:
    """Connections to the database are opened once, not per operation; the login of today has been written."""

    def cold() -> str | None:
        asks = [asking.login(lab.account("demo")), asking.validation(token, by)]
        answers = asking.put(
            Load(asks=asks, clients=4, least=16, most=16, seconds=0.0),
            namespace=server.namespace,
            host=server.host,
            port=server.port,
        )
        bad = len(answers.samples) - len(answers.good(201)) - len(answers.good(200))
        return str(answers.outcomes) if bad else None

    waiting.until(cold, deadline=60.0, what=f"{server.name} does not answer", where="madrid")


if __name__ == "__main__":
    raise SystemExit(launching.one("wan", measure))
