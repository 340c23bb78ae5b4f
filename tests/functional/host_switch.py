"""A compute host for the tests of its agent: a namespace with a real Open vSwitch (user-space
datapath), the bridges that Neutron's agent would make, and a real `isthmus-agent` process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from conditions import wait_for
from isthmus.sites import signing

NAMESPACE = "functional-host"
HOST, PORT = "198.18.255.2", 8992
SECRET = "0123456789abcdef0123456789abcdef"
# Python starts in a fraction of a second, the web framework in another; the machine may be busy.
STARTED = 20.0
BRIDGES = ("br-int", "br-tun")


def command(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0 or not check, f"{words}: {done.stderr}"
    return done.stdout


class Host:
    """The namespace, its switch, and its agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.switch = folder / "switch"
        self.process: subprocess.Popen[bytes] | None = None
        self._signer = signing.Signer(SECRET.encode(), "engine/paris")

    # --- the switch

    def vsctl(self, *words: str) -> str:
        return command("ovs-vsctl", f"--db=unix:{self.switch}/db.sock", *words)

    def openflow(self, bridge: str, *words: str) -> str:
        verb, *rest = words
        return command(
            "ovs-ofctl", "-O", "OpenFlow13", verb, f"unix:{self.switch}/{bridge}.mgmt", *rest
        )

    def start_switch(self) -> None:
        database = self.switch / "conf.db"
        if not database.exists():
            command(
                "ovsdb-tool", "create", str(database), "/usr/share/openvswitch/vswitch.ovsschema"
            )
        self._daemon("ovsdb-server", str(database), f"--remote=punix:{self.switch}/db.sock")
        self.vsctl("--no-wait", "init")
        self.start_datapath()
        for bridge in BRIDGES:
            self.vsctl("--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge,
                       "datapath_type=netdev", "fail_mode=secure")  # fmt: skip

    def start_datapath(self) -> None:
        self._daemon("ovs-vswitchd", f"unix:{self.switch}/db.sock")

    def kill_datapath(self) -> None:
        os.kill(int((self.switch / "ovs-vswitchd.pid").read_text()), signal.SIGKILL)

    def _daemon(self, name: str, *words: str) -> None:
        pid, control = self.switch / f"{name}.pid", self.switch / f"{name}.ctl"
        command(
            "ip", "netns", "exec", NAMESPACE, "env", f"OVS_RUNDIR={self.switch}", name, *words,
            f"--pidfile={pid}", f"--unixctl={control}", f"--log-file={self.switch}/{name}.log",
            "--detach", "--no-chdir",
        )  # fmt: skip

    # --- the agent

    def start(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        config = self.folder / "agent.yaml"
        config.write_text(
            json.dumps(
                {
                    "kind": "host", "site": "paris", "host": "compute1",
                    "listen": [f"{HOST}:{PORT}"], "secret_file": str(secret),
                    "ovsdb": f"unix:{self.switch}/db.sock", "ovs_run": str(self.switch),
                    "state": str(self.folder / "state"),
                }
            )
        )  # fmt: skip
        config.chmod(0o600)
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-m",
                 "isthmus.agent.main", "--config", str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for("the agent answers", self.answers, STARTED)

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{HOST}:{PORT}/healthcheck", timeout=1).ok
        except requests.RequestException:
            return False

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(15)
        self.process = None
        return code

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        content = b"" if body is None else json.dumps(body).encode()
        headers = self._signer.headers(method, path, content, to="host/paris/compute1")
        if content:
            headers["Content-Type"] = "application/json"
        return requests.request(
            method, f"http://{HOST}:{PORT}{path}", data=content, headers=headers, timeout=40
        )

    # --- what is left of probes

    def traces(self) -> list[str]:
        """Everything that a probe consists of, as far as it is there."""
        ports = [p for p in self.vsctl("list-ports", "br-int").split() if p.startswith("probe")]
        links = command("ip", "-n", NAMESPACE, "-o", "link").splitlines()
        spaces = command("ip", "netns", "list").split()
        written = [path.name for path in (self.folder / "state" / "probes").glob("*")]
        return [
            *ports,
            *(line for line in links if ": probe" in line),
            *(name for name in spaces if name.startswith("isthmus-probe-f")),
            *written,
        ]


@contextmanager
def running() -> Iterator[Host]:
    """A host with a switch and without an agent; nothing of it is left at the end."""
    command("ip", "netns", "delete", NAMESPACE, check=False)
    command("ip", "netns", "add", NAMESPACE)
    command("ip", "link", "add", "functional-h", "type", "veth", "peer", "name", "eth0",
            "netns", NAMESPACE)  # fmt: skip
    command("ip", "address", "add", "198.18.255.1/30", "dev", "functional-h")
    command("ip", "link", "set", "functional-h", "up")
    for words in ("link set lo up", "link set eth0 up", f"address add {HOST}/30 dev eth0"):
        command("ip", "-n", NAMESPACE, *words.split())
    with tempfile.TemporaryDirectory(prefix="functional-host-") as folder:
        host = Host(Path(folder))
        host.switch.mkdir()
        try:
            host.start_switch()
            yield host
        finally:
            if host.process:
                host.end(signal.SIGKILL)
            for path in host.switch.glob("*.pid"):
                os.kill(int(path.read_text()), signal.SIGKILL)
            command("ip", "netns", "delete", NAMESPACE, check=False)
            command("ip", "link", "delete", "functional-h", check=False)
