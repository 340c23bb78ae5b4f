"""The steps and things of one operation in the database, written by whoever runs it.

Everything goes through the fence of the lease; see `isthmus.operations.holding`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from isthmus.operations import documents
from isthmus.operations.documents import Moment
from isthmus.operations.recipes import Note, Result, Thing
from isthmus.store import databases, tables
from isthmus.store import operations as rows


class Part(enum.StrEnum):
    """The flows of an operation."""

    RUN = "run"
    COMMIT = "commit"
    ROLL_BACK = "roll-back"


class State(enum.StrEnum):
    """How far a step is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class There(enum.StrEnum):
    """What is known of a thing."""

    INTENDED = "intended"  # it may be there
    MADE = "made"
    GONE = "gone"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a step is in itself."""

    done: float
    total: float
    words: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord:
    """How far one step is. `seconds`: of the last try. `error`: why it failed, in one sentence.
    `memory`: what it has to know when it is begun again. `notes`: what all its tries did."""

    part: Part
    name: str
    title: str
    state: State
    attempts: int
    began_at: Moment
    ended_at: Moment | None = None
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None
    progress: Progress | None = None
    memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def seconds(self) -> float | None:
        """From the first try's beginning to the end."""
        return None if self.ended_at is None else max(0.0, self.ended_at - self.began_at)


class Ledger:
    """The records of one operation. For several threads. Raises FencedError, UnavailableError."""

    def __init__(self, database: databases.Database, operation_id: str) -> None:
        self._database, self._id = database, operation_id

    def step(self, part: Part, name: str) -> StepRecord | None:
        """One step, if it was begun."""
        found = self._database.read(
            lambda session: _record(rows.step(session, self._id, part, name))
        )
        return found

    def steps(self) -> tuple[StepRecord, ...]:
        """All steps that were begun, in the order of their beginning."""
        found = self._database.read(lambda session: rows.steps(session, self._id))
        records = [record for row in found if (record := _record(row)) is not None]
        return tuple(sorted(records, key=lambda each: each.began_at))

    def put(self, record: StepRecord) -> None:
        """Write a step down."""
        document = documents.write(record)

        def action(session: Any) -> None:
            rows.put_step(
                session,
                tables.Step(
                    operation_id=self._id,
                    part=record.part,
                    name=record.name,
                    state=record.state,
                    attempts=record.attempts,
                    document=document,
                ),
            )

        self._database.write(action)

    def result(self, name: str) -> Result:
        """What a step of the first flow left."""
        found = self.step(Part.RUN, name)
        return found.result if found else {}

    def intend(self, step: str, kind: str, site: str, name: str) -> None:
        """Write down that something will be made."""
        self._database.write(
            lambda session: rows.intend(
                session,
                tables.Thing(
                    operation_id=self._id,
                    step=step,
                    kind=kind,
                    site=site,
                    name=name,
                    object_id=None,
                    state=There.INTENDED,
                ),
            )
        )

    def made(self, kind: str, site: str, name: str, object_id: str) -> None:
        """Write down that it is there."""
        key = {"operation_id": self._id, "kind": kind, "site": site, "name": name}
        values = {"object_id": object_id, "state": str(There.MADE)}
        self._database.write(lambda session: rows.set_thing(session, key, values))

    def gone(self, thing: Thing) -> None:
        """Write down that it was seen to be gone."""
        key, values = {"sequence": thing.sequence}, {"state": str(There.GONE)}
        self._database.write(lambda session: rows.set_thing(session, key, values))

    def things(self, operation_id: str | None = None) -> tuple[Thing, ...]:
        """What this operation (or another) made, in that order, with what is gone again."""
        asked = operation_id or self._id
        found = self._database.read(lambda session: rows.things(session, asked))
        return tuple(_thing(row) for row in found)


def left(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Those that may still be there."""
    return tuple(each for each in things if each.state != There.GONE)


def _record(row: tables.Step | None) -> StepRecord | None:
    return documents.read(StepRecord, row.document) if row else None


def _thing(row: tables.Thing) -> Thing:
    names = [field.name for field in dataclasses.fields(Thing)]
    return Thing(**{name: getattr(row, name) for name in names})
