"""Are roles given to groups, as the requirements have it (role assignment: "assignment to groups is better")?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks.facts import Facts, NotKnownError
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity.findings import Outcome

EXEMPT = ("project service", "project services", "project admin", "system")
"""Accounts of services, and the administrator that `keystone-manage bootstrap` makes."""

SHOWN = 3
"""How many are named; a list of thousands helps nobody."""


def _groups(_found: Mapping[str, object], facts: Facts) -> Iterator[Flaw]:
    if facts.assignments is None:
        raise NotKnownError("the assignments were not listed")
    listed = facts.assignments.result
    if listed.value is None:
        raise NotKnownError(f"{facts.assignments.site} does not list them: {listed.error}")
    direct = [each for each in listed.value if each.user and each.scope not in EXEMPT]
    if direct:
        grouped = sum(each.group is not None for each in listed.value)
        first = ", ".join(f"{each.user} ({each.role}, {each.scope})" for each in direct[:SHOWN])
        more = f" and {len(direct) - SHOWN} more" if len(direct) > SHOWN else ""
        yield Flaw(
            cause=f"{len(direct)} roles are given to users, {grouped} to groups: {first}{more}",
            names={"role": direct[0].role},
        )


CHECKS = (
    Check(
        id="group-roles",
        title="Roles are given to groups",
        category=Category.RIGHTS,
        severity=Outcome.WARN,
        needs=("login",),
        consequence="who may what is told person by person, which does not scale to several sites, and not to federated users",
        remedy="make a group for each task, give it the role, put the users into it, take their own roles away",
        command="openstack role add --group GROUP --project PROJECT {role}",
        of_all=_groups,
    ),
)
