"""One step: tried, looked at, done, written down.

It exists so that every action is run by the same rules: the lease is asked before it acts, a service
that cannot be reached is tried again, everything else fails at once, and the result is written down
before the step counts as done. A step that is begun again begins by looking.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from isthmus import errors
from isthmus.operations.holding import Held
from isthmus.operations.leases import FencedError
from isthmus.operations.ledger import Ledger, Part, Progress, State, StepRecord
from isthmus.operations.recipes import Action, Note, Recipes, Result, Run
from isthmus.operations.turns import Turns
from isthmus.operations.values import Operation, PlannedStep
from isthmus.store import databases

LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
"""How often progress is written at most: people do not read faster."""

REMOVE = "isthmus.remove"
"""The action of the steps that take things away."""

TEMPORARY = (errors.UnavailableError, errors.BusyError)


class StoppingError(Exception):
    """The operation is to end: the step stops where it can be begun again."""


class StepFailedError(Exception):
    """A step failed for good. Its text is one sentence of ours, since TaskFlow keeps it."""


class Performer:
    """Runs the steps of one operation under one lease. For several threads."""

    def __init__(self, operation: Operation, recipes: Recipes, held: Held) -> None:
        self.operation, self._recipes, self._held = operation, recipes, held
        self.ledger = Ledger(held.database, operation.id)
        self.stopping = threading.Event()
        self._turns = Turns(recipes.at_once)
        steps = (*operation.plan.steps, *operation.plan.commit) if operation.plan else ()
        self._places = {step.name: place for place, step in enumerate(steps)}
        self._trouble = threading.Event()
        self.unbegun: set[str] = set()
        """Steps that were given up before their turn came, because another one failed."""

    def perform(self, part: Part, step: PlannedStep) -> Result:
        """Do the step when its turn has come, unless it is skipped. Raises StepFailedError,
        StoppingError, FencedError."""
        place = self._places.get(step.name, 0)
        with self._turns.turn(step.action, place, checked=lambda: self._wait_on(step)):
            return self._performed(part, step)

    def _wait_on(self, step: PlannedStep) -> None:
        """Raise StoppingError when nothing more is to be begun."""
        self._go_on()
        if self._trouble.is_set():
            self.unbegun.add(step.name)
            raise StoppingError(step.name)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise StoppingError(self.operation.id)

    def _performed(self, part: Part, step: PlannedStep) -> Result:
        known = self.ledger.step(part, step.name)
        record = StepRecord(
            part=part,
            name=step.name,
            title=step.title,
            state=State.RUNNING,
            attempts=known.attempts if known else 0,
            began_at=known.began_at if known else time.time(),
            memory=known.memory if known else {},
            notes=known.notes if known else (),
        )
        if step.name in self.operation.skipped:
            self._ended(record, State.SKIPPED)
            return {}
        return self._tried(step, record)

    def _tried(self, step: PlannedStep, record: StepRecord) -> Result:
        for attempt in range(1, step.attempts + 1):
            self._go_on()
            record = dataclasses.replace(record, attempts=record.attempts + 1)
            self.ledger.put(record)
            run = _Run(self, self._held, step, record)
            try:
                result = self._once(step, run)
            except (FencedError, StoppingError):
                raise
            except TEMPORARY as error:
                if attempt == step.attempts:
                    raise self._failed(run.record, error) from None
                LOG.warning("%s: %s; it is tried again", step.name, error)
                record = run.record
                self.wait(step.delay_s)
            except errors.IsthmusError as error:
                raise self._failed(run.record, error) from None
            except Exception as error:
                LOG.exception("%s: an error in the step itself", step.name)
                raise self._failed(run.record, error) from None
            else:
                self._ended(run.record, State.DONE, result=result)
                return result
        raise AssertionError("the last try returns or raises")

    def _once(self, step: PlannedStep, run: _Run) -> Result:
        action = self._action(step)
        found = action.look(run)
        if found is not None:
            return found
        self._held.guard()
        return action.act(run)

    def _action(self, step: PlannedStep) -> Action:
        if step.action == REMOVE:
            return _Removal(self._recipes)
        found = self._recipes.actions.get(step.action)
        if found is None:
            raise errors.ConfigurationError(
                f"nothing here knows how to {step.action}",
                cause="the operation was planned by another release",
                unchanged="the step was not begun",
            )
        return found

    def wait(self, seconds: float) -> None:
        """Sleep, or stop. Raises StoppingError."""
        if self.stopping.wait(seconds):
            raise StoppingError(self.operation.id)

    def _failed(self, record: StepRecord, error: Exception) -> StepFailedError:
        self._trouble.set()
        known = isinstance(error, errors.IsthmusError)
        # What an unforeseen error says may hold anything; the engine's log has it.
        text = str(error) if known else f"unexpected {type(error).__name__}, see the engine's log"
        self._ended(record, State.FAILED, error=text)
        return StepFailedError(text)

    def _ended(self, record: StepRecord, state: State, **changes: Any) -> None:
        self.ledger.put(dataclasses.replace(record, state=state, ended_at=time.time(), **changes))


class _Run:
    """See `isthmus.operations.recipes.Run`."""

    def __init__(
        self, performer: Performer, held: Held, step: PlannedStep, record: StepRecord
    ) -> None:
        self._performer, self._held, self._step, self.record = performer, held, step, record
        self._told = 0.0

    @property
    def operation(self) -> Operation:
        return self._performer.operation

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self._step.arguments

    @property
    def epoch(self) -> int:
        return self._held.epoch

    @property
    def ledger(self) -> Ledger:
        """What was written down of this operation."""
        return self._performer.ledger

    def guard(self) -> int:
        return self._held.guard()

    def result(self, step: str) -> Result:
        return self.ledger.result(step)

    def name(self, suffix: str) -> str:
        return object_name(self.operation.id, suffix)

    def ensure(
        self,
        kind: str,
        name: str,
        *,
        site: str,
        find: Callable[[], str | None],
        create: Callable[[], str],
    ) -> str:
        self.ledger.intend(self._step.name, kind, site, name)
        found = find()
        if found is None:
            self._held.guard()
            found = create()
        self.ledger.made(kind, site, name, found)
        return found

    def progress(self, done: float, total: float, words: str = "") -> None:
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        told = Progress(done=done, total=total, words=words)
        self.record = dataclasses.replace(self.record, progress=told)
        self.ledger.put(self.record)

    def remember(self, document: Mapping[str, Any]) -> None:
        self.record = dataclasses.replace(self.record, memory=dict(document))
        self.ledger.put(self.record)

    def remembered(self, step: str | None = None) -> Mapping[str, Any]:
        if step is None:
            return self.record.memory
        known = self.ledger.step(Part.RUN, step)
        return known.memory if known else {}

    def note(self, note: Note) -> None:
        self.record = dataclasses.replace(self.record, notes=(*self.record.notes, note))
        self.ledger.put(self.record)

    @property
    def database(self) -> databases.Database:
        return self._held.database

    def wait(self, seconds: float) -> None:
        self._performer.wait(seconds)


class _Removal:
    """Takes one thing away, as the remover of its kind does."""

    def __init__(self, recipes: Recipes) -> None:
        self._removers = recipes.removers

    def look(self, run: Run) -> Result | None:
        """Removers look themselves."""
        return None

    def act(self, run: Run) -> Result:
        assert isinstance(run, _Run)  # noqa: S101 - made here
        owner = str(run.arguments.get("operation_id") or run.operation.id)
        things = run.ledger.things(owner)
        thing = next(each for each in things if each.sequence == run.arguments["sequence"])
        remover = self._removers.get(thing.kind)
        if remover is None:
            raise errors.ConfigurationError(
                f"nothing here knows how to take away a {thing.kind}", where=thing.name
            )
        remover.remove(thing, run)
        run.ledger.gone(thing)
        return {"removed": thing.name}


def object_name(operation_id: str, suffix: str) -> str:
    """The name of an object that an operation makes. 63 characters are the most that all of the
    services take, so the operation is shortened to what is unique enough to be looked up."""
    return f"isthmus-{operation_id[:13]}-{suffix}"[:63]
