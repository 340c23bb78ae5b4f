"""A real Swift in one directory: proxy, account, container and object server, with its own users.

It listens on free ports of 127.0.0.1. Its users are its own (tempauth): tokens of Keystone are the
business of the lab.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import swiftclient

BIN = Path(sys.executable).parent
UP_WITHIN = 60.0
"""Four Python services start in 3 to 6 s on an idle machine; ten times that on a busy one."""

ACCOUNT = "AUTH_isthmus"

SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
swift_dir = {base}
devices = {base}/devices
mount_check = false
workers = 0
disable_fallocate = false
fallocate_reserve = {reserve}
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
swift_dir = {base}
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper cache tempauth container-quotas proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# A disk that was full is looked at again at once, and not only after a minute.
error_suppression_interval = 0.01
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:tempauth]
use = egg:swift#tempauth
user_isthmus_engine = secret .admin
[filter:container-quotas]
use = egg:swift#container_quotas
"""

KINDS = ("account", "container", "object")


@dataclasses.dataclass
class Swift:
    """One that runs."""

    base: Path
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def auth_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}/auth/v1.0"

    @property
    def storage_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}/v1/{ACCOUNT}"

    def connect(self) -> Any:
        """A connection as whoever owns the account."""
        return swiftclient.Connection(
            authurl=self.auth_url, user="isthmus:engine", key="secret", retries=1, timeout=15
        )

    def data_files(self) -> list[Path]:
        return list((self.base / "devices").rglob("*.data"))

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """As if the disk of the object server had no room: it keeps a reserve that is never there."""
        self._restart("object", reserve="99.999999%")
        try:
            yield
        finally:
            self._restart("object", reserve="0")

    def _restart(self, kind: str, *, reserve: str) -> None:
        _stop(self.processes.pop(kind))
        self.start(kind, reserve=reserve)
        self.listening(kind)

    def start(self, kind: str, *, reserve: str = "0") -> None:
        text = PROXY if kind == "proxy" else SERVER
        values = {**self.ports, "port": self.ports[kind], "base": self.base, "kind": kind}
        path = self.base / f"{kind}.conf"
        path.write_text(text.format(**values, reserve=reserve))
        self.run(kind, [str(BIN / f"swift-{kind}-server"), str(path)])

    def run(self, kind: str, words: list[str]) -> None:
        with (self.base / f"{kind}.log").open("ab") as log:
            self.processes[kind] = subprocess.Popen(
                ["nice", "-n", "19", *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )

    def listening(self, kind: str) -> None:
        """Wait until a server takes connections."""
        _listening(self.ports[kind], self.base / f"{kind}.log")


@contextlib.contextmanager
def running(base: Path) -> Iterator[Swift]:
    """A Swift with one device, until the end of the block; nothing of it stays."""
    ports = dict(zip(("memcached", "proxy", *KINDS), _free_ports(5), strict=True))
    (base / "devices" / "d1").mkdir(parents=True)
    (base / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = try\n[storage-policy:0]\nname = one\ndefault = true\n"
    )
    for kind in KINDS:
        _ring(base, kind, ports[kind])
    found = Swift(base=base, ports=ports, processes={})
    try:
        # Tokens of tempauth are kept in memcached and nowhere else.
        found.run(
            "memcached",
            ["memcached", "-u", "nobody", "-p", str(ports["memcached"]), "-l", "127.0.0.1"],
        )
        for kind in (*KINDS, "proxy"):
            found.start(kind)
        for kind in ports:
            found.listening(kind)
        yield found
    finally:
        for process in found.processes.values():
            _stop(process)


def _ring(base: Path, kind: str, port: int) -> None:
    """One partition space of 16 on one device: the least that is a ring."""
    builder = [str(BIN / "swift-ring-builder"), str(base / f"{kind}.builder")]
    device = f"r1z1-127.0.0.1:{port}/d1"
    for words in (["create", "4", "1", "1"], ["add", device, "1"], ["rebalance"]):
        subprocess.run([*builder, *words], check=True, capture_output=True, timeout=60)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listening(port: int, log: Path) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"no Swift server on port {port} within {UP_WITHIN} s:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
