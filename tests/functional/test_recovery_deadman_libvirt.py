"""The dead-man where libvirt has the guests: through libvirt as long as it lives, by the guest agent's socket when it is dead.

libvirtd runs in a mount namespace of its own, so that nothing of it is left on the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench import deadman
from bench.deadman import ALLOWED_S, Host, LateError, wait_for

from isthmus.agent.host.freezing.entries import Guest
from isthmus.lab.components import libvirt_config

pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(600)]

NAME = "instance-00000001"
STARTED_S = 60.0
BOOTED_S = 240.0
SOCKET = "/var/lib/libvirt/qemu/org.qemu.guest_agent.0.{domain}.sock"
PLACES = ("/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/etc/libvirt")
HOST_UUID = "7b0f8f4e-6a53-4d0c-9a3e-2f6b1c0d9e11"
ACCOUNT = {
    "passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
  <os><type machine='pc'>hvm</type></os>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='writeback'/><source file='{root}'/><target dev='vda' bus='virtio'/>
    </disk>
    <channel type='unix'>
      <source mode='bind' path='{socket}'/><target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
  </devices>
</domain>
"""


@dataclass
class Libvirt:
    """libvirtd and the namespace that it lives in."""

    folder: Path
    holder: subprocess.Popen[bytes]
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.holder.pid), "-m", "--")

    def start(self) -> None:
        # A daemon that was killed leaves its number.
        self.run("rm", "-f", "/run/libvirt/libvirtd.pid")
        with (self.folder / "libvirtd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [*self.prefix, "nice", "-n", "19", "libvirtd", "-p", "/run/libvirt/libvirtd.pid"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for("libvirtd answers", lambda: self.virsh("list")[0] == 0, STARTED_S)

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait(15)
            self.daemon = None

    def virsh(self, *words: str) -> tuple[int, str]:
        return self.run("virsh", "-q", "-c", "qemu:///system", *words)

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*self.prefix, *words], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def status(self) -> str:
        """What the guest says through libvirt."""
        return self.virsh("qemu-agent-command", NAME, '{"execute":"guest-fsfreeze-status"}')[1]


def entered(folder: Path) -> subprocess.Popen[bytes]:
    """A process that keeps a mount namespace in which libvirt's places are below `folder`."""
    for place in PLACES:
        (folder / place.strip("/").replace("/", "-")).mkdir(parents=True)
    (folder / "etc-libvirt" / "qemu.conf").write_text(libvirt_config.QEMU)
    log = "/var/log/libvirt/libvirtd.log"
    daemon = libvirt_config.daemon(host_uuid=HOST_UUID, log_file=log)
    (folder / "etc-libvirt" / "libvirtd.conf").write_text(daemon)
    (folder / "var-lib-libvirt" / "qemu").mkdir()
    mounts = {f"{folder}/{place.strip('/').replace('/', '-')}": place for place in PLACES}
    for name, line in ACCOUNT.items():
        # libvirt looks for this account in any case; the package makes it only where it starts the daemon.
        text = Path("/etc", name).read_text()
        (folder / name).write_text(text if "libvirt-qemu:" in text else text + line)
        mounts[f"{folder}/{name}"] = f"/etc/{name}"
    made = "".join(f"mkdir -p {place} && " for place in PLACES)
    script = made + "".join(f"mount --bind {mine} {place} && " for mine, place in mounts.items())
    return subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", f"{script} echo in && exec sleep infinity"],
        stdin=subprocess.DEVNULL, stdout=(folder / "holder.log").open("wb"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Libvirt]:
    if os.geteuid() != 0:
        pytest.skip("needs root: mount namespaces")
    with ExitStack() as stack:
        folder = stack.enter_context(deadman.workplace())
        holder = entered(folder)
        stack.callback(holder.wait, 15)
        stack.callback(holder.kill)
        said = folder / "holder.log"
        wait_for("the namespace stands", lambda: said.read_text() == "in\n", STARTED_S)
        found = Libvirt(folder, holder)
        stack.callback(found.kill)
        found.start()
        shutil.copyfile(deadman.image(), folder / "root.raw")
        socket = SOCKET.format(domain=NAME)
        text = DOMAIN.format(name=NAME, root=folder / "root.raw", socket=socket)
        (folder / "domain.xml").write_text(text)
        code, words = found.virsh("create", str(folder / "domain.xml"))
        assert code == 0, words
        stack.callback(_end_guest, found)
        wait_for("the guest answers", lambda: "thawed" in found.status(), BOOTED_S)
        yield found


def _end_guest(found: Libvirt) -> None:
    pid = found.folder / f"run-libvirt/qemu/{NAME}.pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def host(libvirt: Libvirt) -> Iterator[Host]:
    with deadman.host(
        libvirt.folder, prefix=libvirt.prefix, libvirt="qemu:///system", sockets=[SOCKET]
    ) as found:
        yield found


def test_a_round_goes_through_libvirt(libvirt: Libvirt, host: Host) -> None:
    host.freeze("calm", NAME, 30.0)
    assert "frozen" in libvirt.status()
    [thawed] = host.call("POST", "/freezes/calm/thaw")["results"]
    assert (thawed["guest"], thawed["was_frozen"]) == ("thawed", True)
    assert "thawed" in libvirt.status()
    host.call("DELETE", "/freezes/calm")


def test_commands_go_through_libvirt(libvirt: Libvirt, host: Host) -> None:
    def sh(script: str) -> dict[str, Any]:
        body = {"command": ["/bin/sh", "-c", script], "timeout_s": 30.0}
        return host.call("POST", f"/guests/{NAME}/exec", body)

    # Without the end that the guest cuts off, libvirt would not speak with its agent any more.
    ended = sh("head -c 9000000 /dev/zero; echo but >&2; exit 3")
    assert (ended["exit"], ended["output"][-5:]) == (3, "\0but\n")
    assert libvirt.virsh("domfsfreeze", NAME)[0] == 0
    with pytest.raises(LateError, match=r"409 .*it is frozen"):
        sh("exit 0")
    assert libvirt.virsh("domfsthaw", NAME)[0] == 0
    body = {"command": ["/no/such/program"], "timeout_s": 5.0}
    assert host.call("POST", f"/guests/{NAME}/exec", body)["exit"] == 127
    with pytest.raises(LateError, match=r"404 .*no such guest runs"):
        host.call("POST", "/guests/instance-00000009/exec", body)


def test_at_the_deadline_libvirt_thaws_the_guest(libvirt: Libvirt, host: Host) -> None:
    entry = host.freeze("late", NAME)
    host.signal(signal.SIGSTOP)
    assert (deadman.thawed(host, entry, 20.0).late or 0.0) <= ALLOWED_S
    host.revive()
    assert "thawed" in libvirt.status()
    host.call("DELETE", "/freezes/late")


def test_a_dead_libvirtd_leaves_no_guest_frozen(libvirt: Libvirt, host: Host) -> None:
    entry = host.freeze("dead", NAME)
    libvirt.kill()
    assert (deadman.thawed(host, entry, 20.0).late or 0.0) <= ALLOWED_S
    [told] = host.call("GET", "/freezes?round=dead")["freezes"]
    assert (told["guest"], told["state"]) == ("thawed", "void")
    libvirt.start()
    wait_for("libvirt has its guest again", lambda: "thawed" in libvirt.status(), STARTED_S)
    host.call("DELETE", "/freezes/dead")


def test_a_libvirtd_that_was_stopped_thaws_as_soon_as_it_goes_on(
    libvirt: Libvirt, host: Host
) -> None:
    """It keeps the guest agent's socket while it stands still: no way leads to the guest then."""
    assert libvirt.daemon is not None
    entry = host.freeze("stopped", NAME)
    os.kill(libvirt.daemon.pid, signal.SIGSTOP)
    try:
        wait_for("the dead-man fires", lambda: host.book.outcomes(NAME, "stopped"), 10.0)
        [fired] = host.call("GET", "/freezes?round=stopped")["fired"]
        assert fired["late"] is None
    finally:
        os.kill(libvirt.daemon.pid, signal.SIGCONT)
    deadman.thawed(host, entry, 15.0)
    assert "thawed" in libvirt.status()
    host.call("DELETE", "/freezes/stopped")


def test_what_nova_froze_through_libvirt_is_thawed_too(libvirt: Libvirt, host: Host) -> None:
    named = [{"domain": NAME, "server_id": NAME}]
    body = {"round": "nova", "epoch": 1, "entries": named, "deadline_s": 4.0}
    host.call("POST", "/freezes", body)
    entry = host.book.entry(NAME)
    assert entry is not None
    assert libvirt.virsh("domfsfreeze", NAME)[0] == 0
    assert host.call("GET", "/freezes?round=nova")["freezes"][0]["state"] == "frozen"
    assert (deadman.thawed(host, entry, 20.0).late or 0.0) <= ALLOWED_S
    # Nova's own thaw, which comes too late, finds nothing to do and no error.
    assert libvirt.virsh("domfsthaw", NAME)[0] == 0
    host.call("DELETE", "/freezes/nova")


def test_a_guest_that_was_destroyed_can_be_disarmed(libvirt: Libvirt, host: Host) -> None:
    host.freeze("gone", NAME, 30.0)
    assert libvirt.virsh("destroy", NAME)[0] == 0
    [told] = host.call("GET", "/freezes?round=gone")["freezes"]
    assert told["guest"] == Guest.GONE
    assert host.call("DELETE", "/freezes/gone")["disarmed"] == [NAME]
