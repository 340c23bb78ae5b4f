"""What a template holds besides when its environment has computing: the schemas of Placement, Nova and Cinder, their accounts."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from isthmus.identity import config
from isthmus.lab import processes, templates
from isthmus.lab.components import mariadb
from isthmus.lab.components.base import Context, script
from isthmus.lab.components.mariadb import sql_user
from isthmus.lab.components.service_config import COMPUTE_PORT, PLACEMENT_PORT, VOLUME_PORT
from isthmus.lab.components.swift_config import PORT as OBJECT_PORT
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.running import run
from isthmus.store import SCHEMA

# Accounts in Keystone: services, and the person who may approve what another asks for.
ACCOUNTS = ("nova", "cinder", "placement", "swift", "approver")

# Which databases each account has in a site.
_DATABASES = {
    "placement": ("placement",),
    "nova": ("nova", "nova_api", "nova_cell0"),
    "cinder": ("cinder",),
}

# The engine's account in its site's own database, with rights on single tables: see `schema.engine_grants`.
_RECOVERY_USER = "recovery"

# Nova fills these in from its own configuration, so that the rows are right in every site.
_URL = "{scheme}://{username}:{password}@{hostname}:{port}/"
_CELLS = {
    "cell0": ("00000000-0000-0000-0000-000000000000", "none:///", f"{_URL}nova_cell0?{{query}}"),
    "cell1": (
        "8a4c2d5e-1f3b-4c6d-9e7f-0a1b2c3d4e5f",
        f"{_URL}{{path}}?{{query}}",
        f"{_URL}{{path}}?{{query}}",
    ),
}
_CELL = (
    "INSERT INTO nova_api.cell_mappings (created_at, uuid, name, transport_url, database_connection, disabled)"
    " VALUES (UTC_TIMESTAMP(), %s, %s, %s, %s, 0)"
)

_SERVICES = {
    "placement": ("placement", PLACEMENT_PORT, ""),
    "nova": ("compute", COMPUTE_PORT, "/v2.1"),
    "cinder": ("block-storage", VOLUME_PORT, "/v3"),
    "swift": ("object-store", OBJECT_PORT, "/v1/AUTH_%(project_id)s"),
}


def wanted(environment: Environment) -> bool:
    """Whether the environment has computing."""
    return bool(templates.computing(environment))


def endpoints(site: SiteSpec) -> dict[str, tuple[int, str]]:
    """Port and path of the site's services that are in the catalog, by service type."""
    offered = [_SERVICES[name] for name in site.components if name in _SERVICES]
    return {kind: (port, path) for kind, port, path in offered}


def local_sql(secrets: Mapping[str, str]) -> list[str]:
    """The databases in a site, and their users."""
    statements = []
    for user, schemas in _DATABASES.items():
        statements.append(sql_user(user, secrets[f"{user}-database"]))
        for name in schemas:
            statements.append(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            statements.append(f"GRANT ALL ON {name}.* TO {user}@'%'")
    statements.append(f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")
    statements.append(sql_user(_RECOVERY_USER, secrets["recovery-database"]))
    return statements


def migrate(context: Context, secrets: Mapping[str, str], *, timeout: float) -> None:
    """Make all tables in databases of `local_sql` that answer over their socket. Two lanes: most of it is one core's work."""
    with ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(lane, context, secrets, timeout) for lane in (_nova, _others)]
        for lane in lanes:
            lane.result()
    # Quotas would end a long run of checkpoints; the product looks at them before a freeze all the same.
    mariadb.query(
        context, "UPDATE cinder.quota_classes SET hard_limit = -1 WHERE class_name = 'default'"
    )
    _recovery(context, timeout)


def _recovery(context: Context, timeout: float) -> None:
    """The engine's tables, made by root; its account may use them and change nothing of what they are."""
    url = f"mysql+pymysql://root@localhost/{SCHEMA}?unix_socket={mariadb.socket_path(context)}"
    file = str(context.write("recovery.url", url))
    words = ["isthmus", "recovery", "schema", "upgrade", "--url-file", file]
    _manage([*words, "--engine-user", _RECOVERY_USER], timeout)


def _nova(context: Context, secrets: Mapping[str, str], timeout: float) -> None:
    sections = {
        "database": {"connection": _url(context, secrets, "nova", "nova")},
        "api_database": {"connection": _url(context, secrets, "nova", "nova_api")},
    }
    conf = str(context.write("nova.conf", config.ini(sections)))
    _manage(["nova-manage", "--config-file", conf, "api_db", "sync"], timeout)
    for name, (uuid, transport, database) in _CELLS.items():
        mariadb.query(context, _CELL, (uuid, name, transport, database))
    _manage(["nova-manage", "--config-file", conf, "db", "sync"], timeout)


def _others(context: Context, secrets: Mapping[str, str], timeout: float) -> None:
    for name, section in (("placement", "placement_database"), ("cinder", "database")):
        url = _url(context, secrets, name, name)
        conf = str(context.write(f"{name}.conf", config.ini({section: {"connection": url}})))
        _manage([f"{name}-manage", "--config-file", conf, "db", "sync"], timeout)


def _url(context: Context, secrets: Mapping[str, str], user: str, schema: str) -> str:
    # The name of a port, because Nova wants to fill one in.
    account = f"mysql+pymysql://{user}:{secrets[f'{user}-database']}@localhost:3306"
    return f"{account}/{schema}?unix_socket={mariadb.socket_path(context)}"


def _manage(argv: list[str], timeout: float) -> None:
    name, *words = argv
    run([script(name), *words], timeout=timeout, env=processes.clean_environment())
