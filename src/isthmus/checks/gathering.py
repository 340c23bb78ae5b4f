"""Gathers the facts: asks all sites, logs in, shows each token to the others. The only module of checks that asks anybody.

Three rounds, each as long as the slowest site at most: what every site says of itself; logins where the identity API answers; and
with their tokens, what the other sites say of them. Nothing is raised because a site is dead.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.checks.facts import Assignments, Facts
from isthmus.identity.comparing import Difference
from isthmus.sites import fanout, looking, probe
from isthmus.sites.fanout import Result
from isthmus.sites.inventory import Inventory, Site
from isthmus.sites.looking import GRACE_SECONDS, Answers

Entrances = Mapping[str, Result[probe.Entrance]]


def gather(
    inventory: Inventory,
    clouds: probe.Clouds,
    *,
    sites: Sequence[Site],
    timeout: float,
    login: bool,
    cache: Path,
    differences: Sequence[Difference] | None,
) -> Facts:
    """Ask these sites of the inventory. `timeout` is in seconds for each question; `cache`: the file of last good answers."""
    asked = _narrowed(inventory, sites)
    answers = looking.look(asked, clouds, timeout=timeout, login=False, cache=cache)
    entrances = _enter(clouds, sites, answers, timeout=timeout) if login else {}
    silent = {name for name, found in answers.items() if not found.identity.ok}
    judges = [site for site in inventory.sites if site.name not in silent]
    results = _show(judges, clouds, sites, entrances, timeout=timeout)
    lister = _lister(sites, entrances)
    listed = results.pop(lister, None) if lister else None
    return Facts(
        time=datetime.datetime.now(datetime.UTC),
        inventory=inventory,
        answers={name: _with_login(found, entrances.get(name)) for name, found in answers.items()},
        refusals=results,
        assignments=Assignments(site=lister[0], result=listed) if lister and listed else None,
        differences=differences,
    )


def _narrowed(inventory: Inventory, sites: Sequence[Site]) -> Inventory:
    return Inventory(
        source=inventory.source,
        topology=inventory.topology,
        sites=tuple(sites),
        login_url=inventory.login_url,
    )


def _enter(
    clouds: probe.Clouds, sites: Sequence[Site], answers: Mapping[str, Answers], *, timeout: float
) -> Entrances:
    questions = {
        site.name: functools.partial(probe.enter, clouds, site, timeout=timeout)
        for site in sites
        if answers[site.name].identity.ok
    }
    return fanout.ask_all(questions, timeout=timeout, grace=GRACE_SECONDS)


def _lister(sites: Sequence[Site], entrances: Entrances) -> tuple[str, str] | None:
    """The key of the question for role assignments, which one site answers for all: the first where one can log in."""
    found = [site.name for site in sites if site.name in entrances and entrances[site.name].ok]
    return (found[0], "") if found else None


def _show(
    judges: Sequence[Site],
    clouds: probe.Clouds,
    sites: Sequence[Site],
    entrances: Entrances,
    *,
    timeout: float,
) -> dict[tuple[str, str], Result[Any]]:
    """What is asked with the tokens: of each of the `judges` what it says of another's, by (site that issued, site that is
    asked); see `_lister` for the other key."""
    questions: dict[tuple[str, str], Callable[[], Any]] = {}
    lister = _lister(sites, entrances)
    for site in sites:
        entrance = entrances[site.name].value if site.name in entrances else None
        if entrance is None:
            continue
        for other in judges:
            if other is not site:
                questions[site.name, other.name] = functools.partial(
                    probe.refusal, clouds, entrance, other, timeout=timeout
                )
        if lister == (site.name, ""):
            questions[lister] = functools.partial(
                probe.assignments, clouds, entrance, site, timeout=timeout
            )
    return fanout.ask_all(questions, timeout=timeout, grace=GRACE_SECONDS)


def _with_login(found: Answers, entrance: Result[probe.Entrance] | None) -> Answers:
    if entrance is None:
        return found
    login: Result[probe.Login] = Result(
        value=entrance.value.login if entrance.value else None,
        error=entrance.error,
        seconds=entrance.seconds,
        observed_at=entrance.observed_at,
    )
    return Answers(identity=found.identity, agent=found.agent, login=login, kept=found.kept)
