"""``[identity] driver = isthmus``: wrong passwords are counted at this site at once.

The counters of failed logins are queued and added up at the writer site. Until the replica shows
them, this site adds its own queue to what the replica says, so that the lockout holds at a site
that is cut off. What a cut-off site cannot know is what fails elsewhere meanwhile: an attacker has
the allowed number of attempts at each part of a partition.

Password changes and everything else about users stay as they are: written at the writer site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keystone.common import sql
from keystone.identity.backends import sql as identity_sql
from oslo_log import log
from sqlalchemy.orm import attributes

from isthmus.plugins.keystone import delivery, entries, runtime, scope, unavailable

LOG = log.getLogger(__name__)


class Identity(identity_sql.Identity):  # type: ignore[misc]
    """Keystone's SQL driver with counters that do not wait for the writer site."""

    def _get_user(self, session: Any, user_id: str) -> Any:
        """The user, with the last active day that this site has queued.

        Keystone disables users who were inactive for too long; a user who logs in at a cut-off
        site every day is not one of them.
        """
        user = super()._get_user(session, user_id)
        own = entries.total(runtime.get().journal.of_user(user_id))
        if own.last_active is not None:
            last_active = entries.latest(user.last_active_at, own.last_active)
            attributes.set_committed_value(user, "last_active_at", last_active)
        return user

    def _is_account_locked(self, user_id: str, user_ref: Any) -> bool:
        """Judge by the replica's counters and this site's queue together.

        This is the first thing ``authenticate`` asks after it has loaded the user, so what is set
        on the (detached) user here is also what it looks at after a right password.
        """
        own = runtime.get().journal.of_user(user_id)
        if own and user_ref.local_user is not None:
            self._add_own(user_id, user_ref.local_user, own)
        return bool(super()._is_account_locked(user_id, user_ref))

    def _add_own(self, user_id: str, local_user: Any, own: Sequence[entries.Entry]) -> None:
        # The counters and the position come from one snapshot of one replica: an entry is either
        # in the counter or behind the position, never both and never neither.
        with sql.session_for_read() as session:
            row = delivery.local_user(session, user_id)
            position = runtime.get().position(session)
            stored = entries.Account() if row is None else delivery.account(row)
        account = entries.apply(stored, entries.total(entries.after(own, position)))
        # Committed values, so that no session takes them for changes to be written.
        attributes.set_committed_value(local_user, "failed_auth_count", account.failures)
        attributes.set_committed_value(local_user, "failed_auth_at", account.failed_at)

    def _record_failed_auth(self, user_id: str) -> None:
        scope.count()
        self._queue_or_write(entries.Kind.FAILED_AUTH, super()._record_failed_auth, user_id)

    def _reset_failed_auth(self, user_id: str) -> None:
        self._queue_or_write(entries.Kind.RESET_FAILED_AUTH, super()._reset_failed_auth, user_id)

    def _queue_or_write(self, kind: entries.Kind, write: Any, user_id: str) -> None:
        """Queue; if this site has no working queue, write as stock Keystone does, if it can."""
        if runtime.get().queue(kind, user_id=user_id) is not None:
            return
        try:
            write(user_id)
        except Exception as error:
            if unavailable.classify(error) is None:
                raise
            scope.forget_error()
            LOG.warning("%s of user %s was neither queued nor written.", kind, user_id)
