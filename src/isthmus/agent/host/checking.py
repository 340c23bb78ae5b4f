"""Probing a target from inside its gateway: one attempt, and why it failed.

What follows from several attempts is `isthmus.network.addresses.health`'s.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from isthmus.network.addresses.declarations import Check, Probe

_ECHO_REQUEST, _ECHO_REPLY = 8, 0


def probe(check: Check, target: str) -> str | None:
    """None if the target answers within the check's timeout, else why not, in words."""
    try:
        match check.probe:
            case Probe.TCP:
                with socket.create_connection((target, check.port), timeout=check.timeout):
                    return None
            case Probe.ICMP:
                return _echo(target, check.timeout)
            case Probe.NONE:
                return None
    except TimeoutError:
        return f"{check} at {target}: no answer within {check.timeout:g} s"
    except OSError as error:
        return f"{check} at {target}: {error.strerror or error}"


def _echo(target: str, timeout: float) -> str | None:
    """One echo request (RFC 792)."""
    identity, sequence = os.getpid() & 0xFFFF, time.monotonic_ns() >> 10 & 0xFFFF
    words = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identity, sequence)
    words = struct.pack("!BBHHH", _ECHO_REQUEST, 0, _checksum(words), identity, sequence)
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.connect((target, 0))
        raw.send(words)
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            answer = raw.recv(1500)
            start = (answer[0] & 0x0F) * 4
            kind, _, _, theirs, number = struct.unpack_from("!BBHHH", answer, start)
            if (kind, theirs, number) == (_ECHO_REPLY, identity, sequence):
                return None
    raise TimeoutError


def _checksum(words: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
