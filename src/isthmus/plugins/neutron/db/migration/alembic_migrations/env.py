"""Runs the revisions with the settings of ``neutron-db-manage``.

Our version table is not Neutron's, so the two histories are independent; ours refers to tables of
Neutron's first release, so it runs after Neutron's on a new database, which the tool does anyway.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from neutron.db.migration import autogen, connection
from neutron_lib.db import model_base

from isthmus.plugins.neutron.db import models

VERSION_TABLE = "alembic_version_isthmus"

config: Any = context.config
settings = config.neutron_config


def _ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    """Autogeneration looks at our tables only, not at the rest of Neutron's schema."""
    return kind != "table" or name == models.TABLE


def _configure(**where: Any) -> None:
    context.configure(
        target_metadata=model_base.BASEV2.metadata,
        include_object=_ours,
        version_table=VERSION_TABLE,
        process_revision_directives=autogen.process_revision_directives,
        **where,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run() -> None:
    url = settings.database.connection
    if context.is_offline_mode():
        _configure(**({"url": url} if url else {"dialect_name": settings.database.engine}))
        return
    with connection.DBConnection(url, config.attributes.get("connection")) as opened:
        _configure(connection=opened)


_run()
