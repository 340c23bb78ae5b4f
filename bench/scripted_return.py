"""The peer of `bench.failover`: a script that restores volume after volume and starts server after server, by the services' APIs.

What it makes has names of its own and is gone after each run.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench import labs, protecting
from bench.protecting import CIDR, Place
from isthmus.errors import IsthmusError
from isthmus.lab import vnf, waiting
from isthmus.lab.guest_image import building
from isthmus.lab.vnf import Vnf

NAME = "benchscript"
_RESTORED_S = 600.0
_LOOK_S = 0.5


class Script:
    """`backups`: of a checkpoint, as `isthmus checkpoint show` has them; they are known in Lyon already."""

    def __init__(self, lab: labs.Lab, made: Vnf, backups: Sequence[Mapping[str, Any]]) -> None:
        self._lab, self._made = lab, made
        self._backups = {each["volume_id"]: each for each in backups}
        self._image = building.cached(lab.home.templates)

    @functools.cached_property
    def _site(self) -> vnf.Site:
        return vnf.Site(self._lab.home, self._lab.environment.site("lyon"))

    def run(self) -> dict[str, float]:
        """Seconds of `volumes`, `network`, `servers` and `all`. Raises IsthmusError, or what the stock library does."""
        try:
            began = time.monotonic()
            volumes, _ = protecting.timed(self._volumes)
            network, _ = protecting.timed(lambda: self._site.prepare(NAME, str(CIDR), self._image))
            servers, _ = protecting.timed(self._servers)
            whole = time.monotonic() - began
        finally:
            with labs.undisturbed():
                protecting.quietly(
                    "what the script made was not taken away", lambda: self._site.remove(NAME)
                )
                protecting.quietly(
                    "volumes are still being deleted", lambda: protecting.gone(self._site, NAME)
                )
        return {"volumes": volumes, "network": network, "servers": servers, "all": whole}

    def _volumes(self) -> None:
        """Under the names by which the servers find them."""
        for member in self._made.members:
            for part, volume in zip(("root", "data"), member.volumes, strict=True):
                self._restored(self._backups[volume], f"{NAME}-{member.role}-{part}")

    def _restored(self, backup: Mapping[str, Any], name: str) -> None:
        storage = self._site.demo.block_storage
        volume = storage.create_volume(name=name, size=int(backup["size_gib"]))
        self._available(str(volume.id))
        storage.restore_backup(backup["backup_id"], volume=volume.id)
        self._available(str(volume.id))
        if backup["boot_index"] == 0:
            storage.set_volume_bootable_status(str(volume.id), True)

    def _available(self, volume: str) -> None:
        def look() -> str | None:
            status = str(self._site.demo.block_storage.get_volume(volume).status)
            if "error" in status:
                raise IsthmusError("a volume failed", where=f"volume {volume}", cause=status)
            return None if status == "available" else f"it is {status}"

        waiting.until(
            look,
            deadline=_RESTORED_S,
            what="a volume is not available",
            where=f"volume {volume}",
            interval=_LOOK_S,
        )

    def _servers(self) -> None:
        """Each when the one before runs and passed its test."""
        lyon = Place(self._lab, "lyon")
        tests = {each.name: each for each in protecting.members(self._made)}
        addresses = {each.role: each.address for each in self._made.members}
        peer: str | None = None
        for role in vnf.ROLES:
            found = self._site.member(NAME, role, addresses[role], peer, self._image)
            self._site.active(found)
            lyon.answer(self._made.project_id, tests[role], found.server_id)
            peer = addresses[role]
