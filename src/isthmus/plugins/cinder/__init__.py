"""Cinder's driver for backups in Swift, with a restore that costs a fraction of the CPU.

Cinder 29 skips what is zero when it restores into a new volume, but compares it byte for byte through
a `memoryview`: four to five seconds of a core for each GiB of a volume, however little is in it. A
failover restores whole volumes, mostly empty, and nothing else takes it so long. An operator sets
``backup_driver = isthmus.plugins.cinder.swift.SwiftBackupDriver`` in every site. Backups are the stock
driver's, byte for byte; nothing here patches Cinder.

The parts and who knows whom::

    swift          the driver: the stock one, which is given a volume that skips zeros
    └─ holes       a new volume as a file to which only what is not zero is written (no Cinder)
"""
