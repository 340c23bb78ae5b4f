"""How TaskFlow is used: one graph of atoms for each part of an operation.

The factory `build` is importable and its arguments are JSON, so that TaskFlow makes the same graph
again from what it saved (`load_from_detail`). Atoms are found again by their names, which are the
names of the steps. What an atom needs to run is injected for each run and never saved.

TaskFlow's own reverting is not used: taking things away is a flow like any other
(`docs/adr/0015-taskflow-at-least-once-and-an-epoch.rst`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskflow import task
from taskflow.patterns import graph_flow

from isthmus.operations import documents
from isthmus.operations.ledger import Part
from isthmus.operations.performing import REMOVE, Performer
from isthmus.operations.recipes import Thing
from isthmus.operations.values import PlannedStep

PERFORMER = "performer"
"""What is injected."""

REMOVAL_ATTEMPTS = 5


class Atom(task.Task):  # type: ignore[misc]  # TaskFlow has no types
    """One step of a flow."""

    def __init__(self, part: Part, step: PlannedStep) -> None:
        super().__init__(name=step.name, requires=[PERFORMER])
        self._part, self._step = part, step

    def execute(self, performer: Performer) -> dict[str, Any]:
        """What TaskFlow saves is that it is done; the result is in the ledger, once."""
        performer.perform(self._part, self._step)
        return {"done": True}


def build(part: str, steps: Sequence[Any]) -> graph_flow.Flow:
    """The graph of a part; `steps` are documents of PlannedStep. Raises ValueError for names that
    are there twice or lead nowhere."""
    planned = [documents.read(PlannedStep, each) for each in steps]
    check(planned)
    atoms = {step.name: Atom(Part(part), step) for step in planned}
    flow = graph_flow.Flow(part)
    flow.add(*atoms.values())
    for step in planned:
        for name in step.after:
            flow.link(atoms[name], atoms[step.name])
    return flow


def check(steps: Sequence[PlannedStep]) -> None:
    """Raise ValueError for names that are there twice, or that a step comes after and nobody has."""
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        raise ValueError("two steps have the same name")
    for step in steps:
        if unknown := set(step.after) - set(names):
            raise ValueError(f"{step.name} comes after {sorted(unknown)}, which is no step")


def removals(things: Sequence[Thing], owner: str | None = None) -> tuple[PlannedStep, ...]:
    """The steps that take things away: kind by kind, the last begun first, one kind at once.

    What was begun later may stand on what was begun before, never the other way round.
    """
    kinds: list[str] = []
    for thing in reversed(things):
        if thing.kind not in kinds:
            kinds.append(thing.kind)
    steps: list[PlannedStep] = []
    before: tuple[str, ...] = ()
    for kind in kinds:
        made = [_removal(each, before, owner) for each in things if each.kind == kind]
        steps += made
        before = tuple(step.name for step in made)
    return tuple(steps)


def _removal(thing: Thing, after: tuple[str, ...], owner: str | None) -> PlannedStep:
    return PlannedStep(
        name=f"remove-{thing.sequence}",
        title=f"take away {thing.kind} {thing.name} in {thing.site}",
        action=REMOVE,
        arguments={"sequence": thing.sequence, **({"operation_id": owner} if owner else {})},
        after=after,
        attempts=REMOVAL_ATTEMPTS,
        skippable=True,
    )
