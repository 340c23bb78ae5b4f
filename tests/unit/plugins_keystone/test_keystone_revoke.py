"""A queued revocation matches the tokens that Keystone's own query would give it to."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy
import sqlalchemy.orm
from hypothesis import given
from hypothesis import strategies as st
from keystone.common import sql
from keystone.models import revoke_model
from keystone.revoke.backends import sql as revoke_sql
from oslo_db.sqlalchemy import enginefacade

from isthmus.plugins.keystone import delivery, revoke
from isthmus.plugins.keystone.entries import Entry, Kind

ids = st.none() | st.sampled_from(["a", "b"])
moments = st.integers(0, 3).map(
    lambda seconds: datetime.datetime(2027, 1, 1) + datetime.timedelta(seconds=seconds)
)
events = st.builds(
    revoke_model.RevokeEvent,
    user_id=ids,
    project_id=ids,
    audit_id=ids,
    trust_id=ids,
    role_id=ids,
    audit_chain_id=ids,
    domain_id=ids,
    expires_at=st.none() | moments,
    issued_before=moments,
    revoked_at=moments,
)
TOKEN_IDS = (
    *("user_id", "trustor_id", "trustee_id", "project_id", "audit_id", "trust_id"),
    *("identity_domain_id", "assignment_domain_id", "audit_chain_id"),
    *("consumer_id", "access_token_id"),
)
tokens = st.fixed_dictionaries(
    {
        **{key: ids for key in TOKEN_IDS},  # noqa: C420
        "issued_at": moments,
        "expires_at": moments,
        "roles": st.lists(st.sampled_from(["a", "b"])),
    }
)


def stored(event: Any) -> Any:
    return delivery.event(
        Entry(kind=Kind.REVOCATION, recorded_at=0.0, sequence=1, event=delivery.encode(event))
    )


def values(event: Any) -> dict[str, Any]:
    return {key: getattr(event, key) for key in revoke_model.REVOKE_KEYS}


def stock_listing(event: Any, token: dict[str, Any]) -> list[Any]:
    """What stock Keystone lists for a token when its table holds just this event."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    revoke_sql.RevocationEvent.__table__.create(engine)
    manager = enginefacade.transaction_context()
    manager.configure(connection="sqlite://")
    manager.patch_engine(engine)
    before, sql.core._main_context_manager = sql.core._main_context_manager, manager
    try:
        with sql.session_for_write() as session:
            session.add(revoke_sql.RevocationEvent(**values(event)))
        return list(revoke_sql.Revoke().list_events(token=token))
    finally:
        sql.core._main_context_manager = before
        engine.dispose()


@given(events)
def test_an_event_comes_out_of_the_queue_as_it_went_in(event: Any) -> None:
    assert values(stored(event)) == values(revoke_model.RevokeEvent(**values(event)))


@given(events, tokens)
def test_the_queue_refuses_the_tokens_that_keystones_table_would_refuse(
    event: Any, token: dict[str, Any]
) -> None:
    listed = stock_listing(event, token)
    own = [one for one in [stored(event)] if revoke.concerns(one, token)]
    assert len(own) == len(listed)
    assert revoke_model.is_revoked(own, token) == revoke_model.is_revoked(listed, token)


@given(st.lists(events, max_size=4), st.lists(events, max_size=4), st.none() | moments)
def test_the_full_list_is_in_order_and_newer_than_the_fetch(
    replicated: list[Any], own: list[Any], last_fetch: datetime.datetime | None
) -> None:
    merged = revoke.merge(replicated, own, last_fetch)
    times = [event.revoked_at for event in merged]
    assert times == sorted(times)
    new = [e for e in own if last_fetch is None or e.revoked_at > last_fetch]
    assert len(merged) == len(replicated) + len(new)
