# mypy: disable-error-code="import-untyped"
"""Who may quiesce and unquiesce servers: administrators, as the approved spec says.

A frozen server answers nothing that touches a disk, so this is a right to stop a server. Operators
who let project managers take checkpoints override both rules in Nova's policy file, for example with
``rule:project_manager_or_admin``.

Nova asks no entry point for rules, so the filter makes these known to Nova's enforcer. For the tools
that render sample policy files they stand under ``oslo.policy.policies``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nova import policy as nova_policy
from nova.policies import base
from oslo_policy import policy

RULE = "os_compute_api:os-quiesce:%s"


def _rule(action: str, description: str) -> Any:
    return policy.DocumentedRuleDefault(
        name=RULE % action,
        check_str=base.ADMIN,
        scope_types=["project"],
        description=description,
        operations=[{"method": "POST", "path": f"/servers/{{server_id}}/action ({action})"}],
    )


def list_rules() -> Iterable[Any]:
    """The rules and their defaults; an operator's policy file may override each."""
    return [
        _rule("quiesce", "Freeze the file systems of a server"),
        _rule("unquiesce", "Thaw the file systems of a server"),
    ]


def register() -> None:
    """Make the rules known to Nova's enforcer; again after the enforcer was made anew."""
    nova_policy.init()
    enforcer = nova_policy._ENFORCER
    for rule in list_rules():
        if rule.name not in enforcer.registered_rules:
            enforcer.register_default(rule)
