"""Keystones on the loopback, without a lab: ours and stock ones over one MariaDB, and an empty application as the floor.

Every one runs under gunicorn with the same number of processes and threads; stock ones differ from ours by what makes them stock
(`bench.servers.configuration`). The database is its own replica: nothing here is about links.
"""

import base64
import contextlib
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from bench import servers
from isthmus import errors
from isthmus.identity import config, schema
from isthmus.lab import waiting
from isthmus.lab.components import keystone, service_config

PASSWORD = "correct horse"  # noqa: S105 - of a database that lives for minutes, on the loopback
SITE = "paris"
SERVICES = ("compute", "volumev3", "image", "network", "placement", "object-store", "orchestration")
REGIONS = ("paris", "lyon", "madrid")
INTERFACES = ("public", "internal", "admin")
_BIN = Path(sys.executable).parent
_READY_SECONDS = 120.0

FLOOR = "floor"
NULL = "stock-null"
MEMCACHED = "stock-memcached"
OURS = "isthmus"
WORDS = {
    FLOOR: "an empty WSGI application with as long an answer",
    NULL: "stock, cache within a request only (null backend)",
    MEMCACHED: "stock, memcached for 600 s",
    OURS: "Isthmus",
}

# Answers as many bytes as a validation does, and looks at nothing.
_FLOOR_APPLICATION = """
BODY = b"x" * {size}
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]


def application(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One gunicorn, its port and its process."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"

    def cpu_seconds(self) -> float:
        """What it has used so far, with its workers."""
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return sum(cpu_seconds(pid) for pid in (main, *map(int, children)))


def cpu_seconds(pid: int) -> float:
    """utime + stime of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Stand:
    """Everything that runs; `beside`: processes that work for ours or a stock one beside its Keystone."""

    root: Path
    servers: dict[str, Server] = field(default_factory=dict)
    beside: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def port(self, name: str) -> int:
        """A port of its own for each name."""
        if name not in self.ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[name] = int(probe.getsockname()[1])
        return self.ports[name]

    def sql(self, statement: str, *arguments: object) -> None:
        """Run a statement as the database's root."""
        path = str(self.root / "db" / "s")
        connection = pymysql.connect(user="root", unix_socket=path, autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)


@contextlib.contextmanager
def running() -> Iterator[Stand]:
    """All of them, ready, with the tokens `service` (may validate others) and `subject`; ended and removed again."""
    root = Path(tempfile.mkdtemp(prefix="isthmus-bench-", dir="/var/tmp"))
    root.chmod(0o755)
    stand = Stand(root=root)
    try:
        _database(stand)
        _keystones(stand)
        yield stand
    finally:
        processes = [s.process for s in stand.servers.values()] + list(stand.beside.values())
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        shutil.rmtree(root, ignore_errors=True)


def _spawn(
    stand: Stand, name: str, command: Sequence[str], **more: Any
) -> "subprocess.Popen[bytes]":
    with (stand.root / f"{name}.log").open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **more
        )


def _until(stand: Stand, name: str, ready: Any) -> None:
    def missing() -> str | None:
        try:
            ready()
        except (OSError, pymysql.Error) as error:
            return str(error)
        return None

    waiting.until(
        missing, deadline=_READY_SECONDS, what=f"{name} does not answer", where=str(stand.root)
    )


def _database(stand: Stand) -> None:
    home = stand.root / "db"
    home.mkdir()
    owner = pwd.getpwnam("mysql")
    os.chown(home, owner.pw_uid, owner.pw_gid)
    sizing = {
        "innodb_buffer_pool_size": "64M",
        "innodb_log_file_size": "16M",
        "performance_schema": "OFF",
    }
    (home / "my.cnf").write_text(
        config.ini(
            {
                "mariadbd": {
                    "user": "mysql",
                    "datadir": f"{home}/data",
                    "socket": f"{home}/s",
                    "pid_file": f"{home}/pid",
                    "bind_address": "127.0.0.1",
                    "port": stand.port("db"),
                    "skip_name_resolve": "ON",
                    "server_id": 1,
                    "log_bin": "binlog",
                    "binlog_format": "ROW",
                    "log_slave_updates": "ON",
                    **sizing,
                }
            }
        )
    )
    install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={home}/data"]
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    stand.beside["database"] = _spawn(
        stand, "database", ["mariadbd", f"--defaults-file={home}/my.cnf"]
    )
    _until(stand, "the database", lambda: stand.sql("SELECT 1"))
    stand.sql("CREATE DATABASE keystone")
    for statement in schema.STATEMENTS:
        stand.sql(statement)
    for name in ("keystone", schema.NAME):
        stand.sql(f"GRANT ALL ON {name}.* TO keystone@'%%' IDENTIFIED BY %s", PASSWORD)
    stand.sql(
        "GRANT SLAVE MONITOR, REPLICATION SLAVE ON *.* TO agent@'%%' IDENTIFIED BY %s", PASSWORD
    )


def _keystones(stand: Stand) -> None:
    ours = _configured(stand)
    manage = [str(_BIN / "keystone-manage"), "--config-file", str(ours / "keystone.conf")]
    bootstrap = ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", SITE]
    for command in (["db_sync"], bootstrap):
        done = subprocess.run(
            [*manage, *command], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise errors.UnavailableError(
                "the identity schema cannot be made",
                where=str(stand.root),
                cause=done.stderr[-500:],
                unchanged="nothing was measured",
                next_command="mariadbd --version",
            )
    _catalog(stand)
    memcached = [
        "memcached",
        "-u",
        "memcache",
        "-l",
        "127.0.0.1",
        "-p",
        str(stand.port("memcached")),
        "-m",
        "64",
    ]
    stand.beside["memcached"] = _spawn(stand, "memcached", memcached)
    _agent(stand)
    _gunicorn(stand, OURS, ours, "isthmus.plugins.keystone.wsgi:application")
    for name, caching in ((NULL, servers.Caching.NONE), (MEMCACHED, servers.Caching.DEFAULT)):
        stock = servers.Stock(database=servers.Database.WRITER, caching=caching)
        home = stand.root / name
        home.mkdir()
        text = servers.configuration(
            (ours / "keystone.conf").read_text(), stock, f"127.0.0.1:{stand.port('db')}"
        )
        (home / "keystone.conf").write_text(text)
        _gunicorn(stand, name, home, "keystone.wsgi.api:application")
    for server in stand.servers.values():
        _until(stand, server.name, lambda port=server.port: fetch(port, "/v3", {}))
    for user in ("subject", "service"):
        stand.tokens[user] = _token(stand)
    body = validate(stand.servers[NULL], stand.tokens)[1]
    floor = stand.root / FLOOR
    floor.mkdir()
    (floor / "floor.py").write_text(_FLOOR_APPLICATION.format(size=len(body)))
    _gunicorn(stand, FLOOR, floor, "floor:application")
    _until(stand, FLOOR, lambda: fetch(stand.servers[FLOOR].port, "/", {}))


def _configured(stand: Stand) -> Path:
    home = stand.root / OURS
    home.mkdir()
    for keys in keystone.KEY_REPOSITORIES:
        (home / keys).mkdir(mode=0o700)
        for index in "01":
            (home / keys / index).write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
    text = config.keystone(
        site=SITE,
        database_password=PASSWORD.replace(" ", "%20"),
        front="127.0.0.1",
        memcached=f"127.0.0.1:{stand.port('memcached')}",
        token_keys=str(home / keystone.KEY_REPOSITORIES[0]),
        credential_keys=str(home / keystone.KEY_REPOSITORIES[1]),
        queue=str(home / "queue.sqlite"),
        log_file=str(stand.root / "keystone.log"),
        generation_file=str(_generations(stand)),
    )
    # One server stands for the reader's and the writer's listener.
    for port in (config.READER_PORT, config.WRITER_PORT):
        text = text.replace(f"@127.0.0.1:{port}/", f"@127.0.0.1:{stand.port('db')}/")
    (home / "keystone.conf").write_text(text)
    return home


def _generations(stand: Stand) -> Path:
    return stand.root / "run" / "generations"


def _catalog(stand: Stand) -> None:
    for region in REGIONS:
        stand.sql(
            "INSERT IGNORE INTO keystone.region (id, description, extra) VALUES (%s, '', '{}')",
            region,
        )
    for kind in SERVICES:
        service = uuid.uuid4().hex
        extra = json.dumps({"name": kind})
        stand.sql(
            "INSERT INTO keystone.service (id, type, enabled, extra) VALUES (%s, %s, 1, %s)",
            service,
            kind,
            extra,
        )
        for region in REGIONS:
            for interface in INTERFACES:
                url = f"https://{kind}.{region}.example/v1/$(project_id)s"
                stand.sql(
                    "INSERT INTO keystone.endpoint (id, interface, service_id, url, extra, enabled, region_id)"
                    " VALUES (%s, %s, %s, %s, '{}', 1, %s)",
                    *(uuid.uuid4().hex, interface, service, url, region),
                )


def _agent(stand: Stand) -> None:
    password = stand.root / "agent.password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    account = {"user": "agent", "password_file": str(password)}
    database = {
        "name": "db",
        "kind": "writer",
        "host": "127.0.0.1",
        "port": stand.port("db"),
        **account,
    }
    document = {
        "site": SITE,
        "listen": [f"127.0.0.1:{stand.port('agent')}"],
        "writer_preference": [SITE],
        "databases": [database],
        "replication": account,
        "generation_file": str(_generations(stand)),
    }
    path = stand.root / "agent.yaml"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    command = [sys.executable, "-m", "isthmus.agent.main", "--config", str(path)]
    stand.beside["agent"] = _spawn(stand, "agent", command)


def _gunicorn(stand: Stand, name: str, home: Path, application: str) -> None:
    text = service_config.gunicorn(
        application,
        address="127.0.0.1",
        port=stand.port(name),
        workers=keystone.WORKERS,
        threads=keystone.THREADS,
        preload=True,
        timeout=120,
    )
    (home / "gunicorn.conf.py").write_text(text)
    environment = {**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(home), "PYTHONHASHSEED": "0"}
    process = _spawn(stand, name, [str(_BIN / "gunicorn")], cwd=home, env=environment)
    stand.servers[name] = Server(name=name, port=stand.port(name), process=process)


def fetch(port: int, path: str, headers: dict[str, str], body: Any = None) -> tuple[Any, bytes]:
    """One request on a connection of its own: the answer's headers and body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the loopback
        return answer.headers, answer.read()


def headers(tokens: dict[str, str]) -> dict[str, str]:
    """What a service says that validates `subject`."""
    return {"X-Auth-Token": tokens["service"], "X-Subject-Token": tokens["subject"]}


def validate(server: Server, tokens: dict[str, str]) -> tuple[Any, bytes]:
    """One validation."""
    return fetch(server.port, "/v3/auth/tokens", headers(tokens))


def _token(stand: Stand) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    said = {"Content-Type": "application/json"}
    found, _ = fetch(stand.servers[OURS].port, "/v3/auth/tokens", said, {"auth": auth})
    return str(found["X-Subject-Token"])
