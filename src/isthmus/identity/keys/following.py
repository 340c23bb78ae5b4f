"""What one node does about the document that it sees: a pure decision.

A node reads its site's own database, which may lag, and which may be followed by one that lags more.
So it never goes back: a document older than the one that its repository was made by changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from isthmus.identity.keys.generations import Ack, State


class Act(StrEnum):
    """What to do to the repository."""

    NOTHING = "nothing"
    INSTALL = "install"  # the keys of the document, and what it says about the fence
    MARK = "mark"  # the same keys; what is said about the fence differs


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is on the disk: `digest` of the keys there (empty: none that Keystone could use), `revision`
    of the document that they were made by (0: somebody else put them there), and whether the site's
    Keystone is told not to issue tokens."""

    digest: str
    revision: int = 0
    fenced: bool = False


def decide(state: State, node: str, installed: Installed) -> Act:
    """What a node does that sees `state`."""
    if not state.generations or node not in state.nodes or state.revision < installed.revision:
        return Act.NOTHING
    fence = state.fences.get(node)
    if fence is not None and fence.keep:
        # It gets no keys; what it has still validates.
        return Act.NOTHING if installed.fenced or not installed.digest else Act.MARK
    if installed.digest != state.digest:
        return Act.INSTALL
    return Act.NOTHING if installed.fenced == (fence is not None) else Act.MARK


def awaited(state: State, shown: Ack | None, ack: Ack) -> bool:
    """Whether somebody may wait for an acknowledgement; `shown`: the last one that the node's own
    database has.

    Nobody waits for a later revision of the same keys, but for that of a fenced node, which comes back by
    it. To say it at once would only be in the way of the next one: each takes two round trips to the
    farthest writer site.
    """
    if shown is None or ack.node in state.fences:
        return True
    return (shown.digest, shown.trouble) != (ack.digest, ack.trouble)
