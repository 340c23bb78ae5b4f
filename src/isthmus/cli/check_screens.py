"""What a person sees of a run of checks. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.checks.running import Report
from isthmus.checks.values import Finding, Result, State
from isthmus.cli.screens import PLAIN, Colour, coloured, number_of
from isthmus.identity.findings import Outcome

NAMED = 6
"""So many skipped checks are named in a line; `-f json` names all."""


def report(found: Report, *, colour: bool = False) -> str:
    """Headline, each finding with its consequence and remedy, what broke, what was skipped and why."""
    parts = [_headline(found, colour=colour)]
    parts += [_finding(each, colour=colour) for each in found.findings]
    parts += [_broken(each, colour=colour) for each in found.results if each.state is State.BROKEN]
    if skipped := list(_skipped(found)):
        parts.append("\n".join(skipped))
    return "\n\n".join(parts) + "\n"


def _headline(found: Report, *, colour: bool) -> str:
    findings = found.findings
    counts = [number_of(len(found.sites), "site"), f"{found.number(State.OK)} ok"]
    for outcome, noun in ((Outcome.ERROR, "error"), (Outcome.WARN, "warning")):
        if number := sum(each.outcome is outcome for each in findings):
            counts.append(number_of(number, noun))
    for state, noun in ((State.BROKEN, "broken"), (State.SKIPPED, "skipped")):
        if number := found.number(state):
            counts.append(f"{number} {noun}")
    moment = found.moment.replace("T", " ")
    left = f"check: {found.state}   {', '.join(counts)}"
    # Padded before it is coloured: the sequences have no width.
    return f"{left:<58}  {moment}".replace(str(found.state), _state(found.state, colour), 1)


def _state(state: State, colour: bool) -> str:
    if state in (State.OK, State.WARN, State.ERROR):
        return coloured(Outcome(str(state)), colour)
    return f"{Colour.ERROR}{state}{PLAIN}" if colour and state is State.BROKEN else str(state)


def _finding(each: Finding, *, colour: bool) -> str:
    place = f"  {each.site}" if each.site else ""
    pad = " " * (len(each.outcome) + 1)
    return "\n".join(
        [
            f"{coloured(each.outcome, colour)} {each.check}{place}  not so: {each.title}",
            f"{pad}cause  {each.cause}",
            f"{pad}so     {each.consequence}",
            f"{pad}try    {each.remedy}",
            f"{pad}       {each.command}",
        ]
    )


def _broken(result: Result, *, colour: bool) -> str:
    place = f"  {result.site}" if result.site else ""
    pad = " " * (len(State.BROKEN) + 1)
    return "\n".join(
        [
            f"{_state(State.BROKEN, colour)} {result.check}{place}  could not be carried out",
            f"{pad}cause  {result.reason}",
            f"{pad}try    report it with the output of: isthmus check --only {result.check} -f json",
        ]
    )


def _skipped(found: Report) -> Iterator[str]:
    """One line for each reason: where, why, what; and what checks over all sites did not see."""
    at: dict[tuple[str, str], list[str]] = {}
    for each in found.results:
        if each.left_out:
            for site, reason in each.left_out.items():
                at.setdefault((site, reason), []).append(each.check)
        elif each.state is State.SKIPPED:
            at.setdefault((each.site or "all sites", each.reason or ""), []).append(each.check)
    sites: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (site, reason), checks in at.items():
        sites.setdefault((reason, tuple(checks)), []).append(site)
    for (reason, names), where in sites.items():
        what = ", ".join(names) if len(names) <= NAMED else f"{len(names)} checks"
        yield f"skipped  {', '.join(where)}  {reason}: {what}"
