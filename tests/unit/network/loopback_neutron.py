"""A server on the loopback that answers like Neutron, also in ways that a healthy one rarely does.

It serves tests of requests and answers only: lists in pages, refusals, silence. What Neutron does
with what it is told is tested against real ones in the lab.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import threading
import time
import types
import urllib.parse
from collections.abc import Iterator
from typing import Any

from keystoneauth1 import plugin, session

SECRET = "gAAAA-token-of-the-engine"


class Auth(plugin.BaseAuthPlugin):  # type: ignore[misc]
    """A token without an identity service."""

    def __init__(self, url: str | None) -> None:
        super().__init__()
        self.url = url
        self.roles = ["admin", "service"]

    def get_token(self, _session: Any, **_: Any) -> str:
        return SECRET

    def get_endpoint(self, _session: Any, **_: Any) -> str | None:
        return self.url

    def get_access(self, _session: Any, **_: Any) -> Any:
        return types.SimpleNamespace(role_names=self.roles)


class Refusal(Exception):
    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status, self.kind = status, kind


class LoopbackNeutron:
    """Tables of JSON objects behind HTTP."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {
            each: {} for each in ("networks", "subnets", "ports", "security_groups")
        }
        self.page = 1000
        self.quota = -1
        self.requests: list[str] = []
        self.broken: dict[str, int] = {}
        """Status to answer with, by the end of the path."""
        self.delay = 0.0
        self._numbers = itertools.count(1)
        handler = type("Handler", (_Handler,), {"neutron": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.auth = Auth(self.url)
        self.session = session.Session(auth=self.auth)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, table: str, **values: Any) -> dict[str, Any]:
        key = values.setdefault("id", f"{table}-{next(self._numbers)}")
        self.tables[table][key] = values
        return values

    def answer(self, method: str, path: str, query: list[tuple[str, str]], body: Any) -> Any:
        parts = path.removeprefix("/v2.0/").split("/")
        if parts[0] == "quotas":
            return {"quota": {"port": {"limit": self.quota, "used": self._used(), "reserved": 0}}}
        table = parts[0].replace("-", "_")
        if len(parts) > 2:
            return self._tag(table, parts[1], parts[3:], method, body)
        if method == "GET":
            return self._list(table, query)
        if method == "POST":
            return self._create(table, body)
        if parts[1] not in self.tables[table]:
            raise Refusal(404, f"{table}NotFound")
        if method == "DELETE":
            del self.tables[table][parts[1]]
            return None
        self.tables[table][parts[1]].update(body[table[:-1]])
        return {table[:-1]: self.tables[table][parts[1]]}

    def _used(self) -> int:
        return len(self.tables["ports"])

    def _tag(self, table: str, key: str, tag: list[str], method: str, body: Any) -> Any:
        held = set(self.tables[table][key].setdefault("tags", []))
        named = {urllib.parse.unquote(each) for each in tag}
        new = set(body["tags"]) if body else held - named if method == "DELETE" else held | named
        self.tables[table][key]["tags"] = sorted(new)
        return {"tags": sorted(new)}

    def _list(self, table: str, query: list[tuple[str, str]]) -> Any:
        filters: dict[str, set[str]] = {}
        for key, value in query:
            filters.setdefault(key, set()).add(value)
        fields = filters.pop("fields", set())
        marker = filters.pop("marker", {""}).pop()
        rows = [
            row for key, row in sorted(self.tables[table].items())
            if key > marker and all(_matches(row, name, each) for name, each in filters.items())
        ]  # fmt: skip
        shown = [{k: v for k, v in row.items() if k in fields} for row in rows[: self.page]]
        answer: dict[str, Any] = {table: shown}
        if len(rows) > self.page:
            more = [*(e for e in query if e[0] != "marker"), ("marker", rows[self.page - 1]["id"])]
            href = f"http://internal.invalid/v2.0/{table}?{urllib.parse.urlencode(more)}"
            answer[f"{table}_links"] = [{"rel": "next", "href": href}]
        return answer

    def _create(self, table: str, body: Any) -> Any:
        rows = body.get(table) or [body[table[:-1]]]
        if table == "ports" and 0 <= self.quota < self._used() + len(rows):
            raise Refusal(409, "OverQuota")
        for row in rows:
            self._check_unique(table, row)
        made = [self.add(table, **_shown(table, row)) for row in rows]
        return {table: made} if table in body else {table[:-1]: made[0]}

    def _check_unique(self, table: str, row: dict[str, Any]) -> None:
        for other in self.tables[table].values():
            vni = "provider:segmentation_id"
            if table == "networks" and str(row.get(vni)) == str(other.get(vni)):
                raise Refusal(409, "TunnelIdInUse")
            if table == "subnets" and row["network_id"] == other["network_id"]:
                raise Refusal(400, "InvalidInput")
            if table == "ports" and row["mac_address"] == other["mac_address"]:
                raise Refusal(409, "MacAddressInUse")
            if table == "ports" and _ips(row) & _ips(other):
                raise Refusal(409, "IpAddressInUse")


def _shown(table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table != "ports":
        return dict(row)
    return {**row, "vtep_ip": row.get("remote_vtep"), "status": "ACTIVE", "revision_number": 1}


def _ips(row: dict[str, Any]) -> set[str]:
    return {each["ip_address"] for each in row["fixed_ips"]}


def _matches(row: dict[str, Any], name: str, wanted: set[str]) -> bool:
    if name == "fixed_ips":
        return any(f"ip_address={each['ip_address']}" in wanted for each in row["fixed_ips"])
    if name == "tags":
        return wanted <= set(row.get("tags", []))
    return str(row.get(name)) in wanted


class _Handler(http.server.BaseHTTPRequestHandler):
    neutron: LoopbackNeutron
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.neutron.requests.append(f"{self.command} {split.path}")
        if self.neutron.delay:
            time.sleep(self.neutron.delay)
        for end, status in self.neutron.broken.items():
            if split.path.endswith(end):
                return self._send(status, None)
        query = urllib.parse.parse_qsl(split.query)
        try:
            self._send(200, self.neutron.answer(self.command, split.path, query, body))
        except Refusal as refusal:
            told = {"type": refusal.kind, "message": f"refused: {refusal.kind}", "detail": ""}
            self._send(refusal.status, {"NeutronError": told})

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who does not wait for a slow answer
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def serve() -> Iterator[LoopbackNeutron]:
    neutron = LoopbackNeutron()
    yield neutron
    neutron.close()
