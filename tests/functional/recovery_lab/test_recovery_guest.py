"""The lab's guest, built from Debian's packages and booted under plain emulation, proves what it has written."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import guest_machine
import pytest
from guest_machine import Machine

from conditions import wait_for
from isthmus.lab import home
from isthmus.lab.guest_image import building, records, volumes
from isthmus.lab.guest_image.building import GuestImage
from isthmus.lab.guest_image.records import Cut

pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(600)]

# Everything in the guest takes a few tenths of a second when the machine is idle.
SOON = 60.0
NAMESPACE = "functional-protocol"


@pytest.fixture(scope="module")
def image() -> GuestImage:
    """Built once for each content and kept with the lab's templates."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the boot loader's installer mounts the image")
    return building.cached(home.Home(root=home.default_home()).templates)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not below /tmp, which may be memory: the disks of three guests.
    with tempfile.TemporaryDirectory(prefix="functional-guest-", dir="/var/tmp") as name:
        yield Path(name)


def counted(machine: Machine) -> dict[str, int]:
    """How many records each log of a running guest has."""
    with machine.agent() as agent:
        lines = agent.shell("/lib/guest/status").splitlines()
    return {path: int(count) for path, _, count in (line.partition(" ") for line in lines)}


def grown(machine: Machine, log: str, by: int) -> None:
    begun = counted(machine).get(log, 0)
    wait_for(
        f"{by} more records in {log}", lambda: counted(machine).get(log, 0) >= begun + by, SOON
    )


def test_a_guest_freezes_thaws_and_keeps_every_record_over_a_power_cut(
    image: GuestImage, folder: Path
) -> None:
    volume = guest_machine.blank_volume(folder / "volume.raw")
    with guest_machine.running(folder / "guest", image.path, volumes=[volume]) as machine:
        machine.wait_ready()
        grown(machine, "/data/vdb/records.log", 3)
        with machine.agent() as agent:
            assert agent.call("guest-fsfreeze-status") == "thawed"
            assert agent.call("guest-fsfreeze-freeze") == 2
            assert agent.call("guest-fsfreeze-status") == "frozen"
            frozen = volumes.inspect(volume)
            assert (frozen.log.bad, frozen.whole, frozen.journal_clean) == (0, True, True)
            held_until = time.monotonic() + 1.0  # ten records' time
            while time.monotonic() < held_until:
                assert volumes.inspect(volume) == frozen
            assert agent.call("guest-fsfreeze-thaw") == 2
            assert agent.call("guest-fsfreeze-status") == "thawed"
        grown(machine, "/data/vdb/records.log", 3)
        promised = counted(machine)
        machine.kill()
        root = machine.disks[0]
    with volumes.replayed(volume) as copy:
        data = volumes.inspect(copy)
    with volumes.replayed(root) as copy:
        system = volumes.inspect(copy)
    assert (data.log.bad, data.log.torn, data.whole) == (0, False, True)
    assert data.log.records >= promised["/data/vdb/records.log"]
    assert (system.log.bad, system.log.records >= promised["/root/records.log"]) == (0, True)

    with guest_machine.running(folder / "guest", image.path, volumes=[volume]) as machine:
        machine.wait_ready()
        wait_for(
            "the writer goes on", lambda: "WRITES /data/vdb/records.log" in machine.console(), SOON
        )
        assert f"WRITES /data/vdb/records.log from {data.log.records}" in machine.console()
        grown(machine, "/data/vdb/records.log", 2)
        with machine.agent() as agent:
            agent.tell("guest-shutdown")
            wait_for("the guest has ended", lambda: machine.process.poll() is not None, SOON)
    ended = volumes.inspect(volume)
    assert (ended.log.bad, ended.whole, ended.journal_clean) == (0, True, True)
    assert ended.log.records > data.log.records


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace in which the guests' fixed ports are free."""
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
    yield NAMESPACE
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


# Each guest has a network of its own behind QEMU, whose router is this machine (10.0.2.2), and offers its port there.
ROLES = {
    "client": ("user", "role=client\npeer=10.0.2.2\n"),
    "middle": ("user,hostfwd=tcp:127.0.0.1:7001-:7001", "role=middle\npeer=10.0.2.2\n"),
    "database": ("user,hostfwd=tcp:127.0.0.1:7002-:7002", "role=database\n"),
}
LOGS = {"client": "issued", "middle": "acknowledged", "database": "persisted"}


def cut(folder: Path) -> Cut:
    """What the three guests' root volumes hold as they lie there."""
    logs = {
        log: records.judge(volumes.read(folder / role / "root.raw", f"/root/{log}.log"))
        for role, log in LOGS.items()
    }
    assert not any(verdict.bad for verdict in logs.values())
    return Cut(**{log: verdict.records for log, verdict in logs.items()})


def read_frozen(machine: Machine, log: str) -> int:
    """Freeze one guest, read its log from its volume, and let it go on."""
    with machine.agent() as agent:
        agent.call("guest-fsfreeze-freeze")
        try:
            return records.judge(volumes.read(machine.disks[0], f"/root/{log}.log")).records
        finally:
            agent.call("guest-fsfreeze-thaw")


def test_three_guests_tell_whether_their_volumes_are_of_one_point_in_time(
    image: GuestImage, folder: Path, namespace: str
) -> None:
    with ExitStack() as stack:
        guests = {}
        for role, (network, user_data) in ROLES.items():
            drive = guest_machine.config_drive(folder / f"{role}.iso", user_data=user_data)
            machine = guest_machine.running(
                folder / role, image.path, network=network, drive=drive, namespace=namespace
            )
            guests[role] = stack.enter_context(machine)
        for machine in guests.values():
            machine.wait_ready()
        grown(guests["database"], "/root/persisted.log", 3)

        # Frozen together, clients first, and thawed in reverse.
        for machine in guests.values():
            with machine.agent() as agent:
                agent.call("guest-fsfreeze-freeze")
        together = cut(folder)
        for machine in reversed(guests.values()):
            with machine.agent() as agent:
                agent.call("guest-fsfreeze-thaw")
        assert records.impossible(together) is None
        assert together.persisted >= 3

        # Each frozen by itself, one after the other: whole file systems, and no point in time.
        issued = read_frozen(guests["client"], "issued")
        wait_for(
            "the database goes beyond",
            lambda: counted(guests["database"])["/root/persisted.log"] > issued + 1,
            SOON,
        )
        apart = Cut(
            issued=issued,
            acknowledged=read_frozen(guests["middle"], "acknowledged"),
            persisted=read_frozen(guests["database"], "persisted"),
        )
        assert records.impossible(apart) is not None
