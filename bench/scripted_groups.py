"""The peer of `bench.window`: an operator's script that quiesces a VNF and has Cinder take snapshots, by the services' APIs alone.

openstacksdk is used as the session; where it has no call (groups with volumes that are in use, quiesce) the request is written
out as the API reference has it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from openstack import exceptions

from bench.protecting import NAME, uncut
from isthmus.errors import IsthmusError
from isthmus.lab import vnf, waiting
from isthmus.lab.vnf import Vnf

_LOOK_S = 0.1
_WITHIN_S = 60.0
_TYPE = f"{NAME}-window"

# 3.14 is the first with group snapshots.
_VERSION = "3.14"


class Volumes:
    """Snapshots of all volumes by Cinder: as a group once `group_them` succeeded, else one after the other."""

    def __init__(self, site: vnf.Site, volumes: Sequence[str]) -> None:
        self._site, self._volumes = site, tuple(volumes)
        self._type: str | None = None
        self._group: str | None = None
        self._grouped = False

    def group_them(self) -> None:
        """Make a generic group of the volumes, which are in use. Raises SDKException or IsthmusError."""
        types = {each["volume_type"] for each in self._seen()}
        known = {each["name"]: each["id"] for each in self._got("/types")["volume_types"]}
        if unknown := types - set(known):
            raise IsthmusError("the volumes have types that nobody may see", cause=str(unknown))
        asked = {"group_type": {"name": _TYPE, "is_public": True}}
        made = _body(
            self._site.admin.block_storage.post("/group_types", json=asked, microversion=_VERSION)
        )
        self._type = str(made["group_type"]["id"])
        asked = {
            "group": {
                "name": _TYPE,
                "group_type": self._type,
                "volume_types": [known[each] for each in types],
            }
        }
        self._group = str(self._posted("/groups", asked)["group"]["id"])
        self._available(f"/groups/{self._group}", "group")
        self._changed(add_volumes=",".join(self._volumes))
        self._grouped = True

    def snapshot(self) -> list[str]:
        """Take the snapshots and wait until they are available; the paths by which they are deleted."""
        if not self._grouped:
            return [self._single(volume) for volume in self._volumes]
        asked = {"group_snapshot": {"name": _TYPE, "group_id": self._group}}
        made = str(self._posted("/group_snapshots", asked)["group_snapshot"]["id"])
        path = f"/group_snapshots/{made}"
        self._available(path, "group_snapshot")
        return [path]

    def _single(self, volume: str) -> str:
        asked = {"snapshot": {"name": _TYPE, "volume_id": volume, "force": True}}
        path = f"/snapshots/{self._posted('/snapshots', asked)['snapshot']['id']}"
        self._available(path, "snapshot")
        return path

    def forget(self) -> None:
        """Delete all snapshots that this made, also of a run that was cut off."""
        for collection in ("group_snapshots", "snapshots"):
            found = [
                f"/{collection}/{each['id']}"
                for each in self._got(f"/{collection}/detail")[collection]
                if each["name"] == _TYPE
            ]
            for path in found:
                self._deleted(path)
            for path in found:
                self._gone(path)

    def remove(self) -> None:
        """Take the group away, with what is left of its snapshots; the volumes stay."""
        self.forget()
        if self._group is not None:
            path = f"/groups/{self._group}"
            if inside := [each["id"] for each in self._seen() if each.get("group_id")]:
                self._changed(remove_volumes=",".join(inside))
            self._posted(f"{path}/action", {"delete": {"delete-volumes": False}})
            self._gone(path)
        if self._type is not None:
            admin = self._site.admin.block_storage
            _body(admin.delete(f"/group_types/{self._type}", microversion=_VERSION))

    def _seen(self) -> list[Any]:
        return [self._got(f"/volumes/{each}")["volume"] for each in self._volumes]

    def _changed(self, **change: str) -> None:
        path, storage = f"/groups/{self._group}", self._site.demo.block_storage
        _body(storage.put(path, json={"group": change}, microversion=_VERSION))
        self._available(path, "group")

    def _got(self, path: str) -> Any:
        return _body(self._site.demo.block_storage.get(path, microversion=_VERSION))

    def _posted(self, path: str, body: Any) -> Any:
        return _body(self._site.demo.block_storage.post(path, json=body, microversion=_VERSION))

    def _deleted(self, path: str) -> None:
        _body(self._site.demo.block_storage.delete(path, microversion=_VERSION))

    def _available(self, path: str, noun: str) -> None:
        """Wait for the status. Raises IsthmusError at once when it is an error."""

        def look() -> str | None:
            status = str(self._got(path)[noun]["status"])
            if "error" in status:
                raise IsthmusError(f"{path} failed", where="cinder", cause=f"status {status}")
            return None if status == "available" else f"its status is {status}"

        waiting.until(
            look,
            deadline=_WITHIN_S,
            what=f"{path} is not available",
            where="cinder",
            interval=_LOOK_S,
        )

    def _gone(self, path: str) -> None:
        def look() -> str | None:
            try:
                self._got(path)
            except exceptions.NotFoundException:
                return None
            return "it is there"

        waiting.until(
            look, deadline=_WITHIN_S, what=f"{path} is not gone", where="cinder", interval=0.5
        )


class Quiescing:
    """Quiesce, snapshots, unquiesce, as a script does it that knows the order."""

    def __init__(self, site: vnf.Site, made: Vnf) -> None:
        self._compute = site.admin.compute
        ids = {each.role: each.server_id for each in made.members}
        self._order = [ids[role] for role in reversed(vnf.ROLES)]

    def window(self, volumes: Volumes) -> float:
        """Seconds from the first quiesce to the answer of the last unquiesce; nothing is left of the snapshots.

        What was quiesced is unquiesced whatever happens: no dead-man would do it.
        """
        try:
            with uncut():
                return self._window(volumes.snapshot)
        finally:
            volumes.forget()

    def _window(self, snapshot: Callable[[], Any]) -> float:
        began, held = time.monotonic(), list[str]()
        try:
            for server in self._order:
                held.append(server)
                self._act(server, "quiesce")
            snapshot()
        finally:
            self._thaw(held[::-1])
        return time.monotonic() - began

    def _thaw(self, servers: Sequence[str]) -> None:
        """All of them, also when one is refused, which is raised at the end."""
        refused: exceptions.SDKException | None = None
        for server in servers:
            try:
                self._act(server, "unquiesce")
            except exceptions.SDKException as error:
                refused = error
        if refused is not None:
            raise refused

    def _act(self, server: str, action: str) -> None:
        _body(self._compute.post(f"/servers/{server}/action", json={action: None}))


def _body(response: Any) -> Any:
    """The document of an answer, None without one. Raises HttpException."""
    exceptions.raise_from_response(response)
    return response.json() if response.content else None
