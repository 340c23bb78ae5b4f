"""A place for daemons of the lab without a lab: a namespace with an address, a directory, and an end to all of it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from isthmus.lab import processes
from isthmus.lab.processes import Daemon

NAMESPACE = "functional-site"
ADDRESS = "198.18.254.1"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one daemon is tried."""

    folder: Path
    namespace: str = NAMESPACE
    address: str = ADDRESS

    def spawn(self, argv: list[str], *, env: dict[str, str] | None = None) -> Daemon:
        """Start a daemon behind everything else that this machine does."""
        return processes.start(
            ["nice", "-n", "19", *argv],
            unit="functional/daemon",
            home=self.folder,
            log=self.folder / "daemon.log",
            namespace=self.namespace,
            env=env,
        )

    def pids(self) -> list[int]:
        return [p.pid for found in processes.running(self.folder).values() for p in found]


@contextmanager
def place() -> Iterator[Place]:
    """The namespace and the directory; nothing of them is left at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces")
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    for words in ("link set lo up", f"addr add {ADDRESS}/32 dev lo"):
        subprocess.run(["ip", "-n", NAMESPACE, *words.split()], check=True)
    # MariaDB and others run as users of their own and have to pass through.
    with tempfile.TemporaryDirectory(prefix="functional-site-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        here = Place(folder=Path(folder))
        try:
            yield here
        finally:
            processes.kill(here.folder)
            subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False)
