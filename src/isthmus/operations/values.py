"""An operation as a value: what was asked, what is planned, how far it is, how it ended.

`phase` says where an operation is on its way, `outcome` how it ended; there is no outcome before the
end. Changes are made by `isthmus.operations.machine` only.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from isthmus.operations import documents
from isthmus.operations.documents import Moment
from isthmus.operations.kinds import RULES, Kind, Origin, Rules


class Phase(enum.StrEnum):
    """Where an operation is."""

    PLANNING = "planning"  # prechecks, then the plan
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    PAUSED = "paused"  # a step failed; a person decides
    AWAITING_COMMIT = "awaiting-commit"  # all steps are done; a person looks and decides
    COMMITTING = "committing"
    ROLLING_BACK = "rolling-back"
    FINISHED = "finished"


WORKING = frozenset({Phase.PLANNING, Phase.RUNNING, Phase.COMMITTING, Phase.ROLLING_BACK})
"""Phases in which an engine has something to do; in the others a person has, or nobody."""


class Outcome(enum.StrEnum):
    """How an operation ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # by the prechecks; nothing was done
    NOT_APPROVED = "not-approved"  # nothing was done
    ROLLED_BACK = "rolled-back"  # a person wanted it so
    FAILED = "failed"  # and what it had made is taken away again


class Level(enum.StrEnum):
    """How bad a finding of the prechecks is; an ERROR refuses the operation."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What a precheck found: `summary`, why, and what to do about it."""

    level: Level
    summary: str
    cause: str = ""
    remedy: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step. `name` is unique in the operation and never changes: an interrupted operation is
    resumed by it. `action` names what is done, `arguments` (JSON) with what; `after`: the names of
    steps that must be done before. `attempts`: how often it is tried when a service cannot be
    reached, `delay_s` apart. `skippable`: a person may decide to go on without it."""

    name: str
    title: str
    action: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()
    attempts: int = 3
    delay_s: float = 2.0
    skippable: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done, and what will be lost.

    `data_at`: the point in time to which the data return, None where none are given up;
    `lost_bytes`: how much was written since, None if nobody knows. `facts`: what a person should
    read before approving, by name. `commit`: the steps that make it final.
    """

    made_at: Moment
    steps: tuple[PlannedStep, ...]
    commit: tuple[PlannedStep, ...] = ()
    data_at: Moment | None = None
    checkpoint_id: str | None = None
    lost_bytes: int | None = None
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What an approval is for: another plan needs another approval."""
        return documents.digest(documents.write(self))

    def lost_seconds(self, now: float) -> float | None:
        """How much time would be lost, by now."""
        return None if self.data_at is None else max(0.0, now - self.data_at)

    def step(self, name: str) -> PlannedStep | None:
        """The step of that name."""
        return next((each for each in (*self.steps, *self.commit) if each.name == name), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with a token: what schedules and alarms are not."""

    id: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lock:
    """What an approval must open: the code, hashed. `tries` were made so far; `expires_at` is set
    when there is a plan to approve. `by`, `at`: who opened it and when."""

    salt: str
    hash: str
    tries: int = 0
    expires_at: Moment | None = None
    by: Person | None = None
    at: Moment | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trouble:
    """A step that failed for good, and why."""

    step: str
    what: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skip:
    """A person's decision to go on without a step."""

    step: str
    reason: str
    by: Person
    at: Moment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Visit:
    """When a phase was entered."""

    phase: Phase
    at: Moment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on one group.

    Invariants (kept by `machine`): an outcome exists exactly in phase finished, which is never left;
    a kind that needs approval never runs a step before a person other than the requester (where
    `four_eyes`) approved the very plan that runs; the plan never changes after that.

    `stopping`: a person wants it to end; the steps that run now are completed first. `ending`: the
    outcome that it will have when it is rolled back. `disaster_at`: since when the group was down,
    as the requester says; the recovery time is counted from it.
    """

    id: str
    kind: Kind
    group_id: str
    group: str
    site: str
    by: Person
    origin: Origin
    requested_at: Moment
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    four_eyes: bool = False
    disaster_at: Moment | None = None
    phase: Phase = Phase.PLANNING
    outcome: Outcome | None = None
    plan: Plan | None = None
    lock: Lock | None = None
    troubles: tuple[Trouble, ...] = ()
    skips: tuple[Skip, ...] = ()
    stopping: bool = False
    ending: Outcome | None = None
    reason: str | None = None
    visits: tuple[Visit, ...] = ()
    revision: int = 1

    @property
    def rules(self) -> Rules:
        return RULES[self.kind]

    @property
    def skipped(self) -> frozenset[str]:
        """The names of the steps to go on without."""
        return frozenset(each.step for each in self.skips)

    def entered(self, phase: Phase) -> float | None:
        """When it was in a phase for the first time, seconds since 1970."""
        return next((each.at for each in self.visits if each.phase is phase), None)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Operation:
        """From JSON. Raises InputError."""
        return documents.read(cls, document)

    def to_document(self) -> dict[str, Any]:
        """As JSON, for the database: it holds the hash of the code."""
        return dict(documents.write(self))
