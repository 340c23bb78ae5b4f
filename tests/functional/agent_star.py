"""A star of real databases with real agents, for the agent's tests: paris and lyon (Galera), madrid
(replica)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import agent_databases as db

from conditions import wait_for
from isthmus.identity import schema
from isthmus.plugins.keystone import generation_file

PORT = 8990
# How old a proof may be; longer than an operator would choose, because the machine may be busy.
PROOF_NS = 3_000_000_000
# Shorter than an operator would choose, so that a test need not wait for the defaults.
POLICY = {
    "lag_limit_seconds": 3,
    "freeze_after_seconds": 3,
    "repoint_after_seconds": 3,
    "home_after_seconds": 4,
    "heartbeat_seconds": 0.5,
}


class Agent:
    """One real `isthmus-agent` process."""

    def __init__(self, folder: Path, name: str, host: str, document: dict[str, Any]) -> None:
        self.name, self.url = name, f"http://{host}:{PORT}"
        self.config, self.log = folder / f"{name}.json", folder / f"{name}.log"
        self.config.write_text(json.dumps({**document, "listen": [f"{host}:{PORT}"]}))
        self.config.chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isthmus.agent.main", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # Python starts in a fraction of a second; the machine may be busy.
        wait_for(f"agent {self.name} answers", lambda: self.get("healthcheck")[0] == 200, 15)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.process = None
        return code

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=2) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def database(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("status")[1])["databases"][0]
        return found

    def reader(self) -> int:
        return self.get(f"database/{self.database()['name']}/reader")[0]

    def writer(self) -> int:
        return self.get("database/identity-db/writer")[0]

    def memory_mb(self) -> float:
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Star:
    """The databases, the agents and the arbitrator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paris = db.galera(folder, "paris", 1, 1)
        self.lyon = db.galera(folder, "lyon", 2, 2)
        self.madrid = db.replica(folder, "replica-paris", 11)
        self.password = folder / "password"
        self.password.write_text(db.PASSWORD + "\n")
        self.password.chmod(0o600)
        self.agents = {
            name: Agent(folder, name, server.host, self.document(name, server))
            for name, server in self.databases().items()
        }

    def databases(self) -> dict[str, db.Server]:
        return {"paris": self.paris, "lyon": self.lyon, "madrid": self.madrid}

    def document(self, site: str, server: db.Server) -> dict[str, Any]:
        """The configuration of a site's agent."""
        replica = site == "madrid"
        database = {
            "name": "replica-paris" if replica else "identity-db",
            "kind": "replica" if replica else "writer",
            "host": server.host,
            "port": server.port,
            "user": "agent",
            "password_file": str(self.password),
        }
        return {
            "site": site,
            "writer_preference": ["paris", "lyon"],
            "databases": [{**database, "home": "paris"} if replica else database],
            "masters": {s.name: {"host": s.host, "port": s.port} for s in (self.paris, self.lyon)},
            "replication": {"user": "repl", "password_file": str(self.password)},
            "generation_file": str(self.folder / f"{site}.generations"),
            "policy": POLICY,
        }

    def generation(self, site: str) -> int | None:
        """What Keystones of a site are told of its database: an even number, or None while nothing can be told."""
        content = (self.folder / f"{site}.generations").read_bytes()
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        view = generation_file.parse(content, now=now, limit=PROOF_NS)
        return None if view is None or view.changing else next(iter(view.generations.values()))

    def seed(self) -> str:
        """Make the cluster's data once, give every database a copy, return the position."""
        db.install(self.folder / "template")
        self.paris.configure()
        (self.folder / "template" / "data").rename(self.paris.data)
        self.own(self.paris)
        self.paris.start("--wsrep-new-cluster")
        self.paris.rows(
            *schema.STATEMENTS,
            "CREATE DATABASE keystone",
            "CREATE TABLE keystone.project (id INT PRIMARY KEY)",
            f"CREATE USER agent@'%' IDENTIFIED BY '{db.PASSWORD}'",
            *schema.agent_grants("agent"),
            f"CREATE USER repl@'%' IDENTIFIED BY '{db.PASSWORD}'",
            *schema.replication_grants("repl"),
        )
        position = str(self.paris.value("SELECT @@gtid_binlog_pos"))
        self.paris.end()
        for name in ("galera.cache", "gvwstate.dat"):
            (self.paris.data / name).unlink(missing_ok=True)
        for server in (self.lyon, self.madrid):
            server.configure()
            shutil.copytree(self.paris.data, server.data)
            self.own(server)
        return position

    def own(self, server: db.Server) -> None:
        subprocess.run(["chown", "-R", "mysql:mysql", str(server.folder)], check=True, timeout=20)

    def follow(self, position: str) -> None:
        self.madrid.rows(
            "STOP SLAVE", "RESET MASTER", f"SET GLOBAL gtid_slave_pos='{position}'",
            f"CHANGE MASTER TO MASTER_HOST='{self.paris.host}', MASTER_PORT={self.paris.port},"
            f" MASTER_USER='repl', MASTER_PASSWORD='{db.PASSWORD}', MASTER_CONNECT_RETRY=1,"
            " MASTER_USE_GTID=slave_pos",
            "START SLAVE",
        )  # fmt: skip

    def settled(self) -> bool:
        """Whether all is as it should be: one writer, a replica at home that serves."""
        madrid = self.agents["madrid"].database()
        return madrid["serving"] and madrid["master"] == "paris" and len(self.writers()) == 1

    def writers(self) -> list[str]:
        return [name for name in ("paris", "lyon") if self.agents[name].writer() == 200]


@contextmanager
def running(kind: Callable[[Path], Star] = Star) -> Iterator[Star]:
    """The star, up; everything is ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="isthmus-agent-", dir="/var/tmp"))
    # The database runs as its own user and has to reach its files below.
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        star = kind(folder)
        for server in star.databases().values():
            stack.callback(server.end, signal.SIGKILL)
        for agent in star.agents.values():
            stack.callback(_end, agent)
        position = star.seed()
        star.paris.start("--wsrep-new-cluster")
        star.lyon.start()
        stack.enter_context(db.arbitrator(folder))
        star.madrid.start()
        star.follow(position)
        for agent in star.agents.values():
            agent.start()
        # Joining, a first claim and a few heartbeats: seconds, on a busy machine.
        wait_for("the star settles", star.settled, 30)
        wait_for("three votes", lambda: star.paris.status("wsrep_cluster_size") == "3", 15)
        yield star


def _end(agent: Agent) -> None:
    if agent.process is not None:
        agent.end(signal.SIGKILL)
