"""The units of an environment (`<site>/<component>`), and the order in which they start. Pure but for the registry.

A site called `outside` stands for what belongs to no site: the one login URL.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.lab import errors, names
from isthmus.lab.components import registry
from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import Environment, Role, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.templates import Template

OUTSIDE = "outside"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A component at its place."""

    component: Component
    context: Context

    @property
    def name(self) -> str:
        return self.context.unit

    @property
    def needs(self) -> Sequence[str]:
        return self.component.needs(self.context)


class Outside(SiteSpec):
    """The place of what belongs to no site."""

    @property
    def namespace(self) -> str:
        return names.LOGIN


def of(home: Home, environment: Environment, template: Template) -> dict[str, Unit]:
    """All units of the environment by name."""
    outside = Outside(
        name=OUTSIDE,
        number=0,
        role=Role.REPLICA,
        components=("login",),
        wan=ipaddress.IPv4Network(environment.wan),
        management_net=environment.management,
    )
    units = {}
    for site in (*environment.sites, outside):
        for name in site.every_component:
            context = Context(
                home=home, environment=environment, site=site, template=template, name=name
            )
            component = registry.find(environment, site, name)
            units[context.unit] = Unit(component=component, context=context)
    check(environment, {name: unit.needs for name, unit in units.items()})
    return units


def check(environment: Environment, needs: Mapping[str, Sequence[str]]) -> None:
    """Raise `errors.BadEnvironment` if a unit needs one that is not there, or if units need each other in a circle."""
    source = f"environment {environment.name}"
    for name, needed in needs.items():
        if absent := [other for other in needed if other not in needs]:
            raise errors.BadEnvironment(
                source=source, cause=f"{name} needs {absent[0]}, which is not listed"
            )
    started: set[str] = set()
    while len(started) < len(needs):
        ready = startable(needs, started, ())
        if not ready:
            circle = ", ".join(sorted(needs.keys() - started))
            raise errors.BadEnvironment(
                source=source, cause=f"these units need each other: {circle}"
            )
        started |= set(ready)


def startable(
    needs: Mapping[str, Sequence[str]], ready: Iterable[str], begun: Iterable[str]
) -> list[str]:
    """Units whose needs are all ready and that are neither ready nor begun, in the order of `needs`."""
    have = set(ready)
    out = have | set(begun)
    return [name for name, needed in needs.items() if name not in out and have.issuperset(needed)]


def slowest_chain(
    needs: Mapping[str, Sequence[str]], finished: Mapping[str, float]
) -> list[tuple[str, float]]:
    """What the end waited for: the last unit, before it the last of its needs, and so on, each with its seconds.

    `finished` holds when each unit was ready, in seconds since all of them were begun. The seconds of the chain add up to
    the whole. The first comes first.
    """
    chain: list[tuple[str, float]] = []
    name = max(finished, key=finished.__getitem__, default=None)
    while name is not None:
        before = max(needs[name], key=finished.__getitem__, default=None)
        chain.insert(0, (name, finished[name] - (finished[before] if before else 0.0)))
        name = before
    return chain


def select(units: Mapping[str, Unit], target: str) -> list[Unit]:
    """Units of `SITE`, `SITE/component` or `SITE/host`; raises `errors.BadRequest` that lists what there is."""
    found = [
        unit
        for name, unit in units.items()
        if name == target or name.startswith(f"{target}/") or _is_host(unit, target)
    ]
    if not found:
        raise errors.BadRequest(
            what=f"there is no site, component or host {target!r}",
            where="the lab",
            cause=f"it has {', '.join(units)}",
        )
    return found


def _is_host(unit: Unit, target: str) -> bool:
    """Whether `target` is the compute host that the unit runs on."""
    site = unit.context.site
    return any(
        target == f"{site.name}/{host}" and unit.context.name.startswith(f"{host}-")
        for host in site.hosts
    )
