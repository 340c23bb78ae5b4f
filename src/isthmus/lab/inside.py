"""Talks to an address that only exists inside a namespace, from a process outside of it.

A socket belongs to the namespace in which it was made, for ever; so only its making needs to enter the namespace.
"""

import ctypes
import http.client
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer: status and body text."""

    status: int
    body: str


def connect(namespace: str, host: str, port: int, *, timeout: float) -> socket.socket:
    """A TCP connection made inside `namespace`; raises OSError like `socket.create_connection`."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            _enter(namespace)
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        except OSError as error:
            made.append(error)

    # Only this short-lived thread changes its namespace; the rest of the process stays where it is.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    result = made[0]
    if isinstance(result, OSError):
        raise result
    result.settimeout(timeout)
    try:
        result.connect((host, port))
    except OSError:
        result.close()
        raise
    return result


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
