"""One small site for the flows: collections of objects behind a session, and a store of documents.

It keeps what services keep (ids, names, statuses, metadata) and counts what was made, so that a test
can see whether anything was made twice or left over. It refuses what a real one refuses here: a port
whose address is taken, a network that still has ports.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import requests
from recovery_values import a_checkpoint, a_group, an_id, definitions_of

from isthmus.operations import records
from isthmus.recovery import manifest
from isthmus.recovery.checkpoints import BackupRecord, Place
from isthmus.recovery.declarations import Group, Policy
from isthmus.recovery.epochs import Marker
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.means import Means
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.mapping import Kind, Mapping
from isthmus.recovery.metadata.definitions import FloatingAddress
from isthmus.recovery.signatures import KeyRing, SigningKey
from isthmus.store import databases

COLLECTIONS = ("servers", "volumes", "backups", "networks", "subnets", "ports", "floatingips")
ROOM = {"limit": -1, "used": 0}
ROOT = "http://cloud"


def answered(status: int, document: Any = None) -> requests.Response:
    """What a session gives."""
    response = requests.Response()
    response.status_code = status
    response._content = b"" if document is None else json.dumps(document).encode()
    return response


class Cloud:
    """`changed` is called after every change; `made` counts creations by collection and name."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {name: {} for name in COLLECTIONS}
        self.made: list[tuple[str, str]] = []
        self.changed: Callable[[], None] = lambda: None
        self.slow_backups = False
        self._lock = threading.RLock()
        self._add("networks", {"id": "n-prod", "name": "inside", "mtu": 1450, "shared": False})
        self._add("subnets", {
            "id": "s-prod", "name": "inside-4", "network_id": "n-prod", "cidr": "10.0.0.0/16",
            "ip_version": 4, "enable_dhcp": True, "gateway_ip": None, "dns_nameservers": [],
            "host_routes": [], "allocation_pools": [],
        })  # fmt: skip

    def with_an_outside(self) -> None:
        """An external network, and a router that leads from it to the inside one."""
        outside = {"id": "n-ext", "name": "outside", "shared": False, "router:external": True}
        self._add("networks", outside)
        self._add("subnets", {
            "id": "s-ext", "name": "outside-4", "network_id": "n-ext", "cidr": "198.51.100.0/24",
            "ip_version": 4, "enable_dhcp": False, "gateway_ip": None, "dns_nameservers": [],
            "host_routes": [], "allocation_pools": [],
        })  # fmt: skip
        for name, network, subnet, address, owner in (
            ("r-in", "n-prod", "s-prod", "10.0.255.1", "network:router_interface"),
            ("r-out", "n-ext", "s-ext", "198.51.100.2", "network:router_gateway"),
        ):
            fixed = [{"subnet_id": subnet, "ip_address": address}]
            self._add("ports", {
                "id": name, "name": name, "network_id": network, "fixed_ips": fixed,
                "device_id": "router", "device_owner": owner, "mac_address": f"fa:00:{name}",
            })  # fmt: skip

    def get_project_id(self) -> str:
        return an_id("project")

    def get_endpoint(self, **service: Any) -> str:
        return ROOT

    def request(self, url: str, method: str, **options: Any) -> requests.Response:
        path = url.removeprefix(ROOT)
        with self._lock:
            answer = self._answer(path, method, options.get("json"), options.get("params") or {})
        if method != "GET" and answer.status_code < 400:
            self.changed()
        return answer

    def _answer(
        self, path: str, method: str, body: Any, query: dict[str, Any]
    ) -> requests.Response:
        parts = path.removeprefix("/v2.0").strip("/").split("/")
        name = parts[0]
        if name not in self.all:
            return self._fixed(parts)
        if len(parts) == 1 or parts[1] == "detail":
            return self._collection(name, method, body, query)
        if parts[1] == "import_record":
            told = json.loads(base64.b64decode(body["backup-record"]["backup_url"]))
            backup = {"id": told["id"], "status": "available", "volume_id": "gone", "size": 1}
            return answered(201, {"backup": self._add(name, backup)})
        found = self.all[name].get(parts[1])
        if found is None:
            return answered(404, {"itemNotFound": {"message": "not here"}})
        if len(parts) == 3:
            return self._part(found, parts[2], method, body)
        if method == "DELETE":
            return self._deleted(name, parts[1])
        if method == "PUT":
            refused = self._unroutable(name, body[name[:-1]])
            if refused is not None:
                return refused
            found.update(body[name[:-1]])
        return answered(200, {name[:-1]: found})

    def _collection(
        self, name: str, method: str, body: Any, query: dict[str, Any]
    ) -> requests.Response:
        if method == "GET":
            keys = ("floating_ip_address", "project_id") if name == "floatingips" else ()
            wanted = {k: v for k, v in query.items() if k in ("name", "network_id", *keys)}
            found = [o for o in self.all[name].values() if wanted.items() <= o.items()]
            return answered(200, {name: found})
        given = dict(body[name[:-1]])
        if name == "ports":
            clash = self._clash(given)
            if clash:
                return answered(409, {"NeutronError": {"message": clash}})
        if name == "floatingips":
            refused = self._unroutable(name, given)
            if refused is not None:
                return refused
            given.setdefault("floating_ip_address", f"198.51.100.{100 + len(self.all[name])}")
            given["project_id"] = self.get_project_id()
        given.setdefault("metadata", {})
        given["status"] = {"servers": "ACTIVE", "volumes": "available"}.get(name, "ACTIVE")
        if name == "volumes":
            given["content"] = given.pop("backup_id")
        self.made.append((name, str(given.get("name") or given["description"])))
        return answered(202, {name[:-1]: self._add(name, {"id": str(uuid.uuid4()), **given})})

    def _unroutable(self, name: str, given: Any) -> requests.Response | None:
        """What Neutron says of a floating address that no router can lead to a port."""
        if name != "floatingips" or not given.get("port_id") or "r-in" in self.all["ports"]:
            return None
        said = {"message": "External network n-ext is not reachable from subnet s-prod"}
        return answered(404, {"NeutronError": said})

    def _clash(self, given: Any) -> str | None:
        mine = {(given["network_id"], each.get("ip_address")) for each in given["fixed_ips"]}
        for port in self.all["ports"].values():
            theirs = {(port["network_id"], each.get("ip_address")) for each in port["fixed_ips"]}
            if mine & theirs:
                return "the address is taken"
        return None

    def _part(self, found: Any, part: str, method: str, body: Any) -> requests.Response:
        if part == "metadata":
            if method == "POST":
                found["metadata"].update(body["metadata"])
            return answered(200, {"metadata": found["metadata"]})
        if part == "action" and "os-set_bootable" in body:
            found["bootable"] = "true"
            return answered(200)
        raise AssertionError(part)

    def _deleted(self, name: str, identity: str) -> requests.Response:
        if name == "networks":
            if any(p["network_id"] == identity for p in self.all["ports"].values()):
                return answered(409, {"NeutronError": {"message": "it has ports"}})
            subnets = self.all["subnets"]
            for each in [s for s in subnets.values() if s["network_id"] == identity]:
                del subnets[each["id"]]
        del self.all[name][identity]
        return answered(204)

    def _add(self, name: str, found: dict[str, Any]) -> dict[str, Any]:
        if name == "ports":
            found.setdefault("mac_address", "fa:16:3e:99:99:99")
        if name == "volumes":
            found["os-vol-tenant-attr:tenant_id"] = an_id("project")
        if name == "backups":
            found.update(is_incremental=False, object_count=1, metadata={})
        self.all[name][found["id"]] = found
        return found

    def _fixed(self, parts: list[str]) -> requests.Response:
        flavor = {"id": "f1", "name": "m1.vnf", "vcpus": 1, "ram": 256, "disk": 0, "swap": "",
                  "OS-FLV-EXT-DATA:ephemeral": 0, "extra_specs": {}}  # fmt: skip
        zone = {"zoneName": "nova", "zoneState": {"available": True}}
        absolute = {"maxTotalInstances": -1, "maxTotalCores": -1, "maxTotalRAMSize": -1,
                    "maxTotalVolumes": -1, "totalVolumesUsed": 0, "maxTotalVolumeGigabytes": -1,
                    "totalGigabytesUsed": 0}  # fmt: skip
        return answered(200, {
            "flavors": {"flavors": [flavor]},
            "os-keypairs": {"keypairs": []},
            "os-server-groups": {"server_groups": []},
            "os-availability-zone": {"availabilityZoneInfo": [zone]},
            "limits": {"limits": {"absolute": absolute}},
            "types": {"volume_types": [{"id": "t1", "name": "rbd"}]},
            "security-groups": {"security_groups": []},
            "quotas": {"quota": {"port": ROOM}},
            "extensions": {"extension": {"alias": "router"}},
        }[parts[0]])  # fmt: skip

    def own(self) -> dict[str, list[str]]:
        """The names of all that operations made and that is there."""
        return {
            name: sorted(str(each.get("name")) for each in found.values())
            for name, found in self.all.items()
            if name != "backups"
        }


class Shelf:
    """The documents of the store that the flows read."""

    def __init__(self, signed: dict[str, manifest.Signed]) -> None:
        self._signed = signed

    def manifest(self, place: Place) -> tuple[bytes | None, bytes | None]:
        found = self._signed.get(place.manifest)
        return (found.manifest, found.signature) if found else (None, None)

    def places(self) -> list[Place]:
        found = (Place.parse(key) for key in self._signed)
        return [each for each in found if each is not None]

    def delete_checkpoint(self, place: Place) -> None:
        self._signed.pop(place.manifest, None)


class Markers:
    """Epoch markers in memory."""

    def __init__(self) -> None:
        self.claims: list[Marker] = []

    def latest(self, _group_id: str) -> Marker | None:
        return self.claims[-1] if self.claims else None

    def owner_before(self, marker: Marker) -> str | None:
        found = [each for each in self.claims if each.epoch == marker.epoch - 1]
        return found[0].site if found else None

    def claim(self, marker: Marker) -> Marker:
        if self.claims and self.claims[-1] == marker:
            return marker
        assert marker.epoch == (self.claims[-1].epoch if self.claims else 0) + 1
        self.claims.append(marker)
        return marker


def group_of_two() -> Group:
    members = tuple(
        dataclasses.replace(each, depends=tuple(n for n in each.depends if n != "client"))
        for each in a_group().members
        if each.name != "client"
    )
    return a_group(members=members)


def manifest_of(group: Group, floating: Sequence[FloatingAddress] = ()) -> Manifest:
    """With records as Cinder would export them; `floating`: of the first server's port."""
    found = a_checkpoint(group)
    definitions = definitions_of(group)
    first, *others = definitions.servers
    port = dataclasses.replace(first.ports[0], floating=tuple(floating))
    first = dataclasses.replace(first, ports=(port, *first.ports[1:]))
    definitions = dataclasses.replace(definitions, servers=(first, *others))
    kept = {volume.id for server in definitions.servers for volume in server.volumes}
    backups = []
    for each in found.backups:
        told = {"id": each.backup_id, "parent_id": None}
        url = base64.b64encode(json.dumps(told).encode()).decode()
        record = BackupRecord(service="swift", url=url)
        if each.volume_id in kept:
            backups.append(dataclasses.replace(each, record=record))
    checkpoint = dataclasses.replace(found, backups=tuple(backups))
    return Manifest(
        written_at=found.created_at,
        group=group,
        policy=Policy(name=group.policy),
        checkpoint=checkpoint,
        definitions=definitions,
    )


def means_of(
    database: databases.Database, cloud: Cloud, floating: Sequence[FloatingAddress] = ()
) -> tuple[Means, Markers]:
    """Lyon, which knows a group of Paris, its checkpoint and the plan."""
    declared, key = Declared(database), SigningKey.generate()
    group = group_of_two()
    found = manifest_of(group, floating)
    declared.create_policy(found.policy)
    declared.create_group(group)
    declared.put_checkpoint(found.checkpoint)
    same = (Kind.FLAVOR, Kind.NETWORK, Kind.VOLUME_TYPE, Kind.ZONE)
    declared.put_plan(Mapping(name="p-l", source="paris", target="lyon", same_name=same))
    shelf: Any = Shelf({found.place.manifest: manifest.sign(found, key)})
    markers: Any = Markers()
    nothing: Any = None
    means = Means(
        site="lyon",
        declared=declared,
        operations=lambda group_id: records.listed(database, group_id=group_id),
        session=lambda _: cloud,
        store=shelf,
        epochs=markers,
        key=key,
        ring=KeyRing(key.public),
        hosts=nothing,
        guests=nothing,
        snapshots=nothing,
        sizes=nothing,
        probe=lambda compute, member, server: {"records_bad": 0, "member": member.name},
    )
    return means, markers
