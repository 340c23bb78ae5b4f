"""The migrations against the models, over a real SQLite file."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import autogenerate, migration

from isthmus.store import databases, schema, tables


def test_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    database = databases.connect(f"sqlite:///{tmp_path}/s.db")
    schema.upgrade(database)
    schema.upgrade(database)
    own = set(tables.Base.metadata.tables)
    options = {
        "version_table": schema.VERSION_TABLE,
        "include_name": lambda name, kind, _: kind != "table" or name in own,
    }
    with database.engine.connect() as connection:
        context = migration.MigrationContext.configure(connection, opts=options)
        assert autogenerate.compare_metadata(context, tables.Base.metadata) == []
    found = set(sa.inspect(database.engine).get_table_names())
    assert own | {"logbooks", "flowdetails", "atomdetails", schema.VERSION_TABLE} <= found


def test_the_engine_may_add_to_the_audit_trail_and_not_change_it() -> None:
    [grant] = [each for each in schema.engine_grants("engine") if "`audit`" in each]
    assert grant.startswith("GRANT SELECT, INSERT ON isthmus_recovery.`audit` TO `engine`")
    assert "UPDATE" not in grant
    assert "DELETE" not in grant
