"""Who may make remote ports and who sees tunnel addresses (entry point ``neutron.policies``).

Administrators and services, in both cases. Writing ``remote_vtep`` aims the tunnels of all
hypervisors at an address. Reading either attribute tells which hypervisor a port is on and which
ports share one: what ``binding:host_id`` tells, which Neutron shows to the same roles only.

A request that names ``vtep_ip`` is refused before policy is asked (the attribute is not writable).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neutron_lib.policy import rules as lib_rules
from oslo_policy import policy

_LIST = {"method": "GET", "path": "/ports"}
_SHOW = {"method": "GET", "path": "/ports/{id}"}
_CREATE = {"method": "POST", "path": "/ports"}
_UPDATE = {"method": "PUT", "path": "/ports/{id}"}


def _rule(name: str, description: str, *operations: Any) -> Any:
    return policy.DocumentedRuleDefault(
        name=name,
        check_str=lib_rules.ADMIN_OR_SERVICE,
        scope_types=["project"],
        description=description,
        operations=list(operations),
    )


def list_rules() -> Iterable[Any]:
    """The rules and their defaults; an operator's policy file may override each."""
    return [
        _rule("create_port:remote_vtep", "Create a port that lies in another site", _CREATE),
        _rule("update_port:remote_vtep", "Move a remote port to another tunnel endpoint", _UPDATE),
        _rule("get_port:remote_vtep", "See the other site's tunnel endpoint", _LIST, _SHOW),
        _rule("get_port:vtep_ip", "See the tunnel address of the host of a port", _LIST, _SHOW),
    ]
