"""Runs one part of an operation through TaskFlow: begun, or resumed where it was cut off.

What TaskFlow saves goes through the fence of the lease, so an engine that lost it cannot change what
its successor resumes from. Atoms that were cut off run again; atoms that failed run again too, when
the part is run again, since a person (or nobody, after a crash) decided so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus import errors
from isthmus.operations import documents
from isthmus.operations.leases import FencedError
from isthmus.operations.ledger import Part
from isthmus.operations.performing import Performer
from isthmus.operations.values import PlannedStep, Trouble
from isthmus.store import databases

LOG = logging.getLogger(__name__)

FACTORY = "isthmus.operations.flows.build"

_MOST_THREADS = 256
"""Of one part. Most of them wait: for their turn (`turns`), or for a service."""

_SPACE = uuid.UUID("2c4d6b1e-3f0a-4d57-9c58-6a0f5f1f7f11")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a part ended: all done, or with troubles, or neither when it was stopped."""

    done: bool
    troubles: tuple[Trouble, ...] = ()


class Execution:
    """One run of one part. `steps` is asked only when the part was never begun."""

    def __init__(
        self,
        database: databases.Database,
        performer: Performer,
        part: Part,
        steps: Callable[[], Sequence[PlannedStep]],
    ) -> None:
        self._database, self._performer, self._part = database, performer, part
        self._steps = steps
        self._engine: Any = None
        self._lock = threading.Lock()

    def run(self) -> Ended:
        """Run to the end. Raises FencedError, UnavailableError; then the part can be run again."""
        # TaskFlow is slow to import, and only a process that executes needs it.
        from taskflow import engines, exceptions

        from isthmus.operations import persistence

        backend = persistence.Backend({}, engine=self._database.engine)
        try:
            detail = self._detail(backend)
            if not _names(detail):
                return Ended(done=True)
            engine = engines.load_from_detail(
                detail,
                backend=backend,
                engine="parallel",
                executor="threaded",
                max_workers=min(_MOST_THREADS, len(_names(detail))),
                never_resolve=True,
            )
            return self._ran(engine, _names(detail))
        except exceptions.StorageFailure as error:
            raise errors.UnavailableError(
                "the operation cannot be run now",
                where="recovery database",
                cause=str(error).splitlines()[0],
                unchanged="it goes on where it was cut off",
            ) from error

    def suspend(self) -> None:
        """Begin no more steps; those that run are told to stop where they can be begun again."""
        with self._lock:
            self._performer.stopping.set()
            if self._engine is not None:
                self._engine.suspend()

    def _detail(self, backend: Any) -> Any:
        """TaskFlow's record of this part, made in one transaction if there is none."""
        from taskflow import exceptions
        from taskflow.persistence import models

        book = str(uuid.uuid5(_SPACE, self._performer.operation.id))
        flow = str(uuid.uuid5(_SPACE, f"{self._performer.operation.id}/{self._part}"))
        with contextlib.closing(backend.get_connection()) as connection:
            with contextlib.suppress(exceptions.NotFound):
                return connection.get_flow_details(flow)
            steps = [documents.write(step) for step in self._steps()]
            detail = models.FlowDetail(str(self._part), flow)
            detail.meta = {
                "factory": {"name": FACTORY, "args": [str(self._part), steps], "kwargs": {}}
            }
            logbook = models.LogBook(self._performer.operation.id, book)
            logbook.add(detail)
            connection.save_logbook(logbook)
            return connection.get_flow_details(flow)

    def _ran(self, engine: Any, names: Sequence[str]) -> Ended:
        from taskflow import exceptions, states

        engine.storage.inject({"performer": self._performer}, transient=True)
        engine.compile()
        engine.prepare()
        for name, state in _states(engine, names).items():
            if state == states.FAILURE:
                engine.storage.reset(name)
        with self._lock:
            if self._performer.stopping.is_set():
                return Ended(done=False)
            self._engine = engine
        try:
            engine.run()
        except (FencedError, errors.IsthmusError, exceptions.StorageFailure):
            raise
        except Exception as error:
            # Each failed step has written down why; TaskFlow raises the same again, alone or wrapped.
            LOG.debug("the flow ended with %s", type(error).__name__)
        finally:
            with self._lock:
                self._engine = None
        return self._judged(_states(engine, names))

    def _judged(self, found: Mapping[str, str]) -> Ended:
        from taskflow import states

        if all(state == states.SUCCESS for state in found.values()):
            return Ended(done=True)
        if self._performer.stopping.is_set():
            return Ended(done=False)
        ended = {name for name, state in found.items() if state == states.FAILURE}
        failed = sorted(ended - self._performer.unbegun)
        if not failed:
            raise errors.UnavailableError(
                "the operation was cut off",
                where=f"part {self._part}",
                cause=", ".join(f"{name} {state}" for name, state in found.items()),
                unchanged="it goes on where it was cut off",
            )
        return Ended(done=False, troubles=tuple(self._trouble(name) for name in failed))

    def _trouble(self, name: str) -> Trouble:
        record = self._performer.ledger.step(self._part, name)
        return Trouble(step=name, what=(record.error if record else None) or "it failed")


def _names(detail: Any) -> list[str]:
    """The names of the atoms, as the factory was told them."""
    return [str(step["name"]) for step in detail.meta["factory"]["args"][1]]


def _states(engine: Any, names: Sequence[str]) -> dict[str, str]:
    found = engine.storage.get_atoms_states(names)
    return {name: str(state) for name, (state, _) in found.items()}
