"""Where a port is: the tunnel address of the host it is bound to (``vtep_ip``).

The address is what the host's agent last reported, the same that l2population uses. Ports are
listed by the thousand, so the hosts of all ports that a transaction has loaded are looked up
with one query, and remembered for that transaction only: an answer is never older than the rest
of what the request reads.
"""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron.db.models import agent as agent_models
from neutron.plugins.ml2 import models as ml2_models
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from oslo_serialization import jsonutils

_MEMORY = "isthmus_tunnel_addresses"


def address(configurations: str | None) -> str | None:
    """The tunnel address in an agent's reported configuration; ``None`` if there is none in it."""
    try:
        reported = jsonutils.loads(configurations or "{}")
    except ValueError:
        return None
    found = reported.get("tunneling_ip") if isinstance(reported, dict) else None
    return str(found) if found else None


def of_port(session: Any, port: Any) -> str | None:
    """The tunnel address behind which a port is; ``None`` for one that is bound to no host."""
    host = bound_host(port.port_bindings)
    return None if host is None else _of_host(session, host)


def bound_host(bindings: Iterable[Any]) -> str | None:
    """The host of the active binding. A distributed port (DVR) is on no single host."""
    for binding in bindings:
        if binding.status == constants.ACTIVE:
            bound = binding.vif_type not in portbindings.VIF_UNPLUGGED_TYPES
            return binding.host if bound and binding.host else None
    return None


def canonical(spelling: str | None) -> str | None:
    """An address in the one spelling of the API; ``None`` for what is no address."""
    try:
        return None if spelling is None else str(ipaddress.ip_address(spelling))
    except ValueError:
        return None


def _of_host(session: Any, host: str) -> str | None:
    memory = _memory(session)
    if host not in memory:
        hosts = {host, *_loaded_hosts(session)} - memory.keys()
        memory |= dict.fromkeys(hosts) | _addresses(session, hosts)
    return memory[host]


def _memory(session: Any) -> dict[str, str | None]:
    """What this transaction has looked up so far; outside of one, nothing is remembered."""
    transaction = session.get_transaction()
    if transaction is None:
        return {}
    known, memory = session.info.get(_MEMORY, (None, {}))
    if known is None or known() is not transaction:
        memory = {}
        session.info[_MEMORY] = (weakref.ref(transaction), memory)
    return memory  # type: ignore[no-any-return]


def _loaded_hosts(session: Any) -> set[str]:
    """The hosts of all bindings in the session, without loading what has expired."""
    bindings = (
        item for item in session.identity_map.values() if type(item) is ml2_models.PortBinding
    )
    return {host for binding in bindings if (host := binding.__dict__.get("host"))}


def _addresses(session: Any, hosts: Iterable[str]) -> dict[str, str | None]:
    query = sa.select(agent_models.Agent.host, agent_models.Agent.configurations).where(
        agent_models.Agent.host.in_(hosts)
    )
    # What the request has changed so far may be half of a change: it is not for us to flush it.
    with session.no_autoflush:
        rows = session.execute(query).all()
    return {host: found for host, configurations in rows if (found := address(configurations))}
