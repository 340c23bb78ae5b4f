"""What is on the disk about an armed guest, and about what its dead-man did.

Standard library only: the watchdog has to start quickly.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import re
import time
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}")
"""Names of rounds, domains and servers: they become names of files."""


class EntryError(ValueError):
    """A file does not hold what was written; the message says which."""


class Guest(enum.StrEnum):
    """What a guest agent says of its file systems; UNKNOWN: it says nothing; GONE: the guest does not
    run, so that nothing in it waits for a thaw."""

    FROZEN = "frozen"
    THAWED = "thawed"
    UNKNOWN = "unknown"
    GONE = "gone"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """Now: `boottime` in seconds since the boot `boot_id`, suspension included; `wall` in seconds of
    the Unix epoch, for people only."""

    boot_id: str
    boottime: float
    wall: float


def moment() -> Moment:
    """The present moment. Whoever steps the clock on the wall does not move a deadline."""
    return Moment(
        boot_id=_BOOT_ID.read_text().strip(),
        boottime=time.clock_gettime(time.CLOCK_BOOTTIME),
        wall=time.time(),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """A process that no other can be mistaken for: its id and its start (clock ticks since boot)."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        return _look(self.pid)[1] == self.start

    @property
    def stopped(self) -> bool:
        """Whether it stands still, by SIGSTOP or in a debugger."""
        state, start = _look(self.pid)
        return start == self.start and state in ("T", "t")


def process(pid: int | None = None) -> Process:
    """The process `pid`, by default this one."""
    number = os.getpid() if pid is None else pid
    return Process(pid=number, start=_look(number)[1])


def _look(pid: int) -> tuple[str, int]:
    """The state of a process, and when it was started; -1 if there is none. A dead one that nobody
    reaped is none."""
    try:
        # The name of the program, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", -1
    return (fields[0], -1) if fields[0] in "ZX" else (fields[0], int(fields[19]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One armed guest.

    `deadline` is in seconds since the boot `boot_id`; after another boot it has passed. `armed_wall`
    and `deadline_wall` say the same to people. `freezer` is written before a freeze is sent: the
    process that may still send it. `frozen_wall` and `thawed_wall` are what this agent did in time.
    """

    round: str
    epoch: int
    domain: str
    server_id: str
    boot_id: str
    deadline: float
    armed_wall: float
    deadline_wall: float
    freezer: Process | None = None
    frozen_wall: float | None = None
    thawed_wall: float | None = None

    def remaining(self, now: Moment) -> float:
        """Seconds until the deadline; none are left after another boot."""
        return self.deadline - now.boottime if now.boot_id == self.boot_id else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one guard did for an entry whose deadline passed. `by`: agent or watchdog.

    `late` is in seconds from the deadline until the guest itself said that it is thawed, None as long
    as it has not. `filesystems`: how many the guest thawed at the guard's word; 0 if none was frozen.
    """

    round: str
    domain: str
    epoch: int
    by: str
    fired_wall: float
    attempts: int
    filesystems: int = 0
    late: float | None = None
    trouble: str = ""


def write(value: Entry | Outcome) -> str:
    """The text of a file."""
    return json.dumps(dataclasses.asdict(value), indent=1) + "\n"


def read_entry(text: str) -> Entry:
    """Raises EntryError."""
    try:
        found: dict[str, Any] = json.loads(text)
        if found.get("freezer") is not None:
            found["freezer"] = Process(**found["freezer"])
        return Entry(**found)
    except (TypeError, ValueError, AttributeError) as error:
        raise EntryError(f"it is not what an armed guest's file holds: {error}") from error


def read_outcome(text: str) -> Outcome:
    """Raises EntryError."""
    try:
        return Outcome(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise EntryError(f"it is not what a dead-man's record holds: {error}") from error
