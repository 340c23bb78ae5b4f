"""A writer site and many sites far from it, without a lab: two network namespaces with a delayed link between them.

Near is the site of the writer, with its database and agent. Far is everything else: the second writer site's database and agent,
the arbitrator, one replica, and the simulated sites that read it. Everything that passes between near and far (statements,
acknowledgements, the cluster's own traffic, the replication stream) goes frame by frame through the lab's delaying relay, so that
each handshake of TCP takes its time too. Configurations of databases are those that the product renders.
"""

import base64
import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors
from cryptography.hazmat.primitives import serialization

from isthmus.identity import config, schema
from isthmus.identity.keys import repository, sealing
from isthmus.lab import errors, kernel, network, waiting
from isthmus.lab.components import mariadb
from isthmus.lab.running import in_namespace, run

NEAR, FAR = "paris", "lyon"
"""The two writer sites; the first takes the writes."""
NEAR_ADDRESS, FAR_ADDRESS, ARBITRATOR, REPLICA = (f"10.98.0.{n}" for n in (1, 2, 3, 4))
PASSWORD = "benchmark"  # noqa: S105 - of databases that live for minutes, in namespaces of their own
# A key is kept for 2 s after its last use, so that every rotation begins with as many keys.
LIFETIMES = {"expiration": 1, "allow_expired_window": 0, "clock_skew": 0.5}
_READY_SECONDS = 120.0


class Session:
    """Statements at a database's own socket, beside whatever is between the sites."""

    def __init__(self, socket: Path) -> None:
        self._connection = pymysql.connect(
            unix_socket=str(socket),
            user="root",
            autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        )

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return [dict(row) for row in cursor.fetchall()]

    def change(self, statement: str, *arguments: object) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(statement, arguments or None))

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, kw_only=True)
class Database:
    """A mariadbd: its directory, address and namespace."""

    folder: Path
    address: str
    namespace: str
    settings: str

    @property
    def socket(self) -> Path:
        return self.folder / "mariadb.sock"

    def prepare(self) -> None:
        """Its directories and configuration."""
        (self.folder / "temporary").mkdir(parents=True)
        (self.folder / "my.cnf").write_text(self.settings)
        self.own()

    def own(self) -> None:
        """Give everything to the user that it runs as."""
        owner = pwd.getpwnam("mysql")
        for folder, _, files in os.walk(self.folder):
            for path in (folder, *(f"{folder}/{name}" for name in files)):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def missing(self) -> str | None:
        """Why it does not answer; None if it does."""
        try:
            with contextlib.closing(Session(self.socket)):
                return None
        except (OSError, pymysql.Error) as error:
            return str(error)

    def one(self, statement: str) -> str:
        """The last column of the first row, as text; empty if there is none."""
        with contextlib.closing(Session(self.socket)) as session:
            rows = session.rows(statement)
        return str(list(rows[0].values())[-1]) if rows else ""


@dataclass(kw_only=True)
class World:
    """The sites. `sites`: all of them, the writer's first."""

    root: Path
    sites: Sequence[str]
    privates: dict[str, sealing.Private] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def namespace(self, name: str) -> str:
        """A namespace of this process's own."""
        return f"isthmus-bench-{os.getpid()}-{name}"

    @property
    def near(self) -> str:
        return self.namespace("near")

    @property
    def far(self) -> str:
        return self.namespace("far")

    @property
    def between(self) -> str:
        return self.namespace("between")

    def repository(self, site: str) -> Path:
        """Where a site's Keystone would read its token keys."""
        return self.root / "keys" / site / "fernet-keys"

    def database(self, name: str) -> Database:
        """The database of a writer site, or the replica."""
        directory = self.root / name
        if name == "replica":
            text = config.mariadb_replica(
                address=REPLICA,
                server_id=31,
                directory=str(directory),
                sizing=mariadb.SIZING,
            )
            return Database(folder=directory, address=REPLICA, namespace=self.far, settings=text)
        address = NEAR_ADDRESS if name == NEAR else FAR_ADDRESS
        text = config.mariadb_writer(
            site=name,
            segment=1 if name == NEAR else 2,
            address=address,
            cluster=[NEAR_ADDRESS, FAR_ADDRESS, ARBITRATOR],
            sst_password=PASSWORD,
            directory=str(directory),
            sizing=mariadb.SIZING,
        )
        place = self.near if name == NEAR else self.far
        return Database(folder=directory, address=address, namespace=place, settings=text)

    def writer(self) -> Session:
        """A session at the database that takes the writes, of somebody beside it."""
        return Session(self.database(NEAR).socket)

    def delay(self, rtt_ms: float) -> None:
        """Have every round trip between near and far take this long."""
        self.end("relay")
        command = ["isthmus.lab.relay", "near", "far", f"{rtt_ms / 2:g}"]
        self.spawn("relay", [sys.executable, "-m", *command], self.between)
        self._until("relay", lambda: None if "relaying" in self.log("relay") else "no word")
        ping = ["ping", "-n", "-c", "3", "-i", "0.2", NEAR_ADDRESS]
        run(ping, namespace=self.far)

    def log(self, name: str) -> str:
        """What a process has said since it was started last."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def spawn(self, name: str, command: Sequence[str], namespace: str) -> None:
        """Start a process that ends with the world."""
        with (self.root / f"{name}.log").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                [*in_namespace(namespace), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a process, if it runs."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)

    def _until(self, name: str, missing: Callable[[], str | None]) -> None:
        """Wait for a process of ours. Raises NotReady with its last words, at once if it has ended."""

        def lacking() -> str | None:
            reason = missing()
            ended = self.processes[name].poll() is not None
            if reason is not None and ended:
                raise errors.NotReady(
                    what=f"{name} has ended", where=str(self.root), cause=self.log(name)[-500:]
                )
            return reason and f"{reason}; {self.log(name)[-500:]}"

        waiting.until(
            lacking, deadline=_READY_SECONDS, what=f"{name} is not ready", where=str(self.root)
        )

    def start(self) -> None:
        """Everything, until the keys are looked after by all sites; the link is not delayed yet."""
        self._link()
        self.delay(0)
        self._keys()
        self._databases()
        self._agents()

    def _link(self) -> None:
        for name in (self.near, self.far, self.between):
            run(["ip", "netns", "add", name])
            kernel.batch(name, ["link set lo up"])
        addresses = {self.near: [NEAR_ADDRESS], self.far: [FAR_ADDRESS, ARBITRATOR, REPLICA]}
        for (name, owned), port in zip(addresses.items(), ("near", "far"), strict=True):
            kernel.veth(name, "wan", self.between, port)
            lines = [f"address add {address}/24 dev wan" for address in owned]
            kernel.batch(name, [*lines, "link set wan up"])
            kernel.batch(self.between, [f"link set {port} up"])

    def _keys(self) -> None:
        first = {index: base64.urlsafe_b64encode(secrets.token_bytes(32)) for index in (0, 1)}
        for site in self.sites:
            self.privates[site] = sealing.Private.generate()
            pem = self.privates[site].private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            self.private(f"{site}.pem", pem.decode())
            self.repository(site).parent.mkdir(parents=True)
            repository.install(self.repository(site), first)

    def private(self, name: str, text: str) -> str:
        """A file that only its owner can read."""
        path = self.root / name
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    def _databases(self) -> None:
        near, far, replica = (self.database(name) for name in (NEAR, FAR, "replica"))
        for each in (near, far, replica):
            each.prepare()
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db"]
        install += [f"--datadir={near.folder}/data", "--auth-root-authentication-method=normal"]
        run(install, timeout=_READY_SECONDS)
        self._serve(near, "--wsrep-new-cluster")
        with contextlib.closing(self.writer()) as session:
            for statement in _statements():
                session.change(statement)
        position = near.one("SELECT @@gtid_binlog_pos")
        self.end(NEAR)
        for name in ("galera.cache", "gvwstate.dat"):
            (near.folder / "data" / name).unlink(missing_ok=True)
        for each in (far, replica):
            shutil.copytree(near.folder / "data", each.folder / "data")
            each.own()
        self._serve(near, "--wsrep-new-cluster")
        self._serve(far)
        options = config.arbitrator(
            address=ARBITRATOR, segment=3, nodes=[NEAR_ADDRESS, FAR_ADDRESS]
        )
        self.spawn("garbd", ["garbd", *(f"--{k}={v}" for k, v in options.items())], self.far)
        self._until("garbd", lambda: self._lacks("wsrep_cluster_size", "3"))
        self._serve(replica)
        self._follow(replica, position)

    def _serve(self, database: Database, *arguments: str) -> None:
        command = ["mariadbd", f"--defaults-file={database.folder}/my.cnf", *arguments]
        self.spawn(database.folder.name, command, database.namespace)
        self._until(database.folder.name, database.missing)

    def _lacks(self, name: str, value: str) -> str | None:
        found = self.database(NEAR).one(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return None if found == value else f"{name} is {found}"

    def _follow(self, replica: Database, position: str) -> None:
        with contextlib.closing(Session(replica.socket)) as session:
            for statement in (
                "RESET MASTER",
                f"SET GLOBAL gtid_slave_pos='{position}'",
                f"CHANGE MASTER TO MASTER_HOST='{NEAR_ADDRESS}', MASTER_PORT={config.REPLICATION_PORT},"
                f" MASTER_USER='repl', MASTER_PASSWORD='{PASSWORD}', MASTER_CONNECT_RETRY=1,"
                " MASTER_USE_GTID=slave_pos",
                "START SLAVE",
            ):
                session.change(statement)

    def _agents(self) -> None:
        password = self.private("agent.password", PASSWORD)
        documents = {
            site: self.private(f"{site}.yaml", json.dumps(self._document(site, password)))
            for site in self.sites
        }
        agent = [sys.executable, "-m", "isthmus.agent.main", "--config"]
        self.spawn("agent-near", [*agent, documents.pop(NEAR)], self.near)
        self.spawn("agent-far", [*agent, documents.pop(FAR)], self.far)
        followers = [sys.executable, "-m", "bench.simulated_sites", *documents.values()]
        self.spawn("simulated", followers, self.far)

    def _document(self, site: str, password: str) -> dict[str, Any]:
        """The configuration of a site's agent."""
        address = {NEAR: NEAR_ADDRESS, FAR: FAR_ADDRESS}.get(site, REPLICA)
        account = {"user": "agent", "password_file": password}
        writes = site in (NEAR, FAR)
        database = {
            "name": "db",
            "kind": "writer" if writes else "replica",
            "host": address,
            "port": 3306,
            **account,
        }
        masters = {NEAR: NEAR_ADDRESS, FAR: FAR_ADDRESS}
        public = {name: sealing.text_of(key.public_key()) for name, key in self.privates.items()}
        return {
            "site": site,
            "listen": [f"{address}:{config.AGENT_PORT}"],
            "writer_preference": [NEAR, FAR],
            "databases": [database],
            "masters": {
                name: {"host": host, "port": config.REPLICATION_PORT}
                for name, host in masters.items()
            },
            "replication": {"user": "repl", "password_file": password},
            "key_repositories": {"token": str(self.repository(site))},
            "keys": {
                "private_key_file": str(self.root / f"{site}.pem"),
                "nodes": public,
                "writer": {"host": NEAR_ADDRESS, "port": 3306, **account},
                "kinds": {"token": LIFETIMES},
            },
        }


def _statements() -> Sequence[str]:
    return (
        *schema.STATEMENTS,
        f"CREATE USER agent@'%' IDENTIFIED BY '{PASSWORD}'",
        *schema.agent_grants("agent"),
        f"CREATE USER repl@'%' IDENTIFIED BY '{PASSWORD}'",
        *schema.replication_grants("repl"),
    )


@contextlib.contextmanager
def running(sites: int) -> Iterator[World]:
    """That many sites, up; everything is ended and removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="isthmus-bench-", dir="/var/tmp"))
    # The databases run as their own user and have to reach their files below.
    root.chmod(0o755)
    names = [NEAR, FAR, *(f"site-{number}" for number in range(3, sites + 1))]
    world = World(root=root, sites=names)
    try:
        world.start()
        yield world
    finally:
        for name in reversed(list(world.processes)):
            database = name in (NEAR, FAR, "replica")
            world.end(name, signal.SIGKILL if database else signal.SIGTERM)
        network.remove([world.near, world.far, world.between])
        shutil.rmtree(root, ignore_errors=True)
