"""Writes a batch of queued entries into the writer's database, and reads back how far it got.

One transaction holds the batch and the site's position, so that a batch is applied exactly once
whatever is killed, and when: either both are there or neither. The position row is read with a lock
first, which also settles what became of a commit whose answer was lost.

The position lies in schema ``isthmus_identity``, which is replicated with Keystone's own; a replica
shows the position and what it stands for at the same moment.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.orm
from keystone.common import sql
from keystone.identity.backends import sql_model
from keystone.models import revoke_model
from keystone.revoke.backends import sql as revoke_sql
from oslo_log import log
from oslo_utils import timeutils

from isthmus.plugins.keystone import entries

LOG = log.getLogger(__name__)

_NO_SUCH_TABLE = 1146

# Not Keystone's base: its migrations must not see this table.
_Base = sqlalchemy.orm.declarative_base()


class ReplayPosition(_Base):  # type: ignore[valid-type, misc]
    """How far a site's queue has been replayed; made by ``isthmus.identity``'s schema."""

    __tablename__ = "replay_position"
    __table_args__ = {"schema": "isthmus_identity"}  # noqa: RUF012

    site = sqlalchemy.Column(sqlalchemy.String(64), primary_key=True)
    queue = sqlalchemy.Column(sqlalchemy.String(32), primary_key=True)
    sequence = sqlalchemy.Column(sqlalchemy.BigInteger, nullable=False)
    replayed_at = sqlalchemy.Column(sqlalchemy.DateTime, nullable=False)


def deliver(site: str, queue: str, batch: Sequence[entries.Entry]) -> None:
    """Apply a batch (in order of sequence, not empty) at the writer. All of it, or an exception."""
    with sql.session_for_write() as session:
        position = session.get(ReplayPosition, (site, queue), with_for_update=True)
        if position is None:
            position = ReplayPosition(
                site=site, queue=queue, sequence=0, replayed_at=timeutils.utcnow()
            )
            session.add(position)
        fresh = entries.after(batch, position.sequence)
        for user_id, effect in sorted(entries.coalesce(fresh).items()):
            _write_account(session, user_id, effect)
        for entry in entries.revocations(fresh):
            session.add(revoke_sql.RevocationEvent(**columns(entry)))
        position.sequence = max(position.sequence, batch[-1].sequence)
        position.replayed_at = timeutils.utcnow()


def position(session: Any, site: str, queue: str) -> int:
    """How far the database of this session has this queue."""
    try:
        row = session.get(ReplayPosition, (site, queue))
    except sqlalchemy.exc.ProgrammingError as error:
        if getattr(error.orig, "args", ())[:1] != (_NO_SUCH_TABLE,):
            raise
        # Then nothing can have been replayed either. The replay says in the log what is missing.
        return 0
    return 0 if row is None else int(row.sequence)


def local_position(site: str, queue: str) -> int:
    """How far this site's replica has this queue."""
    with sql.session_for_read() as session:
        return position(session, site, queue)


def account(local_user: Any, last_active: datetime.date | None = None) -> entries.Account:
    """What a row of Keystone's says of a user's logins."""
    return entries.Account(
        failures=local_user.failed_auth_count or 0,
        failed_at=local_user.failed_auth_at,
        last_active=last_active,
    )


def local_user(session: Any, user_id: str, *, lock: bool = False) -> Any:
    """The row with the counters of a user, without the passwords, or None."""
    query = session.query(sql_model.LocalUser).filter_by(user_id=user_id)
    query = query.options(sqlalchemy.orm.lazyload(sql_model.LocalUser.passwords))
    if lock:
        # A locking read sees the latest commit, and must replace what the session's snapshot has.
        query = query.populate_existing().with_for_update()
    return query.one_or_none()


def _write_account(session: Any, user_id: str, effect: entries.Effect) -> None:
    user = session.get(sql_model.User, user_id)
    if user is None:
        LOG.warning("User %s was deleted meanwhile; its queued logins are dropped.", user_id)
        return
    if effect.last_active is not None:
        user.last_active_at = entries.latest(user.last_active_at, effect.last_active)
    row = local_user(session, user_id, lock=True)
    if row is None or (effect.reset_at is None and not effect.failures):
        return
    after = entries.apply(account(row), effect)
    row.failed_auth_count, row.failed_auth_at = after.failures, after.failed_at


_TIMES = ("issued_before", "expires_at", "revoked_at")


def encode(event: Any) -> str:
    """A revocation event of Keystone's as JSON, with exactly what its table would hold."""
    values = {key: getattr(event, key) for key in revoke_model.REVOKE_KEYS}
    texts = {
        key: value.isoformat() if isinstance(value, datetime.datetime) else value
        for key, value in values.items()
        if value is not None
    }
    return json.dumps(texts, sort_keys=True)


def columns(entry: entries.Entry) -> dict[str, Any]:
    """The columns of a queued revocation."""
    values: dict[str, Any] = json.loads(entry.event)
    for key in _TIMES:
        if key in values:
            values[key] = datetime.datetime.fromisoformat(values[key])
    return values


@functools.lru_cache(maxsize=10_000)
def event(entry: entries.Entry) -> Any:
    """A queued revocation as Keystone's event, which nobody changes. Cached: validations ask."""
    return revoke_model.RevokeEvent(**columns(entry))
