"""The migrations make what the model says, beside Neutron's own tables."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import sqlalchemy
from alembic import autogenerate, migration
from neutron_lib.db import model_base

from isthmus.plugins.neutron.db import models


def test_an_upgrade_makes_the_table_of_the_model_and_repeats_harmlessly(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/neutron"
    engine = sqlalchemy.create_engine(url)
    tables = model_base.BASEV2.metadata.tables
    needed = [tables[name] for name in ("standardattributes", "networks", "ports", "agents")]
    model_base.BASEV2.metadata.create_all(engine, tables=needed)
    manage(url, ["upgrade", "heads"], ["check_migration"], ["upgrade", "heads"])
    with engine.connect() as connection:
        assert difference(connection) == []
        version = sqlalchemy.text("SELECT count(*) FROM alembic_version_isthmus")
        assert connection.execute(version).scalar_one() == 2


def difference(connection: sqlalchemy.Connection) -> list[object]:
    """What autogeneration would still do to our table."""

    def ours(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
        return kind != "table" or name == models.TABLE

    context = migration.MigrationContext.configure(connection, opts={"include_object": ours})
    return list(autogenerate.compare_metadata(context, model_base.BASEV2.metadata))


def manage(url: str, *commands: list[str]) -> None:
    """Neutron's tool, in a process of its own: its options would mix with the tests'."""
    options = ["neutron-db-manage", "--database-connection", url, "--subproject", "isthmus"]
    lines = ["import sys", "from neutron.db.migration import cli"]
    for words in commands:
        lines += [f"sys.argv = {[*options, *words]}", "cli.main()"]
    tool = [sys.executable, "-W", "ignore", "-c", "\n".join(lines)]
    subprocess.run(tool, check=True, capture_output=True, timeout=120)


def test_every_entry_point_of_neutron_that_we_declare_can_be_loaded() -> None:
    points = importlib.metadata.distribution("isthmus").entry_points
    ours = [point for point in points if point.group.startswith("neutron.")]
    names = {(point.group, point.name) for point in ours if "alembic" not in point.group}
    assert names == {
        ("neutron.ml2.mechanism_drivers", "remote_port"),
        ("neutron.ml2.extension_drivers", "remote_port"),
        ("neutron.policies", "isthmus"),
    }
    for point in ours:
        if "alembic" not in point.group:
            assert point.load() is not None
