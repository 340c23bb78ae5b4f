"""A model of Cinder 29's snapshots and backups behind real HTTP on the loopback.

It stands in for no feature: it is there to see what our requests do over many of them, interrupted at
any one. It chooses parents as cinder.backup.api does, its hole included, accepts records whose parents
it does not know, and fails their restore without a reason, as Cinder does.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import keystoneauth1.noauth
import keystoneauth1.session

from isthmus.recovery.cinder import Cinder

START = datetime.datetime(2026, 11, 23)
Json = dict[str, Any]


class Refused(Exception):
    """An answer with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Model:
    """All of one Cinder. Whatever is made is `available` when it is looked at for the second time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.seconds = 0
        self.volumes: dict[str, Json] = {}
        self.snapshots: dict[str, Json] = {}
        self.backups: dict[str, Json] = {}
        self.backend: set[tuple[str, str]] = set()
        """Snapshots of the backend that Cinder does not know, by volume and name."""
        self.limits = {
            "snapshots": 100,
            "gigabytes": 1000,
            "backups": 100,
            "backup_gigabytes": 1000,
        }
        self.broken: set[str] = set()
        """Backups that cannot be read."""
        self.fail: Callable[[str, str], bool] = lambda method, path: False
        self.requests: list[str] = []

    def now(self) -> str:
        self.seconds += 1
        return (START + datetime.timedelta(seconds=self.seconds)).isoformat()

    def volume(self, volume_id: str, content: str = "", size: int = 1) -> str:
        self.volumes[volume_id] = {
            "id": volume_id,
            "name": volume_id,
            "status": "in-use",
            "size": size,
            "volume_type": "rbd",
            "metadata": {},
            "content": content,
        }
        return volume_id

    def handle(self, method: str, path: str, query: dict[str, str], body: Json) -> Json:
        with self.lock:
            self.requests.append(f"{method} {path}")
            if self.fail(method, path):
                raise Refused(500, "The server has either erred or is incapable")
            for pattern, verb, do in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and verb == method:
                    done: Json = getattr(self, do.__name__)(*found.groups(), query=query, body=body)
                    return done
            raise Refused(404, f"no route {method} {path}")

    # Each of these is one request.

    def show_volume(self, volume_id: str, **_: Any) -> Json:
        return {"volume": _settled(self.volumes, volume_id, "available")}

    def list_volumes(self, query: dict[str, str], **_: Any) -> Json:
        marks = json.loads(query.get("metadata", "{}"))
        found = [
            v
            for v in self.volumes.values()
            if marks.items() <= v["metadata"].items() and query.get("name", v["name"]) == v["name"]
        ]
        return {"volumes": found}

    def create_volume(self, body: Json, **_: Any) -> Json:
        made = body["volume"]
        self.volume(str(uuid.uuid4()), size=made["size"])
        volume = list(self.volumes.values())[-1]
        volume.update(metadata=made["metadata"], status="creating", name=made["name"])
        part: str | None = made["backup_id"]
        while part is not None and part in self.backups:
            part = self.backups[part]["parent_id"]
        if part is None and made["backup_id"] not in self.broken:
            volume["content"] = self.backups[made["backup_id"]]["content"]
            # As BackupMetadataAPI.put does: all that was there is lost.
            volume["metadata"] = {"of": "the source"}
        else:
            volume["status"] = "error_restoring"
        return {"volume": volume}

    def delete_volume(self, volume_id: str, **_: Any) -> Json:
        self.volumes.pop(volume_id, None)
        return {}

    def rename_volume(self, volume_id: str, body: Json, **_: Any) -> Json:
        self.volumes[volume_id]["name"] = body["volume"]["name"]
        return {"volume": self.volumes[volume_id]}

    def act(self, volume_id: str, body: Json, **_: Any) -> Json:
        self.volumes[volume_id]["bootable"] = body["os-set_bootable"]["bootable"]
        return {}

    def show_metadata(self, volume_id: str, **_: Any) -> Json:
        return {"metadata": self.volumes[volume_id]["metadata"]}

    def add_metadata(self, volume_id: str, body: Json, **_: Any) -> Json:
        self.volumes[volume_id]["metadata"].update(body["metadata"])
        return {"metadata": self.volumes[volume_id]["metadata"]}

    def quota(self, *_: Any, **__: Any) -> Json:
        snapshots, backups = len(self.snapshots), len(self.backups)
        used = {
            "snapshots": snapshots,
            "gigabytes": snapshots,
            "backups": backups,
            "backup_gigabytes": backups,
        }
        quota = {
            name: {"limit": limit, "in_use": used[name], "reserved": 0}
            for name, limit in self.limits.items()
        }
        return {"quota_set": quota}

    def list_snapshots(self, query: dict[str, str], **_: Any) -> Json:
        found = [s for s in self.snapshots.values() if s["volume_id"] == query["volume_id"]]
        return {"snapshots": found}

    def show_snapshot(self, snapshot_id: str, **_: Any) -> Json:
        return {"snapshot": _settled(self.snapshots, snapshot_id, "available")}

    def delete_snapshot(self, snapshot_id: str, **_: Any) -> Json:
        if self.snapshots.pop(snapshot_id, None) is None:
            raise Refused(404, "Snapshot could not be found")
        return {}

    def create_snapshot(self, body: Json, status: str = "creating", **_: Any) -> Json:
        made = body["snapshot"]
        snapshot = {
            "id": str(uuid.uuid4()),
            "name": made["name"],
            "status": status,
            "volume_id": made["volume_id"],
            "created_at": self.now(),
            "metadata": made["metadata"],
            "content": self.volumes[made["volume_id"]]["content"],
        }
        self.snapshots[snapshot["id"]] = snapshot
        return {"snapshot": dict(snapshot)}

    def adopt(self, body: Json, **_: Any) -> Json:
        made = body["snapshot"]
        key = (made["volume_id"], made["ref"]["source-name"])
        status = "creating" if key in self.backend else "error"
        self.backend.discard(key)
        return self.create_snapshot(body, status=status)

    def list_backups(self, query: dict[str, str], **_: Any) -> Json:
        found = [b for b in self.backups.values() if b["volume_id"] == query["volume_id"]]
        return {"backups": found}

    def show_backup(self, backup_id: str, **_: Any) -> Json:
        return {"backup": _settled(self.backups, backup_id, "available")}

    def delete_backup(self, backup_id: str, **_: Any) -> Json:
        if any(each.get("parent_id") == backup_id for each in self.backups.values()):
            raise Refused(400, "Incremental backups exist for this backup.")
        self.backups.pop(backup_id, None)
        return {}

    def create_backup(self, body: Json, **_: Any) -> Json:
        made = body["backup"]
        snapshot = self.snapshots[made["snapshot_id"]]
        parent = self._parent(made, snapshot) if made["incremental"] else None
        backup = {
            "id": str(uuid.uuid4()),
            "name": made["name"],
            "status": "creating",
            "volume_id": made["volume_id"],
            "size": self.volumes[made["volume_id"]]["size"],
            "data_timestamp": snapshot["created_at"],
            "is_incremental": parent is not None,
            "parent_id": parent,
            "snapshot_id": made["snapshot_id"],
            "container": made.get("container", "volumebackups"),
            "object_count": 1,
            "fail_reason": None,
            "metadata": made["metadata"],
            "content": snapshot["content"],
        }
        self.backups[backup["id"]] = backup
        return {"backup": dict(backup)}

    def _parent(self, made: Json, snapshot: Json) -> str:
        mine = [b for b in self.backups.values() if b["volume_id"] == made["volume_id"]]

        def key(each: Json) -> str:
            old = each["data_timestamp"] < snapshot["created_at"]
            return each["data_timestamp"] if each["status"] == "available" and old else ""

        latest = max(mine, key=key, default=None)
        if latest is None or latest["status"] != "available":
            raise Refused(400, "No backups available to do an incremental backup.")
        return str(latest["id"])

    def export(self, backup_id: str, **_: Any) -> Json:
        names = ("id", "parent_id", "volume_id", "size", "content", "container", "data_timestamp")
        told = {name: self.backups[backup_id].get(name) for name in names}
        url = base64.b64encode(json.dumps(told).encode()).decode()
        return {"backup-record": {"backup_service": "swift", "backup_url": url}}

    def import_record(self, body: Json, **_: Any) -> Json:
        told = json.loads(base64.b64decode(body["backup-record"]["backup_url"]))
        if told["id"] in self.backups:
            raise Refused(400, "Backup already exists in database.")
        fixed = {"status": "creating", "metadata": {}, "is_incremental": bool(told["parent_id"])}
        fixed |= {"object_count": 1, "fail_reason": None, "snapshot_id": None, "name": ""}
        self.backups[told["id"]] = {**told, **fixed}
        return {"backup": {"id": told["id"]}}


def _settled(where: dict[str, Json], which: str, status: str) -> Json:
    """The object as it is now; what is under way is done when it is asked for again."""
    if which not in where:
        raise Refused(404, f"{which} could not be found.")
    shown = dict(where[which])
    if shown["status"] in ("creating", "restoring-backup"):
        where[which]["status"] = status
    return shown


ID = "([^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Json]]] = [
    ("/volumes/detail", "GET", Model.list_volumes),
    ("/volumes", "POST", Model.create_volume),
    (f"/volumes/{ID}", "GET", Model.show_volume),
    (f"/volumes/{ID}", "PUT", Model.rename_volume),
    (f"/volumes/{ID}", "DELETE", Model.delete_volume),
    (f"/volumes/{ID}/action", "POST", Model.act),
    (f"/volumes/{ID}/metadata", "GET", Model.show_metadata),
    (f"/volumes/{ID}/metadata", "POST", Model.add_metadata),
    (f"/os-quota-sets/{ID}", "GET", Model.quota),
    ("/snapshots/detail", "GET", Model.list_snapshots),
    ("/snapshots", "POST", Model.create_snapshot),
    (f"/snapshots/{ID}", "GET", Model.show_snapshot),
    (f"/snapshots/{ID}", "DELETE", Model.delete_snapshot),
    ("/manageable_snapshots", "POST", Model.adopt),
    ("/backups/detail", "GET", Model.list_backups),
    ("/backups", "POST", Model.create_backup),
    ("/backups/import_record", "POST", Model.import_record),
    (f"/backups/{ID}/export_record", "GET", Model.export),
    (f"/backups/{ID}", "GET", Model.show_backup),
    (f"/backups/{ID}", "DELETE", Model.delete_backup),
]


@contextlib.contextmanager
def serving(model: Model) -> Iterator[Cinder]:
    """Our client of the model, over HTTP."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = (
            -1
        )  # Head and body in one packet, or the client's kernel waits before it answers.

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            try:
                status, answer = 200, model.handle(self.command, url.path, query, body)
            except Refused as refused:
                answer = {"badRequest": {"message": str(refused), "code": refused.status}}
                status = refused.status
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _do

        def log_message(self, *args: Any) -> None:
            """Nothing: pytest shows enough."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    auth = keystoneauth1.noauth.NoAuth(endpoint=url)
    try:
        yield Cinder(keystoneauth1.session.Session(auth=auth), "paris")
    finally:
        server.shutdown()
        server.server_close()
