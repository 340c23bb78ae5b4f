"""Runs checks over facts: in their order, skipping what stands on a check that did not hold. Pure.

Invariant: a check looks at a site only if each of its prerequisites that take part in the run looked at that site and found
nothing. So a dead link makes one finding, and the rest says what it waits for.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.checks import values
from isthmus.checks.facts import Facts, NotKnownError
from isthmus.checks.values import Check, Finding, Result, State
from isthmus.identity.findings import Outcome

Key = tuple[str, str | None]
"""A check and a site; no site for a check over all of them."""

COULD_NOT_RUN = 255
"""The exit code for a check that broke, or for a run in which nothing could be checked (as with oslo.upgradecheck)."""

_WORST_FIRST = (State.BROKEN, State.ERROR, State.WARN, State.OK, State.SKIPPED)
_NOT_HELD = {
    State.ERROR: "failed",
    State.WARN: "failed",
    State.SKIPPED: "was skipped",
    State.BROKEN: "broke",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a run."""

    time: datetime.datetime
    sites: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def state(self) -> State:
        """The worst of all results; SKIPPED if nothing could be checked."""
        states = {each.state for each in self.results}
        return next((state for state in _WORST_FIRST if state in states), State.SKIPPED)

    @property
    def exit_code(self) -> int:
        """0: all is well; 1: warnings; 2: errors; 255: it could not be checked."""
        codes = {State.OK: 0, State.WARN: 1, State.ERROR: 2}
        return codes.get(self.state, COULD_NOT_RUN)

    @property
    def moment(self) -> str:
        """When the facts were gathered: ISO 8601 in UTC."""
        return self.time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, the worst first."""
        found = [each for result in self.results for each in result.findings]
        return tuple(sorted(found, key=lambda each: -each.outcome.exit_code))

    def number(self, state: State) -> int:
        return sum(each.state is state for each in self.results)

    def document(self) -> dict[str, Any]:
        """The report in types that JSON and YAML know; times as ISO 8601 in UTC."""
        plain = {
            "time": self.moment,
            "outcome": self.state,
            "exit_code": self.exit_code,
            "sites": self.sites,
            "results": [
                {**dataclasses.asdict(each), "left_out": dict(each.left_out)}
                for each in self.results
            ],
        }
        return dict(json.loads(json.dumps(plain)))


def select(
    checks: Sequence[Check], *, only: Collection[str], skip: Collection[str]
) -> tuple[Check, ...]:
    """The checks to run, in their order: those of `only` with all that they stand on (all if it is empty), without `skip`.

    What was left out on purpose holds nothing up. Raises UsageError for a check that there is not.
    """
    known = {each.id: each for each in checks}
    for name in (*only, *skip):
        if name not in known:
            raise errors.UsageError(
                f"there is no check {name!r}", next_command="isthmus check list"
            )
    wanted: set[str] = set()
    waiting = list(only) or list(known)
    while waiting:
        name = waiting.pop()
        if name not in wanted and name not in skip:
            wanted.add(name)
            waiting += known[name].needs
    return tuple(each for each in checks if each.id in wanted)


def run(checks: Sequence[Check], facts: Facts) -> Report:
    """Run the checks, each of which stands behind all that it needs."""
    done: dict[Key, Result] = {}
    for check in checks:
        found = _at_sites(check, facts, done) if check.of_site else [_over_all(check, facts, done)]
        for each in found:
            done[check.id, each.site] = each
    places = tuple(place.name for place in facts.places)
    return Report(time=facts.time, sites=places, results=tuple(done.values()))


def _at_sites(check: Check, facts: Facts, done: Mapping[Key, Result]) -> Iterator[Result]:
    for place in filter(check.concerns, facts.places):
        if reason := _blocked(check, place.name, done):
            yield _result(check, place.name, State.SKIPPED, reason=reason)
        else:
            yield _judged(check, place.name, facts, check.of_site, place)


def _over_all(check: Check, facts: Facts, done: Mapping[Key, Result]) -> Result:
    read: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for place in filter(check.concerns, facts.places):
        try:
            if reason := _blocked(check, place.name, done):
                left_out[place.name] = reason
            else:
                read[place.name] = check.reads(place)
        except NotKnownError as error:
            left_out[place.name] = str(error)
        except Exception as error:  # a check that is wrong must not hide what the others find
            return _result(check, None, State.BROKEN, reason=_broke(error))
    if not read:
        reason = "; ".join(dict.fromkeys(left_out.values())) or "no site was asked"
        return _result(check, None, State.SKIPPED, reason=reason, left_out=left_out)
    found = _judged(check, None, facts, check.of_all, read, facts)
    return dataclasses.replace(found, left_out=left_out)


def _judged(check: Check, site: str | None, facts: Facts, look: Any, *what: Any) -> Result:
    try:
        topology = str(facts.inventory.topology)
        found = tuple(values.finding(check, flaw, site, topology) for flaw in look(*what))
    except NotKnownError as error:
        return _result(check, site, State.SKIPPED, reason=str(error))
    except Exception as error:  # a check that is wrong must not hide what the others find
        return _result(check, site, State.BROKEN, reason=_broke(error))
    worst = max((each.outcome for each in found), key=lambda o: o.exit_code, default=Outcome.OK)
    return _result(check, site, State(str(worst)), findings=found)


def _result(check: Check, site: str | None, state: State, **more: Any) -> Result:
    return Result(
        check=check.id, category=check.category, title=check.title, site=site, state=state, **more
    )


def _blocked(check: Check, site: str, done: Mapping[Key, Result]) -> str | None:
    """Why the check may not look at this site; None if it may."""
    for need in check.needs:
        # A prerequisite over all sites counts for each of them.
        found = done.get((need, site)) or done.get((need, None))
        if found is not None and found.state is not State.OK:
            return f"needs {need}, which {_NOT_HELD[found.state]}"
    return None


def _broke(error: Exception) -> str:
    """What went wrong in the check itself, for the person who reports it."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
