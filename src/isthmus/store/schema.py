"""Makes the schema what this release needs: our tables and TaskFlow's, by migrations.

Run it before the engine starts, as often as one likes, from several engines at once: one of them
does it, the others wait. It needs the rights to create and alter tables; the engine itself does not.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import command, config

from isthmus import errors
from isthmus.store import SCHEMA, databases, tables

VERSION_TABLE = "isthmus_version"
"""Not alembic's own name, which TaskFlow has taken in the same schema."""

LOCK_SECONDS = 60

_USER = re.compile(r"[A-Za-z0-9_-]{1,80}")

_APPEND_ONLY = frozenset({tables.AuditEntry.__tablename__})


def upgrade(database: databases.Database) -> None:
    """Bring all tables to the newest version. Raises UnavailableError."""
    with databases.worded(database.engine), _alone(database.engine):
        with database.engine.begin() as connection:
            command.upgrade(_settings(connection), "head")
        _upgrade_taskflow(database.engine)


def _settings(connection: sa.Connection) -> config.Config:
    settings = config.Config()
    # A percent sign would be read as the start of a placeholder.
    where = str(Path(__file__).parent / "migrations").replace("%", "%%")
    settings.set_main_option("script_location", where)
    settings.attributes["connection"] = connection
    return settings


def _upgrade_taskflow(engine: sa.Engine) -> None:
    # TaskFlow is slow to import, and whoever only reads the tables does not need it.
    from taskflow import exceptions
    from taskflow.persistence.backends import impl_sqlalchemy

    backend = impl_sqlalchemy.SQLAlchemyBackend({}, engine=engine)
    try:
        with contextlib.closing(backend.get_connection()) as connection:
            connection.upgrade()
    except exceptions.StorageFailure as error:
        raise errors.UnavailableError(
            "TaskFlow's tables cannot be made", where=SCHEMA, cause=str(error)
        ) from error


@contextlib.contextmanager
def _alone(engine: sa.Engine) -> Iterator[None]:
    """Only one migration at a time; SQLite locks the file by itself."""
    if engine.dialect.name == "sqlite":
        yield
        return
    with engine.connect() as connection:
        taken = connection.execute(
            sa.text("SELECT GET_LOCK(:name, :wait)"), {"name": SCHEMA, "wait": LOCK_SECONDS}
        ).scalar_one()
        if taken != 1:
            raise errors.BusyError(
                "the schema is being changed by somebody else",
                where=SCHEMA,
                unchanged="nothing was changed by this process",
            )
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": SCHEMA})


def engine_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """The rights of the engine's database user, to be given after `upgrade`.

    The audit trail can be read and added to, never changed or removed.
    """
    to = f"TO `{user}`@`{host}`"
    own = sorted(tables.Base.metadata.tables)
    rights = {
        table: "SELECT, INSERT" if table in _APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        for table in (*own, "logbooks", "flowdetails", "atomdetails")
    }
    rights |= dict.fromkeys((VERSION_TABLE, "alembic_version"), "SELECT")
    return tuple(f"GRANT {what} ON {SCHEMA}.`{table}` {to}" for table, what in rights.items())


def grant(database: databases.Database, user: str) -> None:
    """Give the engine's account its rights. Raises UnavailableError, UsageError for a name that is none."""
    if not _USER.fullmatch(user):
        raise errors.UsageError(
            f"{user!r} is no name of a database account",
            cause="it should be letters, digits, underscores and hyphens",
            unchanged="no rights were given",
        )
    with databases.worded(database.engine), database.engine.begin() as connection:
        for statement in engine_grants(user):
            connection.execute(sa.text(statement))
