"""The stock driver for backups in Swift, which hands a new volume to its restore as one that skips zeros.

Loaded by cinder-backup as ``backup_driver``; everything else, and every stored byte, is the stock driver's.
"""

from __future__ import annotations

from typing import Any

from cinder.backup import manager
from cinder.backup.drivers import swift

from isthmus.plugins.cinder.holes import Holes

STOCK = "cinder.backup.drivers.swift.SwiftBackupDriver"
NAME = f"{__name__}.SwiftBackupDriver"

# Each backup says by which driver it was made, and Cinder refuses those of another one, unless this table of its own says that a
# driver was renamed. So a site that changes over goes on with the backups that it has.
manager.MAPPING.setdefault(STOCK, NAME)


class SwiftBackupDriver(swift.SwiftBackupDriver):  # type: ignore[misc]  # Cinder has no types
    """`cinder.backup.drivers.swift.SwiftBackupDriver`, faster where a volume is new."""

    def _restore_v1(
        self,
        backup: Any,
        volume_id: str,
        metadata: Any,
        volume_file: Any,
        volume_is_new: bool,
        requested_backup: Any,
    ) -> None:
        """Restore one backup of a chain. `volume_is_new`: whatever is not written reads as zero, which holds for the first of the
        chain only; later ones write their zeros too."""
        file = Holes(volume_file) if volume_is_new else volume_file
        super()._restore_v1(backup, volume_id, metadata, file, False, requested_backup)
