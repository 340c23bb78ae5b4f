"""How many requests of this host have written: a number that all Keystone processes of a host share.

The agent's generation follows a change of the database within milliseconds. This number spares the
host's own users even those: it grows before a request that has written is answered, so that what
was known before is not used after it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import threading
from pathlib import Path

_NUMBER = struct.Struct("=Q")


class Counter:
    """The number in the file at ``path``, made if there is none; raises OSError if it cannot be.

    Processes that are forked use what was mapped before.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        self._lock = threading.Lock()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if os.fstat(self._descriptor).st_size != _NUMBER.size:
                # Not zero: what shared caches hold under the numbers of a lost file must not return.
                os.pwrite(self._descriptor, _NUMBER.pack(secrets.randbits(62)), 0)
            self._memory = memoryview(mmap.mmap(self._descriptor, _NUMBER.size)).cast("Q")
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def value(self) -> int:
        """The number now."""
        return int(self._memory[0])

    def grow(self) -> None:
        """Count one more request that has written."""
        # The lock of the file is for other processes; it does not hold threads of this one apart.
        with self._lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                self._memory[0] = (self._memory[0] + 1) % 2**64
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
