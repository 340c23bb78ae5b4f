"""Commands around a freeze: before the first guest is armed, and after the last is thawed.

It exists so that an application can be told (flush, stop taking jobs) without lengthening the window,
and so that what a hook may do to a checkpoint is one rule: before the freeze a hook that failed and
says `abort` ends the round while nobody is frozen; after the thaw it can only be told. Scripts run on
the controller from one directory, by their bare names; what a policy may name is checked in
`declarations`.

A round that was cut off goes on with what is known of it: a hook that has ended is not run again, one
that was under way is. So hooks may run twice, and those after the thaw run at least once.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from isthmus import errors
from isthmus.recovery.declarations import Group, Hook, HookPlace, OnError
from isthmus.recovery.freezing.ledger import Whereabouts

CONTROLLER = "controller"
"""The place of scripts."""

_TAIL = 300
"""Characters of a command's last words that are kept."""


class HookError(errors.IsthmusError):
    """A hook that must not fail has failed; no guest was frozen."""


class Guests(Protocol):
    """Runs commands in guests by their guest agents."""

    def execute(
        self, host: str, domain: str, command: Sequence[str], timeout_s: float
    ) -> tuple[int, str]:
        """Exit code and last words. Raises IsthmusError when it could not be run or has not ended."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """One hook in one place (a member's name, or `controller`). `number`: which of the policy's hooks,
    from 0. `error` None: it went well."""

    number: int
    command: str
    place: str
    seconds: float
    error: str | None
    on_error: OnError

    @property
    def same(self) -> tuple[int, str, str]:
        """Equal for the same hook in the same place."""
        return (self.number, self.place, self.command)


def _untold(done: Done) -> None:
    """For whoever does not want to hear of each."""


class Hooks:
    """Runs the hooks of a policy for one group. `scripts`: their directory; None: there are none."""

    def __init__(
        self,
        group: Group,
        whereabouts: Mapping[str, Whereabouts],
        guests: Guests,
        scripts: Path | None,
    ) -> None:
        self._group, self._where = group, whereabouts
        self._guests, self._scripts = guests, scripts

    def before(
        self,
        hooks: Sequence[Hook],
        *,
        ended: Sequence[Done] = (),
        told: Callable[[Done], None] = _untold,
    ) -> tuple[Done, ...]:
        """Run them in order, each member in the order of the freeze. Raises HookError at the first
        failure that says `abort`. `ended`: what is known to have ended, and is not run again; `told`
        hears of each that has, before the next begins."""
        done: list[Done] = []
        for one in self._each(hooks, ended, told):
            done.append(one)
            if one.error and one.on_error is OnError.ABORT:
                raise HookError(
                    "a hook before the freeze failed",
                    where=f"{one.place}, command {one.command}",
                    cause=one.error,
                    unchanged="no guest was frozen, no snapshot was taken",
                )
        return tuple(done)

    def after(
        self,
        hooks: Sequence[Hook],
        *,
        ended: Sequence[Done] = (),
        told: Callable[[Done], None] = _untold,
    ) -> tuple[Done, ...]:
        """Run all of them, whatever fails: each may undo what a hook before has done."""
        return tuple(self._each(hooks, ended, told))

    def _each(
        self, hooks: Sequence[Hook], ended: Sequence[Done], told: Callable[[Done], None]
    ) -> Iterator[Done]:
        known = {each.same: each for each in ended}
        for number, hook, member in self._all(hooks):
            one = known.get((number, member or CONTROLLER, hook.command[0]))
            if one is None:
                one = self._run(number, hook, member)
                told(one)
            yield one

    def _all(self, hooks: Sequence[Hook]) -> list[tuple[int, Hook, str | None]]:
        """Each hook with each place: a member's name, None for the controller."""
        names = [member.name for level in self._group.freeze_order for member in level]
        found: list[tuple[int, Hook, str | None]] = []
        for number, hook in enumerate(hooks):
            if hook.place is HookPlace.SCRIPT:
                found.append((number, hook, None))
            else:
                found += [(number, hook, name) for name in names if hook.member in (None, name)]
        return found

    def _run(self, number: int, hook: Hook, member: str | None) -> Done:
        began = time.monotonic()
        try:
            code, words = self._script(hook) if member is None else self._guest(hook, member)
            error = None if code == 0 else f"exit code {code}: {words.strip()[-_TAIL:]}"
        except errors.IsthmusError as failure:
            error = str(failure)
        return Done(
            number=number,
            command=hook.command[0],
            place=member or CONTROLLER,
            seconds=round(time.monotonic() - began, 3),
            error=error,
            on_error=hook.on_error,
        )

    def _guest(self, hook: Hook, name: str) -> tuple[int, str]:
        where = self._where[self._group.member(name).server_id]
        return self._guests.execute(where.host, where.domain, hook.command, hook.timeout_s)

    def _script(self, hook: Hook) -> tuple[int, str]:
        """A file of the directory, with the group's name as its last argument."""
        name = hook.command[0]
        if self._scripts is None or not (self._scripts / name).is_file():
            raise errors.ConfigurationError(
                f"there is no hook {name}", where=str(self._scripts or "no hook directory")
            )
        words = [str(self._scripts / name), *hook.command[1:], self._group.name]
        try:
            ran = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=hook.timeout_s,
                check=False,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise errors.UnavailableError(f"it did not end within {hook.timeout_s:g} s") from error
        except OSError as error:
            raise errors.HostError(f"it cannot be run: {error.strerror}") from error
        return ran.returncode, ran.stdout
