"""What was gathered about all sites, and how a check reads it. Pure values.

A fact that is not there is never taken for a default: reading it raises `NotKnownError` with the reason, and the check is
skipped with that reason.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterator, Mapping, Sequence

from isthmus.identity import published
from isthmus.identity.comparing import Difference
from isthmus.sites import agent_documents, probe
from isthmus.sites.agent_documents import AgentStatus, Database
from isthmus.sites.fanout import Result
from isthmus.sites.inventory import Inventory, Site
from isthmus.sites.looking import Answers


class NotKnownError(Exception):
    """A fact was not gathered; the text says why. It goes from a check to who runs it, and no further."""


def number(name: str, text: str) -> float:
    """The number that an option says. Raises NotKnownError."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise NotKnownError(f"{name} is no number: {text!r}")
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignments:
    """The role assignments, which all sites share, as one of them lists them."""

    site: str
    result: Result[tuple[probe.Assignment, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All that was gathered. `answers` has the sites that were asked, which may be fewer than the inventory's."""

    time: datetime.datetime
    inventory: Inventory
    answers: Mapping[str, Answers]
    refusals: Mapping[tuple[str, str], Result[str | None]] = dataclasses.field(default_factory=dict)
    """By (site that issued, site that was asked): why the token was refused."""
    assignments: Assignments | None = None
    differences: Sequence[Difference] | None = None
    """Between files as rendered and as deployed; None: nobody said where those are."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The sites that were asked, in the order of the inventory."""
        asked = (site for site in self.inventory.sites if site.name in self.answers)
        return tuple(Place(site=site, facts=self) for site in asked)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """One identity database of a site, and how it is set."""

    database: Database
    variables: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.database.name

    def value(self, variable: str) -> str:
        """The value as the server says it. Raises NotKnownError."""
        if variable not in self.variables:
            raise NotKnownError(f"{self.name} does not tell {variable}")
        return self.variables[variable]

    def on(self, variable: str) -> bool:
        """Whether a switch is on. Raises NotKnownError."""
        return self.value(variable).upper() in ("ON", "1", "YES", "TRUE")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What is known of one site."""

    site: Site
    facts: Facts

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def answers(self) -> Answers:
        return self.facts.answers[self.site.name]

    @property
    def agent_answer(self) -> Result[probe.AgentAnswer]:
        """What came of asking the agent now; what it said earlier proves nothing. Raises NotKnownError."""
        if self.answers.agent is None:
            raise NotKnownError("the sites file names no agent")
        return self.answers.agent

    @property
    def status(self) -> AgentStatus:
        """What the agent says. Raises NotKnownError."""
        if self.agent_answer.value is None:
            raise NotKnownError(f"the agent does not answer: {self.agent_answer.error}")
        return self.agent_answer.value.status

    @property
    def databases(self) -> tuple[Database, ...]:
        """Raises NotKnownError."""
        if not self.status.databases:
            raise NotKnownError("the agent watches no database")
        return self.status.databases

    def servers(self, kind: agent_documents.Kind | None = None) -> tuple[Server, ...]:
        """The databases of a kind whose variables are known. Raises NotKnownError if there is none."""
        wanted = [each for each in self.databases if kind in (None, each.kind)]
        if not wanted:
            raise NotKnownError(f"the site has no {kind}")
        found = [
            Server(database=d, variables=d.variables) for d in wanted if d.variables is not None
        ]
        if not found:
            raise NotKnownError("the agent does not tell how its databases are set")
        return tuple(found)

    @property
    def keystone(self) -> Mapping[str, str]:
        """The options of keystone.conf. Raises NotKnownError."""
        found = self.settings.get(published.KEYSTONE)
        if found is None:
            raise NotKnownError("the agent was not told where keystone.conf is")
        if isinstance(found, agent_documents.Unreadable):
            raise NotKnownError(f"the agent cannot read keystone.conf: {found.error}")
        return found

    @property
    def services(self) -> Mapping[str, Mapping[str, str]]:
        """The options of each service that checks tokens, as far as they can be read. Raises NotKnownError."""
        found = {
            name: options
            for name, options in self.settings.items()
            if name != published.KEYSTONE and not isinstance(options, agent_documents.Unreadable)
        }
        if not found:
            raise NotKnownError("the agent tells of no service's configuration")
        return found

    @property
    def settings(self) -> Mapping[str, Mapping[str, str] | agent_documents.Unreadable]:
        """The options of each configuration file that the agent was told of. Raises NotKnownError if its release tells none."""
        found = self.status.settings
        if found is None:
            raise NotKnownError(f"the agent's release {self.status.version} does not tell settings")
        return found

    @property
    def login_answer(self) -> Result[probe.Login]:
        """What came of logging in. Raises NotKnownError if nobody tried."""
        if self.answers.login is None:
            raise NotKnownError("nobody logged in (--no-login)")
        return self.answers.login

    @property
    def login(self) -> probe.Login:
        """Raises NotKnownError."""
        if self.login_answer.value is None:
            raise NotKnownError(f"one cannot log in: {self.login_answer.error}")
        return self.login_answer.value

    def package(self, name: str) -> str:
        """The release of a distribution beside the agent. Raises NotKnownError."""
        if self.status.packages is None:
            raise NotKnownError(f"the agent's release {self.status.version} does not tell packages")
        if name not in self.status.packages:
            raise NotKnownError(f"{name} does not stand in the agent's environment")
        return self.status.packages[name]

    def repositories(self) -> Iterator[tuple[str, agent_documents.KeyRepository]]:
        """The key repositories that the agent can read. Raises NotKnownError if it has none."""
        if not self.status.keys:
            raise NotKnownError("the agent was told of no key repository")
        for name, found in self.status.keys.items():
            if isinstance(found, agent_documents.KeyRepository):
                yield name, found
