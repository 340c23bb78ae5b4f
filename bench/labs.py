"""The lab that is measured: brought up if need be, held by its lock, and restored at the end whatever happened."""

import contextlib
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.identity.config import AGENT_PORT
from isthmus.lab import bringup, calling, faults, home, processes, waiting
from isthmus.lab import environment as environments
from isthmus.lab.calling import Account, Client
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.progress import Lines, Progress
from isthmus.lab.templates import Template
from isthmus.lab.units import Unit

ENVIRONMENT = "identity"

# What a program starts itself is called `<site>/bench-...`, so that `isthmus lab down` and `restore` find it.
MARK = "bench-"

# After a lost site: service starts on busy cores (180 s is what one of Neutron's may take), then a database that catches up.
HEALTH_DEADLINE = 240.0

# `home_after_seconds` of the lab's agents is 30; the position must be proved, too.
HOME_DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The lab that is up."""

    home: Home
    environment: Environment
    units: Mapping[str, Unit]
    progress: Progress

    @property
    def template(self) -> Template:
        return next(iter(self.units.values())).context.template

    @property
    def paris(self) -> SiteSpec:
        return self.environment.writers[0]

    @property
    def madrid(self) -> SiteSpec:
        return self.environment.replicas[0]

    def account(self, name: str) -> Account:
        """`admin` or `demo`."""
        return calling.account(self.template, name)

    def login(self, site: SiteSpec, name: str) -> str:
        """A fresh token; raises `IsthmusError` when there is none, because then nothing can be measured."""
        return login(calling.at(site), self.account(name), site.name).token


def login(client: Client, who: Account, where: str) -> calling.Call:
    """Log in or raise."""
    call = client.login(who)
    if call.status != 201:
        raise IsthmusError(f"{who.user} cannot log in", where=where, cause=call.said)
    return call


def place() -> Home:
    """The lab's home on this machine."""
    return Home(root=home.default_home())


@contextlib.contextmanager
def prepared(purpose: str, name: str = ENVIRONMENT) -> Iterator[Lab]:
    """The lab with the environment `name`, up and healthy; afterwards all links whole, nothing frozen or dead, nothing of
    ours left."""
    where, progress = place(), Lines()
    text, wanted = environments.load(name)
    with home.locked(where, f"python -m bench {purpose}"):
        lab = Lab(
            home=where,
            environment=wanted,
            units=bringup.up(where, text, wanted, progress),
            progress=progress,
        )
        try:
            restore(lab)
            yield lab
        finally:
            with undisturbed():
                restore(lab)


def restore(lab: Lab) -> None:
    """Heal all links, continue what is frozen, start what is dead, end what the programs started, wait for health."""
    remove_own(lab)
    for site in lab.environment.sites:
        faults.restore_site(site, lab.environment)
    faults.heal(lab.home, lab.environment, None)
    running = processes.running(lab.home.lab)
    processes.send([p for found in running.values() for p in found], signal.SIGCONT)
    dead = {name: unit for name, unit in lab.units.items() if name not in running}
    if dead:
        bringup.start(dead, lab.progress)
    wait_healthy(lab)


def remove_own(lab: Lab) -> None:
    """End every process that a program started."""
    own = [u for u in processes.running(lab.home.lab) if u.partition("/")[2].startswith(MARK)]
    processes.kill(lab.home.lab, units=own)


def wait_healthy(lab: Lab) -> float:
    """Wait until every component passes its test; returns the seconds."""
    return waiting.until(
        lambda: _ill(lab),
        deadline=HEALTH_DEADLINE,
        what="the lab does not become healthy",
        where=str(lab.home.lab),
        interval=1.0,  # each look uses every component
    )


def _ill(lab: Lab) -> str | None:
    for unit in lab.units.values():
        try:
            unit.component.test(unit.context)
        except IsthmusError as error:
            return str(error)
    return None


def wait_home(lab: Lab) -> str | None:
    """Wait until every replica follows its own writer site again; None, or who does not (which is worth a note, no more)."""
    try:
        waiting.until(
            lambda: _away(lab),
            deadline=HOME_DEADLINE,
            what="replicas are not home",
            where="replica sites",
            interval=0.5,
        )
    except IsthmusError as error:
        return error.cause
    return None


def _away(lab: Lab) -> str | None:
    for site in lab.environment.replicas:
        for database in agent_status(site)["databases"]:
            if database["master"] != database["home"]:
                return f"{site.name}/{database['name']} follows {database['master']}"
    return None


def writer(lab: Lab) -> SiteSpec:
    """The site that takes the writes now, as the agents say; waits for one."""
    found: list[SiteSpec] = []

    def none() -> str | None:
        found.extend(s for s in lab.environment.writers if _writes(s))
        return None if found else "no agent says that its site's database is the writer"

    waiting.until(none, deadline=30.0, what="there is no writer", where="writer sites")
    return found[0]


def _writes(site: SiteSpec) -> bool:
    return any(database["writer"] for database in agent_status(site)["databases"])


def agent_status(site: SiteSpec) -> dict[str, Any]:
    """What the site's agent says; without databases if it says nothing."""
    try:
        with urllib.request.urlopen(
            f"http://{site.management}:{AGENT_PORT}/status", timeout=2
        ) as answer:
            document: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return {"databases": []}
    return document


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a second Ctrl-C not interrupt the restoration, which takes seconds and is bounded."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in kept:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
