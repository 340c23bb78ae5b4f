"""The root of the two branches: nothing."""

from __future__ import annotations

revision = "e227b2503171"
down_revision = None


def upgrade() -> None:
    """Nothing; expand and contract start here."""
