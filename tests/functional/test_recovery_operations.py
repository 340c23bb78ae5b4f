"""Operations over a real MariaDB, by real worker processes that are killed everywhere.

What is promised: whatever was killed wherever, the next worker brings the operation to the same end,
nothing is made twice, and nothing is left over.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import autogenerate, migration

from isthmus import errors
from isthmus.operations import holding, trail
from isthmus.operations.kinds import Kind
from isthmus.operations.ledger import State
from isthmus.operations.values import Operation, Outcome, Phase
from isthmus.store import SCHEMA, databases, schema, tables

YARD = Path(__file__).parent.parent / "unit" / "operations"
sys.path.insert(0, str(YARD))

from operations_bench import BERT, Bench, asker, ended  # noqa: E402

pytestmark = pytest.mark.functional

LEASE_SECONDS = 0.3
"""The shortest that makes sense: what a resume waits for after a kill."""


class Mariadb:
    """One mariadbd on a socket, in a folder of its own, without any network."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "s"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        install = ["mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", f"--datadir={self.folder}/data"]
        subprocess.run(install, check=True, capture_output=True, timeout=120)
        options = [
            "--no-defaults", "--user=root", f"--datadir={self.folder}/data",
            f"--socket={self.socket}", f"--pid-file={self.folder}/pid", "--skip-networking",
            f"--log-error={self.folder}/error.log", "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2",
            "--performance-schema=OFF", f"--log-bin={self.folder}/binlog", "--binlog-format=ROW",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            ["mariadbd", *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        # It starts within a second; the machine may be busy.
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "error.log").read_text()[-2000:]
            time.sleep(0.05)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "error.log").read_text()[-2000:]
        try:
            self.run("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def url(self, user: str = "root", name: str = "") -> str:
        password = ":pw" if user != "root" else ""
        return f"mysql+pymysql://{user}{password}@/{name}?unix_socket={self.socket}"

    def run(self, *statements: str) -> None:
        engine = sa.create_engine(self.url(), poolclass=sa.pool.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    folder = tmp_path_factory.mktemp("db")
    server = Mariadb(folder)
    try:
        server.start()
        server.run(f"CREATE DATABASE {SCHEMA} DEFAULT CHARACTER SET utf8mb4")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def url(mariadb: Mariadb) -> str:
    """The schema as the engine's own user sees it, with no more rights than it is given."""
    owner = databases.connect(mariadb.url(name=SCHEMA))
    schema.upgrade(owner)
    schema.upgrade(owner)
    mariadb.run("CREATE USER engine IDENTIFIED BY 'pw'", *schema.engine_grants("engine"))
    owner.close()
    return mariadb.url("engine", SCHEMA)


@pytest.fixture
def database(url: str) -> Iterator[databases.Database]:
    found = databases.connect(url)
    yield found
    found.close()


class Worker:
    """The process that forks what is killed."""

    def __init__(self) -> None:
        program = Path(__file__).parent / "recovery_operations_worker.py"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(program)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": str(YARD)},
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def work(self, url: str, yard: Path, operation: Operation, *kill: str) -> dict[str, Any]:
        order = {"url": url, "yard": str(yard), "operation": operation.id, "kill": kill,
                 "lasts": LEASE_SECONDS}  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.stop()


@pytest.fixture
def site(database: databases.Database, tmp_path: Path) -> Bench:
    yard = tmp_path / "yard"
    yard.mkdir()
    return Bench(database, yard)


WALL = ("a", "b/c")


def approved(site: Bench, kind: Kind, *wall: str) -> Operation:
    """Each in a group of its own: leases of others are not waited for."""
    asked = site.request(kind, *(wall or WALL), group_id=str(uuid.uuid4()))
    planned = site.go(asked.operation)
    if planned.phase is not Phase.AWAITING_APPROVAL:
        return planned
    assert planned.plan
    assert asked.code
    digest = planned.plan.digest
    return site.desk.approve(asker(BERT), planned.id, code=asked.code, plan_digest=digest)


def through(site: Bench, worker: Worker, url: str, kind: Kind, kill: str | None) -> Operation:
    """To the end, by workers of which the first one to come to `kill` is killed there."""
    operation = approved(site, kind)
    killed = None
    for _ in range(6):
        operation = site.desk.operation(operation.id)
        if operation.phase is Phase.FINISHED:
            break
        if operation.phase is Phase.AWAITING_COMMIT:
            site.desk.commit(asker(BERT), operation.id)
        answer = worker.work(url, site.yard, operation, *([] if killed or not kill else [kill]))
        if answer["signal"]:
            assert answer["signal"] == signal.SIGKILL
            killed = kill
        else:
            assert answer["exit"] == 0, answer
    assert killed == kill, f"no worker came to {kill!r}"
    return site.desk.operation(operation.id)


def as_promised(site: Bench, operation: Operation, kind: Kind) -> None:
    ended(operation, Outcome.SUCCEEDED)
    assert site.made() == ["a", "b", "c"], "each exactly once"
    assert site.lying() == ([] if kind is Kind.DRILL else ["a", "b", "c"])
    assert (site.yard / "final").exists() == (kind is Kind.FAILOVER)
    left = {path.name for path in site.yard.iterdir()} - {"made.log", "final"}
    assert len(left) == len(site.lying()), "nothing half is left over"
    steps = site.desk.steps(operation.id)
    assert {each.state for each in steps} == {State.DONE}
    assert len(steps) == {Kind.DRILL: 6, Kind.FAILOVER: 4}[kind]
    assert trail.broken(site.desk.trail(), trail.START) is None


STEP_PLACES = [f"{step} {where}" for step in "abc" for where in ("before", "inside", "after")]
REMOVALS = [f"remove-{step} {where}" for step in "cba" for where in ("before", "after")]
ALL_PLACES = {
    Kind.FAILOVER: [*STEP_PLACES, "sign before", "sign after"],
    Kind.DRILL: [*STEP_PLACES, *REMOVALS],
}


@pytest.mark.parametrize("kind", [pytest.param(Kind.FAILOVER, marks=pytest.mark.long), Kind.DRILL])
def test_an_operation_whose_workers_are_killed_at_every_place_in_turn_ends_the_same(
    site: Bench, worker: Worker, url: str, kind: Kind
) -> None:
    operation = approved(site, kind, "a", "b", "c")
    left = set(ALL_PLACES[kind])
    while (operation := site.desk.operation(operation.id)).phase is not Phase.FINISHED:
        if operation.phase is Phase.AWAITING_COMMIT:
            site.desk.commit(asker(BERT), operation.id)
        answer = worker.work(url, site.yard, operation, *left)
        if answer["signal"] == signal.SIGKILL:
            left.remove(answer["said"])
        else:
            assert answer["exit"] == 0, answer
    assert not left, "it came to every place"
    ended(operation, Outcome.SUCCEEDED)
    assert site.made() == ["a", "b", "c"], "each exactly once"
    assert site.lying() == ([] if kind is Kind.DRILL else ["a", "b", "c"])
    assert {each.state for each in site.desk.steps(operation.id)} == {State.DONE}


CASES = [(kind, place) for kind, places in ALL_PLACES.items() for place in places]


@pytest.mark.chaos
@pytest.mark.parametrize(("kind", "place"), CASES)
def test_a_worker_killed_in_any_step_is_followed_by_one_that_ends_the_same(
    site: Bench, worker: Worker, url: str, kind: Kind, place: str
) -> None:
    as_promised(site, through(site, worker, url, kind, place), kind)


SAMPLES = 4
"""Of all transactions of an operation; the long run takes every one of them."""


def transactions(site: Bench, worker: Worker, url: str) -> int:
    """How many a drill that is not killed commits."""
    operation = approved(site, Kind.DRILL)
    answer = worker.work(url, site.yard, operation)
    as_promised(site, site.desk.operation(operation.id), Kind.DRILL)
    shutil.rmtree(site.yard)
    site.yard.mkdir()
    count = int(answer["said"])
    assert count > 20
    return count


def killed_at(site: Bench, worker: Worker, url: str, places: list[str]) -> None:
    for place in places:
        as_promised(site, through(site, worker, url, Kind.DRILL, place), Kind.DRILL)
        shutil.rmtree(site.yard)
        site.yard.mkdir()


@pytest.mark.long
def test_a_worker_killed_between_any_two_transactions_is_followed_by_one_that_ends_the_same(
    site: Bench, worker: Worker, url: str
) -> None:
    count = transactions(site, worker, url)
    chosen = sorted({1 + n * (count - 1) // SAMPLES for n in range(SAMPLES)})
    killed_at(site, worker, url, [f"{('begin', 'commit')[n % 2]} {n}" for n in chosen])


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_worker_killed_at_every_transaction_is_followed_by_one_that_ends_the_same(
    site: Bench, worker: Worker, url: str
) -> None:
    # The last few depend on how often the lease was renewed meanwhile.
    count = transactions(site, worker, url) - 4
    killed_at(site, worker, url, [f"commit {n}" for n in range(1, count + 1)])


def test_two_workers_at_one_operation_do_nothing_twice(
    site: Bench, worker: Worker, url: str
) -> None:
    operation = approved(site, Kind.FAILOVER)
    other = Worker()
    try:
        threads = [
            threading.Thread(target=each.work, args=(url, site.yard, operation))
            for each in (worker, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        other.stop()
    assert site.desk.operation(operation.id).phase is Phase.AWAITING_COMMIT
    assert site.made() == ["a", "b", "c"]


def test_the_migrations_make_what_the_models_say(
    mariadb: Mariadb, database: databases.Database
) -> None:
    own = set(tables.Base.metadata.tables)
    options = {
        "version_table": schema.VERSION_TABLE,
        "include_name": lambda name, kind, _: kind != "table" or name in own,
    }
    engine = sa.create_engine(mariadb.url(name=SCHEMA))
    with engine.connect() as connection:
        context = migration.MigrationContext.configure(connection, opts=options)
        assert autogenerate.compare_metadata(context, tables.Base.metadata) == []
    engine.dispose()


def test_the_engine_can_add_to_the_audit_trail_and_change_nothing_in_it(
    database: databases.Database,
) -> None:
    database.write(lambda session: trail.note(session, "s", 1.0, "tried", "anna"))
    for statement in ("UPDATE audit SET at = 0", "DELETE FROM audit", "TRUNCATE TABLE audit"):
        with pytest.raises(errors.UnavailableError, match="denied"):
            database.write(lambda session, text=statement: session.execute(sa.text(text)))


def test_many_who_write_to_the_trail_at_once_leave_it_whole(database: databases.Database) -> None:
    def write(name: str) -> None:
        for number in range(5):
            database.write(
                lambda session, n=number: trail.note(session, "s", float(n), "wrote", name)
            )

    threads = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(6)]
    before = len(trail.entries(database))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = trail.entries(database)
    assert len(entries) == before + 30
    assert trail.broken(entries) is None


def test_of_many_who_claim_a_lease_at_once_one_wins_each_time(
    database: databases.Database,
) -> None:
    subject, epochs = f"group/{uuid.uuid4()}", []
    for _ in range(4):
        won: list[holding.Held] = []

        def claim(name: str, won: list[holding.Held] = won) -> None:
            held = holding.take(database, subject, owner=name, operation_id="o")
            if held is not None:
                won.append(held)

        threads = [threading.Thread(target=claim, args=(f"e{n}",)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        epochs.append(won[0].epoch)
        won[0].release()
    assert epochs == sorted(set(epochs))
