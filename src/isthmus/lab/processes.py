"""Daemons of the lab: started with a mark in their environment, and found again by that mark alone.

Every process that the lab starts carries `ISTHMUS_LAB=<home>` and `ISTHMUS_UNIT=<site>/<component>` in its environment, and its
children inherit both. The kernel's process table is therefore the only record: a `kill -9` of the lab between starting a
daemon and writing a file cannot lose one, and nothing that somebody else started can ever be taken for ours.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import errors, waiting
from isthmus.lab.running import in_namespace, run

HOME_MARK = "ISTHMUS_LAB"
UNIT_MARK = "ISTHMUS_UNIT"

# gunicorn writes its process title over its environment, and with it the marks, unless told not to.
_KEEP_MARKS = {"SPT_NOENV": "1"}

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the lab as the kernel shows it."""

    pid: int
    parent: int
    unit: str
    state: str  # the kernel's letter: R, S, D, T (stopped), Z ...
    started: float  # seconds since boot
    cpu_seconds: float
    rss_bytes: int

    @property
    def frozen(self) -> bool:
        return self.state == "T"


@dataclass(kw_only=True)
class Daemon:
    """A daemon that was just started: lets a wait notice at once that it has ended."""

    unit: str
    log: Path
    handle: "subprocess.Popen[bytes]"

    def ended(self) -> str | None:
        """A sentence if the daemon is gone, with the last lines of its log."""
        code = self.handle.poll()
        if code is None:
            return None
        return f"{self.unit} ended with code {code}; end of {self.log}:\n{tail(self.log)}"


def start(
    argv: Sequence[str],
    *,
    unit: str,
    home: Path,
    log: Path,
    namespace: str | None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Daemon:
    """Start a daemon in its own session; both outputs are appended to `log` (mode 0600)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        handle = subprocess.Popen(
            (*in_namespace(namespace), *argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**clean_environment(), **(env or {}), HOME_MARK: str(home), UNIT_MARK: unit},
            cwd=cwd or home,
            start_new_session=True,
        )
    except OSError as error:
        raise errors.NotReady(
            what=f"{argv[0]} cannot be started", where=unit, cause=str(error)
        ) from error
    finally:
        os.close(descriptor)
    return Daemon(unit=unit, log=log, handle=handle)


def clean_environment() -> dict[str, str]:
    """What a daemon gets of the caller's environment: paths and locale, nothing that changes how it behaves."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
    kept["PATH"] = f"{kept.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "LANG": "C.UTF-8",
        **kept,
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
        **_KEEP_MARKS,
    }


def running(home: Path) -> dict[str, list[Process]]:
    """All living processes of the lab at `home`, by unit."""
    units: dict[str, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := _read(entry, home)) is not None:
            units.setdefault(process.unit, []).append(process)
    return units


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signal processes; one that ended meanwhile is no error."""
    for process in processes:
        _signal(process.pid, number)


def kill_inside(namespaces: Iterable[str], *, deadline: float = 15.0) -> int:
    """SIGKILL whatever lives in network namespaces that the lab made: a shell of `lab exec`, a daemon that lost its marks."""
    seen: set[int] = set()

    def left() -> str | None:
        pids = {
            int(pid)
            for name in namespaces
            for pid in run(["ip", "netns", "pids", name]).stdout.split()
        }
        seen.update(pids)
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        return f"{len(pids)} processes are left" if pids else None

    waiting.until(
        left,
        deadline=deadline,
        what="processes do not end",
        where="the lab's namespaces",
        interval=0.05,
    )
    return len(seen)


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal one process; that it ended meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(home: Path, *, units: Iterable[str] | None = None, deadline: float = 15.0) -> int:
    """SIGKILL every process of `units` (all if None) until none is left; returns how many were seen."""
    wanted = None if units is None else set(units)
    seen: set[int] = set()

    def left() -> str | None:
        found = [
            process
            for unit, processes in running(home).items()
            if wanted is None or unit in wanted
            for process in processes
        ]
        seen.update(process.pid for process in found)
        send(found, signal.SIGKILL)
        return f"{len(found)} processes are left" if found else None

    waiting.until(
        left, deadline=deadline, what="processes do not end", where=str(home), interval=0.05
    )
    return len(seen)


def pss(pid: int) -> int:
    """Proportional set size in bytes: shared pages are divided among those who share them; 0 if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0
    )


def uptime() -> float:
    """Seconds since boot, the clock of `Process.started`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or why there are none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 16384))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def _read(entry: Path, home: Path) -> Process | None:
    try:
        marks = dict(
            item.split(b"=", 1)
            for item in (entry / "environ").read_bytes().split(b"\0")
            if b"=" in item
        )
        if marks.get(HOME_MARK.encode()) != str(home).encode():
            return None
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        return None
    return Process(
        pid=int(entry.name),
        parent=int(fields[1]),
        unit=marks.get(UNIT_MARK.encode(), b"?").decode(),
        state=fields[0],
        started=int(fields[19]) / _TICKS,
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        rss_bytes=int(fields[21]) * _PAGE,
    )


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; empty if it is gone."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .decode(errors="replace")
            .rstrip("\0")
            .split("\0")
        )
    except OSError:
        return []
