"""What a request must know of everything that can change an answer, taken when it begins.

A moment names the state of all of it: the generations of the followed databases, the writes of this
host, its queued revocations, the token keys and the policy files. Equal names mean that nothing has
changed in between. Taking it costs some ten microseconds, so that every request does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from isthmus.plugins.keystone import generation_file, journal


@dataclass(frozen=True, kw_only=True)
class Moment:
    """``name`` is None while a change is on its way; ``followed``: the databases that it speaks of."""

    name: str | None
    followed: frozenset[bytes]

    def covers(self, databases: set[bytes | None]) -> bool:
        """Whether whoever has read only these databases has read nothing that the name leaves out."""
        return databases <= self.followed


def of(view: generation_file.View, *others: Hashable) -> Moment:
    """The moment of a view and of whatever else counts."""
    followed = frozenset(view.generations)
    if view.changing:
        return Moment(name=None, followed=followed)
    state = repr((sorted(view.generations.items()), *others))
    return Moment(
        name=hashlib.blake2b(state.encode(), digest_size=16).hexdigest(), followed=followed
    )


class Clock:
    """Takes moments. ``now`` is None if no database is followed, or this host's part cannot be told."""

    def __init__(
        self,
        *,
        view: Callable[[], generation_file.View | None],
        writes: Callable[[], int],
        revocations: Callable[[], Hashable],
        files: Callable[[], Hashable],
    ) -> None:
        self._view, self._writes = view, writes
        self._revocations, self._files = revocations, files

    def now(self) -> Moment | None:
        """The moment now."""
        view = self._view()
        if view is None:
            return None
        try:
            return of(view, self._writes(), self._revocations(), self._files())
        except journal.JournalUnavailableError:
            return None
