"""What a cloud answers to those who read its lists, behind real HTTP on the loopback, each request counted.

It stands for Nova, Cinder and Neutron at one address and only for what `isthmus plan validate` reads. Lists are cut off where
services cut them off, with a link to the rest.
"""

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keystoneauth1.noauth
import keystoneauth1.session

PAGE = 1000
"""Objects in an answer (`max_limit` of Nova, `osapi_max_limit` of Cinder; Neutron has none by default)."""

_PATHS = {
    "/flavors/detail": "flavors",
    "/os-keypairs": "keypairs",
    "/os-server-groups": "server_groups",
    "/os-availability-zone": "availabilityZoneInfo",
    "/types": "volume_types",
    "/v2.0/networks": "networks",
    "/v2.0/subnets": "subnets",
    "/v2.0/security-groups": "security_groups",
    "/v2.0/ports": "ports",
}
_ROOM = -1  # no limit


@dataclass(kw_only=True)
class Cloud:
    """A cloud's lists, and how often each path was asked for."""

    lists: Mapping[str, Sequence[Mapping[str, Any]]]
    requests: Counter[str] = field(default_factory=Counter)

    def answer(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """The document at a path; None: there is none."""
        self.requests[path] += 1
        if path in _PATHS:
            return self._page(_PATHS[path], query.get("marker"))
        if path.endswith("/details"):
            return {"quota": {"port": {"limit": _ROOM, "used": 0, "reserved": 0}}}
        if path == "/limits":
            # Both Nova and Cinder have this path; each reader takes what it knows.
            names = ("Instances", "Cores", "RAMSize", "Volumes", "VolumeGigabytes")
            used = {"totalVolumesUsed": 0, "totalGigabytesUsed": 0}
            return {"limits": {"absolute": {f"maxTotal{name}": _ROOM for name in names} | used}}
        return None

    def _page(self, collection: str, marker: str | None) -> dict[str, Any]:
        found = self.lists[collection]
        start = 0
        if marker is not None:
            start = next(n for n, each in enumerate(found, 1) if each["id"] == marker)
        page, rest = found[start : start + PAGE], len(found) > start + PAGE
        links = {f"{collection}_links": [{"rel": "next", "href": ""}]} if rest else {}
        return {collection: page, **links}


@contextlib.contextmanager
def serving(cloud: Cloud, project: str) -> Iterator[Any]:
    """A session of keystoneauth whose services are all this cloud."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet, or the client's kernel waits before it answers.
        wbufsize = -1

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            found = cloud.answer(url.path, dict(urllib.parse.parse_qsl(url.query)))
            content = json.dumps(found if found is not None else {}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield keystoneauth1.session.Session(auth=_Scoped(endpoint, project))
    finally:
        server.shutdown()
        server.server_close()


class _Scoped(keystoneauth1.noauth.NoAuth):
    """No token, but a project."""

    def __init__(self, endpoint: str, project: str) -> None:
        super().__init__(endpoint=endpoint)
        self._project = project

    def get_project_id(self, session: Any, **_: Any) -> str:
        return self._project
