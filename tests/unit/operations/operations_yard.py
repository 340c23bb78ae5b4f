"""A yard: actions whose side effects are real files, so that whatever happens can be looked at.

A *brick* is made by a program that must not be run twice: it writes a line to `made.log` and creates
the file exclusively. Used by the unit tests in one process and by the worker that is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from isthmus import errors
from isthmus.operations.kinds import Kind
from isthmus.operations.recipes import Recipes, Result, Run, Thing
from isthmus.operations.values import Finding, Operation, Plan, PlannedStep

Hook = Callable[[str], None]
"""Called with "<step> before|inside|after": the place where a test cuts in."""

NOTHING: Hook = lambda place: None  # noqa: E731


class Brick:
    """Makes a file of the step's name, in two moves: the file, then its content."""

    def __init__(self, yard: Path, hook: Hook = NOTHING) -> None:
        self.yard, self.hook = yard, hook

    def look(self, run: Run) -> Result | None:
        path = self._path(run)
        if path.exists() and path.read_text() == "whole":
            run.ensure("brick", path.name, site="here", find=lambda: path.name, create=str)
            return {"path": path.name}
        return None

    def act(self, run: Run) -> Result:
        path = self._path(run)
        self.hook(f"{run.arguments['brick']} before")
        made = run.ensure(
            "brick",
            path.name,
            site="here",
            find=lambda: path.name if path.exists() else None,
            create=lambda: self._create(path),
        )
        self.hook(f"{run.arguments['brick']} inside")
        run.guard()
        path.write_text("whole")
        self.hook(f"{run.arguments['brick']} after")
        return {"path": made}

    def _create(self, path: Path) -> str:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.close(descriptor)
        with (self.yard / "made.log").open("a") as log:
            log.write(path.name + "\n")
        return path.name

    def _path(self, run: Run) -> Path:
        return self.yard / run.name(str(run.arguments["brick"]))


class Sign:
    """The commit: a file that says it is final."""

    def __init__(self, yard: Path, hook: Hook = NOTHING) -> None:
        self.yard, self.hook = yard, hook

    def look(self, run: Run) -> Result | None:
        return {} if (self.yard / "final").exists() else None

    def act(self, run: Run) -> Result:
        self.hook("sign before")
        run.guard()
        (self.yard / "final").touch()
        self.hook("sign after")
        return {}


class Broken:
    """Fails as long as the file `broken` is there: with a fault that passes, or one that does not."""

    def __init__(self, yard: Path) -> None:
        self.yard = yard

    def look(self, run: Run) -> Result | None:
        return None

    def act(self, run: Run) -> Result:
        if (self.yard / "broken").exists():
            kind = (self.yard / "broken").read_text() or "RuntimeError"
            if kind == "RuntimeError":
                raise RuntimeError("the password is hunter2")
            raise getattr(errors, kind)("the crane is stuck")
        return {"mended": True}


class Wrecker:
    """Takes bricks away."""

    def __init__(self, yard: Path, hook: Hook = NOTHING) -> None:
        self.yard, self.hook = yard, hook

    def remove(self, thing: Thing, run: Run) -> None:
        if (self.yard / "stuck").exists():
            raise errors.IsthmusError("the brick is stuck")
        step = thing.name.rpartition("-")[2]
        self.hook(f"remove-{step} before")
        run.guard()
        (self.yard / thing.name).unlink(missing_ok=True)
        self.hook(f"remove-{step} after")


def wall(*names: str) -> tuple[PlannedStep, ...]:
    """Steps one after the other; two names with a slash between are laid at the same time."""
    steps: list[PlannedStep] = []
    before: tuple[str, ...] = ()
    for row in names:
        laid = tuple(_brick(name, before) for name in row.split("/"))
        steps += laid
        before = tuple(step.name for step in laid)
    return tuple(steps)


def _brick(name: str, after: tuple[str, ...]) -> PlannedStep:
    action = "break" if name.startswith("broken") else "brick"
    return PlannedStep(
        name=name,
        title=f"lay {name}",
        action=action,
        arguments={"brick": name},
        after=after,
        delay_s=0.0,
        skippable=True,
    )


class Recipe:
    """Plans what `parameters["wall"]` says."""

    def __init__(self, findings: tuple[Finding, ...] = ()) -> None:
        self.findings = findings

    def plan(self, operation: Operation) -> Plan:
        names = operation.parameters.get("wall", ["a", "b", "c"])
        if names == "impossible":
            raise errors.UnavailableError("the yard is closed")
        commit = ()
        if operation.kind is Kind.FAILOVER:
            commit = (PlannedStep(name="sign", title="make it final", action="sign"),)
        return Plan(
            made_at=1_800_000_000.25,
            steps=wall(*names),
            commit=commit,
            data_at=operation.requested_at - 60,
            lost_bytes=4096,
            checkpoint_id="c1",
            findings=self.findings,
            facts={"to": "lyon"},
        )


def recipes(yard: Path, hook: Hook = NOTHING, findings: tuple[Finding, ...] = ()) -> Recipes:
    """Everything of the yard."""
    kinds: Mapping[Kind, Recipe] = {kind: Recipe(findings) for kind in Kind}
    return Recipes(
        kinds=kinds,
        actions={"brick": Brick(yard, hook), "sign": Sign(yard, hook), "break": Broken(yard)},
        removers={"brick": Wrecker(yard, hook)},
        at_once={"break": 1},
    )


def bricks(yard: Path) -> list[str]:
    """The last words of the names of all bricks that lie in the yard, whole ones only."""
    found = [path for path in yard.iterdir() if path.name.startswith("isthmus-")]
    return sorted(path.name.rpartition("-")[2] for path in found if path.read_text() == "whole")


def made(yard: Path) -> list[str]:
    """What was made, as often as it was made."""
    log = yard / "made.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted(line.rpartition("-")[2] for line in lines)
