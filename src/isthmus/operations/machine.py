"""How an operation goes on: (operation, event) -> operation. Pure; the only place that changes one.

::

    planning --> awaiting-approval --> running --> awaiting-commit --> committing --> finished
        |               |                | ^  \\           |                ^ |
        v               v                v |   \\          v                | v
     finished        finished          paused  +--> rolling-back -------> paused
                                                        |  ^
                                                        v  +--- (drills: always, when all is done)
                                                     finished

Invariants (attacked by the tests):

* a kind that needs approval is never running, paused, committing or rolling back without `lock.by`,
  and that is not the requester where `four_eyes`;
* the plan is set once, before running, and never changed;
* an outcome is there exactly when the phase is finished, and nothing changes after that;
* no event that a schedule, an alarm or an engine can cause leaves awaiting-approval other than to
  finished.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from isthmus import errors
from isthmus.operations import approval
from isthmus.operations.approval import Verdict
from isthmus.operations.kinds import Ending, OnFailure
from isthmus.operations.values import (
    Level,
    Operation,
    Outcome,
    Person,
    Phase,
    Plan,
    Skip,
    Trouble,
    Visit,
)


class NotNowError(errors.BusyError):
    """The operation is not where this can be done; nothing was changed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. `at`: seconds since 1970."""

    at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned(Event):
    """The prechecks ran and there is a plan."""

    plan: Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unplannable(Event):
    """There can be no plan."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Typed(Event):
    """A person typed a code, having read the plan with this digest."""

    by: Person
    verdict: Verdict
    plan_digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimePassed(Event):
    """Nothing happened but time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepsDone(Event):
    """All steps of the part that runs are done or skipped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepsFailed(Event):
    """Nothing more can be done in the part that runs, because of these steps."""

    troubles: tuple[Trouble, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The steps that ran are completed, and no more were begun, as was asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decided(Event):
    """A person decided something."""

    by: Person


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry(Decided):
    """Try the failed steps again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipStep(Decided):
    """Go on without a failed step."""

    step: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollBack(Decided):
    """Take everything away again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commit(Decided):
    """Make it final."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cancel(Decided):
    """End it: at once while nothing was done, else by rolling back."""


def advance(operation: Operation, event: Event) -> Operation:
    """The operation after the event, with the next revision.

    Raises NotNowError, PrivilegeError (the approver is the requester), UsageError (no such step).
    """
    transition = _TRANSITIONS.get((operation.phase, type(event)))
    if transition is None:
        raise _not_now(operation, event)
    changed: Operation = transition(operation, event)
    return dataclasses.replace(changed, revision=operation.revision + 1)


def begun(operation: Operation) -> Operation:
    """A new operation with its first visit."""
    visit = Visit(phase=operation.phase, at=operation.requested_at)
    return dataclasses.replace(operation, visits=(visit,))


def possible(operation: Operation) -> frozenset[str]:
    """What a person can decide now: approve, retry, skip, rollback, commit, cancel."""
    words = {
        Typed: "approve",
        Retry: "retry",
        SkipStep: "skip",
        RollBack: "rollback",
        Commit: "commit",
        Cancel: "cancel",
    }
    found = {
        words[kind] for phase, kind in _TRANSITIONS if phase is operation.phase and kind in words
    }
    if operation.phase is Phase.PAUSED and _resumed(operation) is not Phase.RUNNING:
        found.discard("rollback")
    return frozenset(found)


def _to(operation: Operation, phase: Phase, event: Event, **changes: Any) -> Operation:
    visit = Visit(phase=phase, at=event.at)
    return dataclasses.replace(operation, phase=phase, visits=(*operation.visits, visit), **changes)


def _finish(operation: Operation, outcome: Outcome, event: Event, reason: str | None) -> Operation:
    return _to(operation, Phase.FINISHED, event, outcome=outcome, reason=reason or operation.reason)


def _planned(operation: Operation, event: Planned) -> Operation:
    known = dataclasses.replace(operation, plan=event.plan)
    wrong = [each.summary for each in event.plan.findings if each.level is Level.ERROR]
    if wrong:
        return _finish(known, Outcome.REFUSED, event, "; ".join(wrong))
    if operation.rules.approve is None:
        return _to(known, Phase.RUNNING, event)
    if operation.lock is None:
        return _finish(known, Outcome.NOT_APPROVED, event, "nobody has a code for it")
    lock = dataclasses.replace(operation.lock, expires_at=event.at + approval.LASTS_S)
    return _to(known, Phase.AWAITING_APPROVAL, event, lock=lock)


def _unplannable(operation: Operation, event: Unplannable) -> Operation:
    return _finish(operation, Outcome.REFUSED, event, event.reason)


def _typed(operation: Operation, event: Typed) -> Operation:
    if operation.four_eyes and event.by.id == operation.by.id:
        raise errors.PrivilegeError(
            "the operation was not approved",
            where=_where(operation),
            cause=f"{event.by.name} asked for it, and somebody else has to approve it",
            unchanged="nothing was changed; the code is still good",
        )
    plan, lock = operation.plan, operation.lock
    if plan is None or lock is None or event.plan_digest != plan.digest:
        raise NotNowError(
            "the operation was not approved",
            where=_where(operation),
            cause="the plan that was read is not the plan of the operation",
            unchanged="nothing was changed; the code is still good",
            next_command=f"isthmus operation show {operation.id}",
        )
    match event.verdict:
        case Verdict.RIGHT:
            opened = dataclasses.replace(lock, by=event.by, at=event.at)
            return _to(operation, Phase.RUNNING, event, lock=opened)
        case Verdict.WRONG:
            return _mistyped(operation, event)
        case Verdict.EXPIRED:
            return _finish(operation, Outcome.NOT_APPROVED, event, "nobody approved it in time")
        case Verdict.USED_UP:
            return _finish(operation, Outcome.NOT_APPROVED, event, _WRONG)


_WRONG = "the code was typed wrongly too often"


def _mistyped(operation: Operation, event: Typed) -> Operation:
    assert operation.lock is not None  # noqa: S101 - looked at by the caller
    tried = dataclasses.replace(operation.lock, tries=operation.lock.tries + 1)
    known = dataclasses.replace(operation, lock=tried)
    if tried.tries < approval.MOST_TRIES:
        return known
    return _finish(known, Outcome.NOT_APPROVED, event, _WRONG)


def _time_passed(operation: Operation, event: TimePassed) -> Operation:
    lock = operation.lock
    if lock is None or lock.expires_at is None or event.at < lock.expires_at:
        raise _not_now(operation, event)
    return _finish(operation, Outcome.NOT_APPROVED, event, "nobody approved it in time")


def _dropped(operation: Operation, event: Cancel) -> Operation:
    return _finish(operation, Outcome.NOT_APPROVED, event, f"{event.by.name} cancelled it")


def _ran(operation: Operation, event: StepsDone) -> Operation:
    if operation.stopping:
        return _roll_back(operation, event, Outcome.ROLLED_BACK)
    match operation.rules.ending:
        case Ending.COMMIT:
            return _to(operation, Phase.COMMITTING, event)
        case Ending.ASK:
            return _to(operation, Phase.AWAITING_COMMIT, event)
        case Ending.UNDO:
            return _roll_back(operation, event, Outcome.SUCCEEDED)


def _failed(operation: Operation, event: StepsFailed) -> Operation:
    known = dataclasses.replace(operation, troubles=event.troubles)
    if operation.stopping:
        return _roll_back(known, event, Outcome.ROLLED_BACK)
    if operation.rules.on_failure is OnFailure.ROLL_BACK:
        why = "; ".join(f"{each.step}: {each.what}" for each in event.troubles)
        return _roll_back(known, event, Outcome.FAILED, reason=why)
    return _to(known, Phase.PAUSED, event)


def _paused(operation: Operation, event: StepsFailed) -> Operation:
    return _to(operation, Phase.PAUSED, event, troubles=event.troubles)


def _roll_back(
    operation: Operation, event: Event, ending: Outcome, reason: str | None = None
) -> Operation:
    return _to(
        operation, Phase.ROLLING_BACK, event, ending=ending, reason=reason or operation.reason
    )


def _resumed(operation: Operation) -> Phase:
    """The phase in which it paused."""
    return operation.visits[-2].phase if len(operation.visits) > 1 else Phase.RUNNING


def _retry(operation: Operation, event: Retry) -> Operation:
    return _to(operation, _resumed(operation), event, troubles=())


def _skip(operation: Operation, event: SkipStep) -> Operation:
    if event.step not in {each.step for each in operation.troubles}:
        failed = ", ".join(each.step for each in operation.troubles)
        raise errors.UsageError(
            f"the step {event.step} cannot be skipped",
            where=_where(operation),
            cause=f"it has not failed; these have: {failed}",
            unchanged="nothing was changed",
        )
    planned = operation.plan.step(event.step) if operation.plan else None
    if _resumed(operation) is not Phase.ROLLING_BACK and (planned is None or not planned.skippable):
        raise NotNowError(
            f"the step {event.step} cannot be skipped",
            where=_where(operation),
            cause="the steps after it need what it does",
            unchanged="nothing was changed",
            next_command=f"isthmus operation retry {operation.id}",
        )
    skip = Skip(step=event.step, reason=event.reason, by=event.by, at=event.at)
    left = tuple(each for each in operation.troubles if each.step != event.step)
    known = dataclasses.replace(operation, skips=(*operation.skips, skip), troubles=left)
    return known if left else _to(known, _resumed(operation), event)


def _give_up(operation: Operation, event: RollBack) -> Operation:
    if _resumed(operation) is not Phase.RUNNING:
        raise _not_now(operation, event)
    return _decided_back(operation, event)


def _decided_back(operation: Operation, event: RollBack) -> Operation:
    why = f"{event.by.name} rolled it back"
    return _roll_back(operation, event, Outcome.ROLLED_BACK, reason=why)


def _stopping(operation: Operation, event: Cancel) -> Operation:
    why = f"{event.by.name} cancelled it"
    return dataclasses.replace(operation, stopping=True, reason=why)


def _stopped(operation: Operation, event: Stopped) -> Operation:
    if not operation.stopping:
        raise _not_now(operation, event)
    return _roll_back(operation, event, Outcome.ROLLED_BACK)


def _commit(operation: Operation, event: Commit) -> Operation:
    return _to(operation, Phase.COMMITTING, event)


def _committed(operation: Operation, event: StepsDone) -> Operation:
    return _finish(operation, Outcome.SUCCEEDED, event, None)


def _rolled_back(operation: Operation, event: StepsDone) -> Operation:
    return _finish(operation, operation.ending or Outcome.FAILED, event, None)


_Transition = Callable[[Operation, Any], Operation]

_TRANSITIONS: dict[tuple[Phase, type[Event]], _Transition] = {
    (Phase.PLANNING, Planned): _planned,
    (Phase.PLANNING, Unplannable): _unplannable,
    (Phase.PLANNING, Cancel): _dropped,
    (Phase.AWAITING_APPROVAL, Typed): _typed,
    (Phase.AWAITING_APPROVAL, TimePassed): _time_passed,
    (Phase.AWAITING_APPROVAL, Cancel): _dropped,
    (Phase.RUNNING, StepsDone): _ran,
    (Phase.RUNNING, StepsFailed): _failed,
    (Phase.RUNNING, Stopped): _stopped,
    (Phase.RUNNING, Cancel): _stopping,
    (Phase.PAUSED, Retry): _retry,
    (Phase.PAUSED, SkipStep): _skip,
    (Phase.PAUSED, RollBack): _give_up,
    (Phase.AWAITING_COMMIT, Commit): _commit,
    (Phase.AWAITING_COMMIT, RollBack): _decided_back,
    (Phase.COMMITTING, StepsDone): _committed,
    (Phase.COMMITTING, StepsFailed): _paused,
    (Phase.ROLLING_BACK, StepsDone): _rolled_back,
    (Phase.ROLLING_BACK, StepsFailed): _paused,
}


def _not_now(operation: Operation, event: Event) -> NotNowError:
    can = ", ".join(sorted(possible(operation))) or "nothing"
    return NotNowError(
        f"the operation cannot take {_words(event)} now",
        where=_where(operation),
        cause=f"it is {operation.phase}; what can be decided now: {can}",
        unchanged="nothing was changed",
        next_command=f"isthmus operation show {operation.id}",
    )


def _words(event: Event) -> str:
    return {
        Typed: "an approval",
        Retry: "a retry",
        SkipStep: "a skip",
        RollBack: "a roll back",
    }.get(type(event), type(event).__name__.lower())


def _where(operation: Operation) -> str:
    return f"{operation.kind} {operation.id} of group {operation.group}"
