"""The guest agent of a guest: asked through libvirt, or through its socket where libvirt is dead.

QEMU serves one client of the guest agent's socket at a time, and libvirtd is that one as long as it
lives; so libvirt is asked first and the socket is the way when it is gone. Whoever comes second waits
in the queue of the socket, and what it wrote is read when the first one has gone, perhaps minutes
later. Therefore nothing but a harmless ``guest-sync-delimited`` is written before the guest agent has
answered it: a freeze that arrives late would have no dead-man.

Protocol: QEMU Guest Agent Protocol Reference (guest-sync-delimited, guest-fsfreeze-*, guest-exec). While
frozen, the agent obeys only the first two, guest-ping and guest-info.
"""

from __future__ import annotations

import glob
import json
import re
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.agent.host.freezing import libvirts
from isthmus.agent.host.freezing.entries import Guest

STATUS, FREEZE, THAW = "guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
EXEC, EXEC_STATUS = "guest-exec", "guest-exec-status"

_ONCE = (FREEZE, EXEC, EXEC_STATUS)
"""Commands that must not be done twice: how a program ended is told once."""

_LONGEST = 1 << 20
"""Bytes of an answer that are read from a guest, which may say anything."""

_REFUSAL = re.compile(r"unable to execute QEMU agent command '[^']*': ")
"""How libvirt begins when it quotes a guest agent that has answered with an error."""


class GuestError(errors.HostError):
    """A guest agent did not do what it was asked for. `delivered`: it may do so yet; `gone`: the guest
    does not run; `refusal`: what the guest agent itself has answered, None if it did not answer."""

    def __init__(
        self,
        what: str,
        *,
        where: str,
        cause: str,
        delivered: bool,
        gone: bool = False,
        refusal: str | None = None,
    ) -> None:
        super().__init__(what, where=where, cause=cause)
        self.delivered, self.gone, self.refusal = delivered, gone, refusal


class Guests:
    """The guests of this host by their libvirt names. For several threads.

    `libvirt`: a way through it, None where there is none. `sockets`: patterns of the guest agent's socket with
    ``{domain}`` in it and ``*`` for what is not known.
    """

    def __init__(self, libvirt: libvirts.Way | None, sockets: tuple[str, ...]) -> None:
        self._libvirt, self._sockets = libvirt, sockets

    def status(self, domain: str, timeout: float = 1.0) -> Guest:
        """What the guest says; UNKNOWN if it does not answer within about `timeout` seconds a way."""
        try:
            answer = self.ask(domain, STATUS, timeout)
        except GuestError as error:
            return Guest.GONE if error.gone else Guest.UNKNOWN
        return Guest(answer) if answer in (Guest.FROZEN, Guest.THAWED) else Guest.UNKNOWN

    def freeze(self, domain: str, timeout: float) -> int:
        """Freeze all file systems; how many. Raises GuestError."""
        return int(self.ask(domain, FREEZE, timeout))

    def thaw(self, domain: str, timeout: float = 1.0) -> int:
        """Thaw all file systems; how many were frozen. Raises GuestError."""
        return int(self.ask(domain, THAW, timeout))

    def ask(
        self,
        domain: str,
        command: str,
        timeout: float,
        arguments: Mapping[str, Any] | None = None,
    ) -> Any:
        """What a guest agent answers. `timeout` in seconds, for each of the two ways.

        A freeze, or a program to run, is never sent by the second way when it may have gone by the
        first. Raises GuestError.
        """
        words: _Words = {"execute": command, **({"arguments": arguments} if arguments else {})}
        if self._libvirt is None:
            return self._by_socket(domain, words, timeout)
        try:
            return self._by_libvirt(self._libvirt, domain, words, timeout)
        except GuestError as error:
            if error.gone or (command in _ONCE and error.delivered):
                raise
            try:
                return self._by_socket(domain, words, timeout)
            except GuestError as second:
                if second.gone:
                    raise
            raise

    def _by_libvirt(self, way: libvirts.Way, domain: str, words: _Words, timeout: float) -> Any:
        command = str(words["execute"])
        try:
            return json.loads(way(domain, json.dumps(words), timeout))["return"]
        except libvirts.WayError as error:
            cause = str(error)
            quoted = _REFUSAL.search(cause)
            refusal = cause[quoted.end() :] if quoted else None
            raise _failed(
                domain, command, cause, error.delivered, gone=error.gone, refusal=refusal
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _failed(domain, command, "libvirt's answer makes no sense", True) from error

    def _by_socket(self, domain: str, words: _Words, timeout: float) -> Any:
        command = str(words["execute"])
        paths = [
            path
            for pattern in self._sockets
            for path in glob.glob(pattern.replace("{domain}", glob.escape(domain)))  # noqa: PTH207
        ]
        if not paths:
            raise _failed(domain, command, "it has no socket of a guest agent", False)
        deadline = time.monotonic() + timeout
        sent = False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                line = _Line(link, deadline)
                line.open(paths[-1])
                line.synchronise()
                sent = True
                return line.ask(words)
        except (OSError, ValueError, _SilentError, _RefusedError) as error:
            cause = f"{paths[-1]}: {error}"
            # QEMU listens as long as it lives.
            gone = isinstance(error, ConnectionRefusedError)
            refusal = str(error) if isinstance(error, _RefusedError) else None
            raise _failed(domain, command, cause, sent, gone=gone, refusal=refusal) from error


_Words = dict[str, Any]
"""A command of the protocol."""


class _SilentError(Exception):
    """The guest agent closes the line."""


class _RefusedError(Exception):
    """The guest agent answers with an error; its description."""


class _Line:
    """One connection with a guest agent, until `deadline` of the monotonic clock."""

    def __init__(self, link: socket.socket, deadline: float) -> None:
        self._link, self._deadline = link, deadline
        self._read = b""

    def open(self, path: str) -> None:
        self._limit()
        self._link.connect(path)

    def synchronise(self) -> None:
        """Make sure that the guest agent listens, and that its next words answer ours."""
        token = secrets.randbits(31)
        words = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        # The byte makes the guest agent's parser forget what somebody else left half-said.
        self._send(b"\xff" + json.dumps(words).encode())
        while json.loads(self._next().rpartition(b"\xff")[2]).get("return") != token:
            continue

    def ask(self, words: _Words) -> Any:
        self._send(json.dumps(words).encode())
        answer = json.loads(self._next())
        if "return" not in answer:
            raise _RefusedError(str(answer.get("error", {}).get("desc", "it refuses")))
        return answer["return"]

    def _send(self, words: bytes) -> None:
        self._limit()
        self._link.sendall(words + b"\n")

    def _next(self) -> bytes:
        while b"\n" not in self._read:
            self._limit()
            piece = self._link.recv(65536)
            if not piece or len(self._read) > _LONGEST:
                raise _SilentError("it closed the line")
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._link.settimeout(left)


def _failed(
    domain: str,
    command: str,
    cause: str,
    delivered: bool,
    *,
    gone: bool = False,
    refusal: str | None = None,
) -> GuestError:
    what = f"the guest agent did not do {command}"
    return GuestError(
        what, where=domain, cause=cause, delivered=delivered, gone=gone, refusal=refusal
    )
