"""The dead-man with a real guest: a real QEMU, a real guest agent, a real agent of the host, killed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import deadman
from bench.deadman import ALLOWED_S, Host, LateError, Machine, wait_for

from isthmus.agent.host.freezing import entries, ledger
from isthmus.lab.errors import BadHost
from isthmus.lab.guest_image import volumes

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

NAME = "vnf1"
# The guest needs a moment to write its next record; beside other tests its processor is shared.
WRITES_S = 20.0
RESTART_S = 40.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with deadman.workplace() as found:
        yield found


@pytest.fixture(scope="module")
def guest(folder: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root: the boot loader's installer mounts the image")
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a loop device: the boot loader's installer mounts the image")
    try:
        image = deadman.image()
    except BadHost as missing:
        pytest.skip(f"needs the packages of the guest: {missing}")
    with deadman.machine(folder, NAME, image) as found:
        yield found


@pytest.fixture(scope="module")
def started(folder: Path, guest: Machine) -> Iterator[Host]:
    with deadman.host(folder) as found:
        yield found


@pytest.fixture
def host(started: Host) -> Iterator[Host]:
    """Every test begins and ends with an agent that answers, and nothing armed."""
    yield started
    started.revive()
    for each in started.call("GET", "/freezes")["freezes"]:
        started.call("POST", f"/freezes/{each['round']}/thaw")
        started.call("DELETE", f"/freezes/{each['round']}")


def told(host: Host, round_id: str) -> tuple[str, list[str]]:
    """The state of the guest in the agent's words, and whose dead-man has fired in the round."""
    document = host.call("GET", f"/freezes?round={round_id}")
    return document["freezes"][0]["state"], [each["domain"] for each in document["fired"]]


def writes_again(guest: Machine, entry: entries.Entry) -> None:
    wait_for("the guest writes", lambda: guest.written() > entry.deadline_wall, WRITES_S)


def test_a_round_freezes_the_disk_and_lets_it_go(host: Host, guest: Machine) -> None:
    host.freeze("calm", NAME, 20.0)
    frozen = volumes.inspect(guest.volume)
    assert (frozen.log.bad, frozen.whole, frozen.journal_clean) == (0, True, True)
    assert told(host, "calm") == ("frozen", [])
    still = guest.written()
    [thawed] = host.call("POST", "/freezes/calm/thaw")["results"]
    assert (thawed["guest"], thawed["was_frozen"]) == ("thawed", True)
    wait_for("the guest writes", lambda: guest.written() > still, WRITES_S)
    assert host.call("DELETE", "/freezes/calm")["fired"] == []


def test_a_silent_controller_leaves_no_guest_frozen(host: Host, guest: Machine) -> None:
    entry = host.freeze("silent", NAME)
    assert (deadman.thawed(host, entry, 10.0).late or 0.0) <= ALLOWED_S
    writes_again(guest, entry)
    assert told(host, "silent") == ("void", [NAME])


def test_a_killed_agent_leaves_no_guest_frozen_and_reports_it_in_its_next_life(
    host: Host, guest: Machine
) -> None:
    entry = host.freeze("killed", NAME)
    host.signal(signal.SIGKILL)
    outcome = deadman.thawed(host, entry, 10.0)
    assert (outcome.late or 0.0) <= ALLOWED_S
    assert (outcome.by, outcome.filesystems) == (ledger.WATCHDOG, 2)
    writes_again(guest, entry)
    host.start()
    assert told(host, "killed") == ("void", [NAME])


def test_a_stopped_agent_leaves_no_guest_frozen(host: Host, guest: Machine) -> None:
    entry = host.freeze("stopped", NAME)
    host.signal(signal.SIGSTOP)
    assert (deadman.thawed(host, entry, 10.0).late or 0.0) <= ALLOWED_S
    writes_again(guest, entry)
    host.revive()
    assert told(host, "stopped") == ("void", [NAME])


def test_an_agent_that_comes_back_within_the_window_goes_on_with_it(
    host: Host, guest: Machine
) -> None:
    host.freeze("back", NAME, 40.0)
    host.signal(signal.SIGKILL)
    host.start()
    assert told(host, "back") == ("frozen", [])
    [thawed] = host.call("POST", "/freezes/back/thaw")["results"]
    assert (thawed["guest"], thawed["was_frozen"]) == ("thawed", True)
    assert host.call("DELETE", "/freezes/back") | {"at": 0} == {
        "site": "paris", "host": "compute1", "at": 0,
        "round": "back", "disarmed": [NAME], "fired": [],
    }  # fmt: skip


def test_when_agent_and_watchdog_die_together_the_next_life_thaws_at_once(
    host: Host, guest: Machine
) -> None:
    entry = host.freeze("both", NAME)
    for each in host.watchdogs():
        os.kill(each.pid, signal.SIGKILL)
    host.signal(signal.SIGKILL)
    wait_for("the deadline passes", lambda: entry.remaining(entries.moment()) < 0, 10.0)
    assert host.book.outcomes(NAME, "both") == []
    host.start()
    deadman.thawed(host, entry, RESTART_S)
    writes_again(guest, entry)
    assert told(host, "both") == ("void", [NAME])


def test_a_freeze_by_somebody_else_in_an_armed_round_is_ended_as_well(
    host: Host, guest: Machine
) -> None:
    """As Nova's, which asks libvirt itself."""
    named = [{"domain": NAME, "server_id": NAME}]
    body = {"round": "nova", "epoch": 1, "entries": named, "deadline_s": 3.0}
    host.call("POST", "/freezes", body)
    entry = host.book.entry(NAME)
    assert entry is not None
    deadman.access(host.folder).freeze(NAME, 10.0)
    assert (deadman.thawed(host, entry, 10.0).late or 0.0) <= ALLOWED_S
    writes_again(guest, entry)


def test_commands_run_in_a_guest_and_never_in_a_window(host: Host, guest: Machine) -> None:
    def sh(script: str, timeout_s: float = 30.0) -> dict[str, Any]:
        body = {"command": ["/bin/sh", "-c", script], "timeout_s": timeout_s}
        return host.call("POST", f"/guests/{NAME}/exec", body)

    ended = sh("ls -d /data; echo but >&2; exit 3")
    assert (ended["exit"], ended["output"]) == (3, "/data\nbut\n")
    assert sh("kill -9 $$")["exit"] == 137
    with pytest.raises(LateError, match=r"503 .*did not end within 1 s.*process \d+ of the guest"):
        sh("sleep 20", timeout_s=1.0)
    body = {"command": ["/no/such/program"], "timeout_s": 5.0}
    assert host.call("POST", f"/guests/{NAME}/exec", body)["exit"] == 127
    host.freeze("window", NAME, 20.0)
    with pytest.raises(LateError, match=r"409 .*armed for round window"):
        sh("exit 0")
    host.call("POST", "/freezes/window/thaw")
    host.call("DELETE", "/freezes/window")
    # Frozen by somebody else: the guest agent itself refuses.
    deadman.access(host.folder).freeze(NAME, 10.0)
    with pytest.raises(LateError, match=r"409 .*it is frozen"):
        sh("exit 0")
    deadman.access(host.folder).thaw(NAME)
    assert sh("exit 0")["exit"] == 0


def test_no_record_was_lost_in_all_that(host: Host, guest: Machine) -> None:
    host.freeze("last", NAME, 20.0)
    shown = volumes.inspect(guest.volume)
    assert (shown.log.bad, shown.whole) == (0, True)
    assert shown.log.good > 0
