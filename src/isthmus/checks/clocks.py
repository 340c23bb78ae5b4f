"""Do the clocks of the sites agree?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity.findings import Outcome
from isthmus.identity.keys.settings import Settings

WARN_SECONDS = 2.0
"""Clocks that are kept by NTP differ by milliseconds: two seconds mean that nobody keeps one of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """A site's clock minus this host's, in seconds, give or take `doubt`; what the rotation of keys allows for."""

    ahead: float
    doubt: float
    allowed: float


def read(place: Place) -> Reading:
    """The clock as the agent's answer shows it: it was written between question and answer."""
    agent, told = place.agent_answer, place.status.time
    if told is None:
        raise NotKnownError("the agent does not tell its time")
    half = agent.seconds / 2
    skews = [each.clock_skew for each in (place.status.key_settings or {}).values()]
    return Reading(
        ahead=(told - agent.observed_at).total_seconds() + half,
        doubt=half,
        allowed=min(skews, default=Settings().clock_skew),
    )


def _together(readings: Mapping[str, Reading], _facts: Facts) -> Iterator[Flaw]:
    first = min(readings.items(), key=lambda each: each[1].ahead)
    last = max(readings.items(), key=lambda each: each[1].ahead)
    apart = last[1].ahead - first[1].ahead
    doubt = first[1].doubt + last[1].doubt
    least = apart - doubt
    if least <= WARN_SECONDS:
        return
    allowed = min(each.allowed for each in readings.values())
    sentence = f"{last[0]} is {apart:.1f} s ahead of {first[0]} (give or take {doubt:.1f} s)"
    yield Flaw(
        cause=f"{sentence}; the rotation of keys allows for {allowed:g} s",
        severity=Outcome.ERROR if least > allowed else None,
    )


CHECKS = (
    Check(
        id="clocks",
        title="The clocks of the sites agree",
        category=Category.CLOCKS,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="tokens expire early or late, the age of data is misjudged, and a key may be retired too soon",
        remedy="have the clocks of all sites kept by NTP",
        command="chronyc tracking",
        reads=read,
        of_all=_together,
    ),
)
