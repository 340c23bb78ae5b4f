"""Changes that a person asks for: checked against what the writer has, written, told to everybody.

It exists so that the HTTP routes hold no rules. Every change is an event with the name of whoever
asked for it. What a change leads to in the Neutrons is the keepers' work, in every site.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from isthmus import errors
from isthmus.engine.core import Engine
from isthmus.engine.rights import Caller
from isthmus.network import declaring, store
from isthmus.network.declarations import Changes, Request, Settings, StretchedNetwork
from isthmus.network.store import ConflictError, Taken

LOG = logging.getLogger(__name__)

ATTEMPTS = 5
"""How often a VNI is chosen anew when another engine took it in the same moment."""

Change = Callable[[StretchedNetwork, Sequence[StretchedNetwork], Settings], StretchedNetwork]


def settings(engine: Engine) -> Settings:
    """What the cloud offers. Raises UnavailableError while the catalog could not be read."""
    if not engine.neutron_sites:
        raise errors.UnavailableError(
            "it is not known which sites have a Neutron",
            where=f"catalog of {engine.site}",
            cause=engine.catalog_error or "no site has one",
            unchanged="nothing was declared",
            next_command="isthmus status",
        )
    networks = engine.config.networks
    return Settings(
        vni_range=networks.vni_range,
        sites=tuple(sorted(engine.neutron_sites)),
        underlay_mtu=networks.underlay_mtu,
        tunnel_overhead=networks.tunnel_overhead,
    )


def create(
    engine: Engine, request: Request, caller: Caller, *, identity: str | None = None
) -> StretchedNetwork:
    """Declare a network. Raises DeclarationError, ConflictError, UnavailableError.

    `identity`: an id that the caller made up, so that a request whose answer was lost can be made
    again: the network that has it already is the answer.
    """
    offered = settings(engine)
    for attempt in range(1, ATTEMPTS + 1):
        existing = engine.store.latest_networks()
        if found := next((each for each in existing if each.id == identity), None):
            return found
        network = declaring.declare(request, existing, offered, identity=identity)
        try:
            engine.store.put(network)
        except ConflictError as error:
            chosen_by_us = error.taken is Taken.VNI and request.vni is None
            again = chosen_by_us or error.taken is Taken.IDENTITY
            if not again or attempt == ATTEMPTS:
                raise
            continue
        return _told(engine, network, "created", caller)
    raise AssertionError("the last attempt returns or raises")


def change(engine: Engine, name: str, caller: Caller, *, verb: str, by: Change) -> StretchedNetwork:
    """Change a declaration. Raises DeclarationError, ConflictError, UnavailableError, UsageError."""
    offered = settings(engine)
    existing = engine.store.latest_networks()
    before = store.find(existing, name)
    after = by(before, existing, offered)
    if after == before:
        return before
    return _told(engine, engine.store.put(after), verb, caller)


def modify(engine: Engine, name: str, changes: Changes, caller: Caller) -> StretchedNetwork:
    """Change what can be changed of a network."""

    def by(
        network: StretchedNetwork, existing: Sequence[StretchedNetwork], offered: Settings
    ) -> StretchedNetwork:
        return declaring.change(network, changes, existing, offered)

    return change(engine, name, caller, verb="changed", by=by)


def attach(
    engine: Engine,
    name: str,
    site: str,
    caller: Caller,
    *,
    pool: tuple[tuple[str, str], ...] | None,
    gateway: str | None,
) -> StretchedNetwork:
    """Stretch a network to one more site."""

    def by(
        network: StretchedNetwork, existing: Sequence[StretchedNetwork], offered: Settings
    ) -> StretchedNetwork:
        return declaring.attach(network, site, offered, pool=pool, gateway=gateway)

    return change(engine, name, caller, verb=f"attached to {site}", by=by)


def detach(engine: Engine, name: str, site: str, caller: Caller) -> StretchedNetwork:
    """Take a network out of a site."""
    return change(
        engine,
        name,
        caller,
        verb=f"detached from {site}",
        by=lambda network, existing, offered: declaring.detach(network, site),
    )


def delete(engine: Engine, name: str, caller: Caller) -> StretchedNetwork:
    """Have a network taken away in all sites; a deletion that is under way goes on."""
    return change(
        engine,
        name,
        caller,
        verb="deleted",
        by=lambda network, existing, offered: (
            network if network.deleting else declaring.withdraw(network)
        ),
    )


def declare_lost(engine: Engine, site: str, caller: Caller, *, lost: bool) -> bool:
    """Declare a site lost or returned. False: it was so already."""
    if site not in engine.sites:
        raise errors.UsageError(
            f"there is no site {site!r}",
            cause=f"the sites are: {', '.join(engine.sites)}",
            next_command="isthmus site list",
        )
    if lost and not set(engine.neutron_sites) - engine.lost_sites - {site}:
        raise errors.UsageError(
            f"{site} is the last site that is not lost",
            cause="no site would be left to withdraw anything from, or to return to",
            unchanged="nothing was declared",
        )
    changed = engine.store.declare_lost(site, by=caller.user, lost=lost)
    if changed:
        verb = "declared lost" if lost else "declared returned"
        LOG.warning("site %s %s by %s", site, verb, caller.user)
        _record(engine, "site", site, {"did": verb, "by": caller.user})
    engine.declared()
    return changed


def _told(engine: Engine, network: StretchedNetwork, verb: str, caller: Caller) -> StretchedNetwork:
    LOG.info("network %s %s by %s, revision %d", network.name, verb, caller.user, network.revision)
    engine.declared()
    document = {"did": verb, "by": caller.user, "revision": network.revision, "name": network.name}
    _record(engine, "network", network.id, document)
    return network


def _record(engine: Engine, subject: str, subject_id: str, document: dict[str, Any]) -> None:
    """An event that cannot be written does not undo what was done."""
    try:
        engine.store.add_event(subject, subject_id, document)
    except errors.IsthmusError as error:
        LOG.warning("the event was not written: %s: %s", document, error)
