"""What is known of the keys of one kind, without the keys: the document that every site reads.

A key has a generation: a number that is never used again. Its phases are those of Keystone's Fernet
repository: staged (validates, does not sign yet), primary (signs), secondary (validates only), and
then retired (gone). The document is replicated as one row with a revision; whoever writes it says the
next revision and wins only if the stored one is its predecessor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Whose keys: each kind has a repository, a document and a rotation of its own."""

    TOKEN = "token"  # noqa: S105 - a name
    RECEIPT = "receipt"
    CREDENTIAL = "credential"


class Phase(StrEnum):
    """What a key is used for."""

    STAGED = "staged"
    PRIMARY = "primary"
    SECONDARY = "secondary"
    RETIRED = "retired"


class What(StrEnum):
    """What was asked for."""

    ROTATE = "rotate"
    REPLACE = "replace"


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One key. `since`: when it got its phase; `unused_since`: when every unfenced node had said that
    it signs with a later one. Both are seconds since 1970 by the clock of whoever conducted."""

    number: int
    phase: Phase
    since: float
    unused_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A node that is not waited for. `revision`: of the document that said so first; `keep`: it stays
    fenced and gets no keys until an operator lifts it, however well it answers."""

    since: float
    by: str
    why: str
    revision: int
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The rotation or replacement in flight; `generation`: the one that it makes primary, None before
    there is one."""

    what: What
    by: str
    at: float
    generation: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ack:
    """What a node said of its repository: `digest` of the directory that Keystone reads there, and the
    `revision` of the document that it followed. `trouble`: why it could not follow a later one."""

    node: str
    revision: int
    digest: str
    at: float
    trouble: str | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """The document. `digest`: what the repository of a node that follows this revision has; `nodes`:
    all of the cloud; `next_at`: when the schedule rotates (None: never)."""

    kind: Kind
    revision: int = 0
    generations: tuple[Generation, ...] = ()
    digest: str = ""
    nodes: tuple[str, ...] = ()
    fences: Mapping[str, Fence] = field(default_factory=dict)
    wanted: Wanted | None = None
    next_at: float | None = None
    lifetime: float = 0.0

    @property
    def active(self) -> tuple[str, ...]:
        """The nodes that every step waits for: all that are not fenced."""
        return tuple(node for node in self.nodes if node not in self.fences)

    @property
    def sealed_to(self) -> tuple[str, ...]:
        """The nodes that get keys: also those that may come back by themselves."""
        return tuple(n for n in self.nodes if n not in self.fences or not self.fences[n].keep)

    @property
    def live(self) -> tuple[Generation, ...]:
        """The generations whose keys exist."""
        return tuple(each for each in self.generations if each.phase is not Phase.RETIRED)

    @property
    def primary(self) -> Generation | None:
        return self._only(Phase.PRIMARY)

    @property
    def staged(self) -> Generation | None:
        return self._only(Phase.STAGED)

    def _only(self, phase: Phase) -> Generation | None:
        return next((each for each in self.generations if each.phase is phase), None)

    def has(self, acks: Mapping[str, Ack], node: str) -> bool:
        """Whether a node's repository is known to be the one of this document."""
        return bool(self.digest) and node in acks and acks[node].digest == self.digest

    def missing(self, acks: Mapping[str, Ack]) -> tuple[str, ...]:
        """The unfenced nodes whose repository is not known to be the one of this document."""
        return tuple(node for node in self.active if not self.has(acks, node))


def layout(generations: Iterable[Generation]) -> dict[int, int]:
    """Which generation lies at which index of the repository.

    Keystone signs with the highest index and validates with all. It lists the directory and then opens
    one file after the other, so that it may list the directory before a change and read it after. So
    every index keeps its key for as long as the key exists, and the one key that has to move (staged,
    at 0, becomes primary) stays at 0 as well until another one is staged: whatever such a reader gets,
    it holds every key that any unfenced site signs with.
    """
    live = [each for each in generations if each.phase is not Phase.RETIRED]
    placed = {each.number: each.number for each in live if each.phase is not Phase.STAGED}
    staged = [each.number for each in live if each.phase is Phase.STAGED]
    if placed or staged:
        placed[0] = staged[0] if staged else max(placed)
    return placed


def dump(state: State) -> str:
    """The document as it is stored."""
    return json.dumps(asdict(state))


def load(text: str) -> State:
    """The inverse of `dump`. Fields that a later release added are not known here and not kept, so a
    writer of this release refuses nothing and loses them; raises ValueError for what is no document."""
    try:
        return _state(json.loads(text))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no document of key generations: {type(error).__name__}") from None


def _state(found: Mapping[str, Any]) -> State:
    wanted = found["wanted"]
    return State(
        kind=Kind(found["kind"]),
        revision=int(found["revision"]),
        generations=tuple(
            Generation(**{**each, "phase": Phase(each["phase"])}) for each in found["generations"]
        ),
        digest=str(found["digest"]),
        nodes=tuple(found["nodes"]),
        fences={node: Fence(**each) for node, each in found["fences"].items()},
        wanted=Wanted(**{**wanted, "what": What(wanted["what"])}) if wanted else None,
        next_at=found["next_at"],
        lifetime=float(found["lifetime"]),
    )
