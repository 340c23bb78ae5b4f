"""What a tour consists of: steps that state an expectation, figures with units, and a result that is a table or JSON."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.lab.progress import Progress


class Outcome(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


class Unexpected(IsthmusError):
    """A step did not see what it expects."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured number and its unit."""

    value: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One step: what it was, how it ended, seconds, and a sentence."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str


@dataclass(kw_only=True)
class Tour:
    """Collects steps and figures; after a failed step the rest is not run."""

    progress: Progress
    steps: list[StepResult] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return any(step.outcome is Outcome.FAILED for step in self.steps)

    def step(self, name: str, work: Callable[[], str]) -> None:
        """Run one step; `work` answers with a sentence and raises `IsthmusError` when it sees something else."""
        if self.failed:
            self.steps.append(
                StepResult(
                    name=name, outcome=Outcome.NOT_RUN, seconds=0.0, detail="an earlier step failed"
                )
            )
            return
        self.progress.begin(name)
        began = time.monotonic()
        try:
            detail, outcome = work(), Outcome.PASSED
        except IsthmusError as error:
            remedy = f" (try: {error.next_command})" if error.next_command else ""
            detail, outcome = f"{error}{remedy}", Outcome.FAILED
        seconds = time.monotonic() - began
        self.steps.append(
            StepResult(name=name, outcome=outcome, seconds=round(seconds, 2), detail=detail)
        )
        if outcome is Outcome.PASSED:
            self.progress.end(name, seconds, detail)
        else:
            self.progress.fail(name, seconds, detail)

    def figure(self, name: str, value: float, unit: str) -> None:
        """Record a measured number."""
        self.figures[name] = Figure(value=round(value, 3), unit=unit)

    def document(self) -> dict[str, Any]:
        """The result as one JSON object."""
        return {
            "steps": [{**step.__dict__, "outcome": str(step.outcome)} for step in self.steps],
            "figures": {name: figure.__dict__ for name, figure in self.figures.items()},
        }


def expect(holds: bool, what: str, *, where: str, seen: str) -> None:
    """Raise `Unexpected` unless `holds`; `what` is the expectation in words, `seen` what was there instead."""
    if not holds:
        raise Unexpected(
            f"expected: {what}", where=where, cause=f"seen: {seen}", next_command="isthmus lab logs"
        )
