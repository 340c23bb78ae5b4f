"""Operations as documents for people and their tools: everything but what must not be shown.

The lock's hash never leaves the database. What can be decided now is said, so that a face need not
know the state machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.operations import approval, documents, machine
from isthmus.operations.ledger import StepRecord, There
from isthmus.operations.recipes import Thing
from isthmus.operations.trail import Entry
from isthmus.operations.values import Operation, Phase, PlannedStep

Document = dict[str, Any]


def short(operation: Operation, now: float) -> Document:
    """One line of a list."""
    return {
        "id": operation.id,
        "kind": str(operation.kind),
        "group": operation.group,
        "group_id": operation.group_id,
        "site": operation.site,
        "phase": str(operation.phase),
        "outcome": operation.outcome and str(operation.outcome),
        "reason": operation.reason,
        "by": operation.by.name,
        "origin": str(operation.origin),
        "requested_at": documents.written(operation.requested_at),
        "age_seconds": max(0.0, now - operation.requested_at),
        "possible": sorted(machine.possible(operation)),
    }


def whole(
    operation: Operation, steps: Sequence[StepRecord], things: Sequence[Thing], now: float
) -> Document:
    """Everything about one operation."""
    plan = operation.plan
    return {
        **short(operation, now),
        "parameters": dict(operation.parameters),
        "four_eyes": operation.four_eyes,
        "stopping": operation.stopping,
        "approval": _approval(operation, now),
        "plan": None if plan is None else {**documents.write(plan), "digest": plan.digest},
        "lost_seconds": plan.lost_seconds(now) if plan else None,
        "lost_bytes": plan.lost_bytes if plan else None,
        "troubles": [documents.write(each) for each in operation.troubles],
        "skips": [documents.write(each) for each in operation.skips],
        "steps": _steps(operation, steps),
        "things": [_thing(each) for each in things if each.state != There.GONE],
        "visits": [documents.write(each) for each in operation.visits],
    }


def _approval(operation: Operation, now: float) -> Document | None:
    lock = operation.lock
    if lock is None:
        return None
    waits = operation.phase is Phase.AWAITING_APPROVAL and lock.expires_at is not None
    return {
        "needs": operation.rules.approve and str(operation.rules.approve),
        "by": lock.by.name if lock.by else None,
        "at": documents.written(lock.at) if lock.at is not None else None,
        "tries_left": approval.MOST_TRIES - lock.tries,
        "seconds_left": max(0.0, (lock.expires_at or 0.0) - now) if waits else None,
    }


def _steps(operation: Operation, records: Sequence[StepRecord]) -> list[Document]:
    """Those that were begun, then those of the plan that were not."""
    begun = {(each.part, each.name) for each in records}
    found = [_record(each) for each in records]
    plan = operation.plan
    if plan is None:
        return found
    waiting: list[tuple[str, PlannedStep]] = [("run", each) for each in plan.steps]
    waiting += [("commit", each) for each in plan.commit]
    for part, step in waiting:
        if (part, step.name) not in begun:
            planned = {"part": part, "name": step.name, "title": step.title, "state": "planned"}
            found.append({**planned, "attempts": 0, "seconds": None, "error": None})
    return found


def _record(record: StepRecord) -> Document:
    """Without what only the steps need: definitions of a thousand servers are megabytes."""
    document = documents.write(record)
    for inner in ("result", "memory"):
        del document[inner]
    return {**document, "seconds": record.seconds}


def _thing(thing: Thing) -> Document:
    return {
        "kind": thing.kind,
        "name": thing.name,
        "site": thing.site,
        "id": thing.object_id,
        "state": thing.state,
    }


def entry(found: Entry) -> Document:
    """One row of the audit trail."""
    return {
        "at": documents.written(found.at),
        "subject": found.subject,
        **dict(found.document),
        "digest": found.digest,
    }
