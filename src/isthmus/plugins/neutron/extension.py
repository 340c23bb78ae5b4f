"""ML2 extension driver ``remote_port``: the attributes ``remote_vtep`` and ``vtep_ip``.

All that it writes, it writes in the transaction of the request: the port, the row of its VTEP and
the relation of both exist together or not at all. It then forces the port's host to the VTEP's, so
that Neutron's own binding (``mechanism``) does the rest.

Who calls with which dictionaries: for a single creation and for updates, ML2 takes the binding from
``data``; for a bulk creation from ``result``. So the host is set in both.
"""

from __future__ import annotations

from typing import Any

from neutron.api import extensions as api_extensions
from neutron.db import models_v2, segments_db
from neutron_lib import constants
from neutron_lib.api import validators
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg
from oslo_db import exception as db_exceptions
from oslo_log import log
from sqlalchemy import inspect

from isthmus.plugins.neutron import (
    acceptance,
    api_definition,
    errors,
    extensions,
    options,
    tunnels,
    vteps,
)
from isthmus.plugins.neutron.api_definition import REMOTE_VTEP, VTEP_IP
from isthmus.plugins.neutron.db import models

LOG = log.getLogger(__name__)


class RemotePort(api.ExtensionDriver):  # type: ignore[misc]
    """Neutron makes one per process and calls ``initialize`` before any request."""

    _limits: acceptance.Limits

    def initialize(self) -> None:
        """Read the allow-list; a wrong entry ends the server's start with words."""
        section = options.register(cfg.CONF)
        self._limits = acceptance.Limits(
            allowed=options.networks(section.allowed_vteps),
            overlay_version=cfg.CONF.ml2.overlay_ip_version,
        )
        api_extensions.append_api_extensions_path(extensions.__path__)
        registry.subscribe(refuse_mac_change, resources.PORT, events.BEFORE_UPDATE)
        if not self._limits.allowed:
            LOG.warning("[%s] allowed_vteps is empty: every remote port is refused.", options.GROUP)

    @property
    def extension_alias(self) -> str:
        """The alias by which clients find out that remote ports are supported."""
        return api_definition.ALIAS

    def process_create_port(self, plugin_context: Any, data: Any, result: Any) -> None:
        """Make the port remote if the request says so. Raises ``errors.RemotePortInvalid``."""
        result[REMOTE_VTEP] = result[VTEP_IP] = None
        vtep = _given(data, REMOTE_VTEP)
        if vtep is None:
            reason = acceptance.refuse_owner(result["device_owner"])
        else:
            self._check_vtep(vtep)
            reason = acceptance.refuse_wanted(_wanted(plugin_context, data, result))
        if reason is not None:
            raise errors.RemotePortInvalid(reason=reason)
        if vtep is not None:
            _place(plugin_context.session, vtep, data, result)

    def process_update_port(self, plugin_context: Any, data: Any, result: Any) -> None:
        """Move a remote port, make an unbound port remote, or refuse what would break it."""
        remote = _port(plugin_context.session, result["id"]).isthmus_remote_port
        vtep = _given(data, REMOTE_VTEP)
        if remote is not None:
            reason = acceptance.refuse_change(_change(remote, data))
        elif vtep is not None:
            reason = acceptance.refuse_wanted(_wanted(plugin_context, data, result))
        else:
            reason = acceptance.refuse_owner(result["device_owner"])
        if reason is not None:
            raise errors.RemotePortConflict(port_id=result["id"], reason=reason)
        if vtep is not None and (remote is None or vtep != remote.vtep):
            self._check_vtep(vtep)
            _place(plugin_context.session, vtep, data, result)

    def extend_port_dict(self, session: Any, base_model: Any, result: Any) -> None:
        """Add both attributes to a port that is shown."""
        remote = _remote(session, base_model)
        result[REMOTE_VTEP] = None if remote is None else remote.vtep
        result[VTEP_IP] = tunnels.of_port(session, base_model) if remote is None else remote.vtep

    def _check_vtep(self, vtep: str) -> None:
        if (reason := acceptance.refuse_vtep(vtep, self._limits)) is not None:
            raise errors.RemotePortInvalid(reason=reason)


def refuse_mac_change(_resource: str, _event: str, _trigger: Any, payload: Any) -> None:
    """Refuse before Neutron does, whose words do not say what to do. For the registry.

    Neutron reports many things as an update of a port; a request carries both states as
    dictionaries.
    """
    before, after = payload.states[0], payload.states[-1]
    if not isinstance(before, dict) or not before.get(REMOTE_VTEP):
        return
    new = after.get("mac_address")
    reason = acceptance.refuse_mac(before["mac_address"], new) if isinstance(new, str) else None
    if reason is not None:
        raise errors.RemotePortConflict(port_id=before["id"], reason=reason)


def _place(session: Any, vtep: str, data: Any, result: Any) -> None:
    """Write where the port is and have it bound there."""
    port = _port(session, result["id"])
    agent_id = vteps.ensure(session, vtep)
    remote = port.isthmus_remote_port or models.RemotePort(port=port)
    remote.vtep, remote.agent_id = vtep, agent_id
    session.add(remote)
    try:
        session.flush()
    except db_exceptions.DBReferenceError as error:
        # The row of the VTEP was collected in this very moment: Neutron repeats the request, which
        # then makes a new one.
        raise db_exceptions.RetryRequest(error) from error
    data[portbindings.HOST_ID] = result[portbindings.HOST_ID] = vteps.host_of(vtep)
    result[REMOTE_VTEP] = result[VTEP_IP] = vtep


def _port(session: Any, port_id: str) -> Any:
    """The port's model, which ML2 has loaded into the session before it calls us."""
    return session.get(models_v2.Port, port_id)


def _wanted(plugin_context: Any, data: Any, result: Any) -> acceptance.Wanted:
    segments = segments_db.get_network_segments(plugin_context, result["network_id"])
    own_host = _given(result, portbindings.HOST_ID)
    return acceptance.Wanted(
        device_owner=result["device_owner"] or "",
        vnic_type=_given(data, portbindings.VNIC_TYPE) or "",
        host=own_host or _given(data, portbindings.HOST_ID) or "",
        network_types=[segment[api.NETWORK_TYPE] for segment in segments],
    )


def _change(remote: Any, data: Any) -> acceptance.Change:
    return acceptance.Change(
        vtep=_named(data, REMOTE_VTEP),
        device_owner=_named(data, "device_owner"),
        host=_named(data, portbindings.HOST_ID),
        own_host=vteps.host_of(remote.vtep),
    )


def _given(values: Any, key: str) -> Any:
    """A value, or ``None`` if it is null or was left out."""
    value = values.get(key)
    return value if validators.is_attr_set(value) else None


def _named(values: Any, key: str) -> str | None:
    """A value as text, empty for null, or ``None`` if the request does not name it."""
    value = values.get(key, constants.ATTR_NOT_SPECIFIED)
    return None if value is constants.ATTR_NOT_SPECIFIED else str(value or "")


def _remote(session: Any, port: Any) -> Any:
    """The row of a remote port; a port that was just made comes without, and may be detached."""
    if "isthmus_remote_port" in inspect(port).unloaded:
        return session.get(models.RemotePort, port.id)
    return port.isthmus_remote_port
