"""Identity endpoints and agents on loopback whose answers a test chooses; the tests of one decision each use it.

What real Keystones do is in tests/functional/test_authtoken.py.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from keystonemiddleware.auth_token import AUTH_TOKEN_OPTS
from oslo_config import cfg

from isthmus.plugins.authtoken import middleware, options

EXPIRES = "2126-01-01T00:00:00.000000Z"


class Endpoint:
    """A Keystone and its site's agent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200  # of a validation
        self.garbage = False
        self.refuses_login = False
        self.delay = 0.0
        self.lag: float | None = 0.1
        self.pending = 0
        self.agent_delay = 0.0
        self.logins = 0
        self.validated: list[str] = []
        self._keystone, self.url = _serve(self)
        self._agent, self.agent = _serve(self)

    def stop(self) -> None:
        """End the Keystone; the agent goes on."""
        self._keystone.shutdown()
        self._keystone.server_close()

    def end(self) -> None:
        self.stop()
        self._agent.shutdown()
        self._agent.server_close()

    def token(self) -> dict[str, Any]:
        """The body of a token; the catalog leads to this endpoint."""
        own = {
            "interface": "internal",
            "region": "here",
            "region_id": "here",
            "url": f"{self.url}/v3",
        }
        return {
            "token": {
                "methods": ["password"],
                "user": {"id": "u1", "name": "glance", "domain": {"id": "default", "name": "d"}},
                "project": {
                    "id": "p1",
                    "name": "service",
                    "domain": {"id": "default", "name": "d"},
                },
                "roles": [{"id": "r1", "name": "service"}],
                "expires_at": EXPIRES,
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "audit_ids": [self.name],
                "catalog": [{"type": "identity", "id": "i", "name": "k", "endpoints": [own]}],
            }
        }

    def document(self) -> dict[str, Any]:
        """The agent's /status."""
        database = {
            "name": "db",
            "serving": True,
            "lag_seconds": self.lag,
            "observed_age_seconds": 0,
        }
        return {"databases": [database], "queue": {"pending": self.pending}}


def _serve(endpoint: Endpoint) -> tuple[ThreadingHTTPServer, str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/status":
                time.sleep(endpoint.agent_delay)
                self._send(200, endpoint.document())
            elif self.path.startswith("/v3/auth/tokens"):
                endpoint.validated.append(self.headers["X-Subject-Token"])
                time.sleep(endpoint.delay)
                if endpoint.garbage:
                    self._send(200, "<html>a proxy</html>")
                else:
                    self._send(endpoint.status, endpoint.token() if endpoint.status == 200 else {})
            else:
                link = {"href": f"{endpoint.url}/v3/", "rel": "self"}
                version = {"id": "v3.14", "status": "stable", "links": [link]}
                self._send(200, {"version": version})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.logins += 1
            if endpoint.refuses_login:
                self._send(401, {"error": {"code": 401, "message": "no"}})
            else:
                self._send(201, endpoint.token(), token=uuid.uuid4().hex)

        def _send(self, status: int, body: Any, token: str | None = None) -> None:
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            with contextlib.suppress(OSError):  # a client that has given up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if token:
                    self.send_header("X-Subject-Token", token)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


class Service:
    """The filter around an application that answers 200 with the audit id of whoever vouched."""

    def __init__(self, own: Endpoint, others: list[Endpoint], **changes: Any) -> None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        for group, opts in AUTH_TOKEN_OPTS:
            conf.register_opts(opts, group=group)
        conf.register_opts(options.OPTIONS, options.GROUP)
        ours = {
            "others": {each.name: each.url for each in others},
            "agents": {each.name: each.agent for each in others},
            "local_agent": own.agent,
            # A busy machine answers on loopback within this.
            "timeout": 4.0,
            "proof_seconds": 5.0,
            "come_back_seconds": 0.5,
        }
        for name, value in {**ours, **changes.pop("ours", {})}.items():
            conf.set_override(name, value, options.GROUP)
        stock = {
            "auth_type": "password",
            "auth_url": f"{own.url}/v3",
            "username": "glance",
            "password": "hunter2",
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region_name": "here",
            "www_authenticate_uri": "http://front:5000/v3",
            "token_cache_time": "10",
            **changes,
        }
        factory = middleware.filter_factory({"oslo_config_config": conf}, **stock)
        self.filter = factory(_application)

    def __call__(self, token: str = "user-token") -> tuple[int, str]:  # noqa: S107
        """Status, and who vouched for the token."""
        found: list[str] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "SERVER_NAME": "s",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "HTTP_X_AUTH_TOKEN": token,
        }
        body = b"".join(self.filter(environ, lambda status, *_: found.append(status)))
        return int(found[0].split()[0]), body.decode()


def _application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [environ["keystone.token_info"]["token"]["audit_ids"][0].encode()]


@contextlib.contextmanager
def endpoints(*names: str) -> Iterator[list[Endpoint]]:
    """Running endpoints of these names."""
    running = [Endpoint(name) for name in names]
    try:
        yield running
    finally:
        for each in running:
            each.end()
