"""The table of remote ports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from neutron.db.migration import cli

revision = "e9efe58b3aa1"
down_revision = "e227b2503171"
branch_labels = (cli.EXPAND_BRANCH,)


def upgrade() -> None:
    """Neutron may run meanwhile: nothing of its own changes."""
    op.create_table(
        "isthmus_remote_ports",
        sa.Column(
            "port_id",
            sa.String(36),
            sa.ForeignKey("ports.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("vtep", sa.String(64), nullable=False),
        sa.Column(
            "agent_id",
            sa.String(36),
            sa.ForeignKey("agents.id", ondelete="RESTRICT"),
            nullable=False,
            index=True,
        ),
    )
