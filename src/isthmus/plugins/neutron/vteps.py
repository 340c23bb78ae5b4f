"""One row in Neutron's table of agents per VTEP of another site.

l2population finds where a port is by joining the port's host with an agent that has a
``tunneling_ip``; with such a row every path of it (first port, resync after an agent's restart,
floods, moves, removal) serves remote ports as well. The row's host is made from the address: host
names of two sites may be equal, tunnel addresses may not.

A row is made with the first remote port of its VTEP and stays a while after the last is gone
(``housekeeping``): l2population still needs it *after* the transaction that released the port, to
say where the port has been. No row is written but made and deleted here and refreshed by the
worker. That no used row is deleted is the database's promise (``db.models``).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from neutron.db.models import agent as agent_models
from oslo_serialization import jsonutils
from oslo_utils import timeutils

from isthmus.plugins.neutron import errors, tunnels
from isthmus.plugins.neutron.db import models

AGENT_TYPE = "Remote VTEP"
# Never the binary of an OVS agent: ML2 would tell all agents to drop the tunnel with the row.
BINARY = "isthmus-remote-port"
NETWORK_TYPE = "vxlan"


def host_of(vtep: str) -> str:
    """The host name under which ports behind a VTEP are bound."""
    return f"remote-vtep-{vtep}"


def ensure(session: Any, vtep: str) -> str:
    """The id of the VTEP's row, which is made if there is none, in the session's transaction.

    Two workers that make the same row at once: the second gets oslo.db's ``DBDuplicateEntry``, and
    Neutron repeats its whole request, which then finds the row. Raises ``errors.LocalVtep``.
    """
    found = _find(session, vtep)
    if found is not None:
        return found
    local = _local_host(session, vtep)
    if local is not None:
        raise errors.LocalVtep(vtep=vtep, host=local)
    made = agent_models.Agent(**_values(vtep, timeutils.utcnow()))
    session.add(made)
    session.flush()
    return str(made.id)


def _find(session: Any, vtep: str) -> str | None:
    query = sa.select(agent_models.Agent.id).filter_by(agent_type=AGENT_TYPE, host=host_of(vtep))
    found = session.execute(query).scalar_one_or_none()
    return None if found is None else str(found)


def _local_host(session: Any, vtep: str) -> str | None:
    """The host of this site whose agent reports this tunnel address.

    Reads all agents, since agents spell IPv6 as they like: for the first port of a VTEP only.
    """
    query = sa.select(agent_models.Agent.host, agent_models.Agent.configurations).where(
        agent_models.Agent.agent_type != AGENT_TYPE
    )
    for host, configurations in session.execute(query):
        if tunnels.canonical(tunnels.address(configurations)) == vtep:
            return str(host)
    return None


def _values(vtep: str, now: datetime.datetime) -> dict[str, Any]:
    # Short: l2population parses it once per port and VTEP of a network.
    configurations = {"tunneling_ip": vtep, "tunnel_types": [NETWORK_TYPE], "l2_population": True}
    return {
        "agent_type": AGENT_TYPE,
        "binary": BINARY,
        "host": host_of(vtep),
        "topic": "N/A",
        "description": "A tunnel endpoint of another site; no process runs behind this row.",
        "configurations": jsonutils.dumps(configurations),
        "created_at": now,
        "started_at": now,
        "heartbeat_timestamp": now,
        "admin_state_up": True,
        "load": 0,
    }


def users(session: Any, agent_id: str) -> int:
    """How many remote ports stand on a row."""
    query = sa.select(sa.func.count()).where(models.RemotePort.agent_id == agent_id)
    return int(session.execute(query).scalar_one())


def refresh(session: Any, now: datetime.datetime) -> int:
    """Set the heartbeat of every row in use; the number of rows.

    The rows in use are read without locks first: an UPDATE that reads the other table itself would
    wait for every transaction that is making remote ports.
    """
    used = session.execute(sa.select(models.RemotePort.agent_id).distinct()).scalars().all()
    if not used:
        return 0
    statement = sa.update(agent_models.Agent).where(agent_models.Agent.id.in_(used))
    session.execute(_unsynchronized(statement.values(heartbeat_timestamp=now)))
    return len(used)


def unused(session: Any, before: datetime.datetime) -> Sequence[str]:
    """The ids of rows without ports whose last heartbeat is older than ``before``."""
    ports: Any = sa.select(models.RemotePort.port_id).where(
        models.RemotePort.agent_id == agent_models.Agent.id
    )
    query = sa.select(agent_models.Agent.id).where(
        agent_models.Agent.agent_type == AGENT_TYPE,
        agent_models.Agent.heartbeat_timestamp < before,
        ~ports.exists(),
    )
    return [str(found) for found in session.execute(query).scalars()]


def delete(session: Any, agent_id: str) -> None:
    """Delete a row; oslo.db's ``DBReferenceError`` if a port has come to use it meanwhile."""
    statement = sa.delete(agent_models.Agent).where(agent_models.Agent.id == agent_id)
    session.execute(_unsynchronized(statement))


def _unsynchronized(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)
