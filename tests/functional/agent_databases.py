"""Real database processes on loopback for the agent's tests: two Galera nodes, an arbitrator,
asynchronous replicas.

The set-up is the one of star mode, small: the nodes listen on 127.0.77.x so that every one has the
ports that it has in a site, and nothing outside the machine can reach them. Processes are ended by
their own id only.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymysql

from conditions import wait_for

PASSWORD = "functional"
NETWORK = "127.0.77"
SMALL = """
user=mysql
skip-name-resolve
character-set-server=utf8mb4
performance_schema=OFF
innodb_buffer_pool_size=24M
innodb_log_file_size=8M
innodb_log_buffer_size=1M
innodb_flush_log_at_trx_commit=2
sync_binlog=0
key_buffer_size=1M
aria_pagecache_buffer_size=1M
max_connections=60
innodb_read_io_threads=1
innodb_write_io_threads=1
log_bin=binlog
binlog_format=ROW
log_slave_updates=ON
slave_net_timeout=4
"""


class Server:
    """One mariadbd in a folder of its own."""

    def __init__(self, folder: Path, name: str, host: int, settings: str) -> None:
        self.name, self.folder, self.settings = name, folder / name, settings
        self.host, self.port = f"{NETWORK}.{host}", 3306
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def configure(self) -> None:
        self.folder.mkdir(exist_ok=True)
        shutil.chown(self.folder, "mysql", "mysql")
        lines = f"datadir={self.data}\nsocket={self.folder}/s\npid-file={self.folder}/p\nbind-address={self.host}\n"
        text = f"[mariadbd]\n{lines}port={self.port}\nlog-error={self.folder}/err.log\n{SMALL}{self.settings}\n"
        (self.folder / "my.cnf").write_text(text)

    def start(self, *arguments: str) -> None:
        self.configure()
        with (self.folder / "out.log").open("ab") as out:
            self.process = subprocess.Popen(
                ["mariadbd", f"--defaults-file={self.folder}/my.cnf", *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        # Crash recovery of a data directory this small takes about a second; the machine may be
        # busy.
        wait_for(f"{self.name} answers", self.answers, 30)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "err.log").read_text()[-3000:]
        with suppress(pymysql.Error):
            self.rows("SELECT 1")
            return True
        return False

    def connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            unix_socket=f"{self.folder}/s", user="root", autocommit=True,
            connect_timeout=2, read_timeout=10, write_timeout=10,
        )  # fmt: skip

    def rows(self, *statements: str) -> list[tuple[object, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def value(self, statement: str) -> object:
        return self.rows(statement)[0][0]

    def status(self, name: str) -> str:
        return str(self.rows(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])

    def send(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None


def galera(folder: Path, name: str, host: int, segment: int) -> Server:
    """A Galera node of the cluster whose members are .1, .2 and the arbitrator .3."""
    address = f"{NETWORK}.{host}"
    return Server(
        folder, name, host,
        f"""server_id=100
gtid_domain_id={10 + host}
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_name=isthmus-agent-test
wsrep_cluster_address=gcomm://{NETWORK}.1,{NETWORK}.2,{NETWORK}.3:4567
wsrep_sst_method=rsync
innodb_autoinc_lock_mode=2
wsrep_gtid_mode=ON
wsrep_gtid_domain_id=100
wsrep_node_address={address}
wsrep_sst_receive_address={address}:4444
wsrep_node_name={name}
wsrep_provider_options="gcache.size=8M;gmcast.listen_addr=tcp://{address}:4567;base_host={address};\
ist.recv_addr={address}:4568;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S;evs.keepalive_period=PT0.5S;\
gmcast.segment={segment}"
""",
    )  # fmt: skip


def replica(folder: Path, name: str, host: int) -> Server:
    """A read-only GTID replica that follows the identity schemas only."""
    wild = "replicate_wild_do_table=keystone.%\nreplicate_wild_do_table=isthmus_identity.%\n"
    number = 100 + host
    return Server(
        folder, name, host,
        f"server_id={number}\ngtid_domain_id={number}\nread_only=ON\ngtid_strict_mode=ON\n{wild}",
    )  # fmt: skip


@contextmanager
def arbitrator(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """garbd, the third vote."""
    address = f"{NETWORK}.3"
    options = f"gmcast.listen_addr=tcp://{address}:4567;base_host={address};evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S"
    process = subprocess.Popen(
        [
            "garbd", "--name", "arbitrator", "--group", "isthmus-agent-test",
            "--address", f"gcomm://{NETWORK}.1:4567,{NETWORK}.2:4567", "--options", options, "--log", f"{folder}/garbd.log",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=folder,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def install(folder: Path) -> None:
    """Make an empty data directory in `folder`/data."""
    folder.mkdir()
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={folder}/data", "--innodb-log-file-size=8M",
         "--skip-test-db", "--auth-root-authentication-method=normal"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
