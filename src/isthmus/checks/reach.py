"""Does every site answer, can one log in, and does a token of one site open the others?"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.checks.facts import NotKnownError, Place
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity.findings import Outcome


def _site(place: Place) -> Iterator[Flaw]:
    identity, agent = place.answers.identity, place.answers.agent
    if identity.error and (agent is None or agent.error):
        yield Flaw(cause=f"neither the identity API nor an agent answers: {identity.error}")


def _api(place: Place) -> Iterator[Flaw]:
    if place.answers.identity.error:
        yield Flaw(cause=place.answers.identity.error)


def _agent(place: Place) -> Iterator[Flaw]:
    if place.agent_answer.error:
        yield Flaw(cause=place.agent_answer.error)


def _login(place: Place) -> Iterator[Flaw]:
    if place.login_answer.error:
        yield Flaw(cause=place.login_answer.error)


def _token(place: Place) -> Iterator[Flaw]:
    asked = {to: found for (of, to), found in place.facts.refusals.items() if of == place.name}
    # A site that gave no verdict is found by the checks of its own.
    verdicts = {to: found.value for to, found in asked.items() if found.ok}
    if not verdicts:
        raise NotKnownError("no other site gave a verdict on a token of this one")
    for to, refusal in verdicts.items():
        if refusal:
            yield Flaw(cause=f"{to} refuses a fresh token of {place.name}: {refusal}")


CHECKS = (
    Check(
        id="site-reach",
        title="The site answers",
        category=Category.REACH,
        severity=Outcome.ERROR,
        consequence="nobody outside of it can use the site, and nothing else can be checked there",
        remedy="look at the link to {site} and at the front of the site",
        command="isthmus site show {site}",
        of_site=_site,
    ),
    Check(
        id="identity-api",
        title="The identity API answers",
        category=Category.REACH,
        severity=Outcome.ERROR,
        needs=("site-reach",),
        consequence="no login and no check of a token works at the site, unless its front sends them to another site",
        remedy="look at the logs of Keystone and its front at {site}",
        command="isthmus site show {site}",
        of_site=_api,
    ),
    Check(
        id="agent-answers",
        title="The agent answers",
        category=Category.REACH,
        severity=Outcome.WARN,
        needs=("site-reach",),
        consequence="the load balancer takes a stale replica for a good one; new keys are not installed",
        remedy="start isthmus-agent at {site}, or correct its address in the sites file",
        command="systemctl status isthmus-agent",
        of_site=_agent,
    ),
    Check(
        id="login",
        title="One can log in",
        category=Category.REACH,
        severity=Outcome.ERROR,
        needs=("identity-api",),
        consequence="nobody whose account is stored there gets a token at the site",
        remedy="check the credentials in clouds.yaml, then Keystone's log at {site}",
        command="isthmus site show {site}",
        of_site=_login,
    ),
    Check(
        id="token-accepted",
        title="A token of the site is accepted at the others",
        category=Category.REACH,
        severity=Outcome.ERROR,
        needs=("login",),
        consequence="who logs in here is a stranger there: one login for all sites does not hold",
        remedy="compare the keys of the sites, then the lag of the database where it is refused",
        command="isthmus identity key list",
        of_site=_token,
    ),
)
