"""Whether another site's identity endpoint may be believed now: read from agents' ``/status``.

The documents are those of ``isthmus-agent``. What is missing or misshapen in them proves nothing,
so every reason here is a reason not to believe.
"""

from __future__ import annotations

from typing import Any


def unproven_site(document: Any, stale_limit: float) -> str | None:
    """Why this site's databases are not proven to be at most `stale_limit` seconds old, or None.

    The age of a database is its lag plus the age of the agent's look. All that answer count, also
    those that the agent has taken out: the load balancer follows the agent a moment later.
    """
    databases = document.get("databases") if isinstance(document, dict) else None
    if not isinstance(databases, list) or not all(isinstance(each, dict) for each in databases):
        return "its agent's answer has no list of databases"
    if not any(each.get("serving") is True for each in databases):
        return "none of its databases may be read"
    for each in databases:
        lag, look = each.get("lag_seconds"), each.get("observed_age_seconds")
        if lag is None and each.get("serving") is False:
            continue
        if not _number(lag) or not _number(look):
            return f"the age of its database {each.get('name')} is not known"
        if lag + look > stale_limit:
            return f"its database {each.get('name')} is {lag + look:.1f} s old"
    return None


def unproven_queue(document: Any) -> str | None:
    """Why writes of the own site may be unknown to all others, or None."""
    queue = document.get("queue") if isinstance(document, dict) else None
    pending = queue.get("pending") if isinstance(queue, dict) else None
    if not isinstance(pending, int) or isinstance(pending, bool):
        return "this site's agent does not say whether writes wait in the queue"
    return f"{pending} writes of this site wait in its queue" if pending else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
