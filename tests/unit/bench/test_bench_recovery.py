"""What the programs about recovery decide and count without a lab."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import backup, estates, failover, loopback, pairs, plans, planting, protecting
from bench.backup import BLOCK, Turn, places
from bench.loopback import Cloud
from bench.pairs import Pair
from bench.results import Result
from bench.scripted_groups import Quiescing
from openstack.exceptions import HttpException

from isthmus.lab.vnf import Member, Vnf
from isthmus.recovery.declarations import check_group
from isthmus.recovery.rest import Api

PAIRS = [Pair(ours=1.0, theirs=3.0), Pair(ours=None, theirs=8.0), Pair(ours=2.0, theirs=4.0)]


def a_result() -> Result:
    return Result(name="program", about="")


# --- pairs


def test_a_ratio_is_of_runs_that_have_both_halves():
    result = a_result()
    pairs.record(result, "it", PAIRS, "s", at_least=2.0)
    times = result.figures["program.it.times"]
    assert times.value == 2.5
    assert times.details["count"] == 2
    assert times.details["met"] is True
    assert result.figures["program.it.peer"].details["count"] == 3


def test_a_row_says_how_many_runs_each_half_has():
    row = pairs.row("it", PAIRS)
    assert len(row) == 1 + len(pairs.COLUMNS)
    assert row[:3] == ["it", "2/3", 1.5]


def test_a_half_that_no_run_has_is_no_figure_and_an_empty_cell():
    result, never = a_result(), [Pair(ours=1.0, theirs=None)]
    pairs.record(result, "it", never, "s")
    assert list(result.figures) == ["program.it.ours"]
    assert pairs.row("it", never)[-3:] == [None, None, None]


# --- backups


def test_one_percent_of_a_volume_is_written_in_different_blocks():
    size = 1 << 30
    found, again = (places(random.Random(1), size, 0.01) for _ in range(2))  # noqa: S311
    assert len(set(found)) == len(found) == round(size // BLOCK * 0.01)
    assert all(start % BLOCK == 0 and start + BLOCK <= size for start in found)
    assert found == again


def test_a_turn_that_failed_is_not_the_loss_of_the_others():
    result = a_result()
    turn = Turn(full_s=60.0, increment_s=30.0, full_bytes=1 << 20, increment_bytes=0)
    backup.tell(result, [turn, turn], [None, Turn(full_s=120.0, increment_s=90.0)])
    assert result.figures["program.full.times"].value == 2.0
    assert result.figures["program.increment.times"].value == 3.0
    assert result.figures["program.full.ours_speed"].value == pytest.approx(6 * 1024 / 60)
    assert result.figures["program.full.stored"].value == 1.0
    assert [row[0] for row in result.tables[0].rows] == ["full, s", "increment, s"]


# --- failovers


def step(name: str, second: float, seconds: float | None, part: str = "run") -> dict[str, Any]:
    began = f"2026-11-23T10:00:{second:09.6f}Z"
    return {"name": name, "part": part, "began_at": began, "seconds": seconds}


def test_the_parts_of_a_drill_are_read_from_its_report():
    steps = [
        step("import", 0, 1.5),
        step("restore-a", 2, 10.0),
        step("restore-b", 5, 20.0),
        step("boot-x", 12, 3.0),
        step("test-x", 15, 5.0),
        step("restore-b", 40, 9.0, part="roll-back"),
        step("boot-y", 41, None),
    ]
    assert failover.parts({"steps": steps}) == {"import": 1.5, "volumes": 23.0, "servers": 8.0}


# --- plans


def test_a_validation_finds_the_faults_that_were_put_in_and_the_same_again():
    first, second = (plans.validated(30, 7) for _ in range(2))
    assert first.findings == second.findings == 1
    assert first.requests == second.requests


def test_an_estate_follows_from_its_seed():
    assert estates.estate(5, 1) == estates.estate(5, 1)
    assert estates.estate(5, 1) != estates.estate(5, 2)


def test_the_cloud_cuts_lists_off_and_says_where_they_go_on(monkeypatch):
    monkeypatch.setattr(loopback, "PAGE", 2)
    cloud = Cloud(lists={"ports": [{"id": str(n)} for n in range(5)]})
    with loopback.serving(cloud, estates.PROJECT) as session:
        api = Api(session, "lyon", "network")
        assert [each["id"] for each in api.all("/v2.0/ports", "ports")] == list("01234")
        assert api.project_id == estates.PROJECT
    assert cloud.requests == {"/v2.0/ports": 3}


# --- the VNF


def a_vnf() -> Vnf:
    return Vnf(
        name="bench",
        site="paris",
        project_id="project",
        members=tuple(
            Member(role=role, server_id=f"id-{role}", address="10.0.0.1", volumes=(f"{role}-0",))
            for role in ("database", "middle", "client")
        ),
    )


def test_the_group_is_what_the_labs_own_command_would_declare():
    group = protecting.group(a_vnf(), "id", "gold")
    check_group(group)
    words = a_vnf().declare(backup_site="lyon", policy="gold")
    for member in group.members:
        needs = ",".join(member.depends)
        assert f"{member.name}={member.server_id}:{member.level}:{needs}" in words
    assert [each.name for level in group.freeze_order for each in level] == [
        "client",
        "middle",
        "database",
    ]


class Compute:
    """Nova of the peer: it writes down what it was asked, and refuses what it is told to."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[str] = []
        self.refused = refused

    def post(self, path: str, json: dict[str, None]) -> Any:
        [action] = json
        self.asked.append(f"{action} {path.split('/')[2]}")
        if self.asked[-1] == self.refused:
            raise HttpException("refused")
        return Answer()


class Answer:
    status_code, content = 202, b""


class Site:
    def __init__(self, compute: Compute) -> None:
        self.admin = self
        self.compute = compute


class Snapshots:
    def __init__(self, *, good: bool) -> None:
        self.good, self.forgotten = good, 0

    def snapshot(self) -> list[str]:
        if not self.good:
            raise HttpException("no snapshot")
        return []

    def forget(self) -> None:
        self.forgotten += 1


FROZEN = ["quiesce id-client", "quiesce id-middle", "quiesce id-database"]
THAWED = ["unquiesce id-database", "unquiesce id-middle", "unquiesce id-client"]


def test_the_script_quiesces_in_order_and_thaws_in_reverse():
    compute, snapshots = Compute(), Snapshots(good=True)
    assert Quiescing(Site(compute), a_vnf()).window(snapshots) >= 0
    assert compute.asked == [*FROZEN, *THAWED]
    assert snapshots.forgotten == 1


def test_whatever_fails_the_script_thaws_all_that_it_may_have_quiesced():
    compute, snapshots = Compute(), Snapshots(good=False)
    with pytest.raises(HttpException, match="no snapshot"):
        Quiescing(Site(compute), a_vnf()).window(snapshots)
    assert compute.asked == [*FROZEN, *THAWED]
    assert snapshots.forgotten == 1
    compute = Compute(refused="unquiesce id-database")
    with pytest.raises(HttpException, match="refused"):
        Quiescing(Site(compute), a_vnf()).window(Snapshots(good=True))
    assert compute.asked == [*FROZEN, *THAWED]


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A runner in the background ignores Ctrl-C, and its tests would inherit that."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_waits_for_the_end_of_what_must_not_be_cut():
    done = []

    def work() -> None:
        with protecting.uncut():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]


def test_a_run_that_fails_is_a_note():
    result = a_result()

    def fail() -> None:
        raise ValueError("two\nlines")

    assert protecting.tried(result, "run 1", fail) is None
    assert result.notes == ["run 1 failed: ValueError: two lines"]


def test_the_programs_load_no_eventlet_because_threads_would_hang():
    look = "import bench.__main__, sys; sys.exit('eventlet' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], check=False, timeout=60)
    assert done.returncode == 0


def test_remote_ports_are_planted_into_the_plugins_table():
    found = importlib.util.find_spec("isthmus.plugins")
    assert found is not None
    assert found.submodule_search_locations
    models = Path(found.submodule_search_locations[0]) / "neutron/db/models.py"
    assert f'TABLE = "{planting.TABLE}"' in models.read_text()
