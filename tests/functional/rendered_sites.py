"""Sites made of rendered files alone: real databases, arbitrators, load balancers and Keystones on loopback.

Every site has the addresses 127.0.8N.x, so that each process has the port that it has in a real site. A site's files are rendered
with the paths of a host of its own, as on real hosts. Nothing is added to a rendered file but sizes (`sizing`), which are the
operator's. Processes are ended by their own id only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import pwd
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keystone_site
import pymysql
import yaml

from conditions import wait_for
from isthmus.identity import deployment, rendering
from isthmus.identity.config import Provider
from isthmus.identity.rendering import File
from isthmus.sites import inventory

BIN = Path(sys.executable).parent
SECRETS = {"keystone-database": "kpw/1", "state-transfer": "spw", "glance": "gpw"}
SMALL = {
    "performance_schema": "'OFF'",
    "innodb_buffer_pool_size": "24M",
    "innodb_log_file_size": "8M",
    "innodb_log_buffer_size": "1M",
    "key_buffer_size": "1M",
    "aria_pagecache_buffer_size": "1M",
    "max_connections": 60,
}
OUTSIDE = "127.0.90.10"


def address(number: int, host: int) -> str:
    """Of a site's host; `number`: the site's place in the sites file, from 1."""
    return f"127.0.8{number}.{host}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cloud:
    """A declaration and a folder for each site's host."""

    folder: Path
    sites: str
    document: dict[str, Any]

    def host(self, site: str) -> Path:
        return self.folder / site

    def files(self, site: str, provider: Provider = Provider.FERNET) -> dict[str, File]:
        """The files of one site, rendered for its host and written there."""
        host = self.host(site)
        paths = {
            "token_keys": f"{host}/keys/token",
            "credential_keys": f"{host}/keys/credential",
            "jws_public_keys": f"{host}/{site}/{rendering.PUBLIC_KEYS}",
            "jws_private_keys": f"{host}/keys/jws",
            "queue": f"{host}/queue.sqlite",
            "keystone_log": f"{host}/keystone.log",
            "databases": str(host),
            "haproxy_socket": f"{host}/haproxy.sock",
        }
        known = inventory.parse(self.sites, source="sites.yaml")
        text = yaml.safe_dump({**self.document, "paths": paths, "services": ["glance"]})
        text += "sizing: {" + ", ".join(f"{k}: {v}" for k, v in SMALL.items()) + "}\n"
        declared = deployment.parse(
            text, source="deployment.yaml", inventory=known, provider=provider
        )
        found = {}
        for each in rendering.files(declared, SECRETS):
            if each.site == site:
                path = host / each.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(each.text)
                found[each.path] = each
        return found


def open_to_mysql(folder: Path) -> None:
    """mariadbd becomes the user mysql, and must reach its folder."""
    for each in (folder, *folder.parents):
        if each.stat().st_mode & 0o001 == 0:
            each.chmod(each.stat().st_mode | 0o011)


class Process:
    """A child of its own session, ended by its id."""

    def __init__(self, log: Path, *command: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # garbd writes its view where it is started.
                cwd=log.parent,
                env={**os.environ, **environment},
            )

    def alive(self) -> bool:
        assert self._child.poll() is None, self.log.read_text(errors="replace")[-3000:]
        return True

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._child.poll() is not None:
            return
        os.killpg(self._child.pid, number)
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait(10)


class Database:
    """mariadbd with one rendered file."""

    def __init__(self, cloud: Cloud, site: str, name: str) -> None:
        self.folder = cloud.host(site) / name
        self.file = cloud.host(site) / site / "mariadb" / f"{name}.cnf"
        self._process: Process | None = None

    def install(self, template: Path) -> None:
        """A fresh data directory, and the folders that the file names."""
        owner = pwd.getpwnam("mysql")
        open_to_mysql(self.folder.parent)
        for each in (self.folder, self.folder / "temporary"):
            each.mkdir()
            os.chown(each, owner.pw_uid, owner.pw_gid)
        # cp keeps owners.
        subprocess.run(["cp", "-a", template, self.folder / "data"], check=True, timeout=120)

    def start(self, *arguments: str) -> None:
        self._process = Process(
            self.folder.parent / f"{self.folder.name}.log",
            "mariadbd",
            f"--defaults-file={self.file}",
            *arguments,
        )
        # A state transfer takes 15 s on a machine that does nothing else.
        wait_for(f"{self.folder} is in step", self._in_step, 180)

    def _in_step(self) -> bool:
        assert self._process is not None
        self._process.alive()
        with contextlib.suppress(pymysql.Error):
            return self.status("wsrep_local_state_comment") == "Synced"
        return False

    def rows(self, *statements: str) -> list[tuple[Any, ...]]:
        connection = pymysql.connect(
            unix_socket=f"{self.folder}/mariadb.sock", user="root", autocommit=True
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def value(self, statement: str) -> Any:
        found = self.rows(statement)
        return found[0][0] if found else None

    def status(self, name: str) -> str:
        return str(self.rows(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.end(number)


def install_template(folder: Path) -> Path:
    """An empty data directory, to be copied."""
    subprocess.run(
        [
            *(
                "mariadb-install-db",
                "--no-defaults",
                "--user=mysql",
                f"--datadir={folder}/template",
            ),
            *("--innodb-log-file-size=8M", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
        # Two seconds of CPU; on a machine with a busy lab, a minute.
        timeout=300,
    )
    return folder / "template"


def arbitrator(cloud: Cloud, folder: str) -> Process:
    """garbd with its rendered file, as the site `folder` has it."""
    path = cloud.host(folder) / folder / "garbd" / "garb.cnf"
    return Process(cloud.host(folder) / "garbd.log", "garbd", "--cfg", str(path))


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """A short path that mysql can reach; pytest's own are closed to other users."""
    path = Path("/var/tmp") / f"isthmus-{name}-{os.getpid()}"  # noqa: S108
    path.mkdir(mode=0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def ask(
    site: str, method: str, path: str, body: Any = None, **tokens: str | None
) -> keystone_site.Answer:
    """One request to the front of a site, by its address; `tokens` as in `keystone_site.ask`."""
    return keystone_site.ask(f"{site}:5000", method, path, body, **tokens)


class Front:
    """A site's load balancer, cache and Keystone, each with its rendered file or address."""

    def __init__(self, cloud: Cloud, site: str, number: int) -> None:
        self.folder, self.site, self.address = cloud.host(site), site, address(number, 1)
        self._keystone = address(number, 2)
        self._memcached = address(number, 4)
        self._running: list[Process] = []

    def start(self, *, keystone: bool = True) -> None:
        """What a site's front needs; without a Keystone where the topology has none there."""
        self._run("haproxy", "haproxy", "-f", str(self.folder / self.site / "haproxy/haproxy.cfg"))
        self._run("memcached", "memcached", "-u", "nobody", "-m", "8", "-l", self._memcached)
        if keystone:
            self._run(
                "gunicorn",
                *(str(BIN / "gunicorn"), "--bind", f"{self._keystone}:5000", "--preload"),
                *("--worker-class", "gthread", "--threads", "4"),
                "isthmus.plugins.keystone.wsgi:application",
                OS_KEYSTONE_CONFIG_DIR=str(self.folder / self.site / "keystone"),
            )

    def _run(self, name: str, *command: str, **environment: str) -> None:
        self._running.append(Process(self.folder / f"{name}.log", *command, **environment))

    def answers(self) -> bool:
        """Whether the own Keystone answers at the site's front: another site's may stand in for it."""
        assert all(each.alive() for each in self._running)
        with contextlib.suppress(OSError, http.client.HTTPException):
            with urllib.request.urlopen(f"http://{self._keystone}:5000/v3", timeout=5) as response:
                ready = response.status == 200
            return ready and ask(self.address, "GET", "/v3").status == 200
        return False

    def lose_keystone(self) -> None:
        """End the Keystone, which was started last."""
        self._running.pop().end(signal.SIGKILL)

    def end(self) -> None:
        for each in self._running:
            each.end(signal.SIGKILL)
        self._running.clear()


def keystone_manage(cloud: Cloud, site: str, *words: str) -> None:
    """Run keystone-manage with the site's rendered file."""
    path = cloud.host(site) / site / "keystone" / "keystone.conf"
    done = subprocess.run(
        [str(BIN / "keystone-manage"), "--config-file", str(path), *words],
        capture_output=True,
        text=True,
        # Some seconds of CPU each; on a machine with a busy lab, minutes.
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
