"""Who answers for an address, seen from a third host: each answer with its time and the MAC it came from.

A ping every few milliseconds leaves from a namespace, and what comes back is read from the wire, with the kernel's own time
stamps, so that a busy reader changes no figure. Two owners of one address show as two MACs that answer in turns.
"""

import itertools
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from isthmus.lab import inside
from isthmus.lab.running import in_namespace

_ALL_PROTOCOLS = 0x0003
_IPV4, _ARP = 0x0800, 0x0806
_TIMESTAMP_NS = 35  # SO_TIMESTAMPNS of Linux
_OUTGOING = 4  # PACKET_OUTGOING
_END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One frame in which somebody speaks for the address: seconds since the epoch, the sender's MAC, and `echo` or `arp`."""

    at: float
    mac: str
    kind: str


def gaps(answers: list[Answer], since: float, until: float) -> list[tuple[float, float]]:
    """The times without an echo between `since` and `until` as (begin, seconds), the longest first."""
    echoes = [a.at for a in answers if a.kind == "echo" and since <= a.at <= until]
    pairs = itertools.pairwise([since, *echoes, until])
    return sorted(((a, b - a) for a, b in pairs), key=lambda gap: -gap[1])


def owners(answers: list[Answer]) -> list[tuple[str, float, float]]:
    """Who answered, in turn: (MAC, first, last) of every run of frames from one MAC."""
    runs = [list(run) for _, run in itertools.groupby(answers, key=lambda a: a.mac)]
    return [(run[0].mac, run[0].at, run[-1].at) for run in runs]


class Observer:
    """Pings `address` from `namespace` every `period` seconds until closed, and notes who answers."""

    def __init__(self, namespace: str, address: str, *, period: float = 0.01) -> None:
        self.address = address
        self._namespace, self._packed = namespace, socket.inet_aton(address)
        self._argv = [*in_namespace(namespace), "ping", "-n", "-q", "-W", "1", "-i", f"{period:g}"]
        self._answers: list[Answer] = []
        self._closing = threading.Event()

    def __enter__(self) -> "Observer":
        self._socket = inside.within(self._namespace, _listening)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._process = subprocess.Popen(
            [*self._argv, self.address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._closing.set()
        self._reader.join(_END_SECONDS)
        self._socket.close()

    @property
    def answers(self) -> list[Answer]:
        """What has come so far."""
        return list(self._answers)

    def answered_since(self, moment: float, mac: str = "") -> bool:
        """Whether an echo came after `moment`, from `mac` if one is named."""
        return any(
            a.at > moment and a.kind == "echo" and mac in ("", a.mac)
            for a in reversed(self.answers)
        )

    @property
    def current(self) -> str | None:
        """The MAC that answered last, None if nobody has in the last quarter of a second."""
        last = self._answers[-1:]
        return last[0].mac if last and time.time() - last[0].at < 0.25 else None

    def _read(self) -> None:
        while not self._closing.is_set():
            try:
                frame, ancillary, _, sender = self._socket.recvmsg(2048, 256)
            except TimeoutError:
                continue
            kind = self._kind(frame) if sender[2] != _OUTGOING else None
            if kind:
                self._answers.append(Answer(at=_stamp(ancillary), mac=_mac(frame), kind=kind))

    def _kind(self, frame: bytes) -> str | None:
        (protocol,) = struct.unpack_from("!H", frame, 12)
        if protocol == _ARP and frame[28:32] == self._packed:
            return "arp"
        if protocol == _IPV4 and frame[26:30] == self._packed and frame[23] == 1:
            start = 14 + (frame[14] & 0x0F) * 4
            return "echo" if frame[start] == 0 else None
        return None


def _listening() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    made.setsockopt(socket.SOL_SOCKET, _TIMESTAMP_NS, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.settimeout(0.2)
    return made


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP_NS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()


def _mac(frame: bytes) -> str:
    return frame[6:12].hex(":")
