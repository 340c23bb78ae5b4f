"""Makes a template: real daemons in a namespace of their own, real migrations, then a clean stop and a rename."""

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isthmus.identity import config, schema
from isthmus.lab import network, processes, template_compute, template_network, templates
from isthmus.lab.components import mariadb
from isthmus.lab.components.base import Context, copy_tree, python, script
from isthmus.lab.components.mariadb import sql_user
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home, replace
from isthmus.lab.running import run
from isthmus.lab.templates import Template

NAMESPACE = "isthmus-template"
_ADDRESS = "127.0.0.1"

# Migrations are some 20 s of Python on an idle core; a busy machine may need several times that.
_SEED_DEADLINE = 300.0


def build(
    home: Home, environment: Environment, path: Path, progress: Callable[[str, float], None]
) -> Template:
    """Make the template for `environment` at `path`; `progress(step, seconds)` is called after each step."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # MariaDB runs as user mysql and has to pass through.
    for folder in (home.root, home.templates, partial):
        folder.chmod(0o711)
    secrets = templates.new_secrets()
    replace(partial / "secrets.json", json.dumps(secrets), mode=0o600)
    work = Home(root=partial / "work")
    if NAMESPACE not in network.present():
        run(["ip", "netns", "add", NAMESPACE])
    run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"])
    try:
        with _timed("install", progress):
            _install(partial)
        with ThreadPoolExecutor(2) as pool:
            identity = pool.submit(_identity, work, environment, partial, secrets, progress)
            local = pool.submit(_local, work, environment, partial, secrets, progress)
            gtid = identity.result()
            local.result()
    finally:
        processes.kill(work.lab)
        network.remove([NAMESPACE])
        shutil.rmtree(work.root, ignore_errors=True)
    replace(partial / "template.json", json.dumps({"gtid": gtid}), mode=0o600)
    partial.rename(path)
    return Template(path=path, gtid=gtid)


class _timed:
    """Reports the seconds of a step."""

    def __init__(self, step: str, progress: Callable[[str, float], None]) -> None:
        self.step, self.progress = step, progress

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            self.progress(f"template: {self.step}", time.monotonic() - self.started)


def _install(partial: Path) -> None:
    """One empty data directory, then a copy for the second database."""
    run(
        [
            "mariadb-install-db",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={partial}/identity",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            "--innodb-log-file-size=16M",
        ],
        timeout=120.0,
    )
    copy_tree(partial / "identity", partial / "local")


def _context(work: Home, environment: Environment, partial: Path, name: str) -> Context:
    """A component that runs in the template's namespace instead of a site's."""
    return Context(
        home=work,
        environment=environment,
        site=_Nowhere(**environment.writers[0].__dict__),
        template=Template(path=partial, gtid=""),
        name=name,
    )


class _Nowhere(SiteSpec):
    """The place where templates are made."""

    @property
    def namespace(self) -> str:
        return NAMESPACE


def _identity(
    work: Home,
    environment: Environment,
    partial: Path,
    secrets: Mapping[str, str],
    progress: Callable[[str, float], None],
) -> str:
    context = _context(work, environment, partial, "identity-db")
    cnf = config.mariadb_writer(
        site="template",
        segment=1,
        address=_ADDRESS,
        cluster=[_ADDRESS],
        sst_password=secrets["sst"],
        directory=str(context.directory),
        sizing=mariadb.SIZING,
    )
    with _timed("identity database", progress):
        _start(context, cnf, partial / "identity", "--wsrep-new-cluster")
        for statement in _identity_sql(environment, secrets):
            mariadb.query(context, statement)
    with _timed("Keystone's schema and first objects", progress):
        _seed(context, environment, secrets)
    gtid = str(mariadb.value(context, "SELECT @@gtid_binlog_pos"))
    _finish(context, partial / "identity")
    return gtid


def _local(
    work: Home,
    environment: Environment,
    partial: Path,
    secrets: Mapping[str, str],
    progress: Callable[[str, float], None],
) -> None:
    context = _context(work, environment, partial, "local-db")
    cnf = config.mariadb_local(
        address="127.0.0.2", directory=str(context.directory), sizing=mariadb.SIZING
    )
    with _timed("local database", progress):
        _start(context, cnf, partial / "local")
        for statement in _local_sql(environment, secrets):
            mariadb.query(context, statement)
    with _timed("Glance's schema", progress):
        url = f"mysql+pymysql://glance:{secrets['glance-database']}@localhost/glance"
        conf = config.ini(
            {"database": {"connection": f"{url}?unix_socket={mariadb.socket_path(context)}"}}
        )
        context.write("glance-api.conf", conf)
        run(
            [
                script("glance-manage"),
                "--config-file",
                f"{context.directory}/glance-api.conf",
                "db",
                "sync",
            ],
            timeout=_SEED_DEADLINE,
            env=processes.clean_environment(),
        )
    if template_network.wanted(environment):
        with _timed("Neutron's schema", progress):
            template_network.migrate(context, secrets, timeout=_SEED_DEADLINE)
    if template_compute.wanted(environment):
        with _timed("the schemas of Placement, Nova and Cinder", progress):
            template_compute.migrate(context, secrets, timeout=_SEED_DEADLINE)
    _finish(context, partial / "local")


def _start(context: Context, cnf: str, data: Path, *arguments: str) -> None:
    """Run mariadbd on the template's own directory, not on a copy."""
    context.directory.mkdir(parents=True, exist_ok=True)
    for folder in (*context.directory.parents[:4], context.directory):
        folder.chmod(0o711)
    (context.directory / "data").symlink_to(data)
    mariadb.prepare(context, cnf, data)
    daemon = mariadb.spawn(context, *arguments)
    context.wait(daemon, lambda: mariadb.missing(context))


def _finish(context: Context, data: Path) -> None:
    """Stop in order (the Galera position is then on disk) and drop what belongs to that run alone."""
    mariadb.query(context, "SHUTDOWN")

    def left() -> str | None:
        return "still running" if context.processes() else None

    context.wait(None, left)
    for name in ("galera.cache", "gvwstate.dat", "aria_log_control.lock"):
        (data / name).unlink(missing_ok=True)


def _seed(context: Context, environment: Environment, secrets: Mapping[str, str]) -> None:
    folder = context.directory / "keystone"
    folder.mkdir(mode=0o700)
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    # Keystone refuses to load without a key; this one seals nothing and goes with the directory.
    replace(keys / "0", base64.urlsafe_b64encode(os.urandom(32)).decode(), mode=0o600)
    url = f"mysql+pymysql://keystone:{secrets['keystone']}@localhost/keystone"
    conf = config.ini(
        {
            "database": {"connection": f"{url}?unix_socket={mariadb.socket_path(context)}"},
            "fernet_tokens": {"key_repository": str(keys)},
            "fernet_receipts": {"key_repository": str(keys)},
            "credential": {"key_repository": str(keys)},
        }
    )
    context.write("keystone/keystone.conf", conf)
    accounts = ["admin", "glance", "demo"]
    if template_network.wanted(environment):
        accounts += template_network.ACCOUNTS
    if template_compute.wanted(environment):
        accounts += template_compute.ACCOUNTS
    request = {
        "passwords": {name: secrets[name] for name in accounts},
        "regions": {site.name: _endpoints(site) for site in environment.sites},
    }
    run(
        [python(), "-m", "isthmus.lab.seed_identity"],
        stdin=json.dumps(request),
        env={**processes.clean_environment(), "OS_KEYSTONE_CONFIG_DIR": str(folder)},
        timeout=_SEED_DEADLINE,
    )


def _endpoints(site: SiteSpec) -> dict[str, dict[str, str]]:
    """The catalog of one region: service type -> interface -> URL."""
    paths = {"identity": (config.IDENTITY_PORT, "/v3"), "image": (config.IMAGE_PORT, "")}
    if templates.NETWORK in site.components:
        paths["network"] = (config.NETWORK_PORT, "")
    paths |= template_compute.endpoints(site)
    return {
        kind: {
            "public": f"http://{site.management}:{port}{path}",
            "internal": f"http://{site.front}:{port}{path}",
        }
        for kind, (port, path) in paths.items()
    }


def _identity_sql(environment: Environment, secrets: Mapping[str, str]) -> list[str]:
    return [
        "CREATE DATABASE keystone CHARACTER SET utf8mb4",
        *schema.STATEMENTS,
        sql_user("keystone", secrets["keystone"]),
        "GRANT ALL ON keystone.* TO keystone@'%'",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON isthmus_identity.* TO keystone@'%'",
        sql_user("repl", secrets["replication"]),
        *schema.replication_grants("repl"),
        sql_user("agent", secrets["agent"]),
        *schema.agent_grants("agent"),
        sql_user("sst", secrets["sst"], host="localhost"),
        "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO sst@localhost",
        # HAProxy's handshake check logs in without a password and without any right.
        "CREATE USER haproxy@'%'",
        *(template_network.identity_sql(secrets) if template_network.wanted(environment) else []),
    ]


def _local_sql(environment: Environment, secrets: Mapping[str, str]) -> list[str]:
    return [
        "CREATE DATABASE glance CHARACTER SET utf8mb4",
        sql_user("glance", secrets["glance-database"]),
        "GRANT ALL ON glance.* TO glance@'%'",
        *(template_network.local_sql(secrets) if template_network.wanted(environment) else []),
        *(template_compute.local_sql(secrets) if template_compute.wanted(environment) else []),
    ]


def prune(home: Home, keep: Set[str]) -> None:
    """Drop half-made templates and all but `keep`: an upgrade makes the old ones useless."""
    if not home.templates.is_dir():
        return
    for path in home.templates.iterdir():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def free_bytes(path: Path) -> int:
    """Room on the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
