"""Faults: what can go wrong with links, sites and components, done on purpose and undone again."""

import signal
from collections.abc import Mapping

from isthmus.lab import bringup, delays, errors, network, processes, units
from isthmus.lab.components import libvirt
from isthmus.lab.environment import Environment, Link, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.progress import Progress
from isthmus.lab.units import Unit


def links_of(environment: Environment, target: str) -> list[Link]:
    """The link `A-B`, or all links of site `A`."""
    if "-" in target:
        return [environment.link(target)]
    site = environment.site(target)
    return [link for link in environment.links if link.joins(site.name)]


def cut(environment: Environment, target: str, *, silenced: str | None = None) -> list[str]:
    """Cut the links of `target`; with `silenced`, only what that site sends is lost (half open). Returns the links."""
    links = links_of(environment, target)
    if silenced is not None:
        environment.site(silenced)
        if not all(link.joins(silenced) for link in links):
            raise errors.BadRequest(
                what=f"{silenced} is not an end of {target}",
                where="fault cut",
                cause="--from names one end of the link",
            )
    for link in links:
        ends = (link.a, link.b) if silenced is None else (link.peer(silenced),)
        network.cut(link, receivers=ends)
    return [link.name for link in links]


def heal(home: Home, environment: Environment, target: str | None) -> list[str]:
    """Let the links of `target` pass again, at full speed; if None, all links and the management network. Returns the links."""
    links = list(environment.links) if target is None else links_of(environment, target)
    for site in environment.sites if target is None else ():
        network.heal_management(site)
    for link in links:
        network.heal(link)
        if delays.current(home, link) is not None:
            delays.set_delay(home, environment, link, 0)
    return [link.name for link in links]


def delay(home: Home, environment: Environment, target: str, delay_ms: float) -> list[str]:
    """Delay the links of `target` by `delay_ms` one way. Returns the links."""
    if not 0 <= delay_ms <= 2000:
        raise errors.BadRequest(
            what=f"{delay_ms:g} ms is no delay",
            where="fault delay",
            cause="0 to 2000 ms one way; 0 puts the plain link back",
        )
    links = links_of(environment, target)
    for link in links:
        delays.set_delay(home, environment, link, delay_ms)
    return [link.name for link in links]


def kill(home: Home, every: Mapping[str, Unit], target: str) -> int:
    """SIGKILL a component, or a whole site: its processes die and the site falls silent. Returns the processes hit."""
    hit = units.select(every, target)
    if "/" not in target:
        _silence(hit)
    return processes.kill(home.lab, units=names_hit(hit))


def freeze(home: Home, every: Mapping[str, Unit], target: str) -> int:
    """SIGSTOP a component or a whole site. Returns the processes hit."""
    names = names_hit(units.select(every, target))
    found = [p for name, ps in processes.running(home.lab).items() if name in names for p in ps]
    processes.send(found, signal.SIGSTOP)
    return len(found)


def resume(home: Home, every: Mapping[str, Unit], target: str, progress: Progress) -> None:
    """Undo `kill` and `freeze`: continue what is frozen, start what is dead, let the site speak again."""
    hit = units.select(every, target)
    if "/" not in target and hit[0].context.site.number:
        restore_site(hit[0].context.site, hit[0].context.environment)
    names = names_hit(hit)
    found = [p for name, ps in processes.running(home.lab).items() if name in names for p in ps]
    processes.send(found, signal.SIGCONT)
    dead = {unit.name: unit for unit in hit if unit.name not in processes.running(home.lab)}
    bringup.start(dead, progress)


def names_hit(hit: list[Unit]) -> set[str]:
    """The units' names, and with all parts of a compute host its guests: they are Nova's to start, so they are no unit of ours."""
    names = {unit.name for unit in hit}
    sites = {unit.context.site.name: unit.context.site for unit in hit}
    hosts = [f"{site.name}/{host}" for site in sites.values() for host in site.hosts]
    whole = [h for h in hosts if {f"{h}-ovs", f"{h}-{libvirt.PART}"} <= names]
    return names | {f"{host}-{libvirt.GUESTS}" for host in whole}


def _silence(hit: list[Unit]) -> None:
    site, environment = hit[0].context.site, hit[0].context.environment
    if site.number:
        cut(environment, site.name)
        network.cut_management(site)


def restore_site(site: SiteSpec, environment: Environment) -> None:
    """Let a silenced site speak again, over its links and on the management network."""
    for link in links_of(environment, site.name):
        network.heal(link)
    network.heal_management(site)
