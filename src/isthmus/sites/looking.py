"""One look at all sites: everything is asked at once, and the last good answers are kept.

It exists so that every face (command line, later the API) looks in the same way. It judges nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus.sites import fanout, last_good, probe
from isthmus.sites.inventory import Inventory, Site

GRACE_SECONDS = 0.5
"""Added to the timeout of each question, so that its own words ("connect timeout") win."""


class Subject(enum.StrEnum):
    """What a site is asked about."""

    IDENTITY = "identity"
    AGENT = "agent"
    LOGIN = "login"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What came of asking one site; `agent` is None where none runs, `login` if not tried."""

    identity: fanout.Result[probe.IdentityAnswer]
    agent: fanout.Result[probe.AgentAnswer] | None = None
    login: fanout.Result[probe.Login] | None = None
    kept: last_good.Kept | None = None
    """The last good answer of the agent, for when there is none now."""


def look(
    inventory: Inventory,
    clouds: probe.Clouds,
    *,
    timeout: float,
    login: bool,
    cache: Path,
) -> dict[str, Answers]:
    """Ask every site of the inventory, by name. `timeout` is in seconds for each question.

    Nothing is raised because a site is dead. `cache` is the file of last good answers.
    """
    questions = {
        (site.name, subject): question
        for site in inventory.sites
        for subject, question in _questions(site, clouds, timeout=timeout, login=login).items()
    }
    results = fanout.ask_all(questions, timeout=timeout, grace=GRACE_SECONDS)
    kept = last_good.read(cache, inventory.sites)
    _keep(cache, inventory, kept, results)
    return {site.name: _answers(site.name, results, kept) for site in inventory.sites}


def _questions(
    site: Site, clouds: probe.Clouds, *, timeout: float, login: bool
) -> dict[Subject, Callable[[], Any]]:
    ask: dict[Subject, Callable[[], Any]] = {
        Subject.IDENTITY: functools.partial(probe.identity, clouds, site, timeout=timeout)
    }
    if site.agent:
        ask[Subject.AGENT] = functools.partial(probe.agent, site, timeout=timeout)
    if login:
        ask[Subject.LOGIN] = functools.partial(probe.login, clouds, site, timeout=timeout)
    return ask


def _answers(
    site: str,
    results: Mapping[tuple[str, Subject], fanout.Result[Any]],
    kept: Mapping[str, last_good.Kept],
) -> Answers:
    return Answers(
        identity=results[site, Subject.IDENTITY],
        agent=results.get((site, Subject.AGENT)),
        login=results.get((site, Subject.LOGIN)),
        kept=kept.get(site),
    )


def _keep(
    cache: Path,
    inventory: Inventory,
    kept: Mapping[str, last_good.Kept],
    results: Mapping[tuple[str, Subject], fanout.Result[Any]],
) -> None:
    """Write the cache with the answers of now over those of earlier."""
    fresh = {
        site: last_good.Kept(
            status=result.value.status,
            document=result.value.document,
            observed_at=result.observed_at,
        )
        for (site, subject), result in results.items()
        if subject is Subject.AGENT and result.value
    }
    if fresh:
        last_good.write(cache, inventory.sites, {**kept, **fresh})
