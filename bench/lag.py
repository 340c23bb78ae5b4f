"""Replication lag: from a commit at the writer until the row can be read in the other sites, over links of several delays.

SQL over the databases' local sockets, so that no load balancer and no Keystone is in the measure; a second table says what a
user sees through the API. The measuring loop asks as fast as it can; how fast that is, is printed as the resolution.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pymysql

from bench import distributions, labs, launching
from bench.distributions import Spread
from bench.labs import Lab
from bench.launching import Options
from bench.results import Cell, Result, Table
from isthmus.errors import IsthmusError
from isthmus.lab import calling, faults
from isthmus.lab.components import identity_db, mariadb, replica
from isthmus.lab.components.base import Context
from isthmus.lab.environment import SiteSpec

# In the replicated schema, and of our own, so that no agent reads what we write.
_TABLE = "isthmus_identity.bench_lag"

# A row that is not there after this time will not come: the replica has stopped.
_DEADLINE = 10.0

# Group communication measures round trips and settles on a delayed link within a few seconds.
_SETTLE = 3.0

Connection = Any


def measure(options: Options) -> Result:
    """Lag at every other database of the identity cluster, for each delay."""
    result = Result(
        name="lag",
        about="One row at a time is committed at the writer and looked for in the other sites; milliseconds from the end of the "
        "commit until a query sees it. Delay: one way, on every link.",
    )
    count = 40 if options.quick else 200
    with labs.prepared("lag") as lab:
        for delay in (0, 20) if options.quick else (0, 20, 50):
            _at_delay(lab, result, delay, count, 3 if options.quick else 15)
    return result


def _at_delay(lab: Lab, result: Result, delay: int, count: int, projects: int) -> None:
    for link in lab.environment.links:
        faults.delay(lab.home, lab.environment, link.name, delay)
    source = labs.writer(lab)
    targets = _targets(lab, source)
    with _table(lab, source) as writer, ExitStack() as stack:
        readers = {
            name: stack.enter_context(_connected(context)) for name, context in targets.items()
        }
        _commit_for(writer, _SETTLE)
        commits, lags, resolution = _write_and_look(writer, readers, count, together=delay > 0)
    seen = _projects(lab, source, projects)
    _record(result, delay, commits, lags, seen)
    result.notes.append(
        f"{delay} ms: written at {source.name}; a round of looking took {1000 * resolution:.2f} ms (p50)"
    )


def _targets(lab: Lab, source: SiteSpec) -> dict[str, Context]:
    """Every identity database but the writer's."""
    return {
        name: unit.context
        for name, unit in lab.units.items()
        if isinstance(unit.component, (identity_db.IdentityDatabase, replica.Replica))
        and unit.context.site != source
    }


@contextmanager
def _table(lab: Lab, source: SiteSpec) -> Iterator[Connection]:
    """A connection to the writer and a replicated table that is dropped again."""
    context = lab.units[f"{source.name}/{identity_db.NAME}"].context
    with _connected(context) as connection:
        _execute(connection, f"DROP TABLE IF EXISTS {_TABLE}")
        _execute(connection, f"CREATE TABLE {_TABLE} (id BIGINT PRIMARY KEY)")
        try:
            yield connection
        finally:
            mariadb.query(context, f"DROP TABLE IF EXISTS {_TABLE}")


@contextmanager
def _connected(context: Context) -> Iterator[Connection]:
    """A lasting connection as root over the local socket."""
    try:
        connection = pymysql.connect(
            unix_socket=str(mariadb.socket_path(context)),
            user="root",
            read_timeout=_DEADLINE,
            autocommit=True,
        )
    except pymysql.MySQLError as error:
        raise IsthmusError("the database refuses", where=context.unit, cause=str(error)) from error
    with connection:
        yield connection


def _execute(connection: Connection, sql: str, *arguments: Any) -> Any:
    """Run a statement; the first column of the first row, or None."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            row = cursor.fetchone()
    except pymysql.MySQLError as error:
        raise IsthmusError("a statement failed", where="lag", cause=str(error)) from error
    return row[0] if row else None


def _commit_for(writer: Connection, seconds: float) -> None:
    """Commit for a while before measuring. Rows below 0 are not looked for."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number -= 1
        _execute(writer, f"INSERT INTO {_TABLE} VALUES (%s)", number)  # noqa: S608 - a constant


def _write_and_look(
    writer: Connection, readers: dict[str, Connection], count: int, *, together: bool
) -> tuple[list[float], dict[str, list[float]], float]:
    """Seconds of the commits, of the lag by reader, and of one round of looking.

    With `together` every row is looked for at all readers in turn; otherwise each reader has rows of its own, for which nobody else
    is asked in between: three times as many commits, and a finer measure where milliseconds are all there is.
    """
    groups = [list(readers)] if together else [[name] for name in readers]
    commits: list[float] = []
    lags: dict[str, list[float]] = {name: [] for name in readers}
    rounds: list[float] = []
    for number in range(1, count * len(groups) + 1):
        began = time.perf_counter()
        _execute(writer, f"INSERT INTO {_TABLE} VALUES (%s)", number)  # noqa: S608 - a constant
        committed = time.perf_counter()
        commits.append(committed - began)
        waiting = {name: readers[name] for name in groups[number % len(groups)]}
        for name, seen in _look(waiting, number, committed, rounds).items():
            lags[name].append(seen)
    return commits, lags, distributions.percentile(rounds, 0.5)


def _look(
    waiting: dict[str, Connection], number: int, committed: float, rounds: list[float]
) -> dict[str, float]:
    """Ask until every reader has the row; seconds since `committed` by reader."""
    sql = f"SELECT 1 FROM {_TABLE} WHERE id = %s"  # noqa: S608 - a constant
    seen: dict[str, float] = {}
    while waiting:
        began = time.perf_counter()
        for name, connection in list(waiting.items()):
            if _execute(connection, sql, number):
                seen[name] = time.perf_counter() - committed
                del waiting[name]
        ended = time.perf_counter()
        rounds.append(ended - began)
        if ended - committed > _DEADLINE:
            raise IsthmusError(
                "a row does not arrive", where=", ".join(waiting), cause=f"{_DEADLINE:g} s are over"
            )
    return seen


def _projects(lab: Lab, source: SiteSpec, count: int) -> dict[str, list[float]]:
    """Seconds from the answer to a project's creation at `source` until each other site's API shows it."""
    others = [site for site in lab.environment.sites if site != source]
    token = lab.login(source, "admin")
    seen: dict[str, list[float]] = {site.name: [] for site in others}
    for i in range(count * len(others)):
        site = others[i % len(others)]
        name = f"bench-lag-{uuid.uuid4().hex[:8]}"
        made = calling.at(source).create("project", token, name=name, domain_id="default")
        if made.status != 201:
            raise IsthmusError("a project is not made", where=source.name, cause=made.said)
        answered = time.perf_counter()
        path = f"/projects/{made.body['project']['id']}"
        while calling.at(site).identity("GET", path, token=token).status != 200:
            if time.perf_counter() - answered > _DEADLINE:
                raise IsthmusError(
                    "a project is not seen", where=site.name, cause=f"{_DEADLINE:g} s are over"
                )
        seen[site.name].append(time.perf_counter() - answered)
        calling.at(source).identity("DELETE", path, token=token)
    return seen


def _record(
    result: Result,
    delay: int,
    commits: Sequence[float],
    lags: dict[str, list[float]],
    seen: dict[str, list[float]],
) -> None:
    through_api = {f"API at {site}: a new project is seen": t for site, t in seen.items()}
    rows: list[list[Cell]] = []
    for name, values in {"commit at the writer": commits, **lags, **through_api}.items():
        spread = distributions.spread([1000 * value for value in values])
        result.spread(f"{delay}ms.{_word(name)}", spread, "ms")
        rows.append([name, *_cells(spread)])
    result.tables.append(
        Table(
            title=f"Links of {delay} ms each way, milliseconds",
            columns=("where", "p50", "p99", "min", "max", "count"),
            rows=rows,
        )
    )


def _word(name: str) -> str:
    """`API at lyon: ...` -> `api_lyon`, `commit at ...` -> `commit`; unit names stay."""
    if name.startswith("API at "):
        return f"api_{name[7:].partition(':')[0]}"
    return name.partition(" ")[0]


def _cells(spread: Spread) -> list[float]:
    return [spread.p50, spread.p99, spread.low, spread.high, spread.count]


if __name__ == "__main__":
    raise SystemExit(launching.one("lag", measure))
