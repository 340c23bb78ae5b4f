"""The API extension ``isthmus-remote-port``, in the form of neutron-lib's definitions.

Two attributes of a port. Both are shown to administrators and services only (see ``policies``).
"""

from __future__ import annotations

from typing import Any

from neutron_lib.api import converters
from neutron_lib.api.definitions import port, portbindings

ALIAS = "isthmus-remote-port"
NAME = "Remote ports"
DESCRIPTION = "Ports that lie behind a tunnel endpoint of another site, and where each port is"
UPDATED_TIMESTAMP = "2026-11-01T00:00:00-00:00"
API_PREFIX = ""
IS_SHIM_EXTENSION = False
IS_STANDARD_ATTR_EXTENSION = False

RESOURCE_NAME = port.RESOURCE_NAME
COLLECTION_NAME = port.COLLECTION_NAME

# The address of the tunnel endpoint (VTEP) in another site; null for a port of this site.
REMOTE_VTEP = "remote_vtep"
# The address of the tunnel endpoint behind which the port is, for every bound port of either kind.
VTEP_IP = "vtep_ip"


def _canonical(value: Any) -> Any:
    """One spelling for one address, so that two spellings never make two endpoints."""
    return None if value is None else str(converters.convert_ip_to_canonical_format(value))


RESOURCE_ATTRIBUTE_MAP: dict[str, dict[str, dict[str, Any]]] = {
    COLLECTION_NAME: {
        REMOTE_VTEP: {
            "allow_post": True,
            "allow_put": True,
            "default": None,
            "validate": {"type:ip_address_or_none": None},
            "convert_to": _canonical,
            "is_visible": True,
            "enforce_policy": True,
        },
        VTEP_IP: {
            "allow_post": False,
            "allow_put": False,
            "default": None,
            "is_visible": True,
            "enforce_policy": True,
        },
    },
}
SUB_RESOURCE_ATTRIBUTE_MAP: dict[str, Any] = {}
ACTION_MAP: dict[str, Any] = {}
ACTION_STATUS: dict[str, Any] = {}
REQUIRED_EXTENSIONS = [portbindings.ALIAS]
OPTIONAL_EXTENSIONS: list[str] = []
