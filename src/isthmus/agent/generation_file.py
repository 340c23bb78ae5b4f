"""The generation file: what this host's Keystones are told about the databases that they read, through shared memory.

Little-endian, at least `SIZE` bytes, to be mapped::

    0    16 bytes   MAGIC
    16   16 bytes   boot id of the host (/proc/sys/kernel/random/boot_id), so that a file of an earlier start of it is void
    64   64 bytes   for each of `SLOTS` databases, in use from the first on:
          0   16 bytes   MD5 of the server's identity (`isthmus.agent.binlog.IDENTITY`); zeros: this slot and all behind it are free
          16  uint64     generation: odd while a change is on its way
          24  uint64     nanoseconds of CLOCK_BOOTTIME: what could be read then is counted; 0: the database is not followed
          32  uint64     CRC-32 of the 32 bytes before, so that nobody believes a slot that is just being written

`isthmus.plugins.keystone.generation_file` reads it; nothing else does. The file is new with each start of the agent and
replaces the last one's by a rename: whoever still has the old one mapped sees it grow old.
"""

import hashlib
import mmap
import os
import secrets
import struct
import threading
import uuid
import zlib
from pathlib import Path

from isthmus import errors

MAGIC = b"isthmus coheren1"
SLOTS = 16
_FIRST = 64
_SLOT = 64
SIZE = _FIRST + SLOTS * _SLOT
_RECORD = struct.Struct("<16sQQ")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def first_generation() -> int:
    """An even number that no database had before; 2**61 more fit behind it."""
    return secrets.randbits(61) * 2


def digest(identity: str) -> bytes:
    """A server's identity in the file."""
    return hashlib.md5(identity.encode(), usedforsecurity=False).digest()


class File:
    """The file at `path`, written by this process alone. Raises `errors.UnavailableError` if it cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owners: dict[bytes, str] = {}
        self._lock = threading.Lock()
        try:
            self._memory = _create(path)
        except OSError as error:
            raise errors.UnavailableError(
                "the agent cannot make its generation file",
                where=str(path),
                cause=str(error.strerror),
                unchanged="Keystones that read it go on without it",
                next_command=f"ls -ld {path.parent}",
            ) from error

    def slot(self, identity: str, owner: str) -> "Slot":
        """The slot of a server for whoever follows it; raises ValueError if another follows it or there is no room."""
        digested = digest(identity)
        with self._lock:
            if self._owners.setdefault(digested, owner) != owner:
                raise ValueError(f"{self._owners[digested]} and {owner} are the same server")
            if len(self._owners) > SLOTS:
                del self._owners[digested]
                raise ValueError(f"there is room for {SLOTS} databases")
            return Slot(self, digested, list(self._owners).index(digested))

    def write(self, number: int, content: bytes) -> None:
        """Set a slot; nothing once the file is closed."""
        with self._lock:
            if not self._memory.closed:
                start = _FIRST + number * _SLOT
                self._memory[start : start + len(content)] = content

    def close(self) -> None:
        """Nothing is followed any more, also for whoever still has the file mapped."""
        with self._lock:
            self._memory[_FIRST:SIZE] = bytes(SIZE - _FIRST)
            self._memory.close()
        self.path.unlink(missing_ok=True)


class Slot:
    """What one database's follower tells."""

    def __init__(self, file: File, digested: bytes, number: int) -> None:
        self._file, self._digest, self._number = file, digested, number

    def publish(self, generation: int, proven_at: float) -> None:
        """`proven_at` in seconds of `binlog.clock`; 0: the database is not followed."""
        record = _RECORD.pack(self._digest, generation, int(proven_at * 1e9))
        self._file.write(self._number, record + struct.pack("<Q", zlib.crc32(record)))


def _create(path: Path) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    boot = uuid.UUID(_BOOT_ID.read_text(encoding="ascii").strip()).bytes
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    # Whoever can write here decides which tokens this host's Keystones believe; whoever reads learns only that something changed.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, (MAGIC + boot).ljust(SIZE, b"\0"))
        memory = mmap.mmap(descriptor, SIZE)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return memory
