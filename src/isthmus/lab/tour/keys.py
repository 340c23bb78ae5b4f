"""The chapter of keys: the token keys of all sites are rotated while tokens are checked."""

import datetime
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from isthmus.lab import calling, waiting
from isthmus.lab.calling import Account
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.probing import Probe
from isthmus.lab.tour import commanding
from isthmus.lab.tour.steps import Tour, expect
from isthmus.lab.units import Unit

# What an earlier chapter broke has healed by then: an agent that missed something says so within seconds.
SETTLED_DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The lab, and who logs in."""

    tour: Tour
    home: Home
    environment: Environment
    demo: Account

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        return tuple(self.environment.sites)

    def key(self, *words: str) -> Any:
        """`isthmus identity key WORDS`, in JSON."""
        return commanding.isthmus(
            self.home, self.environment, "identity", "key", *words, "-f", "json",
            remedy="isthmus identity key list",
        )  # fmt: skip

    def login(self, account: Account, site: SiteSpec) -> str:
        call = calling.at(site).login(account)
        expect(call.status == 201, "a login (201)", where=site.name, seen=call.said)
        return call.token

    def check(self, site: SiteSpec, token: str) -> tuple[bool, str]:
        """Whether a site takes a token, and what it said."""
        call = calling.at(site).validate(token)
        return call.status == 200, call.said


def take(tour: Tour, home: Home, units: Mapping[str, Unit], environment: Environment) -> None:
    """The step of the chapter, on a lab that is up and whole, with engines."""
    template = next(iter(units.values())).context.template
    chapter = Chapter(
        tour=tour,
        home=home,
        environment=environment,
        demo=calling.account(template, "demo"),
    )
    tour.step("rotate the token keys", lambda: _rotate(chapter))


def _rotate(chapter: Chapter) -> str:
    waiting.until(
        lambda: _unsettled(chapter), deadline=SETTLED_DEADLINE, what="the keys are not settled",
        where="isthmus identity key list", interval=1.0,
    )  # fmt: skip
    old = chapter.login(chapter.demo, chapter.sites[-1])
    probes = {
        site.name: Probe(lambda site=site: chapter.check(site, old), period=0.05)  # type: ignore[misc]
        for site in chapter.sites
    }
    began = time.monotonic()
    with ExitStack() as stack:
        for probe in probes.values():
            stack.enter_context(probe)
        chapter.key("rotate", "--wait", "--timeout", "60")
        new = [chapter.login(chapter.demo, site) for site in chapter.sites]
        for site in chapter.sites:
            for token in new:
                good, said = chapter.check(site, token)
                expect(good, "a token of any site is taken everywhere", where=site.name, seen=said)
        noticed = [probe.noticed(began) for probe in probes.values()]
    for site, seen in zip(chapter.sites, noticed, strict=True):
        expect(seen.errors == 0, "no token is refused meanwhile", where=site.name, seen=str(seen))
    history = chapter.key("history", "--limit", "20")
    complete = history[0]
    asked = next(row for row in history if row["Event"].startswith("asked for"))
    seconds = (_at(complete) - _at(asked)).total_seconds()
    chapter.tour.figure("key_rotation_s", seconds, "s")
    checks = sum(seen.requests for seen in noticed)
    return f"{complete['Event'].split(',')[0]}; {checks} checks meanwhile, none refused"


def _unsettled(chapter: Chapter) -> str | None:
    for each in chapter.key("list")["kinds"]:
        if each["kind"] == "token":
            return None if each["outcome"] == "OK" and not each["in_flight"] else each["summary"]
    return "nobody looks after them"


def _at(row: dict[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(row["At"])
