"""The first tables: declarations, checkpoints, operations with their steps and things, leases, audit.

Revision ID: r0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.String(36)
_WORD = sa.String(32)
_NAME = sa.String(255)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for table, thing in {"groups": "group", "policies": "policy", "plans": "plan"}.items():
        _declared(table, f"{thing}_name")
    _checkpoints()
    _operations()
    _leases()
    _audit()


def _declared(table: str, unique: str) -> None:
    _create(
        table,
        sa.Column("id", _ID, primary_key=True),
        sa.Column("scope", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.UniqueConstraint("scope", "name", name=unique),
    )


def _checkpoints() -> None:
    _create(
        "checkpoints",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("group_id", _ID, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("phase", _WORD, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.UniqueConstraint("group_id", "sequence", name="checkpoint_sequence"),
    )


def _operations() -> None:
    _create(
        "operations",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("group_id", _ID, nullable=False),
        sa.Column("phase", _WORD, nullable=False),
        sa.Column("outcome", _WORD),
        sa.Column("requested_at", sa.Double, nullable=False),
        sa.Column("request_key", _ID, unique=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_index("operation_phase", "operations", ["phase"])
    op.create_index("operation_group", "operations", ["group_id", "requested_at"])
    _create(
        "operation_steps",
        sa.Column("operation_id", _ID, sa.ForeignKey("operations.id"), primary_key=True),
        sa.Column("part", _WORD, primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    _create(
        "operation_things",
        sa.Column("sequence", _BIG, primary_key=True, autoincrement=True),
        sa.Column("operation_id", _ID, sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("step", _NAME, nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("object_id", _NAME),
        sa.Column("state", _WORD, nullable=False),
        sa.UniqueConstraint("operation_id", "kind", "site", "name", name="thing"),
    )


def _leases() -> None:
    _create(
        "leases",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("operation_id", _ID, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def _audit() -> None:
    _create(
        "audit",
        sa.Column("sequence", _BIG, primary_key=True, autoincrement=True),
        sa.Column("previous", sa.String(64), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("subject", _ID, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_index("audit_subject", "audit", ["subject", "sequence"])


def _create(name: str, *columns: sa.Column[object] | sa.Constraint) -> None:
    # Names are compared byte by byte, as SQLite does, and an index on them stays short.
    op.create_table(
        name, *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin"
    )
