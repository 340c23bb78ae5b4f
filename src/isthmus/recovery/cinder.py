"""The Cinder of one site, as far as recovery uses it.

It exists so that snapshots, backups and restores share one set of requests, each of which can be
repeated. It decides nothing. The session must be scoped to the project of the volumes: Cinder looks
for a backup's parent only among those of the caller's project.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.recovery.checkpoints import BackupRecord
from isthmus.recovery.rest import Api

MICROVERSION = "3.71"
"""3.43 gives backups metadata; 3.71 is what the adoption of snapshots was tried with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume:
    """`backend` is the host attribute of Cinder (`host@backend#pool`); `stored_as` the ID in the
    name of the volume on the backend, which differs from `id` after a migration."""

    id: str
    name: str
    status: str
    size_gib: int
    volume_type: str | None
    project_id: str
    backend: str
    stored_as: str
    bootable: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    id: str
    name: str | None
    status: str
    volume_id: str
    created_at: datetime.datetime
    metadata: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backup:
    """`data_at`: Cinder's `data_timestamp`, by which it chooses parents."""

    id: str
    name: str | None
    status: str
    volume_id: str
    size_gib: int
    data_at: datetime.datetime | None
    is_incremental: bool
    snapshot_id: str | None
    container: str | None
    object_count: int
    fail_reason: str | None
    metadata: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quota:
    """`limit` -1: none. What is reserved counts as used."""

    limit: int
    used: int

    def room_for(self, more: int) -> bool:
        return self.limit < 0 or self.used + more <= self.limit


class Cinder:
    """One site's Cinder; methods raise CloudError. For several threads."""

    def __init__(self, session: Any, region: str) -> None:
        self.region = region
        self._api = Api(session, region, "block-storage", microversion=MICROVERSION)

    def volume(self, volume_id: str) -> Volume:
        found = self._api.get(f"/volumes/{volume_id}")["volume"]
        return Volume(
            id=found["id"],
            name=found.get("name") or "",
            status=found["status"],
            size_gib=int(found["size"]),
            volume_type=found.get("volume_type"),
            project_id=found.get("os-vol-tenant-attr:tenant_id") or self._api.project_id,
            backend=found.get("os-vol-host-attr:host") or "",
            stored_as=found.get("os-vol-mig-status-attr:name_id") or found["id"],
            bootable=str(found.get("bootable")).lower() == "true",
        )

    def quotas(self, *names: str) -> dict[str, Quota]:
        """The project's quotas by name (snapshots, gigabytes, backups, backup_gigabytes)."""
        path = f"/os-quota-sets/{self._api.project_id}"
        found = self._api.get(path, usage="True")["quota_set"]
        return {
            name: Quota(
                limit=int(found[name]["limit"]),
                used=int(found[name]["in_use"]) + int(found[name].get("reserved") or 0),
            )
            for name in names
        }

    def snapshots(self, volume_id: str) -> list[Snapshot]:
        found = self._api.all("/snapshots/detail", "snapshots", volume_id=volume_id)
        return [_snapshot(each) for each in found]

    def snapshot(self, snapshot_id: str) -> Snapshot | None:
        found = self._api.find(f"/snapshots/{snapshot_id}", "snapshot")
        return None if found is None else _snapshot(found)

    def create_snapshot(self, volume_id: str, name: str, metadata: Mapping[str, str]) -> Snapshot:
        """A new snapshot, also of a volume in use."""
        wanted = {"volume_id": volume_id, "name": name, "metadata": dict(metadata)}
        # Since 3.66 a volume in use needs no `force`, and Cinder refuses the word.
        return _snapshot(self._api.post("/snapshots", {"snapshot": wanted})["snapshot"])

    def adopt_snapshot(
        self, volume_id: str, source: str, name: str, metadata: Mapping[str, str]
    ) -> Snapshot:
        """Make the backend's snapshot `source` one of Cinder's. It is accepted at once and may end in
        status error, so that it must be looked at."""
        wanted = {
            "volume_id": volume_id,
            "ref": {"source-name": source},
            "name": name,
            "metadata": dict(metadata),
        }
        return _snapshot(self._api.post("/manageable_snapshots", {"snapshot": wanted})["snapshot"])

    def delete_snapshot(self, snapshot_id: str) -> None:
        self._api.delete(f"/snapshots/{snapshot_id}")

    def backups(self, volume_id: str) -> list[Backup]:
        """The backups of a volume in the project."""
        found = self._api.all("/backups/detail", "backups", volume_id=volume_id)
        return [_backup(each) for each in found]

    def backup(self, backup_id: str) -> Backup | None:
        found = self._api.find(f"/backups/{backup_id}", "backup")
        return None if found is None else _backup(found)

    def create_backup(
        self,
        *,
        volume_id: str,
        snapshot_id: str,
        name: str,
        incremental: bool,
        container: str | None,
        metadata: Mapping[str, str],
    ) -> str:
        """The ID of a new backup of a snapshot of the *original* volume: a volume that is made from
        the snapshot could never have an incremental one."""
        wanted = {
            "volume_id": volume_id,
            "snapshot_id": snapshot_id,
            "name": name,
            "incremental": incremental,
            "force": True,
            "metadata": dict(metadata),
            **({"container": container} if container else {}),
        }
        return str(self._api.post("/backups", {"backup": wanted})["backup"]["id"])

    def delete_backup(self, backup_id: str) -> None:
        self._api.delete(f"/backups/{backup_id}")

    def marked_volume(self, marks: Mapping[str, str]) -> str | None:
        """The ID of a volume of the project that carries all these marks."""
        wanted = json.dumps(dict(marks))
        found = self._api.all("/volumes/detail", "volumes", metadata=wanted)
        mine = (each for each in found if marks.items() <= (each.get("metadata") or {}).items())
        return next((str(each["id"]) for each in mine), None)

    def named_volume(self, name: str) -> str | None:
        """The ID of a volume of the project with this name."""
        found = self._api.all("/volumes/detail", "volumes", name=name)
        return next((str(each["id"]) for each in found if each.get("name") == name), None)

    def rename_volume(self, volume_id: str, name: str) -> None:
        self._api.put(f"/volumes/{volume_id}", {"volume": {"name": name}})

    def set_bootable(self, volume_id: str) -> None:
        action = {"os-set_bootable": {"bootable": True}}
        self._api.post(f"/volumes/{volume_id}/action", action)

    def create_volume(
        self,
        *,
        name: str,
        size_gib: int,
        volume_type: str | None,
        zone: str | None,
        metadata: Mapping[str, str],
        backup_id: str,
    ) -> str:
        """The ID of a new volume that Cinder fills from a backup (with its chain) before it is available.

        A volume that was there before would get every zero of its backup written, one that is made
        for it stays as sparse as the source was (cinder.backup.chunkeddriver, `volume_is_new`).
        """
        wanted = {
            "backup_id": backup_id,
            "name": name,
            "size": size_gib,
            "volume_type": volume_type,
            "availability_zone": zone,
            "metadata": dict(metadata),
        }
        return str(self._api.post("/volumes", {"volume": wanted})["volume"]["id"])

    def delete_volume(self, volume_id: str) -> None:
        self._api.delete(f"/volumes/{volume_id}")

    def volume_metadata(self, volume_id: str) -> dict[str, str]:
        return dict(self._api.get(f"/volumes/{volume_id}/metadata")["metadata"])

    def mark_volume(self, volume_id: str, marks: Mapping[str, str]) -> None:
        """Add to the volume's metadata."""
        self._api.post(f"/volumes/{volume_id}/metadata", {"metadata": dict(marks)})

    def export(self, backup_id: str) -> BackupRecord:
        """What another Cinder needs to know about the backup."""
        found = self._api.get(f"/backups/{backup_id}/export_record")["backup-record"]
        return BackupRecord(service=found["backup_service"], url=found["backup_url"])

    def import_record(self, record: BackupRecord) -> str:
        """Make a backup known here; its ID, which is the same as before."""
        wanted = {"backup_service": record.service, "backup_url": record.url}
        found = self._api.post("/backups/import_record", {"backup-record": wanted})
        return str(found["backup"]["id"])


def decoded(record: BackupRecord) -> dict[str, Any]:
    """What an exported record says (id, parent_id, container, service_metadata, size...).

    Raises InputError. The text is base64 of JSON (cinder.objects.Backup.encode_record).
    """
    try:
        document = json.loads(base64.b64decode(record.url, validate=True))
        if not isinstance(document, dict) or not document.get("id"):
            raise ValueError("it names no backup")  # noqa: TRY301
    except (ValueError, binascii.Error, RecursionError) as error:
        raise errors.InputError(
            "the record of a backup cannot be read", cause=str(error)
        ) from error
    return document


def moment(text: str) -> datetime.datetime:
    """Cinder writes UTC without saying so."""
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        id=found["id"],
        name=found.get("name"),
        status=found["status"],
        volume_id=found["volume_id"],
        created_at=moment(found["created_at"]),
        metadata=found.get("metadata") or {},
    )


def _backup(found: Mapping[str, Any]) -> Backup:
    at = found.get("data_timestamp")
    return Backup(
        id=found["id"],
        name=found.get("name"),
        status=found["status"],
        volume_id=found["volume_id"],
        size_gib=int(found["size"] or 0),
        data_at=moment(at) if at else None,
        is_incremental=bool(found["is_incremental"]),
        snapshot_id=found.get("snapshot_id"),
        container=found.get("container"),
        object_count=int(found.get("object_count") or 0),
        fail_reason=found.get("fail_reason"),
        metadata=found.get("metadata") or {},
    )
