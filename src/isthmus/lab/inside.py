"""Talks to an address that only exists inside a namespace, from a process outside of it.

A socket belongs to the namespace in which it was made, for ever; so only its making needs to enter the namespace.
"""

import concurrent.futures
import ctypes
import http.client
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer: status and body text."""

    status: int
    body: str


def within(namespace: str, work: Callable[[], T]) -> T:
    """What `work` returns when it is called inside `namespace`; raises what it raises, or OSError without the namespace."""
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def enter_and_work() -> None:
        try:
            _enter(namespace)
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    # Only this short-lived thread changes its namespace; the rest of the process stays where it is.
    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    return outcome.result()


def connect(namespace: str, host: str, port: int, *, timeout: float) -> socket.socket:
    """A TCP connection made inside `namespace`; raises OSError like `socket.create_connection`."""
    made = within(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    made.settimeout(timeout)
    try:
        made.connect((host, port))
    except OSError:
        made.close()
        raise
    return made


def get(namespace: str, host: str, port: int, path: str, *, timeout: float) -> Answer:
    """GET over HTTP from inside `namespace`; raises OSError when there is no proper answer in `timeout` seconds."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    connection.sock = connect(namespace, host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return Answer(status=response.status, body=response.read().decode(errors="replace"))
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def missing(namespace: str, host: str, port: int, path: str, *, expect: int = 200) -> str | None:
    """None if GET answers `expect`, else a sentence that says what came instead."""
    try:
        answer = get(namespace, host, port, path, timeout=2.0)
    except OSError as error:
        return f"http://{host}:{port}{path}: {error}"
    if answer.status == expect:
        return None
    return f"http://{host}:{port}{path} answers {answer.status}: {answer.body.strip()[:200]}"


def _enter(namespace: str) -> None:
    descriptor = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter namespace {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
