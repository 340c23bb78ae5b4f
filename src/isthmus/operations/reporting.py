"""The report of an operation: what was reached, what it cost, who decided. Pure.

Recovery point: from the data that came back to the moment of the disaster (or of the request, where
nobody said when it was): what was lost, in seconds. Recovery time: from the disaster to the end of
the last step, with the parts that it consists of: noticing, planning, deciding, restoring. Figures
that cannot be known are absent and never guessed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.operations import documents
from isthmus.operations.documents import Moment
from isthmus.operations.kinds import Kind
from isthmus.operations.ledger import Part, State, StepRecord, There
from isthmus.operations.recipes import Note, Thing
from isthmus.operations.values import Finding, Operation, Outcome, Phase, Skip

LONGEST_TEXT = 200
"""Characters of a step's text that is still a figure and not a document."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepLine:
    """One step. `seconds` from its first try to its end, None if it has none. `notes`: what it did."""

    part: Part
    name: str
    title: str
    state: State
    attempts: int
    seconds: float | None
    error: str | None
    began_at: Moment
    notes: tuple[Note, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """In seconds and bytes. `decision_s`: from the plan to the approval; `steps_s`: from the
    approval to the end of the last step of the run; `rto_s`: from the disaster (or the request) to
    that; `rpo_s`: from the data to the disaster (or the request). `sum_s`: of all steps, one after
    the other: what working on several at once has saved is the difference to `steps_s`."""

    rpo_s: float | None = None
    rto_s: float | None = None
    plan_s: float | None = None
    decision_s: float | None = None
    steps_s: float | None = None
    sum_s: float | None = None
    total_s: float | None = None
    lost_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that is to be known about an operation when it has ended, or until now."""

    operation_id: str
    kind: Kind
    group: str
    site: str
    phase: Phase
    outcome: Outcome | None
    reason: str | None
    requested_by: str
    approved_by: str | None
    requested_at: Moment
    ended_at: Moment | None
    checkpoint_id: str | None
    figures: Figures
    steps: tuple[StepLine, ...]
    skips: tuple[Skip, ...]
    findings: tuple[Finding, ...]
    left: tuple[str, ...]
    """Objects that it made and that may still be there, when it was to leave none."""
    facts: Mapping[str, str]
    results: Mapping[str, Mapping[str, Any]]
    """Figures and short texts that the steps left, by step."""


def report(operation: Operation, steps: Sequence[StepRecord], things: Sequence[Thing]) -> Report:
    """The report of an operation from what was written down of it."""
    plan, lock = operation.plan, operation.lock
    return Report(
        operation_id=operation.id,
        kind=operation.kind,
        group=operation.group,
        site=operation.site,
        phase=operation.phase,
        outcome=operation.outcome,
        reason=operation.reason,
        requested_by=operation.by.name,
        approved_by=lock.by.name if lock and lock.by else None,
        requested_at=operation.requested_at,
        ended_at=operation.entered(Phase.FINISHED),
        checkpoint_id=plan.checkpoint_id if plan else None,
        figures=figures(operation, steps),
        steps=tuple(_line(each) for each in steps),
        skips=operation.skips,
        findings=plan.findings if plan else (),
        left=_left(operation, things),
        facts=plan.facts if plan else {},
        results={each.name: found for each in steps if (found := _figures(each.result))},
    )


def figures(operation: Operation, steps: Sequence[StepRecord]) -> Figures:
    """See `Figures`."""
    plan = operation.plan
    run = [each for each in steps if each.part is Part.RUN]
    ends = [each.ended_at for each in run if each.ended_at is not None]
    last = max(ends) if ends and operation.entered(Phase.RUNNING) is not None else None
    since = operation.disaster_at if operation.disaster_at is not None else operation.requested_at
    began = operation.entered(Phase.RUNNING)
    planned = operation.entered(Phase.AWAITING_APPROVAL) or began
    back = operation.kind in (Kind.FAILOVER, Kind.DRILL)
    data_at = plan.data_at if plan and back else None
    return Figures(
        rpo_s=_between(data_at, since),
        rto_s=_between(since, last) if back else None,
        plan_s=_between(operation.requested_at, planned),
        decision_s=_between(operation.entered(Phase.AWAITING_APPROVAL), began),
        steps_s=_between(began, last),
        sum_s=sum(each.seconds or 0.0 for each in run) if run else None,
        total_s=_between(operation.requested_at, operation.entered(Phase.FINISHED)),
        lost_bytes=plan.lost_bytes if plan and back else None,
    )


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(max(0.0, end - begin), 6)


def _line(record: StepRecord) -> StepLine:
    return StepLine(
        part=record.part,
        name=record.name,
        title=record.title,
        state=record.state,
        attempts=record.attempts,
        seconds=record.seconds,
        error=record.error,
        began_at=record.began_at,
        notes=record.notes,
    )


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in result.items() if isinstance(value, int | float | str)}
    return {name: value for name, value in plain.items() if len(str(value)) <= LONGEST_TEXT}


def _left(operation: Operation, things: Sequence[Thing]) -> tuple[str, ...]:
    keeps = operation.rules.ending.value != "undo" and operation.outcome is Outcome.SUCCEEDED
    if operation.outcome is None or keeps:
        return ()
    return tuple(
        f"{each.kind} {each.name} in {each.site}" for each in things if each.state != There.GONE
    )


def to_json(found: Report) -> str:
    """For programs."""
    return json.dumps(documents.write(found), indent=2, ensure_ascii=False) + "\n"


FIGURE_WORDS = {
    "rpo_s": "Recovery point reached (lost)",
    "rto_s": "Recovery time reached",
    "plan_s": "Prechecks and plan",
    "decision_s": "Waiting for approval",
    "steps_s": "Steps, from begin to end",
    "sum_s": "Steps, if one after the other",
    "total_s": "Request to end",
    "lost_bytes": "Written since the checkpoint",
}


def figure_lines(found: Figures) -> list[tuple[str, str]]:
    """The figures that are known, in words."""
    values = dataclasses.asdict(found)
    return [
        (words, _amount(name, values[name]))
        for name, words in FIGURE_WORDS.items()
        if values[name] is not None
    ]


def _amount(name: str, value: float) -> str:
    return f"{int(value):,} bytes" if name.endswith("bytes") else duration(value)


def counted(found: Report, step: StepLine) -> str:
    """What a step counted and measured, in one line. Its texts (ids mostly) are for programs: `results`."""
    numbers = {
        name: value
        for name, value in found.results.get(step.name, {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return ", ".join(f"{name} {value:,}" for name, value in numbers.items())


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def headline(found: Report) -> str:
    """The whole in one sentence."""
    state = f"{found.outcome}" if found.outcome else f"is {found.phase}"
    return f"{found.kind.value} of group {found.group} in {found.site}: {state}"


def people(found: Report) -> list[tuple[str, str]]:
    """Who and when, in words."""
    lines = [
        ("Operation", found.operation_id),
        ("Requested by", f"{found.requested_by}, {documents.written(found.requested_at)}"),
        ("Approved by", found.approved_by),
        ("Ended", documents.written(found.ended_at) if found.ended_at else None),
        ("Checkpoint", found.checkpoint_id),
        ("Reason", found.reason),
        *found.facts.items(),
    ]
    return [(name, text) for name, text in lines if text]


def to_text(found: Report) -> str:
    """For a terminal or a mail."""
    lines = [headline(found), ""]
    pairs = [*people(found), *figure_lines(found.figures)]
    width = max(len(name) for name, _ in pairs)
    lines += [f"  {name:<{width}}  {text}" for name, text in pairs]
    lines += ["", f"  {'Step':<40} {'State':<8} {'Tries':>5} {'Time':>12}"]
    for each in found.steps:
        lines.append(
            f"  {each.title[:40]:<40} {each.state:<8} {each.attempts:>5}"
            f" {duration(each.seconds):>12}"
        )
        if each.error:
            lines.append(f"      {each.error}")
        lines += [f"      {note.line}" for note in each.notes]
        if numbers := counted(found, each):
            lines.append(f"      {numbers}")
    lines += [f"  skipped: {each.step}: {each.reason} ({each.by.name})" for each in found.skips]
    lines += [f"  {each.level}: {each.summary}" for each in found.findings]
    lines += [f"  left behind: {each}" for each in found.left]
    return "\n".join(lines) + "\n"
