"""What one request has done to the databases so far.

Filled by ``routing`` (from SQLAlchemy's events) and ``coherence``, read by both and by ``unavailable``
and ``regions``. It is a
context variable and not an attribute of Keystone's own request context, because that one is made
anew in the middle of a request. Threads that serve no request have no scope.
"""

from __future__ import annotations

import contextlib
import contextvars
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from isthmus.plugins.keystone import moments


class Side(enum.StrEnum):
    """Which database a connection leads to."""

    READER = "reader"
    WRITER = "writer"


@dataclass(kw_only=True)
class Scope:
    """One request: whether it has committed at the writer, and the last database error and side.

    ``follows`` is false once the replica did not show a commit in time: a request with several
    commits waits for a replica that stands still only once. ``counted``: a failed login was counted
    against its user, and must not be counted again. ``databases``: the servers whose connections it
    has used, None for one that did not say which it is. ``moment``: when it began, if anybody follows
    the databases.
    """

    wrote: bool = False
    follows: bool = True
    counted: bool = False
    error: BaseException | None = None
    side: Side | None = None
    databases: set[bytes | None] = field(default_factory=set)
    moment: moments.Moment | None = None


_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("isthmus", default=None)


def current() -> Scope | None:
    """The scope of the request that this thread is serving, if any."""
    return _current.get()


def forget_error() -> None:
    """The last error was dealt with and must not explain a later one."""
    scope = current()
    if scope is not None:
        scope.error = scope.side = None


def count() -> None:
    """This request has counted a failed login."""
    scope = current()
    if scope is not None:
        scope.counted = True


@contextlib.contextmanager
def request() -> Iterator[Scope]:
    """The scope of one request, from its first byte to its answer."""
    scope = Scope()
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)
