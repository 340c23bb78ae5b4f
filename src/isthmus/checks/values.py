"""What a check is, what it finds, and what comes of a run. Values without behaviour beyond wording themselves."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus.checks.facts import Facts, Place
from isthmus.identity.findings import Outcome
from isthmus.sites.inventory import Role

SITE = "SITE"
"""Stands for the site's name in a command that is not about one site."""


RENDER = "isthmus identity config render --topology {topology} --deployment deployment.yaml --secrets secrets.yaml --out rendered"
"""Writes every file with the settings that are meant."""


class Category(enum.StrEnum):
    """What a check is about; the order is that of a run."""

    REACH = "reach"
    RELEASES = "releases"
    CLOCKS = "clocks"
    KEYS = "keys"
    REPLICATION = "replication"
    DATABASES = "databases"
    KEYSTONE = "keystone"
    SERVICES = "services"
    CATALOG = "catalog"
    RIGHTS = "rights"
    FILES = "files"


class State(enum.StrEnum):
    """What came of a check."""

    OK = "OK"
    WARN = "WARN"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"
    BROKEN = "BROKEN"
    """The check itself failed, which says nothing about the cloud."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flaw:
    """One thing that is not as the check's title says. `cause`: what was seen, with its numbers.

    What is None is the check's own: severity, consequence, remedy and command differ only where a check finds things of several
    kinds. `names` are put into the braces of the check's remedy and command.
    """

    cause: str
    site: str | None = None
    severity: Outcome | None = None
    consequence: str | None = None
    remedy: str | None = None
    command: str | None = None
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A judgement: `of_site` looks at one site; `of_all` at what `reads` found at each site where the prerequisites hold.

    `id`: stable, for scripts. `title`: the good condition. `needs`: checks that must have found nothing at a site before this one
    looks at it. `role`: only sites of this role are looked at. `severity`: ERROR for what harms now, or lets in what should stay
    out; WARN for what will do harm when something else happens. `remedy` and `command` may hold `{site}`, `{topology}` and a flaw's
    names.
    """

    id: str
    title: str
    category: Category
    severity: Outcome
    consequence: str
    remedy: str
    command: str
    needs: tuple[str, ...] = ()
    role: Role | None = None
    of_site: Callable[[Place], Iterable[Flaw]] | None = None
    reads: Callable[[Place], Any] = lambda place: place
    of_all: Callable[[Mapping[str, Any], Facts], Iterable[Flaw]] | None = None

    def __post_init__(self) -> None:
        if (self.of_site is None) == (self.of_all is None):
            raise ValueError(f"{self.id} looks at one site or at all of them, not at both or none")

    def concerns(self, place: Place) -> bool:
        """Whether it looks at sites like this one."""
        return self.role in (None, place.site.role)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A flaw in words, whole."""

    check: str
    outcome: Outcome
    site: str | None
    title: str
    cause: str
    consequence: str
    remedy: str
    command: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one check at one site, or over all of them (`site` is None)."""

    check: str
    category: Category
    title: str
    site: str | None
    state: State
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    """Why it was skipped, or how it broke."""
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of a check over all sites: those that it could not look at, and why."""


def differing(said: Mapping[str, object]) -> str | None:
    """What each site says, in words, where they do not all say the same."""
    if len(set(said.values())) == 1:
        return None
    return ", ".join(f"{site} {each}" for site, each in said.items())


def finding(check: Check, flaw: Flaw, site: str | None, topology: str) -> Finding:
    """Word a flaw that `check` found."""
    where = flaw.site or site
    names = {"site": where or SITE, "topology": topology, **flaw.names}
    return Finding(
        check=check.id,
        outcome=flaw.severity or check.severity,
        site=where,
        title=check.title,
        cause=flaw.cause,
        consequence=flaw.consequence or check.consequence,
        remedy=flaw.remedy or check.remedy.format_map(names),
        command=flaw.command or check.command.format_map(names),
    )
