"""libvirt of a compute host, in a mount namespace of its own: its guests outlive it and send whole checksums."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import lab_site
import pytest
from guest_machine import READY
from lab_site import Place

from conditions import wait_for
from isthmus.lab import home, processes
from isthmus.lab.components import libvirt, libvirt_config, room
from isthmus.lab.guest_image import building
from isthmus.lab.running import Completed, run

pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(600)]

UUID = "1f0e4f5a-0000-4000-8000-000000000001"
DOMAIN = f"""
<domain type='qemu'>
  <name>tried</name><uuid>{UUID}</uuid><memory unit='MiB'>128</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='file'><source path='CONSOLE'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>
"""


class Host:
    """libvirtd in a place, with its guest."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.folder / "libvirt"

    def start(self) -> None:
        marks = {
            processes.HOME_MARK: str(self.place.folder),
            processes.UNIT_MARK: "functional/guests",
        }
        libvirt.configure(self.folder, libvirt_config.host_uuid("paris", "tried"), marks)
        libvirt.write_secret(self.folder, UUID, "c2VjcmV0")
        self.daemon = self.place.spawn(self.inside(libvirt.command()))
        wait_for("libvirt answers", lambda: self.virsh("list").code == 0, READY)

    def inside(self, argv: list[str]) -> list[str]:
        seen = libvirt.mounts(self.folder)
        room.prepare(seen)
        return room.enter(argv, mounts=seen, hostname="tried")

    def virsh(self, *words: str) -> Completed:
        argv = self.inside(["virsh", "-q", "-c", "qemu:///system", *words])
        return run(argv, namespace=self.place.namespace, check=False, timeout=60.0)

    def agent(self, command: str) -> object:
        text = json.dumps({"execute": command})
        done = self.virsh("qemu-agent-command", "tried", text)
        assert done.code == 0, done.stderr
        return json.loads(done.stdout)["return"]


@pytest.fixture
def host() -> Iterator[Host]:
    with lab_site.place() as place:
        yield Host(place)


def test_a_guest_outlives_its_libvirt_and_is_frozen_and_thawed_through_it(host: Host) -> None:
    host.start()
    image = building.cached(home.Home(root=home.default_home()).templates)
    disk, console = host.folder / "disk.raw", host.folder / "console.log"
    shutil.copyfile(image.path, disk)
    definition = host.folder / "domain.xml"
    definition.write_text(DOMAIN.replace("DISK", str(disk)).replace("CONSOLE", str(console)))
    started = host.virsh("create", str(definition))
    assert started.code == 0, started.stderr
    guests = processes.running(host.place.folder)["functional/guests"]
    words = processes.command_line(guests[0].pid)
    assert words[words.index("-global") + 1] == "virtio-net-pci.csum=off"
    assert host.virsh("hostname").stdout.strip() == "tried"
    assert host.virsh("secret-get-value", UUID).stdout.strip() == "c2VjcmV0"
    wait_for(
        "the guest is ready",
        lambda: console.exists() and "READY" in console.read_text(errors="replace"),
        READY,
    )

    os.kill(_child(host.daemon.handle.pid, "libvirtd"), signal.SIGKILL)
    wait_for("libvirt is dead", lambda: host.virsh("list").code != 0, 30.0)
    assert processes.running(host.place.folder)["functional/guests"]
    host.start()
    # A fresh libvirt connects to its guests' agents only after it answers itself.
    ping = ("qemu-agent-command", "tried", '{"execute": "guest-ping"}')
    wait_for("the agent answers", lambda: host.virsh(*ping).code == 0, 30.0)
    assert host.agent("guest-fsfreeze-freeze") == 1
    assert host.agent("guest-fsfreeze-status") == "frozen"
    assert host.agent("guest-fsfreeze-thaw") == 1
    host.virsh("shutdown", "tried")
    wait_for(
        "the guest has ended in order",
        lambda: not host.virsh("list", "--name").stdout.strip(),
        90.0,
    )


def _child(pid: int, name: str) -> int:
    """The process called `name` at or below `pid`: the words before it have replaced themselves by it."""
    assert Path(f"/proc/{pid}/comm").read_text().strip() == name
    return pid
