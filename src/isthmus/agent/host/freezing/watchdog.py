"""The process that guards the guests of one round beside the agent: ``python -m ...watchdog``.

It exists because a thread dies, and stops, with its process. It is started when a round is armed, by
the agent or a restarted one, in a session of its own; it says on its standard output that it guards,
before the arming is confirmed; it ends when its round is disarmed, or over. It hears no polite signal:
who arms a dead-man wants it to outlive whatever ends the rest of the host's services (a deadline is a
minute away at most). It imports the standard library and a few modules of this package, so that it
starts quickly and stays small.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from isthmus import errors
from isthmus.agent.host.freezing import entries, guarding, guests, ledger, libvirts

START_SECONDS = 10.0
"""An interpreter starts in a tenth of a second; the machine may be busy. Nothing is frozen yet."""

_NICENESS = -10
_READY = b"guarding\n"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Watchdog:
    """One started process."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.process = entries.process(child.pid)

    @property
    def alive(self) -> bool:
        # Asking also buries a dead child.
        return self._child.poll() is None


def start(
    book: ledger.Ledger,
    round_id: str,
    *,
    libvirt: str | None,
    sockets: tuple[str, ...],
    environment: Mapping[str, str],
) -> Watchdog:
    """Start the watchdog of a round whose entries are on the disk; it guards when this returns.

    Raises `errors.HostError`; no process is left then.
    """
    argv = [sys.executable, "-m", __name__, "--state", str(book.directory), "--round", round_id]
    me = entries.process()
    argv += ["--agent", str(me.pid), str(me.start)]
    argv += ["--libvirt", libvirt] if libvirt else []
    for pattern in sockets:
        argv += ["--socket", pattern]
    with (book.directory / "watchdog.log").open("ab") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **environment},
        )
    found = Watchdog(child)
    if not _ready(child):
        child.kill()
        child.wait()
        raise errors.HostError(
            "the watchdog of a freeze did not start",
            where=f"round {round_id}",
            cause=f"see {book.directory}/watchdog.log",
            unchanged="nothing was armed or frozen",
        )
    return found


def _ready(child: subprocess.Popen[bytes]) -> bool:
    assert child.stdout is not None  # noqa: S101 - asked for two lines above
    with child.stdout as said:
        readable, _, _ = select.select([said], [], [], START_SECONDS)
        return bool(readable) and said.readline() == _READY


def main() -> int:
    """Guard until nothing is left to guard."""
    options = _options()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        # It sleeps until it matters; the guests of a full host must not keep it waiting then.
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s watchdog %(process)d %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    book = ledger.Ledger(options.state)
    libvirt = libvirts.virsh(options.libvirt) if options.libvirt else None
    access = guests.Guests(libvirt, tuple(options.socket))
    armed = [each for each in book.entries()[0].values() if each.round == options.round]
    agent = entries.Process(pid=options.agent[0], start=options.agent[1])
    guards = [
        guarding.Guard(each, book, access, by=ledger.WATCHDOG, rivals=lambda: [agent])
        for each in armed
    ]
    for guard in guards:
        guard.start()
    sys.stdout.write(_READY.decode())
    sys.stdout.flush()
    for guard in guards:
        guard.join()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="isthmus-freeze-watchdog", description=__doc__)
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--round", required=True)
    parser.add_argument("--agent", required=True, nargs=2, type=int, metavar=("PID", "START"))
    parser.add_argument("--libvirt")
    parser.add_argument("--socket", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
