"""A guest of the lab's image under QEMU's plain emulation, without any cloud around it."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conditions import wait_for
from isthmus.lab.guest_image.agent import GuestAgent

# A guest alone is ready in 6 s on an idle core; beside a test run of two busy cores it takes ten times that.
READY = 150.0


@dataclass
class Machine:
    """One guest: its directory, its disks, its process."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    disks: list[Path] = field(default_factory=list)

    @property
    def agent_socket(self) -> Path:
        return self.folder / "agent.sock"

    def console(self) -> str:
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_ready(self) -> None:
        wait_for(
            "the guest is ready",
            lambda: self.process.poll() is not None or "READY" in self.console(),
            READY,
        )
        assert self.process.poll() is None, (self.folder / "qemu.log").read_text()

    def agent(self) -> GuestAgent:
        return GuestAgent(self.agent_socket)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)


@contextmanager
def running(
    folder: Path,
    image: Path,
    *,
    volumes: Sequence[Path] = (),
    network: str = "user",
    drive: Path | None = None,
    namespace: str | None = None,
) -> Iterator[Machine]:
    """Boot a copy of the image in `folder` (the copy there, if it has booted before); it is dead at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root.raw"
    if not root.exists():
        shutil.copyfile(image, root)
    (folder / "console.log").unlink(missing_ok=True)
    disks = [root, *volumes]
    words = [
        *(("ip", "netns", "exec", namespace) if namespace else ()),
        *("nice", "-n", "19", "qemu-system-x86_64", "-accel", "tcg,tb-size=48", "-m", "128", "-nodefaults", "-display", "none"),
        *("-serial", f"file:{folder}/console.log", "-device", "virtio-serial"),
        *("-chardev", f"socket,path={folder}/agent.sock,server=on,wait=off,id=agent"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-netdev", f"{network},id=net0", "-device", f"virtio-net-pci,netdev=net0,mac={_mac(folder)}"),
    ]  # fmt: skip
    for disk in disks:
        words += ["-drive", f"file={disk},format=raw,if=virtio,cache=none"]
    if drive is not None:
        words += ["-drive", f"file={drive},format=raw,media=cdrom,if=ide"]
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    machine = Machine(folder=folder, process=process, disks=disks)
    try:
        yield machine
    finally:
        machine.kill()


def _mac(folder: Path) -> str:
    number = sum(folder.name.encode()) % 256
    return f"52:54:00:00:01:{number:02x}"


def blank_volume(path: Path, *, mebibytes: int = 64) -> Path:
    """A volume that holds nothing."""
    with path.open("wb") as stream:
        stream.truncate(mebibytes << 20)
    return path


def config_drive(path: Path, *, user_data: str) -> Path:
    """A configuration drive as Nova makes it, as far as the guest looks at it."""
    tree = path.with_suffix(".tree")
    (tree / "openstack/latest").mkdir(parents=True)
    (tree / "openstack/latest/user_data").write_text(user_data)
    (tree / "openstack/latest/meta_data.json").write_text('{"meta": {"isthmus_note": "seen"}}')
    words = [
        "genisoimage",
        "-quiet",
        "-ldots",
        "-allow-lowercase",
        "-allow-multidot",
        "-l",
        "-V",
        "config-2",
        "-J",
        "-r",
    ]
    subprocess.run(
        [*words, "-o", str(path), str(tree)], check=True, timeout=30, capture_output=True
    )
    return path
