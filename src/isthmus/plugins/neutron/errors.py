"""What the API answers when a request about a remote port is refused.

The reasons come from ``acceptance``; each says what is wrong and what to do. Neutron rolls back the
request that raised, so nothing was changed.
"""

from __future__ import annotations

from neutron_lib import exceptions


class RemotePortInvalid(exceptions.InvalidInput):  # type: ignore[misc]
    """400: the request can never be granted as it is."""

    message = "Nothing was changed: %(reason)s"


class RemotePortConflict(exceptions.Conflict):  # type: ignore[misc]
    """409: the request does not fit the port's present state."""

    message = "Port %(port_id)s was not changed: %(reason)s"


class VtepInUse(exceptions.InUse):  # type: ignore[misc]
    """409: the row of a VTEP cannot be deleted while remote ports stand on it."""

    message = (
        "Agent %(agent_id)s (host %(host)s) was not deleted: it stands for a tunnel endpoint of another site and "
        "%(ports)d remote ports use it. It disappears by itself a minute after the last of them is deleted."
    )


class LocalVtep(exceptions.Conflict):  # type: ignore[misc]
    """409: the address belongs to a host of this very site."""

    message = (
        "Nothing was changed: %(vtep)s is the tunnel address of host %(host)s of this site, so it cannot be the "
        "remote_vtep of a port of another site. If that host is gone, delete its agent first."
    )
