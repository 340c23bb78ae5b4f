"""ML2 mechanism driver ``remote_port``: binds remote ports, without an agent, to their VTEP.

The port is ACTIVE as soon as it is bound, so in the reply of the request that made it: there is no
host of this site on which anything has to be plugged. ML2 writes that status and calls
l2population, which sends the entries to all agents.

Everything that may be refused is refused by ``extension``, which must be loaded as well.
"""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.db import api as db_api
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg

from isthmus.plugins.neutron import api_definition, errors, housekeeping, vteps

DRIVER = "remote_port"
VIF_TYPE = "remote_vtep"


class RemotePort(api.MechanismDriver):  # type: ignore[misc]
    """Neutron makes one per process and calls ``initialize`` before any request."""

    def initialize(self) -> None:
        """Check what the driver stands on. ``ValueError`` ends the server's start with words."""
        check_configuration(cfg.CONF.ml2.mechanism_drivers, cfg.CONF.ml2.extension_drivers)
        registry.subscribe(guard_row, resources.AGENT, events.BEFORE_DELETE)

    @property
    def connectivity(self) -> str:
        """Layer 2: ports without an address can be bound, too."""
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        """Bind a remote port to the first VXLAN segment of its network."""
        vtep = context.current.get(api_definition.REMOTE_VTEP)
        if not vtep or context.host != vteps.host_of(vtep):
            return
        for segment in context.segments_to_bind:
            if segment[api.NETWORK_TYPE] == vteps.NETWORK_TYPE:
                context.set_binding(
                    segment[api.ID], VIF_TYPE, _details(vtep), status=constants.PORT_STATUS_ACTIVE
                )
                return

    def update_port_precommit(self, context: Any) -> None:
        """Let the reply to an unbinding say so: ML2 has filled it in before it unbinds."""
        if context.vif_type in portbindings.VIF_UNPLUGGED_TYPES:
            context.current[api_definition.VTEP_IP] = None

    def filter_hosts_with_segment_access(
        self, context: Any, segments: Any, candidate_hosts: Any, agent_getter: Any
    ) -> set[str]:
        """No host. Without this method ML2 would stop to filter for the other drivers, too."""
        return set()

    def get_workers(self) -> list[Any]:
        """The worker that keeps the rows of VTEPs."""
        return [housekeeping.make_worker()]


def check_configuration(mechanisms: list[str], extensions: list[str]) -> None:
    """Raise ``ValueError`` when a driver is missing without which remote ports go nowhere."""
    if DRIVER not in extensions:
        raise ValueError(
            f"[ml2] mechanism_drivers lists {DRIVER}, but extension_drivers does not; add it there."
        )
    if "l2population" not in mechanisms:
        raise ValueError(
            f"[ml2] mechanism_drivers lists {DRIVER} without l2population, which tells the agents "
            "where remote ports are; add it behind openvswitch, and l2_population = true to the agents."
        )


def guard_row(_resource: str, _event: str, _trigger: Any, payload: Any) -> None:
    """Refuse the deletion of a VTEP's row that is in use. For the registry.

    The database refuses as well, but without words; this names the number of ports.
    """
    agent = payload.states[0]
    if agent.agent_type != vteps.AGENT_TYPE:
        return
    context = neutron_context.get_admin_context()
    with db_api.CONTEXT_READER.using(context):
        ports = vteps.users(context.session, agent.id)
    if ports:
        raise errors.VtepInUse(agent_id=agent.id, host=agent.host, ports=ports)


def _details(vtep: str) -> dict[str, Any]:
    return {
        portbindings.CAP_PORT_FILTER: False,
        portbindings.VIF_DETAILS_CONNECTIVITY: portbindings.CONNECTIVITY_L2,
        "vtep_ip": vtep,
    }
