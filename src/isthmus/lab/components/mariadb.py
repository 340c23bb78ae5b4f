"""What the MariaDB components share: data directory from the template, start, SQL over the local socket."""

import hashlib
import os
import pwd
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from isthmus.lab import errors
from isthmus.lab.components.base import Context, copy_tree
from isthmus.lab.processes import Daemon
from isthmus.lab.running import run

# Small, for a laptop: enough for the lab's tiny data. Durability is MariaDB's default (flush at each commit),
# because the lab rehearses kill -9.
SIZING: Mapping[str, str | int] = {
    "performance_schema": "OFF",
    "innodb_buffer_pool_size": "32M",
    "innodb_log_file_size": "16M",
    "innodb_log_buffer_size": "2M",
    "key_buffer_size": "1M",
    "aria_pagecache_buffer_size": "1M",
    "tmp_table_size": "4M",
    "max_heap_table_size": "4M",
    "table_open_cache": 200,
    "thread_cache_size": 8,
    "query_cache_type": 0,
    "query_cache_size": 0,
    "innodb_purge_threads": 1,
    "max_connections": 120,
    "expire_logs_days": 1,
}

# A cold start with crash recovery of 16 MB of log takes a second or two; a state transfer 15 s on two busy cores.
# A cold disk and shared cores may take several times as long.
READY_DEADLINE = 120.0


def prepare(context: Context, cnf: str, template: Path) -> bool:
    """Write the configuration and, the first time, copy the data directory; True if the data is new."""
    for folder in (context.directory, context.directory / "temporary"):
        folder.mkdir(parents=True, exist_ok=True)
        _give_to_mysql(folder)
    context.write("my.cnf", cnf, owner="mysql")
    data = context.directory / "data"
    if data.exists():
        return False
    copy_tree(template, data)
    return True


def spawn(context: Context, *arguments: str) -> Daemon:
    """Start mariadbd with the component's configuration."""
    socket_path(context).unlink(missing_ok=True)
    return context.spawn(["mariadbd", f"--defaults-file={context.directory}/my.cnf", *arguments])


def socket_path(context: Context) -> Path:
    """The server's local socket."""
    return context.directory / "mariadb.sock"


def query(context: Context, sql: str, arguments: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Run one statement as root over the local socket; raises OSError-free `pymysql.MySQLError` as `errors.NotReady`."""
    try:
        connection = pymysql.connect(
            unix_socket=str(socket_path(context)),
            user="root",
            connect_timeout=2,
            read_timeout=10,
            autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())
    except (pymysql.MySQLError, OSError) as error:
        raise errors.NotReady(
            what="the database refuses", where=context.unit, cause=str(error)
        ) from error


def value(context: Context, sql: str) -> Any:
    """The first column of the first row."""
    rows = query(context, sql)
    return next(iter(rows[0].values())) if rows else None


def missing(context: Context) -> str | None:
    """None if the server answers a query, else why not."""
    try:
        query(context, "SELECT 1")
    except errors.NotReady as error:
        return error.cause
    return None


def recovered_position(context: Context) -> str:
    """Where a stopped or killed Galera node stands, as `uuid:seqno[,gtid]`.

    After a crash grastate.dat holds no position. The whole recovered string must be handed back at start
    (`--wsrep_start_position`): a node that gets less asks for a full state transfer instead of the missing writes.
    """
    log = context.directory / "recover.log"
    log.unlink(missing_ok=True)
    run(
        [
            "mariadbd",
            f"--defaults-file={context.directory}/my.cnf",
            "--wsrep-recover",
            f"--log-error={log}",
        ],
        timeout=60.0,
        namespace=context.site.namespace,
    )
    found = re.findall(r"WSREP: Recovered position:\s*(\S+)", log.read_text(errors="replace"))
    if not found:
        raise errors.NotReady(
            what="the position of the node cannot be recovered",
            where=context.unit,
            cause=f"see {log}",
        )
    return str(found[-1])


def sql_user(name: str, password: str, host: str = "%") -> str:
    """The statement that makes a database user; it holds the hash of the password, not the password."""
    if not password.isalnum():
        raise errors.BadHost(
            missing=["a generated password has a character that SQL would need quoted"],
            remedy="report it",
        )
    # The statement stays in the binary log, which replicas and backups read: it holds the hash that the server would store.
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    stored = hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()
    return f"CREATE USER {name}@'{host}' IDENTIFIED BY PASSWORD '*{stored}'"


def _give_to_mysql(path: Path) -> None:
    account = pwd.getpwnam("mysql")
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o750)
