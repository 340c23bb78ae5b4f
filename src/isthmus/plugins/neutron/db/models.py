"""Which ports are remote and where they lie.

A table of its own keeps ``binding:profile`` clean (clients may replace it as a whole), gives every
remote port exactly one VTEP, and lets the database guard what no code path can forget: the row
dies with its port, and the agent row of a VTEP cannot be deleted while a remote port refers to it,
also not by another API worker in the same instant.
"""

from __future__ import annotations

import sqlalchemy as sa
from neutron.db import models_v2
from neutron_lib.db import constants as db_constants
from neutron_lib.db import model_base
from sqlalchemy import orm

TABLE = "isthmus_remote_ports"


class RemotePort(model_base.BASEV2):  # type: ignore[misc]
    """One remote port. ``vtep`` is the canonical spelling of its address."""

    __tablename__ = TABLE

    port_id = sa.Column(
        sa.String(db_constants.UUID_FIELD_SIZE),
        sa.ForeignKey("ports.id", ondelete="CASCADE"),
        primary_key=True,
    )
    vtep = sa.Column(sa.String(db_constants.IP_ADDR_FIELD_SIZE), nullable=False)
    agent_id = sa.Column(
        sa.String(db_constants.UUID_FIELD_SIZE),
        sa.ForeignKey("agents.id", ondelete="RESTRICT"),
        nullable=False,
        index=True,
    )
    # Loaded together with the port (one row by its primary key), so that a list costs no query per
    # port; a change of the VTEP counts as a revision of the port.
    port = orm.relationship(
        models_v2.Port,
        load_on_pending=True,
        backref=orm.backref(
            "isthmus_remote_port",
            lazy="joined",
            uselist=False,
            cascade="delete",
            passive_deletes=True,
        ),
    )
    revises_on_change = ("port",)
