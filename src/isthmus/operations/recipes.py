"""What a capability brings so that its operations can be run: recipes, actions, removers.

It exists so that this room knows nothing of groups, volumes or servers. An *action* is what a step
does; a *remover* takes one kind of thing away; a *recipe* plans operations of one kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from isthmus.operations.kinds import Kind
from isthmus.operations.values import Operation, Plan
from isthmus.store import databases

Result = Mapping[str, Any]
"""What a step leaves to those after it: JSON, and no secret, since it is kept and shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """An object that an operation made, or may have made. `kind` is the remover's name; `name` is
    deterministic, so that it is found though its `object_id` was never written down."""

    sequence: int
    operation_id: str
    step: str
    kind: str
    site: str
    name: str
    object_id: str | None
    state: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """Something that a step did and people should know of, however the step ends: `what`, `where`, how
    long it took, and why it failed, if it did. No secret: it is kept and shown."""

    what: str
    where: str
    seconds: float
    error: str | None = None

    @property
    def line(self) -> str:
        """In one line."""
        taken = f"{self.seconds:.1f} s"
        ended = f"failed after {taken}: {self.error}" if self.error else f"done in {taken}"
        return f"{self.what} ({self.where}): {ended}"


class Run(Protocol):
    """One try of one step: what an action may ask of whoever runs it."""

    @property
    def operation(self) -> Operation: ...

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of the step."""

    @property
    def epoch(self) -> int:
        """The epoch of the lease."""

    def guard(self) -> int:
        """To be called before every side effect. Raises FencedError, StoppingError never."""

    def result(self, step: str) -> Result:
        """What an earlier step left; empty if it was skipped."""

    def name(self, suffix: str) -> str:
        """The deterministic name of an object of this operation."""

    def ensure(
        self,
        kind: str,
        name: str,
        *,
        site: str,
        find: Callable[[], str | None],
        create: Callable[[], str],
    ) -> str:
        """The id of the object with that name: found, or created under the lease.

        That it may exist is written down before it is looked for, so that it is taken away again
        whatever happens.
        """

    def remember(self, document: Mapping[str, Any]) -> None:
        """Keep a document with the step, on disk when this returns: for what must be known when the
        step is begun again."""

    def remembered(self, step: str | None = None) -> Mapping[str, Any]:
        """What was kept last, by this try or one before; empty at first. `step`: of the run, by which
        it was kept; by default this one."""

    def note(self, note: Note) -> None:
        """Write down what was done; notes of tries before stay."""

    @property
    def database(self) -> databases.Database:
        """The site's database behind the fence of the lease."""

    def progress(self, done: float, total: float, words: str = "") -> None:
        """How far the step is; shown to people, never needed to resume."""

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the operation goes on. Raises StoppingError."""


class Action(Protocol):
    """What a step does. It may be begun again after every line of it.

    `look` says whether it is done already, and then returns its result; it changes nothing. `act`
    does it; every side effect in it comes after `run.guard()` or inside `run.ensure()`.
    """

    def look(self, run: Run) -> Result | None: ...

    def act(self, run: Run) -> Result: ...


class Remover(Protocol):
    """Takes one kind of thing away."""

    def remove(self, thing: Thing, run: Run) -> None:
        """Look for it by id or name, take it away, and return when it is seen to be gone. It is no
        error if it never was there."""


class Recipe(Protocol):
    """Plans operations of one kind."""

    def plan(self, operation: Operation) -> Plan:
        """Run the prechecks and plan; changes nothing. What is wrong is a finding of the plan.

        Raises IsthmusError when nothing can be planned.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipes:
    """All that a capability brings. `removers`: by kind of thing; `at_once`: how many steps of an
    action of one operation may run at the same time, see `turns`."""

    kinds: Mapping[Kind, Recipe]
    actions: Mapping[str, Action]
    removers: Mapping[str, Remover]
    at_once: Mapping[str, int] = dataclasses.field(default_factory=dict)
