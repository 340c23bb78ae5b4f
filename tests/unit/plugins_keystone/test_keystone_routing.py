"""Which database a session leads to, and when a replica has caught up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from keystone.common import sql
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade

from isthmus.plugins.keystone import routing, scope

gtids = st.dictionaries(st.integers(0, 5), st.integers(1, 10**9), max_size=4)


def text(positions: dict[int, int]) -> str:
    return ",".join(f"{domain}-100-{number}" for domain, number in positions.items())


@given(gtids)
def test_positions_are_read_as_mariadb_writes_them(positions: dict[int, int]) -> None:
    assert routing.positions(text(positions)) == positions


@given(gtids, gtids, gtids)
def test_a_replica_has_caught_up_when_no_domain_is_behind(
    wanted: dict[int, int], slave: dict[int, int], binlog: dict[int, int]
) -> None:
    have = {d: max(slave.get(d, 0), binlog.get(d, 0)) for d in {*slave, *binlog}}
    expected = all(have.get(domain, 0) >= number for domain, number in wanted.items())
    assert routing.reached(text(wanted), text(slave), text(binlog)) is expected


def test_a_server_without_positions_has_nothing_to_wait_for() -> None:
    assert routing.reached("", None, None)


@pytest.fixture
def site(tmp_path: Path) -> Any:
    """Keystone's context manager on two SQLite files that do not replicate."""
    manager = enginefacade.transaction_context()
    factory = routing.SiteFactory(follow_timeout=0.0)
    writer, reader = tmp_path / "writer", tmp_path / "reader"
    factory.configure(connection=f"sqlite:///{writer}", slave_connection=f"sqlite:///{reader}")
    manager.patch_factory(factory)
    for name, engine in (
        ("writer", factory.get_writer_engine()),
        ("reader", factory.get_reader_engine()),
    ):
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE place (name TEXT)")
            connection.exec_driver_sql("INSERT INTO place VALUES (?)", (name,))
    return manager


def place(site: Any) -> str:
    with site.reader.using(sql.core._get_context()) as session:
        names = session.execute(sqlalchemy.text("SELECT name FROM place ORDER BY rowid"))
        return str(names.scalars().first())


def write(site: Any) -> None:
    with site.writer.using(sql.core._get_context()) as session:
        session.execute(sqlalchemy.text("INSERT INTO place VALUES ('more')"))


def test_readers_use_the_replica_until_the_request_has_written(site: Any) -> None:
    with scope.request():
        assert place(site) == "reader"
        write(site)
        assert place(site) == "writer"
    with scope.request():
        assert place(site) == "reader"


def test_a_write_that_failed_does_not_send_readers_to_the_writer(site: Any) -> None:
    with scope.request() as request:
        with (
            pytest.raises(db_exception.DBNonExistentTable),
            site.writer.using(sql.core._get_context()) as session,
        ):
            session.execute(sqlalchemy.text("INSERT INTO nowhere VALUES (1)"))
        assert place(site) == "reader"
        assert request.error is not None
        assert request.side is scope.Side.WRITER


def test_threads_that_serve_no_request_are_not_bound_to_the_writer(site: Any) -> None:
    write(site)
    assert place(site) == "reader"
