"""What alembic runs: migrations over the connection that `isthmus.store.schema` hands in."""

from __future__ import annotations

from alembic import context

from isthmus.store import schema, tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.Base.metadata,
    version_table=schema.VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
