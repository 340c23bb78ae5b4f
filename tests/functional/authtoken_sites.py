"""Two sites with real Keystones, and services behind the filter: paris (the writer's database), madrid (its replica).

Everything runs on loopback. The services reach each Keystone through a relay that counts and can be slow. The agents here tell the
real lag of plain replication: the product's agent judges Galera nodes and needs a cluster, see test_agent_star.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import keystone_site
import pymysql
from keystone_site import BIN, PASSWORD, Answer, Site, free_port

from conditions import wait_for

# Seconds. Short, so that a test need not wait for the defaults; long enough for a busy machine.
TIMEOUT, STALE_LIMIT, PROOF_SECONDS, TOKEN_CACHE = 4.0, 4.0, 8.0, 12


class Relay(keystone_site.Relay):
    """Counts what clients send, and can hold back what passes."""

    def __init__(self, target: int) -> None:
        self.asked = 0
        self.delay = 0.0
        super().__init__(target)

    def passing(self, asked: bool) -> None:
        self.asked += asked
        if self.delay:
            time.sleep(self.delay)


class Keystone:
    """Keystone's processes at one site: killed and frozen as a group."""

    def __init__(self, home: Path, port: int, relay: Relay) -> None:
        self.home, self.port, self.relay = home, port, relay
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{self.port}", "--preload"]
        command += ["--worker-class", "gthread", "--workers", "1", "--threads", "4"]
        with (self.home / "gunicorn.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "isthmus.plugins.keystone.wsgi:application"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(self.home)},
                start_new_session=True,
            )
        wait_for(f"{self.home.name} answers", self._answers, 90)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.home / "gunicorn.log").read_text()[-3000:]
        return self.get("/v3")[0] == 200

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return get(self.port, path, **headers)

    def signal(self, number: int) -> None:
        """To all its processes at once."""
        assert self._process is not None
        os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait(timeout=10)

    def validates(self, token: str) -> int:
        """What this Keystone says of a token, asked with the token itself."""
        return self.get("/v3/auth/tokens", **{"X-Auth-Token": token, "X-Subject-Token": token})[0]

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and body; 0 if there is no answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Agent:
    """Tells a site's lag and queue in the shape of isthmus-agent's /status."""

    def __init__(self, lag: Callable[[], float | None], pending: Callable[[], int]) -> None:
        def document() -> dict[str, Any]:
            seconds = lag()
            database = {
                "name": "identity",
                "serving": seconds is not None,
                "lag_seconds": seconds,
                "observed_age_seconds": 0.0,
            }
            return {"databases": [database], "queue": {"pending": pending()}}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = json.dumps(document()).encode()
                with contextlib.suppress(OSError):  # a client that has given up
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Service:
    """One process of a service behind the filter."""

    def __init__(self, folder: Path, name: str, text: str) -> None:
        self.port = free_port()
        self._log = folder / f"{name}.log"
        config = folder / f"{name}.conf"
        config.write_text(text)
        config.chmod(0o600)
        command = [str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{self.port}"]
        command += ["--worker-class", "gthread", "--threads", "8", "authtoken_service:application"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=Path(__file__).parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "AUTHTOKEN_CONFIG": str(config)},
                start_new_session=True,
            )
        wait_for(f"{name} answers", self._answers, 60)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log()[-3000:]
        return self("garbage") != 0

    def __call__(self, token: str) -> int:
        """The status that a client with this token gets."""
        return get(self.port, "/", **{"X-Auth-Token": token})[0]

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)


class ReplicaSite(Site):
    """The replica site without a cache in Keystone, so that the bound is the middleware's own."""

    def _configure(self) -> None:
        super()._configure()
        path = self.root / "keystone" / "keystone.conf"
        path.write_text(path.read_text().replace("dogpile.cache.memory", "dogpile.cache.null"))


class Sites:
    """Both sites and a service in each."""

    def __init__(self, root: Path, site: ReplicaSite, stack: contextlib.ExitStack) -> None:
        self.site = site
        # In the future while it is not behind; None while it does not answer.
        self._behind_since: float | None = None
        stop = threading.Event()
        watch = threading.Thread(target=self._watch, args=(stop,))
        watch.start()
        stack.callback(watch.join)
        stack.callback(stop.set)
        self.madrid = self._keystone(root / "keystone", site.port)
        self.paris = self._keystone(self._paris(root), free_port())
        for keystone in (self.madrid, self.paris):
            stack.callback(keystone.relay.cut)
            stack.callback(keystone.stop)
            keystone.start()
        self.agents = {
            "madrid": Agent(self._lag, self._pending),
            "paris": Agent(lambda: 0.0, lambda: 0),
        }
        for agent in self.agents.values():
            stack.callback(agent.close)
        self._account()
        self.at_madrid = self._service(root, "madrid", self.madrid, "paris", self.paris)
        stack.callback(self.at_madrid.stop)
        self.at_paris = self._service(root, "paris", self.paris, "madrid", self.madrid)
        stack.callback(self.at_paris.stop)

    def _keystone(self, home: Path, port: int) -> Keystone:
        return Keystone(home, port, Relay(port))

    def _paris(self, root: Path) -> Path:
        """Keystone at the writer site: the same keys, everything at the writer's database."""
        home = root / "paris"
        home.mkdir()
        text = (root / "keystone" / "keystone.conf").read_text()
        for other in (self.site.write_relay.port, self.site.replica.port):
            text = text.replace(f"127.0.0.1:{other}/", f"127.0.0.1:{self.site.master.port}/")
        text = text.replace("site=madrid", "site=paris")
        text = text.replace(str(self.site.queue), str(home / "queue.sqlite"))
        (home / "keystone.conf").write_text(text)
        return home

    def _account(self) -> None:
        """The services' account, and one identity endpoint per region in the catalog."""
        site = self.site
        self.user = site.create(
            "users", "user", name="glance", password=PASSWORD, domain_id="default"
        )
        self.project = site.create("projects", "project", name="service", domain_id="default")
        roles = site("GET", "/v3/roles?name=service", token=site.admin).body["roles"]
        path = f"/v3/projects/{self.project['id']}/users/{self.user['id']}/roles/{roles[0]['id']}"
        assert site("PUT", path, token=site.admin).status == 204
        service = site.create("services", "service", type="identity", name="keystone")
        site.create("regions", "region", id="paris")
        for region, keystone in (("madrid", self.madrid), ("paris", self.paris)):
            site.create(
                "endpoints", "endpoint", interface="internal", region_id=region,
                service_id=service["id"], url=f"http://127.0.0.1:{keystone.relay.port}/v3",
            )  # fmt: skip
        site.caught_up()

    def _service(
        self, root: Path, name: str, own: Keystone, other_name: str, other: Keystone
    ) -> Service:
        text = f"""[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:{own.relay.port}/v3
username = glance
password = {PASSWORD}
project_name = service
user_domain_id = default
project_domain_id = default
region_name = {name}
interface = internal
www_authenticate_uri = http://127.0.0.1:{own.relay.port}/v3
token_cache_time = {TOKEN_CACHE}
[isthmus_authtoken]
others = {other_name}:http://127.0.0.1:{other.relay.port}
agents = {other_name}:http://127.0.0.1:{self.agents[other_name].port}
local_agent = http://127.0.0.1:{self.agents[name].port}
timeout = {TIMEOUT}
stale_limit = {STALE_LIMIT}
proof_seconds = {PROOF_SECONDS}
come_back_seconds = 1
"""
        return Service(root, f"service-{name}", text)

    def _lag(self) -> float | None:
        """How long the replica has been behind the writer's database; None if it does not answer."""
        since = self._behind_since
        return since and max(0.0, time.monotonic() - since)

    def _watch(self, stop: threading.Event) -> None:
        """Look ten times a second, as an agent does; nobody would otherwise know since when."""
        while not stop.wait(0.1):
            began = time.monotonic()
            try:
                have = self.site.replica.run("SELECT @@gtid_slave_pos")[0][0]
                wanted = self.site.master.run("SELECT @@gtid_binlog_pos")[0][0]
            except pymysql.Error:
                self._behind_since = None
            else:
                behind = self._behind_since not in (None, float("inf"))
                if wanted == have:
                    self._behind_since = float("inf")
                elif not behind:
                    self._behind_since = began

    def _pending(self) -> int:
        return self.site.pending() if self.site.queue.exists() else 0

    def login(self) -> str:
        """A new token of a user, issued at paris and known at once in madrid (nothing is stored)."""
        name = {"name": "glance", "domain": {"id": "default"}, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": name}}
        scope = {"project": {"id": self.project["id"]}}
        body = {"auth": {"identity": identity, "scope": scope}}
        return self._at_paris("POST", "/v3/auth/tokens", body).token

    def revoke(self, token: str) -> float:
        """Revoke at paris; the monotonic time when that was answered."""
        answer = self._at_paris("DELETE", "/v3/auth/tokens", token=token, subject=token)
        assert answer.status == 204, answer
        return time.monotonic()

    def _at_paris(self, *arguments: Any, **keywords: Any) -> Answer:
        own, self.site.port = self.site.port, self.paris.port
        try:
            return self.site(*arguments, **keywords)
        finally:
            self.site.port = own


@contextlib.contextmanager
def running_sites() -> Iterator[Sites]:
    with contextlib.ExitStack() as stack:
        root = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="isthmus-authtoken-", dir="/var/tmp")
            )
        )
        root.chmod(0o755)
        site = ReplicaSite(root)
        stack.callback(site.stop)
        # Both Keystones are started here, as groups that can be killed and frozen.
        site.start_keystone = lambda: None  # type: ignore[method-assign]
        site.build()
        yield Sites(root, site, stack)
