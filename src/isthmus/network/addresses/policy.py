"""Who should hold a service address: what one site does about it next. Pure.

It decides on what it has heard, which may be old or wrong: that never makes two owners, because
whatever it decides still has to pass `lease`. A wrong decision costs time, nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.network.addresses.declarations import ServiceAddress
from isthmus.network.addresses.health import Health
from isthmus.network.addresses.lease import Phase

HEAD_START = 0.3
"""Seconds that a site waits for each better one, so that sites do not split the votes: more than
asking takes over a slow WAN, and little beside the lease that has just run out."""

FIRST_SECONDS = 5.0
"""Seconds for which a new address waits for the site that is to have it first, while that site still
prepares its gateway."""

REST = 0.5
"""Seconds between two campaigns that failed."""


def site_of(place: str) -> str:
    """The site of a place, `<site>/<host>`."""
    return place.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a site says of itself: whether its gateway is `ready`, and how its target is."""

    place: str
    ready: bool
    health: Health
    health_seconds: float = 0.0
    reason: str = ""
    clean: bool = False
    """Nothing of the address is left in this site: it is being deleted."""

    @property
    def site(self) -> str:
        return site_of(self.place)

    @property
    def able(self) -> bool:
        """Whether the address would be served well there."""
        return self.ready and self.health is Health.HEALTHY


class Do(enum.StrEnum):
    """What is to be done about an address now."""

    STAY = "stay"
    CAMPAIGN = "campaign"
    TAKE = "take"  # ask `place` to pass its lease on
    OFFER = "offer"  # tell `place` that it should take it
    LEAVE = "leave"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and why, in words that `show` prints."""

    do: Do
    reason: str
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """What one site knows of an address at one moment.

    `others`: the standings of other sites that were heard lately. `holder`: who holds it as far as
    the own voter knows; `free_for`: seconds for which this site has seen that nobody does;
    `last_owner`: who did then. `rested`: seconds since the last campaign that failed.
    """

    address: ServiceAddress
    own: Standing
    others: tuple[Standing, ...]
    phase: Phase
    holder: str | None
    free_for: float = 0.0
    last_owner: str | None = None
    rested: float = REST


def decide(view: View) -> Decision:
    """What this site does now."""
    if view.address.deleting:
        return Decision(do=Do.LEAVE, reason="the address is being deleted")
    if view.phase is Phase.HOLDING:
        return _holding(view)
    if view.phase is not Phase.IDLE:
        return _stay(f"it is {view.phase} already")
    if not view.own.ready:
        return _stay(f"its gateway is not ready: {view.own.reason or 'it does not answer'}")
    if view.own.health is not Health.HEALTHY:
        return _stay(f"its target is {view.own.health}: {view.own.reason}")
    return _held_elsewhere(view) if view.holder else _free(view)


def _holding(view: View) -> Decision:
    own, address = view.own, view.address
    if own.health is not Health.UNHEALTHY or not address.automatic:
        return _stay("it holds the address")
    better = _ranked(address, (each for each in view.others if each.able), None)
    if not better:
        return _stay("its target is unhealthy, and no other site has a healthy one")
    reason = f"the target in {own.site} is unhealthy: {own.reason}"
    return Decision(do=Do.OFFER, place=better[0].place, reason=reason)


def _held_elsewhere(view: View) -> Decision:
    address, own, holder = view.address, view.own, view.holder or ""
    if site_of(holder) == own.site or address.prefer != own.site or address.fail_back is None:
        return _stay(f"{holder} holds it")
    if own.health_seconds < address.fail_back:
        left = address.fail_back - own.health_seconds
        return _stay(f"{holder} holds it; it comes back to {own.site} in {left:.0f} s")
    reason = f"{own.site} is preferred and has been healthy for {own.health_seconds:.0f} s"
    return Decision(do=Do.TAKE, place=holder, reason=reason)


def _free(view: View) -> Decision:
    own, address = view.own, view.address
    last = site_of(view.last_owner) if view.last_owner else None
    if not address.automatic and own.site != (last or address.sites[0]):
        who = f"{last} held it" if last else f"{address.sites[0]} is to hold it first"
        return _stay(f"it is moved by hand only, and {who}")
    if view.rested < REST:
        return _stay("a campaign has just failed")
    first = address.sites[0]
    heard = {each.site for each in view.others}
    if last is None and first in heard and view.free_for < FIRST_SECONDS:
        return _stay(f"{first} may take it first")
    able = [own, *(each for each in view.others if each.able)]
    better = _ranked(address, able, last).index(own)
    if address.automatic and view.free_for < better * HEAD_START:
        return _stay(f"{better} better sites may take it first")
    before = f"{view.last_owner} does not hold it any more" if view.last_owner else "nobody held it"
    return Decision(do=Do.CAMPAIGN, reason=before)


def _ranked(
    address: ServiceAddress, standings: Iterable[Standing], last: str | None
) -> list[Standing]:
    """Best first: the preferred site, who held it last, then by name."""
    return sorted(
        standings, key=lambda each: (each.site != address.prefer, each.site != last, each.place)
    )


def _stay(reason: str) -> Decision:
    return Decision(do=Do.STAY, reason=reason)
