"""The freeze step of a checkpoint: one round, and the hooks around it.

What has happened is written down with the step before the next thing is done, so that whoever begins
it again knows how far it came: hooks before the freeze (`before`), the freeze ledger, hooks after the
thaw (`after`). The ledger is written down before a guest is frozen; a round that was cut off with one
is thawed, and void.

Invariant: from the first hook before the freeze on, those after the thaw are owed. They run when no
guest is held any more: at the end, in the next try, or when what the operation left is taken away.
An engine that has lost its lease runs none; whoever has the lease now does.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from isthmus import errors
from isthmus.operations.leases import FencedError
from isthmus.operations.recipes import Note, Result, Run
from isthmus.recovery import documents
from isthmus.recovery.declarations import Policy
from isthmus.recovery.flows.checkpointing import Step, round_id
from isthmus.recovery.flows.means import Means
from isthmus.recovery.freezing import atom, flushing, ledger, machine
from isthmus.recovery.freezing.hooks import Done, Hooks
from isthmus.recovery.freezing.ledger import FreezeLedger, Whereabouts

ROUND = "round"
FREEZE = "freeze"
"""The name of the step."""

_BEFORE, _AFTER, _LEDGER, _WHERE, _OVER = "before", "after", "ledger", "where", "over"
_WHEN = {_BEFORE: "before the freeze", _AFTER: "after the thaw"}


class Known:
    """What is known of a round, on disk after every change. `first`: what another step knew."""

    def __init__(self, run: Run, first: Mapping[str, Any] | None = None) -> None:
        self._run, self._all = run, {**(first or {}), **run.remembered()}

    def keep(self, **changes: Any) -> None:
        """Write down what has changed."""
        self._all.update(changes)
        self._run.remember(self._all)

    def begun(self, where: Mapping[str, Whereabouts]) -> None:
        """Hooks before the freeze begin; from here on those after it are owed."""
        if _BEFORE not in self:
            self.keep(before=[], where={k: dataclasses.asdict(each) for k, each in where.items()})

    def ending(self) -> None:
        """Hooks after the thaw begin; from here on the round cannot go on."""
        if _AFTER not in self:
            self.keep(after=[])

    @property
    def owing(self) -> bool:
        """Whether hooks after the thaw have to run yet."""
        return _BEFORE in self and _OVER not in self

    def __contains__(self, name: str) -> bool:
        return name in self._all

    @property
    def ledger(self) -> FreezeLedger | None:
        """The freeze ledger as it was saved last; before the first time no guest was touched."""
        kept = self._all.get(_LEDGER)
        return FreezeLedger.from_document(kept) if kept else None

    @property
    def where(self) -> Mapping[str, Whereabouts]:
        """Where the guests ran when the hooks before the freeze began."""
        kept = self._all.get(_WHERE, {})
        return {server: Whereabouts(**place) for server, place in kept.items()}

    def hooks(self, part: str) -> list[Done]:
        """The hooks of a part that have ended, in that order."""
        return [documents.read(Done, each) for each in self._all.get(part, [])]

    def heard(self, part: str) -> Callable[[Done], None]:
        """What hears of the hooks of a part, and writes them down."""

        def told(done: Done) -> None:
            what = f"hook {done.command} {_WHEN[part]}"
            self._run.note(
                Note(what=what, where=done.place, seconds=done.seconds, error=done.error)
            )
            self.keep(**{part: [*self._all.get(part, []), documents.write(done)]})

        return told


class Around:
    """The hooks around one round. What they need is read beforehand: a database that is away must not
    keep an application waiting for the end of a round."""

    def __init__(self, run: Run, known: Known, hooks: Hooks, policy: Policy) -> None:
        self._run, self._known, self._hooks, self._policy = run, known, hooks, policy

    def before(self) -> None:
        """Those before the freeze, as far as they have not ended. Raises HookError."""
        told, ended = self._known.heard(_BEFORE), self._known.hooks(_BEFORE)
        self._hooks.before(self._policy.pre_hooks, ended=ended, told=told)

    def after(self) -> None:
        """Those after the thaw, if any are owed. Raises FencedError; UnavailableError when it cannot be
        written down that they ran."""
        if not self._known.owing:
            return
        with contextlib.suppress(errors.UnavailableError):
            self._run.guard()
            self._known.ending()
        ended = self._known.hooks(_AFTER)
        self._hooks.after(self._policy.post_hooks, ended=ended, told=self._heard)
        self._known.keep(over=True)

    def _heard(self, done: Done) -> None:
        with contextlib.suppress(errors.UnavailableError):
            self._known.heard(_AFTER)(done)


class Freeze(Step):
    """The freeze section, whole, with the hooks around it. Tried once: another round is another
    operation. Hooks before the freeze are followed by those after it, whatever happens between."""

    def look(self, run: Run) -> Result | None:
        """A ledger that was written down is of a round that was cut off, or is over. Without one, and
        as long as no hook after the thaw was begun, the round goes on."""
        known = Known(run)
        if _LEDGER not in known and _AFTER not in known:
            return None
        self.settle(run, known)
        found = known.ledger
        if found is None:
            raise _given_up(run)
        if not found.sound:
            raise _void(found)
        return _told(found, known)

    def act(self, run: Run) -> Result:
        known, where = Known(run), self._whereabouts(run)
        around = self._around(run, known, where)
        name = round_id(run.operation.id)
        run.ensure(ROUND, name, site=self.means.site, find=lambda: name, create=str)
        planned = ledger.planned(
            self.means.group(run),
            round_id=name,
            epoch=run.epoch,
            deadline_s=self._policy(run).freeze_deadline_s,
            whereabouts=where,
        )
        driver = self.driver(run, self.definitions(run))
        try:
            driver.prepare()
            known.begun(where)
            run.guard()
            around.before()
            flushing.flush(self.means.guests, where)
            run.guard()
            ended = self._atom(known, driver).run(planned)
        except FencedError:
            raise
        except Exception:
            around.after()
            raise
        finally:
            driver.close()
        around.after()
        if not ended.sound:
            raise _void(ended)
        return _told(ended, known)

    def settle(self, run: Run, known: Known) -> None:
        """Let all guests of a round go that was cut off, and run the hooks that it owes."""
        found = known.ledger
        if found is not None and not found.sound:
            self._atom(known, _Nothing()).run(machine.resumed(found))
        if known.owing:
            self._around(run, known, self._now(run, known)).after()

    def _now(self, run: Run, known: Known) -> Mapping[str, Whereabouts]:
        """Where the guests are now, or were when the round began if nobody can say."""
        try:
            return self._whereabouts(run)
        except errors.IsthmusError:
            return known.where

    def _around(self, run: Run, known: Known, where: Mapping[str, Whereabouts]) -> Around:
        means = self.means
        hooks = Hooks(means.group(run), where, means.guests, means.hook_scripts)
        return Around(run, known, hooks, self._policy(run))

    def _policy(self, run: Run) -> Policy:
        return self.means.declared.policy(self.means.group(run).policy)

    def _atom(self, known: Known, driver: atom.Snapshots) -> atom.Atom:
        def save(found: FreezeLedger) -> None:
            known.keep(ledger=found.to_document())

        return atom.Atom(hosts=self.means.hosts, snapshots=driver, save=save)

    def _whereabouts(self, run: Run) -> Mapping[str, Whereabouts]:
        group = self.means.group(run)
        compute = self.means.clients(group.project_id).compute
        servers = (each.server_id for each in group.members)
        return {each: Whereabouts.of(compute.get(f"/servers/{each}")["server"]) for each in servers}


class _Nothing:
    """The snapshots of a round that is only thawed."""

    def take(self, timeout_s: float) -> None:
        raise errors.BusyError("a round that was cut off takes no snapshots")


def settle(means: Means, run: Run) -> None:
    """End the round of the operation if its step was cut off and is not begun again."""
    kept = run.remembered(FREEZE)
    if kept:
        Freeze(means).settle(run, Known(run, kept))


def _told(ended: FreezeLedger, known: Known) -> dict[str, Any]:
    hooks = {
        when: [documents.write(each) for each in known.hooks(when)] for when in (_BEFORE, _AFTER)
    }
    return {"ledger": ended.to_document(), "window_s": ended.window_s, "hooks": hooks}


def _given_up(run: Run) -> errors.IsthmusError:
    return errors.IsthmusError(
        "the round was given up",
        where=f"round {round_id(run.operation.id)}",
        cause="it was cut off before a guest was frozen, when its hooks were being ended",
        unchanged="no guest was frozen, no snapshot was taken",
        next_command="isthmus operation protect GROUP",
    )


def _void(ended: FreezeLedger) -> errors.IsthmusError:
    return errors.IsthmusError(
        "the round is void",
        where=f"round {ended.round_id}",
        cause=ended.void_reason or "not all guests were frozen while the snapshots were taken",
        unchanged="no checkpoint was made; all guests run",
        next_command="isthmus operation protect GROUP",
    )
