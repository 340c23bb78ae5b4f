"""``[revoke] driver = isthmus``: a revocation holds at this site at once, and everywhere after it.

A revocation is stored in this site's queue first (from then on every process of the site refuses
the token), and then the caller waits a moment for it to reach the writer site. It goes through the
queue in any case, and not to the writer first, because a commit whose answer is lost would
otherwise be stored twice. If the site has no working queue, it is written at the writer site
directly, and refused with 503 if that cannot be reached either.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from keystone.common import sql
from keystone.revoke.backends import sql as revoke_sql
from oslo_log import log

from isthmus.plugins.keystone import delivery, entries, runtime, unavailable

LOG = log.getLogger(__name__)


def concerns(event: Any, token: Mapping[str, Any]) -> bool:
    """Whether an event must be held against a token, by the conditions of Keystone's own query.

    ``revoke_model.matches`` leaves these to the database, so an event that does not meet them must
    not be listed for the token: it would match.
    """
    users = (None, token["user_id"], token["trustor_id"], token["trustee_id"])
    return (
        event.issued_before >= token["issued_at"]
        and event.user_id in users
        and event.project_id in (None, token["project_id"])
        and event.audit_id in (None, token["audit_id"])
        and event.trust_id in (None, token["trust_id"])
    )


def merge(replicated: list[Any], own: list[Any], last_fetch: datetime.datetime | None) -> list[Any]:
    """The replica's events and this site's, in order of ``revoked_at``, newer than the fetch."""
    new = [event for event in own if last_fetch is None or event.revoked_at > last_fetch]
    return sorted([*replicated, *new], key=lambda event: event.revoked_at)


class Revoke(revoke_sql.Revoke):  # type: ignore[misc]
    """Keystone's SQL driver, with this site's queue in front."""

    def list_events(
        self, last_fetch: datetime.datetime | None = None, token: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The events of the replica and of this site's queue.

        For a token an event may be listed twice (queue and replica), which changes no answer and
        saves a query; the full list has no duplicates.
        """
        # The queue is read before the replica: an entry that leaves it meanwhile is in the replica.
        queued = runtime.get().journal.revocations()
        if token is not None:
            own = [delivery.event(entry) for entry in queued]
            listed = super().list_events(last_fetch=last_fetch, token=token)
            return [*listed, *(event for event in own if concerns(event, token))]
        if not queued:
            return list(super().list_events(last_fetch=last_fetch))
        with sql.session_for_read() as session:
            position = runtime.get().position(session)
            listed = super().list_events(last_fetch=last_fetch)
        own = [delivery.event(entry) for entry in entries.after(queued, position)]
        return merge(listed, own, last_fetch)

    def revoke(self, event: Any) -> None:
        """Store a revocation; after this call the site refuses what it names."""
        site = runtime.get()
        sequence = site.queue(entries.Kind.REVOCATION, event=delivery.encode(event))
        if sequence is None:
            self._write_or_refuse(event)
            return
        if not site.replayer.wait(sequence, site.revocation_timeout):
            LOG.info("A revocation holds at this site; it will reach the writer site later.")

    def _write_or_refuse(self, event: Any) -> None:
        try:
            super().revoke(event)
        except Exception as error:
            if unavailable.classify(error) is None:
                raise
            raise runtime.refuse_unqueued() from error
