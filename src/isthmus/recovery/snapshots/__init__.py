"""Snapshots of all volumes of a group inside the freeze window.

Two drivers: `rbd` (librbd, all volumes at once, adopted into Cinder afterwards) and `cinder` (any
backend, slower). `naming` is what both leave behind, so that a crash leaves nothing unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from isthmus.recovery.findings import Finding


class Driver(Protocol):
    """One round's snapshots.

    Order: `prepare`, then `take` inside the window, then `adopt` (sound round) or `discard` (void
    round, or after the backups), `close` always. All can be repeated, also by another process that
    knows only the round's ID; `take` cannot, as it belongs to one window.
    """

    def findings(self) -> Sequence[Finding]:
        """What is to be said of the storage before anything is begun; changes nothing, and needs neither
        a round nor volumes. Raises IsthmusError when no snapshot could be taken now."""
        ...

    def prepare(self) -> None:
        """All that is slow or may be refused: quota, connections, handles. Raises IsthmusError."""
        ...

    def take(self, timeout_s: float) -> None:
        """All snapshots, at once as far as the backend can. Raises IsthmusError if one is missing."""
        ...

    def adopt(self) -> Mapping[str, str]:
        """Cinder's snapshot IDs by volume; all are available then. Raises IsthmusError."""
        ...

    def digests(self) -> Mapping[str, str]:
        """Tree hashes of the frozen data by volume, where the driver can read them."""
        ...

    def discard(self) -> None:
        """Remove all snapshots of the round, adopted or not. Raises IsthmusError if some stay."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...
