"""What agents say about their sites, for tests of those who hear it."""

from __future__ import annotations

from typing import Any


def database(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    """What an agent says about one healthy database."""
    healthy = {
        "name": name,
        "kind": kind,
        "serving": True,
        "verdict": "serving",
        "reason": "fresh",
        "writer": False,
        "position": "100-100-512",
        "lag_seconds": None,
        "master": None,
        "home": None,
        "observed_age_seconds": 0.1,
        "cluster": None,
        "last_event": None,
    }
    return {**healthy, **changes}
