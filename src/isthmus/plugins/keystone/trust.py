"""``[trust] driver = isthmus``: a login with an unlimited trust writes nothing.

Keystone opens a writer session for every login with a trust, to count down its uses, also where
there is nothing to count. Whether a trust is unlimited never changes, so the replica can tell. A
trust with a number of uses stays strict: each use is counted at the writer site, or refused.
"""

from __future__ import annotations

from keystone.common import sql
from keystone.trust.backends import sql as trust_sql


class Trust(trust_sql.Trust):  # type: ignore[misc]
    """Keystone's SQL driver, local for trusts that are not counted."""

    def consume_use(self, trust_id: str) -> None:
        """Count one use of a limited trust; nothing for an unlimited one."""
        with sql.session_for_read() as session:
            trust = session.query(trust_sql.TrustModel).filter_by(id=trust_id).one_or_none()
            unlimited = (
                trust is not None and trust.deleted_at is None and trust.remaining_uses is None
            )
        if not unlimited:
            super().consume_use(trust_id)
