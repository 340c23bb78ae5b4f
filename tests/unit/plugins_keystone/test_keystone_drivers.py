"""What the drivers do while the writer site refuses connections: a real refused port, a real table.

The replica is an SQLite file with Keystone's own tables; the lab and the functional tests have
MariaDB. Here are the paths that need a federation to be reached over HTTP.
"""

from __future__ import annotations

import datetime
import socket
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keystone.conf
import pytest
import sqlalchemy
import sqlalchemy.orm
from keystone.common import sql
from keystone.federation.backends import sql as federation_sql
from keystone.identity.backends import sql_model
from keystone.resource.backends import sql as resource_sql
from keystone.trust.backends import sql as trust_sql
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from oslo_utils import timeutils

from isthmus.plugins.keystone import routing, runtime
from isthmus.plugins.keystone.entries import Kind
from isthmus.plugins.keystone.shadow_users import ShadowUsers
from isthmus.plugins.keystone.trust import Trust

# Their tables are named by foreign keys of the users' tables.
REFERENCED = (federation_sql, resource_sql)
FEDERATED = ("idp", "saml", "unique")


@pytest.fixture(scope="module")
def configured() -> None:
    """Keystone's options with their defaults, whatever this machine has in /etc."""
    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone", default_config_files=[])


@pytest.fixture
def replica(
    configured: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sqlalchemy.orm.Session]:
    """Keystone's manager with a replica that answers and a writer that refuses."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    factory = routing.SiteFactory(follow_timeout=0.0)
    factory.configure(
        connection=f"mysql+pymysql://nobody@127.0.0.1:{port}/keystone",
        slave_connection=f"sqlite:///{tmp_path}/replica",
    )
    manager = enginefacade.transaction_context()
    manager.patch_factory(factory)
    monkeypatch.setattr(sql.core, "_main_context_manager", manager)
    section = types.SimpleNamespace(
        site="madrid",
        queue_path=tmp_path / "queue.sqlite",
        queue_limit=1000,
        follow_timeout=0.0,
        revocation_timeout=0.0,
        backoff_limit=0.5,
        coherence=False,
        answers_mib=1,
    )
    monkeypatch.setattr(runtime, "_runtime", runtime._make(section))
    engine = factory.get_reader_engine()
    sql.ModelBase.metadata.create_all(engine)
    with sqlalchemy.orm.Session(engine) as session:
        session.add(sql_model.User(id="u", domain_id="d", enabled=True))
        session.add(sql_model.FederatedUser(**federated_user()))
        session.commit()
        yield session
    # Its thread uses Keystone's one context manager, which is another one in the next test.
    runtime.get().replayer.stop()


def federated_user() -> dict[str, Any]:
    idp, protocol, unique = FEDERATED
    names = {"idp_id": idp, "protocol_id": protocol, "unique_id": unique}
    return {"user_id": "u", "display_name": "Ana", **names}


def queued() -> list[Kind]:
    return [entry.kind for entry in runtime.get().journal.of_user("u")]


def test_the_first_login_of_the_day_is_queued_once(replica: Any) -> None:
    ShadowUsers().set_last_active_at("u")
    ShadowUsers().set_last_active_at("u")
    assert queued() == [Kind.LAST_ACTIVE]


def test_a_user_known_to_be_active_today_queues_nothing(replica: Any) -> None:
    replica.get(sql_model.User, "u").last_active_at = timeutils.utcnow().date()
    replica.commit()
    ShadowUsers().set_last_active_at("u")
    assert queued() == []


def test_an_unknown_user_queues_nothing(replica: Any) -> None:
    ShadowUsers().set_last_active_at("nobody")
    assert runtime.get().journal.pending() == ()


@pytest.mark.parametrize("name", ["Ana", "Anna"])
def test_a_federated_login_does_not_fail_for_its_display_name(replica: Any, name: str) -> None:
    ShadowUsers().update_federated_user_display_name(*FEDERATED, name)


def member(replica: Any, group: str) -> None:
    replica.add(
        sql_model.ExpiringUserGroupMembership(
            user_id="u", group_id=group, idp_id="idp", last_verified=datetime.datetime(2027, 1, 1)
        )
    )
    replica.commit()


def test_the_renewal_of_a_membership_may_be_missed(replica: Any) -> None:
    member(replica, "g")
    assert ShadowUsers().add_user_to_group_expires("u", "g") is False


def test_a_new_membership_is_strict(replica: Any) -> None:
    with pytest.raises(db_exception.DBConnectionError):
        ShadowUsers().add_user_to_group_expires("u", "g")


def test_a_membership_that_ends_is_strict_and_others_cost_no_write(replica: Any) -> None:
    member(replica, "g")
    assert ShadowUsers().cleanup_stale_group_memberships("u", "idp", ["g"]) == []
    with pytest.raises(db_exception.DBConnectionError):
        ShadowUsers().cleanup_stale_group_memberships("u", "idp", [])


def trust(replica: Any, **what: Any) -> None:
    people = {"trustor_user_id": "u", "trustee_user_id": "v"}
    replica.add(trust_sql.TrustModel(id="t", impersonation=False, **people, **what))
    replica.commit()


def test_an_unlimited_trust_is_not_counted(replica: Any) -> None:
    trust(replica, remaining_uses=None)
    Trust().consume_use("t")


@pytest.mark.parametrize(
    "what",
    [
        {"remaining_uses": 1},
        {"remaining_uses": 0},
        {"remaining_uses": None, "deleted_at": datetime.datetime(2027, 1, 1)},
    ],
)
def test_any_other_trust_is_strict(replica: Any, what: dict[str, Any]) -> None:
    trust(replica, **what)
    with pytest.raises(db_exception.DBConnectionError):
        Trust().consume_use("t")


def test_an_unknown_trust_is_strict(replica: Any) -> None:
    with pytest.raises(db_exception.DBConnectionError):
        Trust().consume_use("t")
