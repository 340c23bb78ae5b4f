"""Threads that live in another network namespace, and nftables without a process for each word.

It exists because a gateway is refreshed four times a second: starting `nft` in a namespace costs
5 to 20 ms of a busy machine each time, the library 0.3 ms. A socket belongs to the namespace in
which it was opened, and a namespace is entered by one thread alone; so each gateway has a thread of
its own that does everything there.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from isthmus import errors

NAMESPACES = Path("/run/netns")

T = TypeVar("T")

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
_libc = ctypes.CDLL(None, use_errno=True)
# The library keeps a table of interfaces for the whole process.
_one_at_a_time = threading.Lock()


class FenceError(errors.HostError):
    """The kernel did not do what nftables was told; it did nothing of it."""


def enter(namespace: str) -> None:
    """Move this thread, and no other, into a network namespace. Raises `errors.HostError`."""
    try:
        descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.HostError(
            "the network namespace cannot be entered", where=namespace, cause=error.strerror
        ) from error
    try:
        if _libc.setns(descriptor, _NEW_NETWORK) != 0:
            cause = os.strerror(ctypes.get_errno())
            raise errors.HostError(
                "the network namespace cannot be entered", where=namespace, cause=cause
            )
    finally:
        os.close(descriptor)


class Insider:
    """One thread in a namespace that does what others ask it to do, in their order."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._pool = concurrent.futures.ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=namespace, initializer=enter, initargs=(namespace,)
        )

    def do(self, what: Callable[[], T], timeout: float = 5.0) -> T:
        """The result of `what`, done inside. Raises what it raises, and `errors.HostError` when
        the namespace is gone or the thread is busy for longer than `timeout` seconds."""
        try:
            return self._pool.submit(what).result(timeout)
        except concurrent.futures.BrokenExecutor as error:
            raise errors.HostError("the namespace is gone", where=self.namespace) from error
        except concurrent.futures.TimeoutError as error:
            cause = f"nothing came of it in {timeout:g} s"
            raise errors.HostError(
                "the gateway is stuck", where=self.namespace, cause=cause
            ) from error

    def start(self, what: Callable[[], object]) -> None:
        """Have `what` done soon; its result is nobody's."""
        with contextlib.suppress(RuntimeError):
            self._pool.submit(what)

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Nft:
    """nftables of the namespace of the thread that makes it. For that thread only."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise FenceError("nftables cannot be used", cause="nft_ctx_new failed")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, words: str) -> str:
        """Do all of `words` in one transaction, or nothing. Raises FenceError."""
        with _one_at_a_time:
            code = self._library.nft_run_cmd_from_buffer(self._context, words.encode())
            output = self._library.nft_ctx_get_output_buffer(self._context) or b""
            fault = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if code != 0:
            first = fault.decode(errors="replace").strip().partition("\n")[0]
            raise FenceError("the kernel refuses the rules", cause=first or f"code {code}")
        return str(output.decode(errors="replace"))

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)


def _library() -> Any:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise errors.HostError(
            "nftables cannot be used",
            cause="libnftables.so.1 is not installed",
            next_command="apt-get install nftables",
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library
