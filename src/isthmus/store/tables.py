"""The tables, as SQLAlchemy models.

Columns are what is searched or compared; everything else is in a document (JSON). Times are seconds
since 1970. Changing a table needs a migration beside it (`isthmus.store.migrations`); a test holds
both against each other.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

ID = sa.String(36)
NAME = sa.String(255)
WORD = sa.String(32)
DIGEST = sa.String(64)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite counts only INTEGER primary keys up by itself."""


class Base(orm.DeclarativeBase):
    """The metadata of the schema."""


class Declared:
    """What a person declares: found by id or name, changed only from the revision that was read.

    `scope`: what the name is unique in: the project of a group, the group of a plan, else empty.
    """

    id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    scope: orm.Mapped[str] = orm.mapped_column(ID)
    name: orm.Mapped[str] = orm.mapped_column(NAME)
    revision: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    document: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)


class Group(Declared, Base):
    """A protection group."""

    __tablename__ = "groups"
    __table_args__ = (sa.UniqueConstraint("scope", "name", name="group_name"),)


class Policy(Declared, Base):
    """A policy of protection."""

    __tablename__ = "policies"
    __table_args__ = (sa.UniqueConstraint("scope", "name", name="policy_name"),)


class RecoveryPlan(Declared, Base):
    """A recovery plan: the mapping of a group onto its backup site."""

    __tablename__ = "plans"
    __table_args__ = (sa.UniqueConstraint("scope", "name", name="plan_name"),)


class Checkpoint(Base):
    """What is known here of one checkpoint; its manifest in the remote store is the truth."""

    __tablename__ = "checkpoints"
    __table_args__ = (sa.UniqueConstraint("group_id", "sequence", name="checkpoint_sequence"),)

    id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    group_id: orm.Mapped[str] = orm.mapped_column(ID)
    sequence: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    phase: orm.Mapped[str] = orm.mapped_column(WORD)
    revision: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    document: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)


class Operation(Base):
    """One operation. `revision` is compared and set; `request_key` makes a repeated request one."""

    __tablename__ = "operations"
    __table_args__ = (
        sa.Index("operation_phase", "phase"),
        sa.Index("operation_group", "group_id", "requested_at"),
    )

    id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    kind: orm.Mapped[str] = orm.mapped_column(WORD)
    group_id: orm.Mapped[str] = orm.mapped_column(ID)
    phase: orm.Mapped[str] = orm.mapped_column(WORD)
    outcome: orm.Mapped[str | None] = orm.mapped_column(WORD)
    requested_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    request_key: orm.Mapped[str | None] = orm.mapped_column(ID, unique=True)
    revision: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    document: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)


class Step(Base):
    """How far a step of an operation is. `part`: which flow of the operation it belongs to."""

    __tablename__ = "operation_steps"

    operation_id: orm.Mapped[str] = orm.mapped_column(
        ID, sa.ForeignKey("operations.id"), primary_key=True
    )
    part: orm.Mapped[str] = orm.mapped_column(WORD, primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(NAME, primary_key=True)
    state: orm.Mapped[str] = orm.mapped_column(WORD)
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    document: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)


class Thing(Base):
    """An object that an operation makes or may have made: written before it is made.

    `sequence` is the order in which they were begun, so that they can be taken away in reverse.
    """

    __tablename__ = "operation_things"
    __table_args__ = (sa.UniqueConstraint("operation_id", "kind", "site", "name", name="thing"),)

    sequence: orm.Mapped[int] = orm.mapped_column(BIG, primary_key=True, autoincrement=True)
    operation_id: orm.Mapped[str] = orm.mapped_column(ID, sa.ForeignKey("operations.id"))
    step: orm.Mapped[str] = orm.mapped_column(NAME)
    kind: orm.Mapped[str] = orm.mapped_column(WORD)
    site: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    name: orm.Mapped[str] = orm.mapped_column(sa.String(128))
    object_id: orm.Mapped[str | None] = orm.mapped_column(NAME)
    state: orm.Mapped[str] = orm.mapped_column(WORD)


class Lease(Base):
    """Who may act on a subject. `epoch` only grows, and whoever acts names the one that is his."""

    __tablename__ = "leases"

    subject: orm.Mapped[str] = orm.mapped_column(sa.String(64), primary_key=True)
    epoch: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    owner: orm.Mapped[str] = orm.mapped_column(sa.String(128))
    operation_id: orm.Mapped[str] = orm.mapped_column(ID)
    expires_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class AuditEntry(Base):
    """What was done, by whom. Rows are added and never changed: `digest` covers the row and
    `previous`, which is the digest of the row before it, so that an altered or missing row shows."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index("audit_subject", "subject", "sequence"),)

    sequence: orm.Mapped[int] = orm.mapped_column(BIG, primary_key=True, autoincrement=True)
    previous: orm.Mapped[str] = orm.mapped_column(DIGEST, unique=True)
    digest: orm.Mapped[str] = orm.mapped_column(DIGEST, unique=True)
    at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    subject: orm.Mapped[str] = orm.mapped_column(ID)
    document: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)
