"""Commands in the guests of this host, run by their guest agents: what hooks around a freeze are.

Nothing is run in a guest that is armed for a freeze: the window is for snapshots alone. A command
that does not end in time is left to itself, since nobody outside of the guest can end it, and the
error names its process. Not for files or figures of guests, and not for owners of guests: only
engines may ask.

Protocol: QEMU Guest Agent Protocol Reference, guest-exec and guest-exec-status.
"""

from __future__ import annotations

import base64
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from isthmus import errors
from isthmus.agent.host.freezing import entries, guests, rounds
from isthmus.agent.host.freezing.entries import Guest

log = logging.getLogger(__name__)

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 600.0
MOST_WORDS, MOST_BYTES = 64, 16384
OUTPUT_BYTES = 4096
"""How much of the end of what a command wrote is handed on."""

SHELL = ("/bin/sh", "-c", """\
{ code=$( { { "$@" 3>&- 4>&-; echo $? >&3; } 2>&1 | tail -c BYTES >&4 3>&-; } 3>&1 ); } 4>&1
exit "$code"
""".replace("BYTES", str(OUTPUT_BYTES)), "sh")  # fmt: skip
"""What runs a command in the guest: it lets the end of the output through and passes on the exit code.

The guest agent would keep up to 16 MiB, and libvirt (9.0) gives a guest agent up for good that answers
with more than 10 MiB: the guest could not be frozen any more, because a hook was talkative.
"""

AT_ONCE = 8
"""Commands at once. Each keeps one of the threads that freezes and thaws are ordered by, too."""

ASK_SECONDS = 5.0
"""For one answer of a guest agent, by each way to it: it only starts a process, or looks at one."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5

_LACKS = re.compile(r"has been disabled|has not been found|is not allowed")
"""What a guest agent says about a command that it does not have, that its configuration forbids, or
that it does not obey while its guest is frozen."""


class Order(pydantic.BaseModel):
    """What to run: `command` is the absolute path and the arguments; no shell reads them."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended. `exit`: as shells have it (127: there is no such program; above 128: a
    signal ended it). `output`: the end of what it wrote, to standard output and standard error."""

    exit: int
    output: str


class Commands:
    """Runs commands in guests. For several threads."""

    def __init__(self, freezes: rounds.Rounds) -> None:
        self._freezes, self._guests = freezes, freezes.guests
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Wait for no command any more."""
        self._stopped.set()

    def run(self, domain: str, order: Order) -> Done:
        """Run a command and wait for its end.

        Raises InputError (it cannot be run so), UsageError (no such guest runs here), BusyError (the
        guest, or its agent, does not take commands now), UnavailableError (no end in time, no answer).
        """
        _check(order)
        if not self._room.acquire(blocking=False):
            raise _busy(domain, f"{AT_ONCE} others run in guests of this host", "ask again")
        try:
            self._refuse_held(domain)
            deadline = time.monotonic() + order.timeout_s
            pid = self._start(domain, order.command)
            # Arguments are for the guest alone, they may be anything.
            log.info("guest %s: %s runs as process %d", domain, order.command[0], pid)
            return self._waited(domain, pid, order.timeout_s, deadline)
        finally:
            self._room.release()

    def _refuse_held(self, domain: str) -> None:
        """A guest that is armed after this look and frozen refuses by itself."""
        try:
            held = self._freezes.holds(domain)
        except entries.EntryError as error:
            raise _busy(domain, f"whether it is armed cannot be read: {error}", None) from error
        if held:
            raise _busy(domain, f"it is armed for round {held}", f"GET /freezes?round={held}")

    def _start(self, domain: str, command: Sequence[str]) -> int:
        """The id of the process in the guest."""
        words = {"path": SHELL[0], "arg": [*SHELL[1:], *command], "capture-output": True}
        try:
            answer = self._guests.ask(domain, guests.EXEC, ASK_SECONDS, words)
            return int(answer["pid"])
        except guests.GuestError as error:
            raise self._not_started(domain, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise _senseless(domain) from error

    def _not_started(self, domain: str, error: guests.GuestError) -> errors.IsthmusError:
        where = f"guest {domain}"
        if error.gone:
            return errors.UsageError(
                "no such guest runs on this host", where=where, cause=error.cause
            )
        if error.refusal is None:
            started = "it may run all the same" if error.delivered else "nothing was run"
            what = "the guest agent did not say that the command runs"
            return errors.UnavailableError(what, where=where, cause=error.cause, unchanged=started)
        if not _LACKS.search(error.refusal):
            what = "the guest cannot run the command"
            return errors.InputError(what, where=where, cause=error.refusal)
        if self._guests.status(domain) is Guest.FROZEN:
            return _busy(domain, "it is frozen", "thaw it")
        allow = f"let its guest agent obey {guests.EXEC} and {guests.EXEC_STATUS}"
        return _busy(domain, f"its guest agent does not run commands: {error.refusal}", allow)

    def _waited(self, domain: str, pid: int, seconds: float, deadline: float) -> Done:
        pause, trouble, doubted = _FIRST_PAUSE, "", False
        while True:
            try:
                said = self._guests.ask(domain, guests.EXEC_STATUS, ASK_SECONDS, {"pid": pid})
                if said["exited"]:
                    return _done(said)
                trouble, doubted = "", False
            except guests.GuestError as error:
                trouble, doubted = self._tolerated(domain, pid, error, doubted)
            except (KeyError, TypeError, ValueError) as error:
                raise _senseless(domain) from error
            left = deadline - time.monotonic()
            if left <= 0:
                raise _unended(
                    domain, pid, f"the command did not end within {seconds:g} s", trouble
                )
            if self._stopped.wait(min(pause, left)):
                raise _unended(domain, pid, "the agent of the host ends before the command", "")
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _tolerated(
        self, domain: str, pid: int, error: guests.GuestError, doubted: bool
    ) -> tuple[str, bool]:
        """Why nothing is known of a process, if something may be later, and whether it is doubted that
        its agent obeys at all; `doubted`: so it was before."""
        answered = error.refusal is not None and self._guests.status(domain) is not Guest.FROZEN
        if answered and not doubted and _LACKS.search(error.refusal or ""):
            # It may have been thawed between the two questions: then it obeys when asked again.
            return str(error.cause), True
        if error.gone or answered:
            cause = "the guest does not run any more" if error.gone else error.refusal
            raise errors.UnavailableError(
                "how the command ended is not known",
                where=f"guest {domain}, process {pid}",
                cause=cause,
            ) from error
        return str(error.cause), False


def _check(order: Order) -> None:
    """Raise InputError for an order that cannot be carried out."""
    size = sum(len(word.encode()) for word in order.command)
    causes = {
        "it is empty": not order.command,
        "its first word is not an absolute path": not order.command[:1]
        or order.command[0][:1] != "/",
        f"it has more than {MOST_WORDS} words": len(order.command) > MOST_WORDS,
        f"it has more than {MOST_BYTES} bytes": size > MOST_BYTES,
        "it has a byte of zero in it": any("\0" in word for word in order.command),
        f"timeout_s has to be {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} s": not (
            SHORTEST_SECONDS <= order.timeout_s <= LONGEST_SECONDS
        ),
    }
    if cause := next((cause for cause, wrong in causes.items() if wrong), None):
        raise errors.InputError(
            "the command is refused", cause=cause, unchanged="nothing was run in the guest"
        )


def _done(said: Mapping[str, Any]) -> Done:
    """Raises ValueError, KeyError, TypeError for an answer that is none."""
    wrote = b"".join(base64.b64decode(said.get(name, "")) for name in ("out-data", "err-data"))
    code = said["exitcode"] if "exitcode" in said else 128 + said["signal"]
    return Done(exit=int(code), output=wrote[-OUTPUT_BYTES:].decode("utf-8", "replace"))


def _busy(domain: str, cause: str, next_command: str | None) -> errors.BusyError:
    return errors.BusyError(
        "no command is run in the guest now",
        where=f"guest {domain}",
        cause=cause,
        unchanged="nothing was run in it",
        next_command=next_command,
    )


def _unended(domain: str, pid: int, what: str, trouble: str) -> errors.UnavailableError:
    running = f"process {pid} of the guest may still run"
    return errors.UnavailableError(
        what,
        where=f"guest {domain}",
        cause=f"{running}; {trouble}" if trouble else running,
        next_command=f"look at process {pid} in the guest",
    )


def _senseless(domain: str) -> errors.HostError:
    return errors.HostError(
        "the answer of a guest agent makes no sense",
        where=f"guest {domain}",
        unchanged="the command may have run in the guest",
    )
