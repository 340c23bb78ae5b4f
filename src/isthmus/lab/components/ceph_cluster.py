"""A one-node Ceph cluster in a directory: made, started, asked. It knows no component, so that a test can run one anywhere.

The directory is the cluster: identity and keys, the monitor's store, the OSD's file. It can be copied while nothing runs, and
stands up again wherever its address is.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import waiting
from isthmus.lab.components import ceph_config
from isthmus.lab.components.ceph_config import CLIENT, CLUSTER, MON_PORT, POOL
from isthmus.lab.home import replace
from isthmus.lab.processes import Daemon
from isthmus.lab.running import Completed, run

# A command to the monitor takes tenths of a second, or a few seconds beside a busy test run.
_SECONDS = 60.0

PROPOSE_SECONDS = "0.05"

# How long one attempt to write an object may take before the daemons are asked anew.
_PATIENCE = 3.0

_DAEMONS = ("ceph-mon", "ceph-mgr", "ceph-osd")
_IDS = {"ceph-mon": "a", "ceph-mgr": "a", "ceph-osd": "0"}

Spawn = Callable[[list[str]], Daemon]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a cluster lies, at which address it answers, in which network namespace."""

    folder: Path
    address: str
    namespace: str | None

    @property
    def conf(self) -> Path:
        return self.folder / "ceph.conf"

    @property
    def etc(self) -> Path:
        """What its clients see as /etc/ceph."""
        return self.folder / "etc"

    @property
    def fsid(self) -> str:
        return (self.folder / "fsid").read_text().strip()

    def tool(self, *words: str, check: bool = True, timeout: float = _SECONDS) -> Completed:
        """Run one of Ceph's tools as its administrator."""
        name, *rest = words
        argv = [name, "-c", str(self.conf), *rest]
        return run(argv, namespace=self.namespace, timeout=timeout, check=check)

    def as_client(self, *words: str, check: bool = True) -> Completed:
        """Run one of Ceph's tools with the account of Cinder."""
        argv = self._client_words(*words)
        return run(argv, namespace=self.namespace, timeout=_SECONDS, check=check)

    def _client_words(self, name: str, *rest: str) -> list[str]:
        keyring = self.etc / f"{CLUSTER}.client.{CLIENT}.keyring"
        return [name, "-c", str(self.conf), "--id", CLIENT, "--keyring", str(keyring), *rest]

    def configure(self) -> None:
        """Write what daemons and clients read, for the place where the directory is now."""
        text = ceph_config.server(folder=self.folder, fsid=self.fsid, address=self.address)
        replace(self.conf, text, mode=0o600)
        client = ceph_config.client(fsid=self.fsid, address=self.address)
        replace(self.etc / f"{CLUSTER}.conf", client, mode=0o600)
        (self.folder / "crash/posted").mkdir(parents=True, exist_ok=True)

    def start(self, spawn: Spawn, *, deadline: float) -> None:
        """Start the daemons through `spawn` and wait until the cluster is healthy."""
        self.configure()
        for name in _DAEMONS:
            spawn(self.daemon(name))
        self.until_healthy(deadline=deadline)

    def until_healthy(self, *, deadline: float) -> None:
        """Wait until objects are written and the monitor calls all healthy.

        A monitor that has just started repeats what it knew before its end, so health alone says nothing. A question takes as
        much CPU as the daemons, so it is asked seldom.
        """
        waiting.until(
            lambda: self.usable() or self.unhealthy(),
            deadline=deadline,
            what="Ceph does not serve",
            where=str(self.folder),
            interval=0.5,
        )

    def daemon(self, name: str) -> list[str]:
        """The command line of a daemon that stays in the foreground."""
        return [name, "-c", str(self.conf), "-i", _IDS[name], "-f"]

    def unhealthy(self) -> str | None:
        """None if the cluster is healthy, else what it says."""
        done = self.tool("ceph", "--connect-timeout", "5", "health", "detail", check=False)
        said = done.stdout.strip()
        return None if said.startswith("HEALTH_OK") else said or done.stderr.strip()[-500:]

    def usable(self) -> str | None:
        """None if the account of Cinder can write an object and read it back."""
        content = uuid.uuid4().hex
        probe = self.folder / "probe"
        probe.write_text(content)
        put = self._probe("put", str(probe))
        if put.code:
            return put.stderr.strip()[-500:] or f"nothing is written in {_PATIENCE:g} s"
        got = self._probe("get", "-")
        return None if got.stdout == content else got.stderr.strip()[-500:] or "it reads badly"

    def _probe(self, verb: str, file: str) -> Completed:
        """Put or get one object. A client waits for an OSD for ever, so its patience is limited from outside."""
        words = self._client_words("rados", "-p", POOL, verb, "isthmus-probe", file)
        argv = ["timeout", f"{_PATIENCE:g}", *words]
        return run(argv, namespace=self.namespace, timeout=_SECONDS, check=False)


def make(cluster: Cluster, spawn: Spawn, *, deadline: float) -> None:
    """Make a cluster with the pool of volumes and the account of Cinder in an empty directory; it runs afterwards."""
    cluster.folder.mkdir(parents=True, exist_ok=True)
    cluster.folder.chmod(0o700)
    for name in ("mon", "mgr", "osd", "etc"):
        (cluster.folder / name).mkdir()
    (cluster.folder / "fsid").write_text(f"{uuid.uuid4()}\n")
    cluster.configure()
    _make_monitor(cluster)
    spawn(cluster.daemon("ceph-mon"))
    _account(cluster, "mgr.a", {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"})
    spawn(cluster.daemon("ceph-mgr"))
    _make_osd(cluster)
    spawn(cluster.daemon("ceph-osd"))
    _make_pool(cluster)
    cluster.until_healthy(deadline=deadline)


def _make_monitor(cluster: Cluster) -> None:
    folder = cluster.folder
    admin, mon, plan = folder / "client.admin.keyring", folder / "mon.keyring", folder / "monmap"
    every = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
    authtool = ("ceph-authtool", "--create-keyring")
    run([*authtool, str(mon), "--gen-key", "-n", "mon.", *every[:3]])
    run([*authtool, str(admin), "--gen-key", "-n", "client.admin", *every])
    run(["ceph-authtool", str(mon), "--import-keyring", str(admin)])
    where = f"[v2:{cluster.address}:{MON_PORT}]"
    run(["monmaptool", "--create", "--fsid", cluster.fsid, "--addv", "a", where, str(plan)])
    cluster.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(plan), "--keyring", str(mon))
    plan.unlink()


def _make_osd(cluster: Cluster) -> None:
    identity = str(uuid.uuid4())
    cluster.tool("ceph", "osd", "new", identity)
    _account(
        cluster, "osd.0", {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}
    )
    keyring = str(cluster.folder / "osd.0.keyring")
    cluster.tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity, "--keyring", keyring)


def _make_pool(cluster: Cluster) -> None:
    cluster.tool("ceph", "osd", "pool", "create", POOL, "8")
    cluster.tool("ceph", "osd", "pool", "application", "enable", POOL, "rbd")
    # Snapshots are monitor proposals, and guests are held until they are made: a second each by default.
    cluster.tool("ceph", "config", "set", "mon", "paxos_propose_interval", PROPOSE_SECONDS)
    # The profile alone may not ask for that setting.
    monitors = 'profile rbd, allow command "config get"'
    rights = {"mon": monitors, "osd": "profile rbd", "mgr": "profile rbd"}
    path = cluster.etc / f"{CLUSTER}.client.{CLIENT}.keyring"
    _account(cluster, f"client.{CLIENT}", rights, path)


def _account(
    cluster: Cluster, name: str, rights: Mapping[str, str], path: Path | None = None
) -> None:
    words = [word for pair in rights.items() for word in pair]
    made = cluster.tool("ceph", "auth", "get-or-create", name, *words)
    replace(path or cluster.folder / f"{name}.keyring", made.stdout, mode=0o600)


def client_key(etc: Path) -> str:
    """The key of Cinder's account, as libvirt wants it (base64)."""
    text = (etc / f"{CLUSTER}.client.{CLIENT}.keyring").read_text()
    found = re.search(r"key = (\S+)", text)
    return found.group(1) if found else ""
