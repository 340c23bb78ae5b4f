"""What the agent of this host tells about the site's databases: the reader of its generation file.

The layout is documented where it is written, in ``isthmus.agent.generation_file``; a test holds the two
against each other. Reading is a copy of 40 bytes for each database, so that every request does it.

A database is *followed* while its proof is younger than a limit. A proof says: everything that
could be read from the database at that moment is counted in its generation. So an answer that was
made under a generation, and is given while that generation stands, is never older than the limit,
whatever has become of the agent.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from oslo_log import log

LOG = log.getLogger(__name__)

MAGIC = b"isthmus coheren1"
SLOTS = 16
_FIRST = 64
_SLOT = 64
SIZE = _FIRST + SLOTS * _SLOT
_RECORD = struct.Struct("<16sQQQ")
_FREE = bytes(16)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# How soon a file that was missing, void or replaced is looked for again.
_REOPEN_SECONDS = 0.5
# A slot that is being written is whole again after this many looks, or it is left out.
_ATTEMPTS = 3

# Asked on each new connection; the agent asks the same (``isthmus.agent.binlog``).
IDENTITY = (
    "SELECT CONCAT_WS('|', @@GLOBAL.server_id, @@GLOBAL.gtid_domain_id, @@hostname,"
    " @@bind_address, @@port, @@datadir) AS i"
)


def digest(identity: str) -> bytes:
    """A server's identity as the file has it."""
    return hashlib.md5(identity.encode(), usedforsecurity=False).digest()


@dataclass(frozen=True, kw_only=True)
class View:
    """The followed databases and their generations; ``changing`` if a change of one is on its way."""

    generations: Mapping[bytes, int]

    @property
    def changing(self) -> bool:
        return any(number % 2 for number in self.generations.values())


def parse(memory: bytes | mmap.mmap, *, now: int, limit: int) -> View | None:
    """The view of a mapped file at ``now``, both in nanoseconds of CLOCK_BOOTTIME; None without a followed database.

    A database whose slot is not whole, or whose proof is older than ``limit`` or from the future, is
    not followed.
    """
    found = {}
    for number in range(SLOTS):
        slot = _slot(memory, _FIRST + number * _SLOT)
        if slot is None:
            continue
        identity, generation, proven_at = slot
        if identity == _FREE:
            break
        if 0 <= now - proven_at <= limit:
            found[identity] = generation
    return View(generations=found) if found else None


def _slot(memory: bytes | mmap.mmap, start: int) -> tuple[bytes, int, int] | None:
    for _ in range(_ATTEMPTS):
        content = memory[start : start + _RECORD.size]
        identity, generation, proven_at, check = _RECORD.unpack(content)
        if identity == _FREE or zlib.crc32(content[:-8]) == check:
            return identity, generation, proven_at
    return None


class Reader:
    """The file at ``path``. Never raises: what cannot be read or trusted is as if it were not there."""

    def __init__(self, path: str, *, limit_seconds: float) -> None:
        self._path = path
        self._limit = int(limit_seconds * 1e9)
        self._memory: mmap.mmap | None = None
        self._opened_at = float("-inf")
        self._complaint = ""
        self._lock = threading.Lock()

    def view(self) -> View | None:
        """What is followed now, or None."""
        memory = self._memory
        if memory is not None:
            view = parse(memory, now=self._now(), limit=self._limit)
            if view is not None:
                return view
        memory = self._reopened()
        return None if memory is None else parse(memory, now=self._now(), limit=self._limit)

    @staticmethod
    def _now() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _reopened(self) -> mmap.mmap | None:
        """The file mapped anew, at most every ``_REOPEN_SECONDS``; what was mapped before is freed with its last user."""
        with self._lock:
            if time.monotonic() - self._opened_at < _REOPEN_SECONDS:
                return self._memory
            self._opened_at = time.monotonic()
            try:
                self._memory = _map(self._path)
                self._complaint = ""
            except FileNotFoundError:
                self._memory = None
            except (OSError, ValueError) as error:
                self._memory = None
                if str(error) != self._complaint:
                    LOG.warning("The generation file %s is not used: %s", self._path, error)
                self._complaint = str(error)
            return self._memory


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _map(path: str) -> mmap.mmap:
    with _opened(path) as descriptor:
        found = os.fstat(descriptor)
        # Whoever can write it decides which tokens are believed.
        if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o022:
            raise ValueError("it can be written by others than root and Keystone's own user")
        if found.st_size < SIZE:
            raise ValueError("it is too short")
        memory = mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ)
    boot = uuid.UUID(Path(_BOOT_ID).read_text(encoding="ascii").strip()).bytes
    if memory[: len(MAGIC)] != MAGIC:
        raise ValueError("it is of another version")
    if memory[len(MAGIC) : len(MAGIC) + len(boot)] != boot:
        raise ValueError("it is from an earlier start of this host")
    return memory
