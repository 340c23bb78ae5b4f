"""The Neutron of a simulated site: lists with filters, fields and pages, and the quota.

It answers in Neutron's words: a filter that no object knows is refused, a page that is full has a link to the next one. Nothing
can be written: an engine reads other sites' Neutrons and writes only its own.
"""

import json
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.peers.generating import Cloud, Row, Site

Query = list[tuple[str, str]]
_COLLECTIONS = ("networks", "subnets", "ports", "security-groups")
_WORDS = frozenset({"fields", "limit", "marker", "sort_key", "sort_dir"})
_NETWORK = "@network@"  # stands in a row that is the same in all sites for what is not


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status and JSON text."""

    status: int
    body: bytes


class Neutrons:
    """The Neutrons of all simulated sites. `largest_page`: the server's own limit of a list, None for none."""

    def __init__(self, cloud: Cloud, largest_page: int | None = None) -> None:
        self._cloud, self._largest_page = cloud, largest_page
        self._rendered: dict[tuple[Any, ...], list[bytes]] = {}
        self._version = -1

    def answer(self, site: Site, method: str, path: str, query: Query) -> Answer:
        """`path` as behind /v2.0/."""
        parts = path.strip("/").split("/")
        if method != "GET":
            return _refused(403, "PolicyNotAuthorized", "simulated sites cannot be changed")
        if parts[0] == "quotas":
            return _good({"quota": {"port": self._quota(site)}})
        if parts[0] not in _COLLECTIONS or len(parts) > 2:
            return _refused(404, "HTTPNotFound", "The resource could not be found.")
        collection = parts[0].replace("-", "_")
        if len(parts) == 2:
            return self._one(site, collection, parts[1], query)
        return self._list(site, collection, query)

    def _quota(self, site: Site) -> Mapping[str, int]:
        return {
            "limit": -1,
            "used": sum(len(part.ports) for part in site.parts.values()),
            "reserved": 0,
        }

    def _one(self, site: Site, collection: str, key: str, query: Query) -> Answer:
        wanted = _fields(query)
        for row in self._rows(site, collection):
            if row["id"] == key:
                return _good({collection[:-1]: _cut(row, wanted)})
        return _refused(404, "NotFound", f"{collection[:-1]} {key} could not be found.")

    def _list(self, site: Site, collection: str, query: Query) -> Answer:
        filters: dict[str, set[str]] = {}
        for name, value in query:
            if name not in _WORDS:
                filters.setdefault(name, set()).add(value)
        size, marker = self._page(query), dict(query).get("marker")
        if collection == "ports" and set(filters) == {"network_id"} and size is None:
            return self._all_ports(site, filters["network_id"], _fields(query))
        rows = []
        for row in self._rows(site, collection):
            if unknown := filters.keys() - row.keys():
                return _refused(
                    400, "HTTPBadRequest", f"{sorted(unknown)} is invalid attribute for filtering"
                )
            if all(_matches(row, name, values) for name, values in filters.items()):
                rows.append(row)
        return self._paged(collection, rows, query, size, marker)

    def _page(self, query: Query) -> int | None:
        sizes = [int(dict(query).get("limit") or 0), self._largest_page or 0]
        return min((each for each in sizes if each > 0), default=None)

    def _paged(
        self, collection: str, rows: list[Row], query: Query, size: int | None, marker: str | None
    ) -> Answer:
        wanted = _fields(query)
        if size is not None:
            # Without an order of its own, a page could leave out what another one shows.
            rows.sort(key=lambda row: str(row["id"]))
            rows = [row for row in rows if marker is None or row["id"] > marker]
        shown = rows[:size]
        body: dict[str, Any] = {collection: [_cut(row, wanted) for row in shown]}
        if size is not None and len(shown) == size:
            more = [*(pair for pair in query if pair[0] != "marker"), ("marker", shown[-1]["id"])]
            href = f"http://simulated/v2.0/{collection}?{urllib.parse.urlencode(more)}"
            body[f"{collection}_links"] = [{"rel": "next", "href": href}]
        return _good(body)

    def _rows(self, site: Site, collection: str) -> Iterable[Row]:
        match collection:
            case "networks":
                return [part.network for part in site.parts.values()]
            case "subnets":
                return [part.subnet for part in site.parts.values()]
            case "security_groups":
                return list(site.groups.values())
            case _:
                return self._ports(site)

    def _ports(self, site: Site) -> Iterator[Row]:
        for network_id, part in site.parts.items():
            yield from part.ports.values()
            for origin in self._others(site):
                for row in self._cloud.mirrors(network_id, origin):
                    yield {**_named(row, site.name), "network_id": part.network["id"]}

    def _others(self, site: Site) -> list[str]:
        return (
            [name for name in self._cloud.sites if name != site.name]
            if self._cloud.mirrored
            else []
        )

    def _all_ports(self, site: Site, networks: set[str], wanted: frozenset[str]) -> Answer:
        """What engines ask for most, put together from texts that are made once for all sites: the simulation is not to
        cost more than what is measured."""
        texts: list[bytes] = []
        for network_id, part in site.parts.items():
            if part.network["id"] not in networks:
                continue
            texts += self._texts(network_id, site.name, wanted, own=True)
            for origin in self._others(site):
                texts += [
                    text.replace(_NETWORK.encode(), part.network["id"].encode())
                    for text in self._texts(network_id, origin, wanted, own=False)
                ]
        return Answer(status=200, body=b'{"ports": [' + b", ".join(texts) + b"]}")

    def _texts(
        self, network_id: str, origin: str, wanted: frozenset[str], *, own: bool
    ) -> list[bytes]:
        """The rows of one site's ports as one JSON text without brackets, in a list that is empty if there are none."""
        if self._version != self._cloud.version:
            self._rendered, self._version = {}, self._cloud.version
        key = (network_id, origin, wanted, own)
        if key not in self._rendered:
            part = self._cloud.sites[origin].parts.get(network_id)
            rows: Iterable[Row] = part.ports.values() if part else ()
            if not own:
                found = self._cloud.mirrors(network_id, origin)
                rows = ({**_named(row, "mirror"), "network_id": _NETWORK} for row in found)
            text = ", ".join(json.dumps(_cut(row, wanted)) for row in rows)
            self._rendered[key] = [text.encode()] if text else []
        return self._rendered[key]


def _named(row: Row, where: str) -> Row:
    """A remote port with an id of its own."""
    return {**row, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{where}/{row['device_id']}"))}


def _fields(query: Query) -> frozenset[str]:
    return frozenset(value for name, value in query if name == "fields")


def _cut(row: Row, wanted: frozenset[str]) -> Row:
    return {key: value for key, value in row.items() if key in wanted} if wanted else row


def _matches(row: Row, name: str, values: set[str]) -> bool:
    if name == "fixed_ips":
        return any(f"ip_address={each['ip_address']}" in values for each in row[name])
    if name == "tags":
        return {part for value in values for part in value.split(",")} <= set(row[name])
    if name == "security_groups":
        return bool(values & set(row[name]))
    return str(row[name]) in values


def _good(body: Any) -> Answer:
    return Answer(status=200, body=json.dumps(body).encode())


def _refused(status: int, kind: str, message: str) -> Answer:
    told = {"type": kind, "message": message, "detail": ""}
    return Answer(status=status, body=json.dumps({"NeutronError": told}).encode())
