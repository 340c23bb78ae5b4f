"""All checks, in the order in which they are run: what a check needs stands before it."""

from __future__ import annotations

from isthmus.checks import (
    catalog,
    clocks,
    databases,
    files,
    keys,
    keystones,
    reach,
    releases,
    replication,
    rights,
    services,
)

CHECKS = (
    *reach.CHECKS,
    *releases.CHECKS,
    *clocks.CHECKS,
    *keys.CHECKS,
    *replication.CHECKS,
    *databases.CHECKS,
    *keystones.CHECKS,
    *services.CHECKS,
    *catalog.CHECKS,
    *rights.CHECKS,
    *files.CHECKS,
)
