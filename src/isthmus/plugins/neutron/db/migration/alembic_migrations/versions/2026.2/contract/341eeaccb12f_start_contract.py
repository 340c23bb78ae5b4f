"""The start of the contract branch: nothing."""

from __future__ import annotations

from neutron.db.migration import cli

revision = "341eeaccb12f"
down_revision = "e227b2503171"
branch_labels = (cli.CONTRACT_BRANCH,)


def upgrade() -> None:
    """Nothing needs a stopped Neutron so far."""
