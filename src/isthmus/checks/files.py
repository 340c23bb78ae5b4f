"""Are the deployed files those that are rendered? What the comparison says is passed on, each with its own consequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity.findings import Outcome


def _text(value: str | None) -> str:
    return "nothing" if value is None else value or "empty"


def _deployed(found: Mapping[str, Place], facts: Facts) -> Iterator[Flaw]:
    if facts.differences is None:
        raise NotKnownError("nobody said where the deployed files are (--deployment, --deployed)")
    for each in facts.differences:
        setting = f" {each.setting}" if each.setting else ""
        yield Flaw(
            # The files of the login URL are no site's.
            site=each.site if each.site in found else None,
            cause=f"{each.file}{setting} is {_text(each.actual)}; rendered is {_text(each.expected)}",
            severity=each.outcome,
            consequence=each.consequence,
            remedy=each.remedy,
        )


CHECKS = (
    Check(
        id="configuration",
        title="What is deployed is what is rendered",
        category=Category.FILES,
        severity=Outcome.WARN,
        consequence="stands beside each difference (see the configuration guide)",
        remedy="stands beside each difference",
        command="isthmus identity config check --topology {topology} --deployment deployment.yaml --deployed gathered",
        of_all=_deployed,
    ),
)
