"""What a template holds besides when its environment has networks: Neutron's schema, and the declarations' schema and accounts."""

import importlib
import importlib.util
from collections.abc import Mapping

from isthmus.identity import config
from isthmus.identity import schema as identity_schema
from isthmus.lab import processes, templates
from isthmus.lab.components import mariadb
from isthmus.lab.components.base import Context, script
from isthmus.lab.components.mariadb import sql_user
from isthmus.lab.environment import Environment
from isthmus.lab.running import run
from isthmus.network import schema

# Service accounts in Keystone: Neutron's own, and the engines'.
ACCOUNTS = ("neutron", "isthmus")


def wanted(environment: Environment) -> bool:
    """Whether the environment has networks."""
    return any(templates.NETWORK in site.components for site in environment.sites)


def identity_sql(secrets: Mapping[str, str]) -> list[str]:
    """The replicated schema of declarations and its user."""
    return [
        *schema.STATEMENTS,
        sql_user("engine", secrets["engine-database"]),
        *schema.engine_grants("engine"),
        *identity_schema.key_grants("engine"),
    ]


def local_sql(secrets: Mapping[str, str]) -> list[str]:
    """Neutron's database in a site."""
    return [
        "CREATE DATABASE neutron CHARACTER SET utf8mb4",
        sql_user("neutron", secrets["neutron-database"]),
        "GRANT ALL ON neutron.* TO neutron@'%'",
    ]


def migrate(context: Context, secrets: Mapping[str, str], *, timeout: float) -> None:
    """Make the tables of Neutron and of our drivers, in a database of `local_sql` that answers over its socket."""
    url = f"mysql+pymysql://neutron:{secrets['neutron-database']}@localhost/neutron"
    socket = mariadb.socket_path(context)
    conf = config.ini({"database": {"connection": f"{url}?unix_socket={socket}"}})
    path = context.write("neutron.conf", conf)
    for project in _projects():
        run(
            [
                script("neutron-db-manage"),
                *("--config-file", str(path), "--subproject", project),
                *("upgrade", "heads"),
            ],
            timeout=timeout,
            env=processes.clean_environment(),
        )


def _projects() -> list[str]:
    ours = importlib.util.find_spec("isthmus.plugins.neutron") is not None and (
        importlib.util.find_spec("isthmus.plugins.neutron.db") is not None
    )
    return ["neutron", *(["isthmus"] if ours else [])]
