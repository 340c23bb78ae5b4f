"""Up, down, and what is left after both were killed. Runs last: it takes the lab of the other tests away."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_lab import Lab

from isthmus.lab import calling, network, processes, waiting
from isthmus.lab.components import base

pytestmark = pytest.mark.lab

# A warm start takes 25 s on two idle cores; the aim is 60 s.
UP_DEADLINE = 180.0


@pytest.fixture(scope="module")
def free(lab_up: Lab) -> Iterator[Lab]:
    """The lab with its lock free for commands; brought up again for whoever comes after, by the last test itself."""
    with lab_up.unlocked():
        yield lab_up


def test_down_leaves_no_process_namespace_bridge_mount_or_file(free: Lab) -> None:
    assert free.command("lab", "down").returncode == 0
    _assert_nothing_left(free)
    again = free.command("lab", "down")
    assert again.returncode == 0
    assert "No lab was up" in again.stdout


def test_a_killed_up_leaves_nothing_after_down(free: Lab) -> None:
    begun = _up(free)
    _until_databases_run(free, begun)
    begun.send_signal(signal.SIGKILL)
    begun.wait(timeout=10)
    assert processes.running(free.home.lab), "up was killed too late or too early to prove anything"
    assert free.command("lab", "down").returncode == 0
    _assert_nothing_left(free)


def test_ctrl_c_takes_away_what_up_had_begun(free: Lab) -> None:
    begun = _up(free)
    _until_databases_run(free, begun)
    begun.send_signal(signal.SIGINT)
    # Killing takes a second, a daemon that is being waited for ends at once.
    _, errors = begun.communicate(timeout=30)
    assert begun.returncode == 130, errors
    assert "everything that was started is gone again" in errors
    _assert_nothing_left(free)


def test_up_after_a_kill_finishes_what_was_begun_and_a_second_up_meanwhile_refuses(
    free: Lab,
) -> None:
    killed = _up(free)
    _until_databases_run(free, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=10)
    resumed = _up(free)
    _until_busy(free, resumed)
    second = free.command("lab", "up")
    assert second.returncode == 75, second.stderr
    assert "isthmus lab up" in second.stderr
    _, errors = resumed.communicate(timeout=UP_DEADLINE)
    assert resumed.returncode == 0, errors
    _assert_works(free)


def test_up_when_all_is_up_changes_nothing(free: Lab) -> None:
    before = {
        name: [p.pid for p in found] for name, found in processes.running(free.home.lab).items()
    }
    assert free.command("lab", "up").returncode == 0
    after = {
        name: [p.pid for p in found] for name, found in processes.running(free.home.lab).items()
    }
    assert after == before


def _up(lab: Lab) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [base.script("isthmus"), "lab", "up"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=lab.environ(),
        # Ctrl-C reaches a whole process group in a terminal; here it must reach this one alone.
        start_new_session=True,
        # A runner in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _until_databases_run(lab: Lab, begun: "subprocess.Popen[str]") -> None:
    def missing() -> str | None:
        assert begun.poll() is None, "up ended before its first database ran"
        running = processes.running(lab.home.lab)
        return None if "paris/identity-db" in running else f"running: {sorted(running)}"

    # At once if there is a template; an upgrade of the product makes a new one first.
    waiting.until(missing, deadline=90.0, what="no database runs", where="lab", interval=0.02)


def _until_busy(lab: Lab, begun: "subprocess.Popen[str]") -> None:
    lock = lab.home.root / "lock"
    waiting.until(
        lambda: None if f"pid {begun.pid}" in lock.read_text() else "the lock is not taken",
        deadline=15.0,
        what="up does not begin",
        where="lab",
        interval=0.02,
    )


def _assert_nothing_left(lab: Lab) -> None:
    assert processes.running(lab.home.lab) == {}
    assert _marked(lab.home.lab) == []
    assert network.present().isdisjoint(network.namespaces(lab.environment))
    interfaces = [p.name for p in Path("/sys/class/net").iterdir()]
    assert not [name for name in interfaces if name == network.BRIDGE or name.startswith("ism")]
    assert str(lab.home.root) not in Path("/proc/mounts").read_text()
    assert "isthmus-" not in Path("/proc/mounts").read_text()
    assert not lab.home.lab.exists()


def _marked(home: Path) -> list[str]:
    """Processes that carry the lab's mark, looked for without the product's own eyes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"ISTHMUS_LAB={home}".encode() in environ:
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    return found


def _assert_works(lab: Lab) -> None:
    lab.forget()
    lab.healthy()
    done = lab.command("lab", "status", "-f", "json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len(lab.units)
    token = calling.at(lab.madrid).login(lab.account("demo")).token
    assert [calling.at(site).images(token).status for site in lab.sites] == [200, 200, 200]
