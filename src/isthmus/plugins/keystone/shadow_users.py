"""``[shadow_users] driver = isthmus``: a login writes nothing that has to wait for the writer site.

Keystone stores the day of the last login on every password login, so that on a read-only replica
the first login of each user each UTC day dies. Here the day is read locally, and a new day is
queued. Federated logins write a display name and renew memberships each time; what is unchanged is
not written, and what only refreshes is given up while the writer site cannot be reached (the next
login does it). Whatever changes rights (a new user, a membership that comes or goes) stays strict.
"""

from __future__ import annotations

from typing import Any

from keystone.common import sql
from keystone.identity.backends import sql_model
from keystone.identity.shadow_backends import sql as shadow_sql
from oslo_log import log

from isthmus.plugins.keystone import entries, runtime, scope, unavailable

LOG = log.getLogger(__name__)


class ShadowUsers(shadow_sql.ShadowUsers):  # type: ignore[misc]
    """Keystone's SQL driver, local where nothing is lost by it."""

    def set_last_active_at(self, user_id: str) -> None:
        """Queue today as the user's last active day, unless that is known already."""
        today = runtime.today()
        with sql.session_for_read() as session:
            user = session.get(sql_model.User, user_id)
            if user is None or user.last_active_at == today:
                return
        site = runtime.get()
        effect = entries.total(site.journal.of_user(user_id))
        if effect.last_active == today:
            return
        if site.queue(entries.Kind.LAST_ACTIVE, user_id=user_id) is None:
            _try(super().set_last_active_at, user_id)

    def update_federated_user_display_name(
        self, idp_id: str, protocol_id: str, unique_id: str, display_name: str
    ) -> None:
        """Write the name only if it is another one; without the writer the old one stays."""
        if self._display_name(idp_id, protocol_id, unique_id) in (None, display_name):
            return
        _try(
            super().update_federated_user_display_name,
            idp_id,
            protocol_id,
            unique_id,
            display_name,
        )

    def add_user_to_group_expires(self, user_id: str, group_id: str) -> bool:
        """A new membership must be written; the renewal of a known one may be missed."""
        if not self._is_member(user_id, group_id):
            return bool(super().add_user_to_group_expires(user_id, group_id))
        _try(super().add_user_to_group_expires, user_id, group_id)
        return False

    def cleanup_stale_group_memberships(
        self, user_id: str, idp_id: str, current_group_ids: list[str]
    ) -> list[str]:
        """Go to the writer only if there is a membership to remove; that must be written."""
        memberships = self._memberships(user_id=user_id, idp_id=idp_id)
        if all(row.group_id in current_group_ids for row in memberships):
            return []
        removed = super().cleanup_stale_group_memberships(user_id, idp_id, current_group_ids)
        return list(removed)

    def _display_name(self, idp_id: str, protocol_id: str, unique_id: str) -> str | None:
        with sql.session_for_read() as session:
            row = (
                session.query(sql_model.FederatedUser)
                .filter_by(idp_id=idp_id, protocol_id=protocol_id, unique_id=unique_id)
                .one_or_none()
            )
            return None if row is None else str(row.display_name)

    def _is_member(self, user_id: str, group_id: str) -> bool:
        return bool(self._memberships(user_id=user_id, group_id=group_id))

    def _memberships(self, **what: str) -> list[Any]:
        with sql.session_for_read() as session:
            query = session.query(sql_model.ExpiringUserGroupMembership)
            return list(query.filter_by(**what).all())


def _try(write: Any, *arguments: Any) -> None:
    """Write at the writer site if that can be reached; what is written here may be missed."""
    try:
        write(*arguments)
    except Exception as error:
        if unavailable.classify(error) is None:
            raise
        scope.forget_error()
        LOG.info("%s was not written: %s", write.__name__, unavailable.classify(error))
