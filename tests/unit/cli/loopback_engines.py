"""Little engines on the loopback: they answer what the test has them answer, and note what was asked."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from loopback_cloud import TOKEN, Cloud

NETWORK = {
    "id": "6f9619ff-8b86-4011-b42d-00c04fc964ff",
    "name": "backup",
    "project_id": "vnf",
    "cidr": "10.20.0.0/24",
    "vni": 4000,
    "sites": ["paris", "lyon"],
    "pools": {"paris": [["10.20.0.1", "10.20.0.63"]], "lyon": [["10.20.0.64", "10.20.0.127"]]},
    "gateway": "none",
    "gateways": {},
    "dhcp": "none",
    "mtu": 1450,
    "partition": "keep",
    "partition_after_seconds": 300.0,
    "slots": 4,
    "revision": 1,
    "deleting": False,
}


def part(site: str, **changes: Any) -> dict[str, Any]:
    """What the engine of a healthy site says of the network."""
    healthy = {
        "site": site,
        "revision": 1,
        "converged": True,
        "end": "empty",
        "age_seconds": 3.0,
        "ports": [],
        "remote_ports": [],
        "findings": [],
        "left": [],
    }
    return {**healthy, **changes}


def finding(**changes: Any) -> dict[str, Any]:
    plain = {
        "code": "ip-clash",
        "outcome": "ERROR",
        "network": "backup",
        "site": "paris",
        "summary": "10.20.0.5 has two owners",
        "cause": "both sites gave it away",
        "remedy": "openstack port delete 4f",
        "owners": ["paris: port web-1 (4f)", "lyon: port web-2 (5a)"],
    }
    return {**plain, **changes}


def shown(**parts: dict[str, Any]) -> dict[str, Any]:
    sites = parts or {"paris": part("paris"), "lyon": part("lyon")}
    return {"network": NETWORK, "asked": "paris", "sites": sites, "lost_sites": []}


class Engines:
    """One server for each site. `answers`: by "METHOD /path", a status and a document, or a list of
    them for one request after the other."""

    def __init__(self, cloud: Cloud) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        """Site, "METHOD /path", body."""
        self.dead: set[str] = set()
        self.cut_off: set[str] = set()
        """Sites whose engine answers 503 to everything: its writer cannot be reached."""
        self.servers = {name: self._serve(name) for name in ("paris", "lyon", "madrid")}
        sites = yaml.safe_load(cloud.sites_file.read_text())
        for site in sites["sites"]:
            address = self.servers[site["name"]].server_address
            site["engine"] = f"http://127.0.0.1:{address[1]}"
        cloud.sites_file.write_text(yaml.safe_dump(sites))

    def kill(self, name: str) -> None:
        self.servers[name].shutdown()
        self.servers[name].server_close()
        self.dead.add(name)

    def stop(self) -> None:
        for name in set(self.servers) - self.dead:
            self.kill(name)

    def answer(self, site: str, question: str, body: Any, token: str | None) -> tuple[int, Any]:
        if question == "GET /healthcheck":
            return 200, None
        self.asked.append((site, question, body))
        if token != TOKEN:
            return 401, {"error": {"kind": "PrivilegeError", "what": "the token is not valid"}}
        if site in self.cut_off:
            what = {"kind": "UnavailableError", "what": "the declarations cannot be changed now"}
            return 503, {"error": what}
        found = self.answers.get(question, (404, {"error": {"kind": "UsageError", "what": "none"}}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found

    def _serve(self, name: str) -> http.server.ThreadingHTTPServer:
        engines = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                question = f"{self.command} {self.path}"
                token = self.headers.get("X-Auth-Token")
                status, document = engines.answer(name, question, body, token)
                payload = b"" if document is None else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_POST = do_PATCH = do_DELETE = do_PUT = do_GET

            def log_message(self, *args: object) -> None:
                """Tests are silent."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


@pytest.fixture
def engines(cloud: Cloud) -> Iterator[Engines]:
    found = Engines(cloud)
    yield found
    found.stop()
