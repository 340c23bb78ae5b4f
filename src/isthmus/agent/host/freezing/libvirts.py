"""Two ways to ask a guest agent through libvirt: its library and `virsh`.

The library keeps its connection, so that a freeze costs what the guest needs and not the start of a
process; the agent takes it. `virsh` costs 50 ms and shares nothing with whoever calls it; the watchdog
takes that. So the two guards of a guest do not depend on the same code of libvirt. libvirt's Python
module is not needed: four functions of its C library are.

A way may hang when libvirtd hangs. The process is ended then; a call of the library is left to itself,
in a thread that does nothing more when it comes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from isthmus.agent.host import running

log = logging.getLogger(__name__)

Way = Callable[[str, str, float], str]
"""A domain, a command of the guest agent as JSON, seconds -> its answer as JSON. Raises WayError."""

_GONE = re.compile(r"domain is not running|Domain not found|no domain with matching name", re.I)
_AWAY = re.compile(r"is not installed|failed to connect|no connection driver|Connection refused")
"""What is said when there is no libvirtd (or no virsh); then nothing has reached a guest."""

_LOST = re.compile(r"socket is closed|cannot (recv|write|read) data|End of file|Broken pipe|reset")
"""What the library says on a connection whose libvirtd has died."""

_ENGLISH = {**os.environ, "LC_ALL": "C"}
"""The words of virsh are read here."""

_MOST_HUNG = 8


class WayError(Exception):
    """libvirt did not bring an answer. `delivered`: the guest agent may have got the command; `gone`:
    the guest does not run."""

    def __init__(self, cause: str, *, delivered: bool) -> None:
        super().__init__(cause)
        self.gone = bool(_GONE.search(cause))
        self.delivered = delivered and not self.gone


def quick(uri: str) -> Way:
    """The library's way, or virsh's where the library is not installed."""
    try:
        return Library(uri)
    except OSError as error:
        log.warning("libvirt's library cannot be used, freezes take longer: %s", error)
        return virsh(uri)


def virsh(uri: str) -> Way:
    """The way by a process for each question."""

    def ask(domain: str, words: str, timeout: float) -> str:
        argv = ["virsh", "-q", "-c", uri, "qemu-agent-command", domain, words]
        argv += ["--timeout", _whole(timeout)]
        try:
            return running.run(argv, timeout=timeout, env=_ENGLISH)
        except running.CommandError as error:
            cause = str(error.cause)
            raise WayError(cause, delivered=not _AWAY.search(cause)) from error

    return ask


def _whole(timeout: float) -> str:
    """libvirt counts whole seconds; whoever calls it ends it when theirs are over."""
    return str(max(1, round(timeout)))


class _Call:
    """One question, asked in a thread of its own. `given_up` keeps it from what it has not done yet."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.given_up = False
        self.sent = False
        self.answer = ""
        self.error: WayError | None = None


class Library:
    """The way by libvirt's C library, with one connection. For several threads.

    Raises OSError when it is made where the library is not installed.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.encode()
        self._lib, self._qemu, self._libc = _load()
        self._connection: int | None = None
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._hung = 0

    def __call__(self, domain: str, words: str, timeout: float) -> str:
        if self._hung >= _MOST_HUNG:
            raise WayError("libvirt hangs", delivered=False)
        call = _Call()
        work = threading.Thread(target=self._work, args=(call, domain, words, timeout), daemon=True)
        work.start()
        if not call.done.wait(timeout) and self._give_up(call):
            raise WayError(f"no answer within {timeout:g} s", delivered=call.sent)
        if call.error:
            raise call.error
        return call.answer

    def _give_up(self, call: _Call) -> bool:
        """Whether the call is still under way, and left to itself now."""
        with self._counting:
            if call.done.is_set():
                return False
            call.given_up = True
            self._hung += 1
            return True

    def _work(self, call: _Call, domain: str, words: str, timeout: float) -> None:
        try:
            with self._domain(call, domain.encode()) as found:
                with self._counting:
                    call.sent = not call.given_up
                if call.sent:
                    call.answer = self._command(found, words, timeout)
        except WayError as error:
            call.error = error
        finally:
            with self._counting:
                call.done.set()
                self._hung -= call.given_up

    def _command(self, domain: int, words: str, timeout: float) -> str:
        text = self._qemu.virDomainQemuAgentCommand(domain, words.encode(), int(_whole(timeout)), 0)
        if not text:
            raise WayError(self._fault(), delivered=True)
        try:
            return ctypes.string_at(text).decode("utf-8", "replace")
        finally:
            self._libc.free(text)

    @contextlib.contextmanager
    def _domain(self, call: _Call, name: bytes) -> Iterator[int]:
        """A domain by its name. A connection that died unnoticed is made anew, once."""
        for attempt in (1, 2):
            with self._connected(call) as connection:
                found = self._lib.virDomainLookupByName(connection, name)
                if found:
                    try:
                        yield found
                    finally:
                        self._lib.virDomainFree(found)
                    return
                fault = self._fault()
                if not _LOST.search(fault) or attempt == 2:
                    raise WayError(fault, delivered=False)
                self._drop(connection)

    @contextlib.contextmanager
    def _connected(self, call: _Call) -> Iterator[int]:
        """The connection, which nobody else can close meanwhile."""
        with self._lock:
            if call.given_up:
                raise WayError("given up", delivered=False)
            if self._connection is None:
                self._connection = self._lib.virConnectOpen(self._uri)
            connection = self._connection
            if not connection:
                self._connection = None
                raise WayError(self._fault(), delivered=False)
            self._lib.virConnectRef(connection)
        try:
            yield connection
        finally:
            self._lib.virConnectClose(connection)

    def _drop(self, connection: int) -> None:
        with self._lock:
            if self._connection == connection:
                self._connection = None
                self._lib.virConnectClose(connection)

    def _fault(self) -> str:
        """What went wrong in this thread."""
        text = self._lib.virGetLastErrorMessage()
        return text.decode("utf-8", "replace") if text else "no reason is given"


_Silencer = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_silent = _Silencer(lambda data, error: None)
"""Errors are raised; the library would write them to standard error too."""


def _load() -> tuple[Any, Any, Any]:
    """The libraries with the types of what is used of them."""
    lib, qemu, libc = (
        ctypes.CDLL(name) for name in ("libvirt.so.0", "libvirt-qemu.so.0", "libc.so.6")
    )
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    types: tuple[tuple[Any, Any, list[Any]], ...] = (
        (lib.virConnectOpen, pointer, [text]),
        (lib.virConnectRef, ctypes.c_int, [pointer]),
        (lib.virConnectClose, ctypes.c_int, [pointer]),
        (lib.virDomainLookupByName, pointer, [pointer, text]),
        (lib.virDomainFree, ctypes.c_int, [pointer]),
        (lib.virGetLastErrorMessage, text, []),
        (lib.virSetErrorFunc, None, [pointer, _Silencer]),
        (qemu.virDomainQemuAgentCommand, pointer, [pointer, text, ctypes.c_int, ctypes.c_uint]),
        (libc.free, None, [pointer]),
    )
    for function, result, arguments in types:
        function.restype, function.argtypes = result, arguments
    if lib.virInitialize() != 0:
        raise OSError("libvirt's library does not initialise")
    lib.virSetErrorFunc(None, _silent)
    return lib, qemu, libc
