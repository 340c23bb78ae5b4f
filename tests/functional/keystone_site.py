"""A real replica site for the tests of the kit: writer, read-only replica, Keystone under gunicorn.

Everything runs on loopback. What crosses the link to the writer site goes through two relays, one
for Keystone's writes and one for the replication; ``cut`` refuses both, as a listener does whose
servers are all down.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import json
import os
import pwd
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pymysql

from conditions import wait_for

PASSWORD = "correct horse"
LOCKOUT_ATTEMPTS = 3
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """Forwards a loopback port; ``cut`` closes it and every connection through it."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.heal()

    def heal(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        for one in [*([listener] if listener else []), *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                for source, sink, asked in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, asked), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asked: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passing(asked)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def passing(self, asked: bool) -> None:
        """Called before each piece of data goes on: `asked` by a client, or answered."""


class Database:
    """One mariadbd in a directory of its own that the user mysql can reach."""

    def __init__(self, root: Path, name: str, *, server_id: int, read_only: bool) -> None:
        self.directory = root / name
        self.directory.mkdir()
        self.port = free_port()
        self.socket = self.directory / "my.sock"
        owner = pwd.getpwnam("mysql")
        os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._config = self.directory / "my.cnf"
        self._config.write_text(
            f"""[mariadbd]
user=mysql
datadir={self.directory}/data
socket={self.socket}
pid-file={self.directory}/pid
log-error={self.directory}/error.log
bind-address=127.0.0.1
port={self.port}
server_id={server_id}
gtid_domain_id={server_id}
gtid_strict_mode=ON
skip-name-resolve
performance_schema=OFF
character-set-server=utf8mb4
innodb_buffer_pool_size=32M
innodb_log_file_size=16M
innodb_flush_log_at_trx_commit=2
log_bin=binlog
binlog_format=ROW
log_slave_updates=ON
slave_net_timeout=10
read_only={"ON" if read_only else "OFF"}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if not (self.directory / "data").exists():
            install = ["mariadb-install-db", "--no-defaults", "--user=mysql"]
            install += ["--auth-root-authentication-method=normal"]
            install += [f"--datadir={self.directory}/data"]
            subprocess.run(install, check=True, capture_output=True, timeout=60)
        self._process = subprocess.Popen(
            ["mariadbd", f"--defaults-file={self._config}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(f"{self.directory} answers", self._answers, 30)

    def _answers(self) -> bool:
        try:
            self.run("SELECT 1")
        except pymysql.Error:
            return False
        return True

    def run(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        connection = pymysql.connect(user="root", unix_socket=str(self.socket), autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def token(self) -> str:
        assert self.status == 201, self
        return self.headers["x-subject-token"]


def ask(
    address: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    subject: str | None = None,
) -> Answer:
    """One HTTP request to a Keystone (HOST:PORT) on a new connection, so that any worker may get it."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in (("X-Auth-Token", token), ("X-Subject-Token", subject)):
        if value:
            request.add_header(name, value)
    data = None if body is None else json.dumps(body).encode()
    try:
        # A password is hashed on a machine that may be busy.
        response = urllib.request.urlopen(request, data=data, timeout=60)  # noqa: S310
    except urllib.error.HTTPError as error:
        response = error
    with response:
        raw = response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, json.loads(raw) if raw else None)


class Site:
    """The replica site, and the writer site's database behind the relays."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.master = Database(root, "master", server_id=100, read_only=False)
        self.replica = Database(root, "replica", server_id=131, read_only=True)
        self.port = free_port()
        self.queue = root / "keystone" / "queue.sqlite"
        self.log = root / "keystone" / "keystone.log"
        self._gunicorn: subprocess.Popen[bytes] | None = None
        self._admin = ""

    def build(self) -> None:
        """Databases with replication from the first event, Keystone's schema and its admin."""
        self.master.start()
        self.replica.start()
        self.write_relay = Relay(self.master.port)
        self.replication_relay = Relay(self.master.port)
        self.master.run("CREATE USER repl@'%%' IDENTIFIED BY 'repl'")
        self.master.run("GRANT REPLICATION SLAVE ON *.* TO repl@'%%'")
        self.replica.run(
            "CHANGE MASTER TO master_host='127.0.0.1', master_user='repl',"
            f" master_password='repl', master_port={self.replication_relay.port},"
            " master_connect_retry=1, master_use_gtid=slave_pos"
        )
        self.replica.run("START SLAVE")
        for name in ("keystone", "isthmus_identity"):
            self.master.run(f"CREATE DATABASE {name}")
            self.master.run(f"GRANT ALL ON {name}.* TO keystone@'%%' IDENTIFIED BY 'kpw'")
        self.master.run(
            "CREATE TABLE isthmus_identity.replay_position (site VARCHAR(64), queue CHAR(32),"
            " sequence BIGINT NOT NULL, replayed_at DATETIME(6) NOT NULL,"
            " PRIMARY KEY (site, queue))"
        )
        self._configure()
        self._create_keystone()
        self.caught_up()
        self.start_keystone()

    def _configure(self) -> None:
        home = self.root / "keystone"
        home.mkdir()
        for keys in ("fernet-keys", "credential-keys"):
            (home / keys).mkdir(mode=0o700)
            for index in "01":
                key = base64.urlsafe_b64encode(secrets.token_bytes(32))
                (home / keys / index).write_bytes(key)
        account = "mysql+pymysql://keystone:kpw@127.0.0.1"
        options = "charset=utf8mb4&connect_timeout=3&read_timeout=5&write_timeout=5"
        (home / "keystone.conf").write_text(
            f"""[DEFAULT]
log_file={self.log}
use_stderr=false
[database]
connection={account}:{self.write_relay.port}/keystone?{options}
slave_connection={account}:{self.replica.port}/keystone?{options}
[token]
provider=fernet
[fernet_tokens]
key_repository={home}/fernet-keys
[fernet_receipts]
key_repository={home}/fernet-keys
[credential]
key_repository={home}/credential-keys
[cache]
enabled=true
backend=dogpile.cache.memory
[identity]
driver=isthmus
password_hash_rounds=4
max_password_length=72
[shadow_users]
driver=isthmus
[revoke]
driver=isthmus
[trust]
driver=isthmus
[security_compliance]
lockout_failure_attempts={LOCKOUT_ATTEMPTS}
lockout_duration=1800
[isthmus]
site=madrid
queue_path={self.queue}
backoff_limit=0.5
"""
        )

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(self.root / "keystone")}

    def _create_keystone(self) -> None:
        config = ["--config-file", str(self.root / "keystone" / "keystone.conf")]
        bootstrap = ["bootstrap", "--bootstrap-password", PASSWORD]
        bootstrap += ["--bootstrap-region-id", "madrid"]
        for command in (["db_sync"], bootstrap):
            done = subprocess.run(
                [str(BIN / "keystone-manage"), *config, *command],
                capture_output=True,
                text=True,
                timeout=120,
                env=self.environment,
            )
            assert done.returncode == 0, done.stderr[-3000:]

    def start_keystone(self) -> None:
        with (self.root / "gunicorn.log").open("ab") as output:
            self._gunicorn = subprocess.Popen(
                [
                    *(str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{self.port}", "--preload"),
                    *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
                    "isthmus.plugins.keystone.wsgi:application",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )
        wait_for("Keystone answers", self._keystone_answers, 60)

    def _keystone_answers(self) -> bool:
        assert self._gunicorn is not None
        assert self._gunicorn.poll() is None, (self.root / "gunicorn.log").read_text()[-3000:]
        try:
            return self("GET", "/v3").status == 200
        except OSError:
            return False

    def kill_keystone(self) -> None:
        """SIGKILL to every process of Keystone at once."""
        assert self._gunicorn is not None
        os.killpg(self._gunicorn.pid, signal.SIGKILL)
        self._gunicorn.wait(timeout=10)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Every write to a file fails in Keystone's workers, as on a full disk."""
        assert self._gunicorn is not None
        main = self._gunicorn.pid
        workers = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        assert workers
        for limit in (0, resource.RLIM_INFINITY):
            for pid in map(int, workers):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            if limit == 0:
                yield

    def stop(self) -> None:
        if self._gunicorn is not None and self._gunicorn.poll() is None:
            self._gunicorn.terminate()
            try:
                self._gunicorn.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill_keystone()
        self.master.stop()
        self.replica.stop()

    def cut(self) -> None:
        self.write_relay.cut()
        self.replication_relay.cut()

    def heal(self) -> None:
        self.write_relay.heal()
        self.replication_relay.heal()
        # Replication would try again within master_connect_retry; the tests need not wait for it.
        self.replica.run("STOP SLAVE")
        self.replica.run("START SLAVE")
        # The replay pauses half a second at most (backoff_limit below); the rest is room.
        wait_for("the queue has been replayed", lambda: self.pending() == 0, 15)
        self.caught_up()

    def caught_up(self) -> None:
        position = self.master.run("SELECT @@gtid_binlog_pos")[0][0]
        waited = self.replica.run("SELECT MASTER_GTID_WAIT(%s, 15)", position)
        assert waited == [(0,)], self.replica.run("SHOW SLAVE STATUS")

    def forget_replays(self) -> None:
        """The queue as it is when Keystone dies after the writer's commit and before its note."""
        with contextlib.closing(sqlite3.connect(self.queue, timeout=10)) as connection, connection:
            connection.execute("UPDATE entry SET replayed_at = NULL")

    def pending(self) -> int:
        with contextlib.closing(sqlite3.connect(self.queue)) as connection:
            query = "SELECT count(*) FROM entry WHERE replayed_at IS NULL"
            return int(connection.execute(query).fetchone()[0])

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        subject: str | None = None,
    ) -> Answer:
        """One HTTP request."""
        address = f"127.0.0.1:{self.port}"
        return ask(address, method, path, body, token=token, subject=subject)

    def login(
        self,
        name: str,
        password: str = PASSWORD,
        *,
        project: str | None = None,
        trust: str | None = None,
    ) -> Answer:
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if project:
            auth["scope"] = {"project": {"id": project}}
        if trust:
            auth["scope"] = {"OS-TRUST:trust": {"id": trust}}
        return self("POST", "/v3/auth/tokens", {"auth": auth})

    def validate(self, token: str, *, by: str | None = None) -> int:
        return self("GET", "/v3/auth/tokens", token=by or token, subject=token).status

    @functools.cached_property
    def member(self) -> str:
        """The id of the role member."""
        roles = self("GET", "/v3/roles", token=self.admin).body["roles"]
        return next(str(role["id"]) for role in roles if role["name"] == "member")

    @property
    def admin(self) -> str:
        """A token of the administrator, scoped to the project admin."""
        if not self._admin or self.validate(self._admin) != 200:
            user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
            scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
            identity = {"methods": ["password"], "password": {"user": user}}
            body = {"auth": {"identity": identity, "scope": scope}}
            self._admin = self("POST", "/v3/auth/tokens", body).token
        return self._admin

    def create(self, collection: str, singular: str, **what: Any) -> dict[str, Any]:
        answer = self("POST", f"/v3/{collection}", {singular: what}, token=self.admin)
        assert answer.status == 201, answer
        return dict(answer.body[singular])

    def account(self, user_id: str, database: Database) -> tuple[Any, ...]:
        """failed_auth_count, failed_auth_at, last_active_at as stored in a database."""
        query = (
            "SELECT failed_auth_count, failed_auth_at, last_active_at FROM keystone.user"
            " JOIN keystone.local_user ON local_user.user_id = user.id WHERE user.id = %s"
        )
        return database.run(query, user_id)[0]


@contextlib.contextmanager
def running_site() -> Iterator[Site]:
    with running(Site, "kit") as site:
        yield site


S = TypeVar("S", bound=Site)


@contextlib.contextmanager
def running(kind: Callable[[Path], S], purpose: str) -> Iterator[S]:
    """A site, built and up, below a folder of its own that its daemons' users can reach; all gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix=f"isthmus-{purpose}-", dir="/var/tmp"))
    root.chmod(0o755)
    site = kind(root)
    try:
        site.build()
        yield site
    finally:
        site.stop()
        shutil.rmtree(root)
