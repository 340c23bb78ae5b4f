"""What an engine does about operations: plans them, runs them, resumes them, lets approvals expire.

It exists so that an operation needs no engine in particular: whoever sees one with work to do, and
gets the lease of its group, goes on with it. A runner may be killed at any moment. Two runners never
work on one group; one that lost its lease stops at the next thing it wants to do or write.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from isthmus import errors
from isthmus.operations import flows, holding, leases, machine, records
from isthmus.operations.executing import Ended, Execution
from isthmus.operations.holding import Held
from isthmus.operations.kinds import Kind
from isthmus.operations.leases import FencedError
from isthmus.operations.ledger import Ledger, Part, left
from isthmus.operations.machine import Event
from isthmus.operations.performing import Performer
from isthmus.operations.recipes import Recipes
from isthmus.operations.values import WORKING, Operation, Person, Phase, PlannedStep
from isthmus.store import databases

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often the database is asked for work that nobody told of: another engine's, or an approval
that expired. People's requests wake the runner at once."""

_PARTS = {
    Phase.RUNNING: Part.RUN,
    Phase.COMMITTING: Part.COMMIT,
    Phase.ROLLING_BACK: Part.ROLL_BACK,
}


def new_owner(site: str) -> str:
    """A name for this process that no other has or had."""
    return f"{site}/{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


class Runner(threading.Thread):
    """Works on all operations of a site's database. `lasts`: seconds of a lease."""

    def __init__(
        self,
        database: databases.Database,
        recipes: Recipes,
        *,
        owner: str,
        lasts: float = leases.SECONDS,
        interval: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="operations", daemon=True)
        self._database, self._recipes, self._owner = database, recipes, owner
        self._lasts, self._interval, self._clock = lasts, interval, clock
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._executions: dict[str, Execution] = {}

    def run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self.look()
            except errors.IsthmusError as error:
                LOG.warning("operations cannot be looked at: %s", error)
            except Exception:
                LOG.exception("operations: an error in the engine itself; it goes on")
            self._woken.wait(self._interval)

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing more; steps that run are told to stop where they can be begun again."""
        self._stopping.set()
        self._woken.set()
        with self._lock:
            running = list(self._executions.values())
        for execution in running:
            execution.suspend()

    def look(self) -> None:
        """One look at all operations: begin what is to be begun. Waits for none of it."""
        waiting = frozenset({Phase.AWAITING_APPROVAL})
        for operation in records.listed(self._database, phases=WORKING | waiting, limit=1000):
            if operation.phase is Phase.AWAITING_APPROVAL:
                self._expire(operation)
            elif operation.stopping:
                self._cancel(operation)
            self._begin(operation)

    def idle(self) -> bool:
        """Whether nothing is being worked on by this process."""
        with self._lock:
            return not self._busy

    def _expire(self, operation: Operation) -> None:
        lock, now = operation.lock, self._clock()
        if lock is None or lock.expires_at is None or now < lock.expires_at:
            return
        self._happened(self._database, operation, machine.TimePassed(at=now), "let it expire")

    def _cancel(self, operation: Operation) -> None:
        with self._lock:
            execution = self._executions.get(operation.id)
        if execution is not None:
            execution.suspend()

    def _begin(self, operation: Operation) -> None:
        with self._lock:
            if operation.id in self._busy or operation.phase not in WORKING:
                return
        name = f"operation-{operation.id[:8]}"
        threading.Thread(target=self._worked, args=(operation,), name=name, daemon=True).start()

    def _worked(self, operation: Operation) -> None:
        try:
            self.work(operation)
        except FencedError as error:
            LOG.warning("%s", error)
        except errors.IsthmusError as error:
            LOG.warning("operation %s rests: %s", operation.id, error)
        except Exception:
            LOG.exception("operation %s: an error in the engine itself", operation.id)

    def work(self, operation: Operation) -> None:
        """Go on with an operation until it waits for a person or is finished, or is somebody
        else's. Raises FencedError, UnavailableError."""
        with self._lock:
            if operation.id in self._busy:
                return
            self._busy.add(operation.id)
        try:
            self._work(operation)
        finally:
            with self._lock:
                self._busy.discard(operation.id)

    def _work(self, operation: Operation) -> None:
        if operation.phase is Phase.PLANNING:
            operation = self._planned(operation)
        if operation.phase not in _PARTS:
            return
        held = holding.take(
            self._database,
            subject(operation),
            owner=f"{self._owner}/{operation.id}",
            operation_id=operation.id,
            lasts=self._lasts,
        )
        if held is None:
            self._supersede(operation)
            return
        with held.kept():
            # Somebody else may have gone on with it before the lease was ours.
            operation = records.read(held.database, operation.id)
            while operation.phase in _PARTS and not self._stopping.is_set():
                operation = self._part(operation, held)

    def _planned(self, operation: Operation) -> Operation:
        """Plan without a lease: it changes nothing, and the first plan that is stored stays."""
        recipe = self._recipes.kinds.get(operation.kind)
        event: Event
        try:
            if recipe is None:
                raise errors.ConfigurationError(f"this engine cannot {operation.kind}")
            plan = recipe.plan(operation)
            flows.check(plan.steps)
            flows.check(plan.commit)
            event = machine.Planned(at=self._clock(), plan=plan)
        except (errors.IsthmusError, ValueError) as error:
            event = machine.Unplannable(at=self._clock(), reason=str(error))
        return self._happened(self._database, operation, event, "planned")

    def _supersede(self, operation: Operation) -> None:
        """A failover does not wait for a drill or a checkpoint to end by itself."""
        if operation.kind is not Kind.FAILOVER:
            return
        found = records.listed(self._database, group_id=operation.group_id, phases={Phase.RUNNING})
        for other in found:
            if other.id == operation.id or other.kind is Kind.FAILOVER or other.stopping:
                continue
            by = Person(id="engine", name=f"failover {operation.id}")
            event = machine.Cancel(at=self._clock(), by=by)
            self._happened(self._database, other, event, "cancelled for a failover")

    def _part(self, operation: Operation, held: Held) -> Operation:
        part = _PARTS[operation.phase]
        performer = Performer(operation, self._recipes, held)
        execution = Execution(
            held.database, performer, part, lambda: self._steps(operation, part, performer.ledger)
        )
        with self._lock:
            self._executions[operation.id] = execution
        try:
            if (operation.stopping and part is Part.RUN) or self._stopping.is_set():
                execution.suspend()
            ended = execution.run()
        finally:
            with self._lock:
                self._executions.pop(operation.id, None)
        event = self._event(ended)
        if event is None and self._stopping.is_set():
            return records.read(held.database, operation.id)
        event = event or machine.Stopped(at=self._clock())
        return self._happened(held.database, operation, event, f"ended the part {part}")

    def _steps(self, operation: Operation, part: Part, ledger: Ledger) -> tuple[PlannedStep, ...]:
        plan = operation.plan
        if part is Part.ROLL_BACK:
            return flows.removals(left(ledger.things()))
        if plan is None:
            return ()
        return plan.steps if part is Part.RUN else plan.commit

    def _event(self, ended: Ended) -> Event | None:
        at = self._clock()
        if ended.done:
            return machine.StepsDone(at=at)
        if ended.troubles:
            return machine.StepsFailed(at=at, troubles=ended.troubles)
        return None

    def _happened(
        self, database: databases.Database, operation: Operation, event: Event, did: str
    ) -> Operation:
        """Advance it, unless somebody else has already: then it is returned as it is now."""
        try:
            return records.change(database, operation.id, lambda _: event, did=did, by=self._owner)
        except machine.NotNowError as error:
            LOG.info("operation %s: %s", operation.id, error)
            return records.read(database, operation.id)


def subject(operation: Operation) -> str:
    """What the lease is for: one operation at a time acts on a group."""
    return f"group/{operation.group_id}"
