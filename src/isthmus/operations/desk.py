"""What people (and schedules) ask of operations: request, approve, decide, look.

It exists so that every right is checked in one place. `Asker` is made by whoever knows the caller: a
person from a checked token, or a schedule, which has no privilege but to request what its origin may.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from isthmus import errors
from isthmus.operations import approval, machine, records, trail
from isthmus.operations.kinds import RULES, Kind, Origin, Privilege
from isthmus.operations.ledger import Ledger, StepRecord
from isthmus.operations.machine import Event
from isthmus.operations.recipes import Thing
from isthmus.operations.values import Operation, Person
from isthmus.store import databases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks, what made him ask, and what he may."""

    person: Person
    privileges: frozenset[Privilege]
    origin: Origin = Origin.PERSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. `key`: made up by the requester, so that a request whose answer was lost
    can be made again. `four_eyes`: the requester may not approve it."""

    kind: Kind
    group_id: str
    group: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    four_eyes: bool = False
    disaster_at: float | None = None
    key: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requested:
    """The operation, and the code that approves it: shown now and never again. None when no approval
    is needed, or when the same request was made before."""

    operation: Operation
    code: str | None


class Desk:
    """Raises PrivilegeError, UsageError, machine.NotNowError, UnavailableError; then nothing was
    changed."""

    def __init__(
        self,
        database: databases.Database,
        site: str,
        *,
        clock: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database, self._site, self._clock = database, site, clock
        self._changed = changed

    def request(self, asker: Asker, request: Request) -> Requested:
        """Ask for an operation; it is planned next, and runs when it is approved."""
        rules = RULES[request.kind]
        self._origin(asker, request.kind)
        self._may(asker, rules.request, f"request a {request.kind}")
        identity = str(uuid.uuid4())
        code = approval.new_code() if rules.approve else None
        operation = machine.begun(
            Operation(
                id=identity,
                kind=request.kind,
                group_id=request.group_id,
                group=request.group,
                site=self._site,
                by=asker.person,
                origin=asker.origin,
                requested_at=self._clock(),
                parameters=request.parameters,
                four_eyes=request.four_eyes,
                disaster_at=request.disaster_at,
                lock=approval.lock(code, identity) if code else None,
            )
        )
        stored = records.insert(self._database, operation, request.key)
        self._changed()
        return Requested(operation=stored, code=code if stored.id == identity else None)

    def approve(self, asker: Asker, operation_id: str, *, code: str, plan_digest: str) -> Operation:
        """Approve the plan that was read, with the code that the requester was shown."""
        found = self.operation(operation_id)
        self._person(asker, "approve an operation")
        needed = found.rules.approve
        if needed is not None:
            self._may(asker, needed, f"approve a {found.kind}")

        def typed(now: Operation) -> Event:
            at = self._clock()
            verdict = approval.Verdict.USED_UP
            if now.lock is not None:
                verdict = approval.judge(now.lock, code, now.id, at)
            return machine.Typed(at=at, by=asker.person, verdict=verdict, plan_digest=plan_digest)

        changed = self._decided(asker, operation_id, typed, "typed the code")
        if changed.lock is None or changed.lock.by is None:
            raise _not_approved(changed)
        return changed

    def commit(self, asker: Asker, operation_id: str) -> Operation:
        """Make final what runs now."""
        return self._settle(asker, operation_id, machine.Commit, "committed")

    def roll_back(self, asker: Asker, operation_id: str) -> Operation:
        """Take everything away again."""
        return self._settle(asker, operation_id, machine.RollBack, "rolled back")

    def retry(self, asker: Asker, operation_id: str) -> Operation:
        """Try the failed steps again."""
        return self._settle(asker, operation_id, machine.Retry, "had the steps tried again")

    def skip(self, asker: Asker, operation_id: str, *, step: str, reason: str) -> Operation:
        """Go on without a failed step, for a reason that is kept."""
        if not reason.strip():
            raise errors.UsageError(
                "the step was not skipped", cause="no reason was given", unchanged="nothing changed"
            )
        return self._settle(
            asker, operation_id, machine.SkipStep, "skipped a step", step=step, reason=reason
        )

    def cancel(self, asker: Asker, operation_id: str) -> Operation:
        """End it: at once while nothing was done, by rolling back after that."""
        found = self.operation(operation_id)
        self._person(asker, "cancel an operation")
        self._may(asker, found.rules.request, f"cancel a {found.kind}")
        return self._decided(
            asker,
            operation_id,
            lambda _: machine.Cancel(at=self._clock(), by=asker.person),
            "cancelled",
        )

    def operation(self, operation_id: str) -> Operation:
        """One operation. Raises UsageError when there is none."""
        return records.read(self._database, operation_id)

    def operations(self, group_id: str | None = None) -> tuple[Operation, ...]:
        """The newest operations, of one group or of all."""
        return records.listed(self._database, group_id=group_id)

    def steps(self, operation_id: str) -> tuple[StepRecord, ...]:
        """How far its steps are."""
        return Ledger(self._database, operation_id).steps()

    def things(self, operation_id: str) -> tuple[Thing, ...]:
        """What it made."""
        return Ledger(self._database, operation_id).things()

    def trail(self, operation_id: str | None = None) -> list[trail.Entry]:
        """The audit trail of an operation, or all of it."""
        return trail.entries(self._database, operation_id)

    def _settle(
        self, asker: Asker, operation_id: str, kind: Callable[..., Event], did: str, **facts: Any
    ) -> Operation:
        """A decision on what was approved needs the privilege that approved it."""
        found = self.operation(operation_id)
        self._person(asker, "decide about an operation")
        needed = found.rules.approve or found.rules.request
        self._may(asker, needed, f"decide about a {found.kind}")
        return self._decided(
            asker,
            operation_id,
            lambda _: kind(at=self._clock(), by=asker.person, **facts),
            did,
            **facts,
        )

    def _decided(
        self,
        asker: Asker,
        operation_id: str,
        event: Callable[[Operation], Event],
        did: str,
        **facts: Any,
    ) -> Operation:
        changed = records.change(
            self._database, operation_id, event, did=did, by=asker.person.name, **facts
        )
        self._changed()
        return changed

    def _origin(self, asker: Asker, kind: Kind) -> None:
        if asker.origin not in RULES[kind].origins:
            raise errors.PrivilegeError(
                f"a {asker.origin} cannot request a {kind}",
                cause="only a person can",
                unchanged="nothing was requested",
            )

    def _person(self, asker: Asker, what: str) -> None:
        if asker.origin is not Origin.PERSON:
            raise errors.PrivilegeError(
                f"a {asker.origin} cannot {what}",
                cause="only a person can",
                unchanged="nothing was changed",
            )

    def _may(self, asker: Asker, needed: Privilege, what: str) -> None:
        if needed not in asker.privileges:
            raise errors.PrivilegeError(
                f"{asker.person.name} may not {what}",
                cause=f"it takes the privilege {needed}",
                unchanged="nothing was changed",
                next_command="ask an administrator of the cloud",
            )


def _not_approved(operation: Operation) -> errors.PrivilegeError:
    left = approval.MOST_TRIES - (operation.lock.tries if operation.lock else 0)
    over = operation.outcome is not None
    return errors.PrivilegeError(
        "the operation was not approved",
        where=f"{operation.kind} {operation.id}",
        cause=(operation.reason or "it has ended") if over else "the code is wrong",
        unchanged="nothing was started"
        + (", and it cannot be approved any more" if over else f"; {left} tries are left"),
    )
