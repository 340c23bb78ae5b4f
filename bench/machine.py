"""On what was measured: cores, memory, kernel, load, commit. Numbers without these mean nothing."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from isthmus.errors import IsthmusError
from isthmus.lab.running import run

Facts = dict[str, str | int | float]


def facts() -> Facts:
    """The machine, and how busy it is at this moment (`load`: processes that ran or wanted to, last minute)."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "memory_mib": int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this checkout, with `+` when files differ from it; `unknown` outside of one."""
    here = str(Path(__file__).resolve().parent)
    try:
        name = run(["git", "-C", here, "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = run(["git", "-C", here, "status", "--porcelain", "--untracked-files=no"]).stdout
    except IsthmusError:
        return "unknown"
    return f"{name}+" if changed.strip() else name


def now() -> str:
    """The date and time in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"
