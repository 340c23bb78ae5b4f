"""How late a frozen guest is thawed when whoever froze it dies: real guests, a real agent, killed at random points of the window.

Each round arms and freezes one guest (QEMU's emulation, its real guest agent), does something cruel to the agent of the compute
host (SIGKILL, SIGSTOP, SIGKILL and restart, or nothing but a controller that is silent) and waits. What counts is the guest's own
word that it is thawed, as a guard wrote it down; beside it the first write of the guest that reached its disk, for which nobody
here has to ask. No lab is needed. The rig is for tests/functional/test_recovery_deadman.py too.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from bench import launching
from bench.distributions import percentile
from bench.launching import Options
from bench.results import Result, Table
from isthmus.agent.host.freezing import entries, guests, ledger
from isthmus.agent.host.freezing.entries import Guest, Outcome
from isthmus.lab import home
from isthmus.lab.guest_image import building
from isthmus.sites import signing

TAKES = "9 minutes; --quick one"
ROUNDS, QUICK = 125, 10
DEADLINE_S = 3.0
ALLOWED_S = 1.0
"""What is promised beyond the deadline."""

_SECRET = b"0123456789abcdef0123456789abcdef"
# A guest alone is ready in 6 s on an idle core; beside a test run of two busy cores it takes ten times that.
_READY_S = 240.0
_STARTED_S = 40.0


class LateError(AssertionError):
    """Something that was waited for did not happen in time."""


def wait_for(what: str, happened: Callable[[], object], seconds: float) -> None:
    """Wait until something is so; raises LateError with its name."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise LateError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


@dataclass(kw_only=True)
class Machine:
    """A guest and its disks; `volume` gets a record ten times a second."""

    name: str
    folder: Path
    process: "subprocess.Popen[bytes]"
    wrote: float | None = None

    @property
    def volume(self) -> Path:
        return self.folder / f"{self.name}.volume.raw"

    def written(self) -> float:
        """When the guest last wrote to its volume, in seconds of the Unix epoch: it does not while it is frozen."""
        return self.volume.stat().st_mtime

    def first_write(self, after: float, seconds: float) -> "threading.Thread":
        """A thread that looks for the first write after a moment of the wall clock, into `wrote`."""

        def look() -> None:
            end = after + seconds
            while (found := self.written()) <= after and time.time() < end:
                time.sleep(0.005)
            self.wrote = found - after if found > after else None

        self.wrote = None
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        return thread

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(15)


@contextmanager
def machine(folder: Path, name: str, image: Path) -> Iterator[Machine]:
    """A guest that runs, with a fresh root and an empty volume; dead at the end."""
    root = folder / f"{name}.root.raw"
    shutil.copyfile(image, root)
    found = Machine(name=name, folder=folder, process=_qemu(folder, name, root))
    try:
        wait_for(f"{name} is ready", lambda: access(folder).status(name) is Guest.THAWED, _READY_S)
        began = time.time()
        wait_for(f"{name} writes", lambda: found.written() > began, _READY_S)
        yield found
    finally:
        found.kill()


def access(folder: Path) -> guests.Guests:
    """The way to the guests of a directory."""
    return guests.Guests(None, (str(folder / "{domain}.sock"),))


def _qemu(folder: Path, name: str, root: Path) -> "subprocess.Popen[bytes]":
    volume = folder / f"{name}.volume.raw"
    with volume.open("wb") as stream:
        stream.truncate(64 << 20)
    words = [
        *("nice", "-n", "19", "qemu-system-x86_64", "-accel", "tcg,tb-size=48", "-m", "128"),
        *("-nodefaults", "-display", "none", "-serial", f"file:{folder}/{name}.console.log"),
        *("-device", "virtio-serial", "-nic", "none"),
        *("-chardev", f"socket,path={folder}/{name}.sock,server=on,wait=off,id=agent"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
    ]
    for disk in (root, volume):
        words += ["-drive", f"file={disk},format=raw,if=virtio,cache=writeback"]
    with (folder / f"{name}.qemu.log").open("wb") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@dataclass(kw_only=True)
class Host:
    """The agent of a compute host, as a process of its own."""

    folder: Path
    freezing: dict[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """Words before the agent's, for one that lives in a namespace."""
    process: "subprocess.Popen[bytes] | None" = None
    port: int = 0

    @property
    def book(self) -> ledger.Ledger:
        return ledger.Ledger(self.folder / "state" / "freezes")

    def start(self) -> None:
        """Start the agent, for the first time or again."""
        secret, path = self.folder / "secret", self.folder / "agent.yaml"
        self.port = self.port or _free_port()
        for file, text in ((secret, _SECRET.decode()), (path, json.dumps(self._settings(secret)))):
            file.write_text(text)
            file.chmod(0o600)
        words = [*self.prefix, sys.executable, "-m", "isthmus.agent.main", "--config", str(path)]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the agent answers", self._answers, _STARTED_S)

    def _settings(self, secret: Path) -> dict[str, Any]:
        sockets = {"libvirt": None, "sockets": [str(self.folder / "{domain}.sock")]}
        return {
            "kind": "host", "site": "paris", "host": "compute1",
            "listen": [f"127.0.0.1:{self.port}"], "secret_file": str(secret),
            "ovsdb": f"unix:{self.folder}/none.sock", "ovs_run": str(self.folder),
            "state": str(self.folder / "state"), "freezing": sockets | self.freezing,
        }  # fmt: skip

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/healthcheck", timeout=1).ok
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A signed request that has to be granted."""
        content = b"" if body is None else json.dumps(body).encode()
        signer = signing.Signer(_SECRET, "engine/paris")
        headers = signer.headers(method, path, content, to="host/paris/compute1")
        headers["Content-Type"] = "application/json"
        url = f"http://127.0.0.1:{self.port}{path}"
        answer = requests.request(method, url, data=content, headers=headers, timeout=30)
        if not answer.ok:
            raise LateError(f"{method} {path}: {answer.status_code} {answer.text}")
        return dict(answer.json())

    def freeze(self, round_id: str, name: str, deadline_s: float = DEADLINE_S) -> entries.Entry:
        """Arm and freeze a guest; what is on the disk about it."""
        named = [{"domain": name, "server_id": name}]
        body = {"round": round_id, "epoch": 1, "entries": named, "deadline_s": deadline_s}
        self.call("POST", "/freezes", body)
        [result] = self.call("POST", f"/freezes/{round_id}/freeze")["results"]
        if result["guest"] != Guest.FROZEN:
            raise LateError(f"the guest did not freeze: {result}")
        entry = self.book.entry(name)
        if entry is None:
            raise LateError("nothing is armed")
        return entry

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait(15)
                self.process = None

    def revive(self) -> None:
        """See to it that the agent answers, whatever was done to it; a stopped one may have been killed by a watchdog."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            if self.process.poll() is not None:
                self.process = None
        if self.process is None:
            self.start()

    def watchdogs(self) -> list[entries.Process]:
        """Watchdogs of this host, also those that an earlier life of the agent started."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.book.directory).encode() in path.read_bytes().split(b"\0"):
                    found.append(entries.process(int(path.parent.name)))
        return [each for each in found if each.alive]

    def end(self) -> None:
        """Leave no process."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        for each in self.watchdogs():
            os.kill(each.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def host(folder: Path, *, prefix: tuple[str, ...] = (), **freezing: Any) -> Iterator[Host]:
    """An agent that runs; nothing of it does at the end."""
    found = Host(folder=folder, freezing=freezing, prefix=prefix)
    try:
        found.start()
        yield found
    finally:
        found.end()


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory that is on a disk: /tmp may be memory."""
    with tempfile.TemporaryDirectory(prefix="deadman-", dir="/var/tmp") as name:
        yield Path(name)


def image() -> Path:
    """The lab's guest, built if it is not there."""
    return building.cached(home.Home(root=home.default_home()).templates).path


def thawed(found: Host, entry: entries.Entry, seconds: float) -> Outcome:
    """The record of the first guard whose guest said that it is thawed, waited for."""

    def records() -> list[Outcome]:
        all_of_them = found.book.outcomes(entry.domain, entry.round)
        return [each for each in all_of_them if each.late is not None]

    wait_for("the guest says that it is thawed", records, seconds)
    return min(records(), key=lambda each: each.late or 0.0)


# --- the figures


def _silence(found: Host) -> None:
    """The controller is dead: nobody says anything more to the agent."""


def _kill(found: Host) -> None:
    found.signal(signal.SIGKILL)


def _stop(found: Host) -> None:
    found.signal(signal.SIGSTOP)


def _restart(found: Host) -> None:
    found.signal(signal.SIGKILL)
    found.start()


def _bury_both(found: Host) -> None:
    """The agent and its watchdog die together; the agent is started again, as its unit says."""
    for each in found.watchdogs():
        os.kill(each.pid, signal.SIGKILL)
    _restart(found)


_TWO_DEATHS = "agent and watchdog killed, agent restarted"
"""Nobody is left to thaw in time; it shows how long a guest waits for the restart."""

CRUELTIES: dict[str, Callable[[Host], None]] = {
    "controller silent": _silence,
    "agent killed": _kill,
    "agent stopped": _stop,
    "agent killed, restarted": _restart,
    _TWO_DEATHS: _bury_both,
}


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round: what was done, how late the guest was thawed, how late it wrote again (seconds after the deadline)."""

    cruelty: str
    late: float | None
    wrote: float | None


def _round(found: Host, guest: Machine, number: int, chance: random.Random) -> Round:
    name = list(CRUELTIES)[number % len(CRUELTIES)]
    entry = found.freeze(f"round-{number}", guest.name)
    time.sleep(chance.uniform(0.0, max(0.0, entry.remaining(entries.moment()) - 0.1)))
    looker = guest.first_write(entry.deadline_wall, 60.0)
    CRUELTIES[name](found)
    late = None
    with contextlib.suppress(LateError):
        late = thawed(found, entry, entry.remaining(entries.moment()) + 60.0).late
    looker.join()
    found.revive()
    if late is not None:
        found.call("DELETE", f"/freezes/{entry.round}")
    return Round(cruelty=name, late=late, wrote=guest.wrote)


def measure(options: Options) -> Result:
    """All cruelties in turns; each round's moment within the window is random (the seed is fixed)."""
    count = QUICK if options.quick else ROUNDS
    result = Result(
        name="deadman",
        about=f"Seconds after the deadline ({DEADLINE_S:g} s after arming) until a frozen guest says that it is thawed, {count} "
        "rounds, each with a death at a random moment of the window. One guest under plain emulation. With agent and watchdog dead "
        "at once the guest waits for the agent's restart; that is not promised within a second.",
    )
    rounds: list[Round] = []
    chance = random.Random(20261123)  # noqa: S311 - no secret is made of it
    with ExitStack() as stack:
        folder = stack.enter_context(workplace())
        guest = stack.enter_context(machine(folder, "vnf1", image()))
        found = stack.enter_context(host(folder))
        for number in range(count):
            rounds.append(_round(found, guest, number, chance))
            print(f"  {rounds[-1]}", file=sys.stderr, flush=True)
    _judge(result, rounds)
    return result


def _judge(result: Result, rounds: list[Round]) -> None:
    rows = [_row(name, [r for r in rounds if r.cruelty == name]) for name in CRUELTIES]
    columns = ("what died", "rounds", "in time", "late p50 s", "late p95 s", "late max s", "wrote p95 s")  # fmt: skip
    table = Table(
        title="Thaw after the deadline", columns=columns, rows=[*rows, _row("all", rounds)]
    )
    result.tables.append(table)
    good = sum(each.late is not None and each.late <= ALLOWED_S for each in rounds)
    result.figure(
        "thawed_in_time", good, "rounds", rounds=float(len(rounds)), aim=float(len(rounds))
    )


def _row(name: str, rounds: list[Round]) -> list[str | float | None]:
    late = [each.late for each in rounds if each.late is not None]
    wrote = [each.wrote for each in rounds if each.wrote is not None]
    good = sum(each <= ALLOWED_S for each in late)
    if not late:
        return [name, float(len(rounds)), 0.0, None, None, None, None]
    worst = percentile(wrote, 0.95) if wrote else None
    return [name, float(len(rounds)), float(good), percentile(late, 0.5), percentile(late, 0.95), max(late), worst]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(launching.one("deadman", measure, takes=TAKES))
