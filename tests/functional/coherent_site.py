"""A replica site whose agent follows its database, and a stock Keystone on the writer's database to hold it against.

The stock one has no cache beyond a request and no part of the site kit. Changes that are made through it are changes made
elsewhere: the site learns of them by replication alone.
"""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keystone_site import BIN, PASSWORD, Site, free_port, running

from conditions import wait_for
from isthmus.plugins.keystone import generation_file

HOST = "identity.example"
# What the tests set; an operator's default is 1 s. Longer than a busy machine may keep the agent from its work.
PROOF_SECONDS = 3.0
CACHE_SECONDS = 2
# These differ from answer to answer whatever is asked.
_OWN = ("date", "x-openstack-request-id", "connection", "server")


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer as bytes, without what differs by nature."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    request_id: str = dataclasses.field(compare=False, default="")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to one Keystone, kept open as long as the server keeps it."""

    def __init__(self, port: int, *, seconds: float = 60.0) -> None:
        self._port, self._seconds = port, seconds
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Reply:
        """The reply; a connection that the server has closed meanwhile is replaced once."""
        for attempt in (1, 2):
            try:
                return self.once(method, path, headers, body)
            except (http.client.HTTPException, OSError):
                self.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def once(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Reply:
        """The reply; raises OSError (TimeoutError among them) or http.client.HTTPException."""
        if self._connection is None:
            address = "127.0.0.1", self._port
            self._connection = http.client.HTTPConnection(*address, timeout=self._seconds)
        content = None if body is None else json.dumps(body)
        said = {"Host": HOST, **headers}
        if content is not None:
            said["Content-Type"] = "application/json"
        self._connection.request(method, path, content, said)
        answer = self._connection.getresponse()
        content_bytes = answer.read()
        pairs = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(
            answer.status,
            tuple(pair for pair in pairs if pair[0] not in _OWN),
            content_bytes,
            dict(pairs).get("x-openstack-request-id", ""),
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class CoherentSite(Site):
    """The replica site with its agent, and the stock Keystone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.generations = root / "run" / "generations"
        self.stock_port, self.agent_port = free_port(), free_port()
        self.stock_home = root / "stock"
        self._stock: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        # Keystone lists roles in the order of a set of texts, which differs from process to process otherwise.
        return {**super().environment, "PYTHONHASHSEED": "0"}

    @property
    def homes(self) -> tuple[Path, Path]:
        """The configuration directories of both Keystones."""
        return self.root / "keystone", self.stock_home

    def _configure(self) -> None:
        super()._configure()
        path = self.root / "keystone" / "keystone.conf"
        ours = configparser.RawConfigParser()
        ours.read(path)
        ours["cache"]["expiration_time"] = str(CACHE_SECONDS)
        ours["identity"]["cache_time"] = ours["revoke"]["cache_time"] = str(CACHE_SECONDS)
        ours["isthmus"]["generation_path"] = str(self.generations)
        ours["isthmus"]["proof_max_age"] = str(PROOF_SECONDS)
        with path.open("w") as file:
            ours.write(file)
        self._configure_stock(ours)
        self.master.run("GRANT SLAVE MONITOR, REPLICATION SLAVE ADMIN ON *.* TO repl@'%%'")

    def _configure_stock(self, ours: configparser.RawConfigParser) -> None:
        for section in ("shadow_users", "revoke", "trust", "isthmus"):
            ours.remove_section(section)
        ours.remove_option("identity", "driver")
        ours.remove_option("database", "slave_connection")
        ours["cache"]["backend"] = "dogpile.cache.null"
        account = ours["database"]["connection"].rpartition("@")[0]
        ours["database"]["connection"] = f"{account}@127.0.0.1:{self.master.port}/keystone"
        ours["DEFAULT"]["log_file"] = str(self.stock_home / "keystone.log")
        self.stock_home.mkdir()
        with (self.stock_home / "keystone.conf").open("w") as file:
            ours.write(file)
        # In a file: stock Keystone takes the server's command line for its own.
        (self.stock_home / "gunicorn.conf.py").write_text(
            f"wsgi_app = 'keystone.wsgi.api:application'\nbind = '127.0.0.1:{self.stock_port}'\n"
            # One thread, so that a test knows what it has cached.
            "worker_class = 'gthread'\nworkers = 1\nthreads = 1\npreload_app = True\n"
        )

    def start_keystone(self) -> None:
        self.start_agent()
        self._start_stock()
        super().start_keystone()
        wait_for("stock Keystone answers", self._stock_answers, 60)
        self.admin_headers = {"X-Auth-Token": self.admin}

    def _start_stock(self) -> None:
        with (self.root / "stock.log").open("ab") as output:
            self._stock = subprocess.Popen(
                [str(BIN / "gunicorn")],
                cwd=self.stock_home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self.environment, "OS_KEYSTONE_CONFIG_DIR": str(self.stock_home)},
                start_new_session=True,
            )

    def _stock_answers(self) -> bool:
        try:
            return Client(self.stock_port).ask("GET", "/v3", {}).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def start_agent(self) -> None:
        """Start the agent; it follows the site's replica, and watches it as agents do."""
        password = self.root / "repl.password"
        password.write_text("repl")
        password.chmod(0o600)
        account = {"user": "repl", "password_file": str(password)}
        document = {
            "site": "madrid",
            "listen": [f"127.0.0.1:{self.agent_port}"],
            "writer_preference": ["paris"],
            "databases": [
                {
                    "name": "replica-paris",
                    "kind": "replica",
                    "host": "127.0.0.1",
                    "port": self.replica.port,
                    **account,
                }
            ],
            "masters": {"paris": {"host": "127.0.0.1", "port": self.replication_relay.port}},
            "replication": account,
            "generation_file": str(self.generations),
        }
        path = self.root / "agent.yaml"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        with (self.root / "agent.log").open("ab") as output:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "isthmus.agent.main", "--config", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_for("the replica is followed", lambda: self.view() is not None, 30)

    def end_agent(self, number: int = signal.SIGTERM) -> None:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGCONT)
        self.agent.send_signal(number)
        self.agent.wait(15)

    def stop(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.end_agent()
        if self._stock is not None:
            self._stock.terminate()
            self._stock.wait(15)
        super().stop()

    def view(self, *, seconds: float = PROOF_SECONDS) -> generation_file.View | None:
        """What the file says now to whoever believes proofs of so many seconds."""
        try:
            content = self.generations.read_bytes()
        except FileNotFoundError:
            return None
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return generation_file.parse(content, now=now, limit=int(seconds * 1e9))

    def proven(self) -> None:
        """Wait until the replica has applied, and the agent has counted, all that was written so far."""
        self.caught_up()
        began = time.clock_gettime(time.CLOCK_BOOTTIME)

        def counted() -> bool:
            age = time.clock_gettime(time.CLOCK_BOOTTIME) - began
            view = self.view(seconds=age)
            return view is not None and not view.changing

        wait_for("the agent has counted what was written", counted, 15)

    def replayed(self) -> None:
        """Wait until the writer has what this site has queued."""
        wait_for("the queue has been replayed", lambda: self.pending() == 0, 15)

    def elsewhere(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A request of the administrator's to the stock Keystone."""
        said = {**self.admin_headers, **headers}
        answer = Client(self.stock_port).ask(method, f"/v3{path}", said, body)
        assert answer.status < 300, (method, path, answer)
        return answer

    def here(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A request of the administrator's to the site."""
        answer = Client(self.port).ask(
            method, f"/v3{path}", {**self.admin_headers, **headers}, body
        )
        assert answer.status < 300, (method, path, answer)
        return answer

    def token(self, identity: dict[str, Any], scope: Any = None) -> str:
        """A token from the stock Keystone; `identity` without `methods` is a password's user."""
        if "methods" not in identity:
            user = {"password": PASSWORD, **identity}
            identity = {"methods": ["password"], "password": {"user": user}}
        auth = {"identity": identity, **({"scope": scope} if scope else {})}
        answer = Client(self.stock_port).ask("POST", "/v3/auth/tokens", {}, {"auth": auth})
        assert answer.status == 201, answer
        return dict(answer.headers)["x-subject-token"]

    @contextlib.contextmanager
    def frozen(self, pid: int) -> Iterator[None]:
        """One of the tests' own processes stands still."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def running_coherent_site() -> Iterator[CoherentSite]:
    with running(CoherentSite, "coherent") as site:
        yield site
