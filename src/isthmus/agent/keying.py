"""The threads that look after token keys: one follows the site's own database, one conducts.

The follower makes this site's key repositories what the replicated document says, and acknowledges to
the writer what Keystone finds there. The conductor works only beside the database that takes the
writes: it makes keys, seals them to every node, and promotes and retires them. Both may be killed at
any moment: every step is one transaction or one exchange of directories, and is found again by looking.
What they do is decided in `isthmus.identity.keys`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus import errors
from isthmus.agent import databases
from isthmus.agent.config import Config, Keys
from isthmus.agent.looping import Loop
from isthmus.agent.watching import Eye
from isthmus.identity.keys import (
    credentials,
    following,
    generations,
    records,
    repository,
    rotating,
    sealing,
)
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.identity.keys.records import Box, Seen

LOOK_EVERY = 0.2
"""The question is one row by its primary key."""
SOON_EVERY = 0.05
"""How often while the document changes: two of these are in the time of a rotation per step."""
SOON_SECONDS = 10.0
"""How long after a change the next one is expected: a rotation that a silent site holds is no hurry."""
CONFIRM_EVERY = 5.0
"""How often all is compared though the document is the same: somebody may have changed the files."""
AGAIN_SECONDS = 2.0
"""When an acknowledgement is sent again that the local database does not show yet."""
KEEP_EVERY = 20.0
"""How often the connection to the writer is used at least. To make one takes four round trips, and what
lies between forgets those that are idle (a load balancer of ours after 60 s)."""

log = logging.getLogger(__name__)

_TROUBLES = (
    databases.DatabaseError,
    errors.IsthmusError,
    repository.KeyRepositoryError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """This node, and the others by their public keys."""

    name: str
    private: sealing.Private
    public: Mapping[str, sealing.Public]

    @classmethod
    def of(cls, config: Config, keys: Keys) -> Node:
        """From the configuration. Raises ConfigurationError."""
        private = sealing.load(keys.private_key_file)
        public = {name: _public(name, text) for name, text in keys.nodes.items()}
        if sealing.text_of(private.public_key()) != sealing.text_of(public[config.site]):
            raise errors.ConfigurationError(
                "the node's key does not fit",
                where=f"keys.nodes.{config.site} and {keys.private_key_file}",
                cause="the public key in the configuration is that of another private key",
                unchanged="nothing was started",
                next_command=f"openssl pkey -in {keys.private_key_file} -pubout -outform DER"
                " | tail -c 32 | base64",
            )
        return cls(name=config.site, private=private, public=public)

    def sealed(self, kind: Kind, keys: Mapping[int, bytes], nodes: Iterable[str]) -> list[Box]:
        """The keys (by generation), each for each of the nodes."""
        return [
            Box(
                generation=number,
                node=node,
                sealer=self.name,
                box=sealing.seal(
                    key, self.private, self.public[node], about=_about(kind, number, node)
                ),
            )
            for node in nodes
            for number, key in keys.items()
        ]

    def opened(self, kind: Kind, boxes: Iterable[Box]) -> dict[int, bytes]:
        """The keys by generation. Raises UnsealError."""
        return {box.generation: self._open(kind, box) for box in boxes}

    def _open(self, kind: Kind, box: Box) -> bytes:
        if box.sealer not in self.public:
            raise sealing.UnsealError(
                "a sealed key is from nobody we know",
                where=_about(kind, box.generation, self.name),
                cause=f"it names {box.sealer!r}, which keys.nodes does not",
                unchanged="the keys that this node has stay in use",
            )
        about = _about(kind, box.generation, self.name)
        return sealing.unseal(box.box, self.private, self.public[box.sealer], about=about)


def _public(name: str, text: str) -> sealing.Public:
    try:
        return sealing.public_key(text)
    except ValueError as error:
        raise errors.ConfigurationError(
            "a node's public key cannot be used",
            where=f"keys.nodes.{name}",
            cause=str(error),
            unchanged="nothing was started",
        ) from None


def _about(kind: Kind, number: int, node: str) -> str:
    return f"{kind} key of generation {number} for {node}"


def placed(state: State, keys: Mapping[int, bytes]) -> dict[int, bytes]:
    """The repository of a document: keys (by generation) at their indices. Raises KeyRepositoryError
    if one is missing, or if they are not those that the document means."""
    found = generations.layout(state.generations)
    if absent := sorted(set(found.values()) - keys.keys()):
        raise repository.KeyRepositoryError(
            f"the {state.kind} key of generation {absent[0]} is not sealed to this node. The keys that"
            " it has stay in use. It comes from the site that takes the writes: isthmus identity key list"
        )
    return {index: keys[number] for index, number in found.items()}


class _Pace:
    """How often to look: more often when a document has changed lately."""

    def __init__(self) -> None:
        self._revisions: dict[Kind, int] = {}
        self._changed_at = float("-inf")

    def saw(self, kind: Kind, revision: int) -> None:
        if self._revisions.get(kind) != revision:
            self._revisions[kind] = revision
            self._changed_at = time.monotonic()

    @property
    def interval(self) -> float:
        recent = time.monotonic() - self._changed_at < SOON_SECONDS
        return SOON_EVERY if recent else LOOK_EVERY


class Follower(Loop):
    """Keeps the repositories of this site as the document says. `status`: what `/status` tells."""

    def __init__(self, config: Config, keys: Keys, node: Node) -> None:
        super().__init__("keys", LOOK_EVERY)
        self._node, self._paths = node, {kind: config.key_repositories[kind] for kind in keys.kinds}
        self._local = [
            Eye(each.address, each.account, node=each.kind != "replica")
            for each in config.databases
        ]
        self._dead: dict[Eye, float] = {}
        self._writer = Eye(
            keys.writer.address, keys.writer.account, seconds=databases.WRITE_SECONDS
        )
        self._used_at = float("-inf")
        self._pace = _Pace()
        self._settled: dict[Kind, tuple[int, float]] = {}
        self._sent: dict[Kind, tuple[Ack, float]] = {}
        self.status: dict[str, dict[str, Any]] = {}
        self._swept_at = float("-inf")

    def tick(self) -> None:
        if time.monotonic() - self._swept_at >= CONFIRM_EVERY:
            self._swept_at = time.monotonic()
            for path in self._paths.values():
                repository.sweep(path)
        for kind, path in self._paths.items():
            try:
                self._follow(kind, path)
            except _TROUBLES as error:
                self._tell(kind, trouble=str(error))
        self._interval = self._pace.interval
        if self._interval == LOOK_EVERY:
            self._keep_connected()

    def _follow(self, kind: Kind, path: Path) -> None:
        eye, revision = self._newest(kind)
        self._pace.saw(kind, revision)
        known, until = self._settled.get(kind, (-1, 0.0))
        if revision == known and time.monotonic() < until:
            return
        seen = eye.look(lambda session: records.look(session, kind, self._node.name))
        trouble = self._carry_out(seen, path)
        ack = self._ack(seen.state, path, trouble)
        again = CONFIRM_EVERY
        # What nobody waits for is said when the same revision is looked at again.
        if not self._heard(seen, ack) and (
            revision == known
            or following.awaited(seen.state, seen.acks.get(ack.node), _stored(ack))
        ):
            self._send(kind, ack)
            again = AGAIN_SECONDS
        if trouble is None:
            self._settled[kind] = (seen.state.revision, time.monotonic() + again)
        self._tell(kind, revision=ack.revision, digest=ack.digest, trouble=trouble)

    def _newest(self, kind: Kind) -> tuple[Eye, int]:
        """The local database that is furthest; raises DatabaseError if none answers."""
        found: list[tuple[int, Eye]] = []
        failure: databases.DatabaseError | None = None
        now = time.monotonic()
        # One that is dead must not hold up the other one at every look.
        for eye in [e for e in self._local if self._dead.get(e, now) <= now] or self._local:
            try:
                found.append((eye.look(lambda s: records.revision(s, kind)), eye))
            except databases.DatabaseError as error:
                failure = error
                self._dead[eye] = now + CONFIRM_EVERY
        if not found:
            raise failure or databases.DatabaseError("there is no database", answered=False)
        revision, eye = max(found, key=lambda each: each[0])
        return eye, revision

    def _carry_out(self, seen: Seen, path: Path) -> str | None:
        """Change the repository if it has to be; why it could not be."""
        state, site = seen.state, self._node.name
        act = following.decide(state, site, _installed(path))
        if act is following.Act.NOTHING:
            return None
        fence = state.fences.get(site)
        why = (fence.why or "an operator said so") if fence else None
        mark = repository.Mark(revision=state.revision, fenced=why)
        try:
            if act is following.Act.INSTALL:
                keys = placed(state, self._node.opened(state.kind, seen.boxes))
                _same(repository.describe(keys), state)
            else:
                keys = repository.load(path)
            found = repository.install(path, keys, mark)
        except (errors.IsthmusError, repository.KeyRepositoryError) as error:
            return str(error)
        log.info(
            "%s keys: revision %d, %d keys, primary %d%s",
            *(state.kind, state.revision, found.keys, found.primary),
            f"; fenced: {fence.why}" if fence else "",
        )
        return None

    def _ack(self, state: State, path: Path, trouble: str | None) -> Ack:
        installed = _installed(path)
        return Ack(
            node=self._node.name,
            revision=max(state.revision, installed.revision),
            digest=installed.digest,
            at=0.0,
            trouble=trouble,
        )

    def _heard(self, seen: Seen, ack: Ack) -> bool:
        """Whether the local database shows that the writer has the acknowledgement."""
        shown = seen.acks.get(ack.node)
        return shown is not None and replace(shown, at=0.0) == _stored(ack)

    def _send(self, kind: Kind, ack: Ack) -> None:
        sent, at = self._sent.get(kind, (None, 0.0))
        if sent == ack and time.monotonic() - at < AGAIN_SECONDS:
            return
        self._writer.look(lambda session: records.acknowledge(session, kind, ack))
        self._sent[kind] = (ack, time.monotonic())
        self._used_at = time.monotonic()

    def _keep_connected(self) -> None:
        """So that no acknowledgement waits for a login at the writer."""
        if time.monotonic() - self._used_at < KEEP_EVERY:
            return
        self._used_at = time.monotonic()
        # It is nothing that anybody waits for; an acknowledgement that fails is told.
        with contextlib.suppress(databases.DatabaseError):
            self._writer.look(lambda session: session.value("SELECT 1"))

    def _tell(self, kind: Kind, **facts: Any) -> None:
        before = self.status.get(kind, {})
        after = {**before, **facts}
        mark = repository.mark(self._paths[kind])
        after["fenced"] = mark.fenced
        self.status = {**self.status, kind: after}
        if after["trouble"] and after["trouble"] != before.get("trouble"):
            log.warning("%s keys: %s", kind, after["trouble"])

    def close(self) -> None:
        for eye in (*self._local, self._writer):
            eye.close()


def _installed(path: Path) -> following.Installed:
    """What is on the disk; a repository that Keystone could not use has no digest."""
    mark = repository.mark(path)
    try:
        digest = repository.inspect(path).digest
    except repository.KeyRepositoryError:
        # What Keystone cannot use is made anew, whatever it says of itself.
        return following.Installed(digest="")
    return following.Installed(
        digest=digest, revision=mark.revision, fenced=mark.fenced is not None
    )


def _same(found: repository.Repository, state: State) -> None:
    if found.digest != state.digest:
        raise repository.KeyRepositoryError(
            f"the sealed {state.kind} keys are not those of revision {state.revision}: their digest is"
            f" {found.digest[:12]}, not {state.digest[:12]}. The keys that this node has stay in use."
            " Look at isthmus identity key history"
        )


def _stored(ack: Ack) -> Ack:
    """An acknowledgement as its row gives it back."""
    return replace(ack, trouble=(ack.trouble or "")[: records.LONGEST_TROUBLE] or None)


class Conductor(Loop):
    """Makes, promotes and retires keys while `writes` says that this site's database takes the writes."""

    def __init__(self, config: Config, keys: Keys, node: Node, writes: Callable[[], bool]) -> None:
        super().__init__("keys-conductor", LOOK_EVERY)
        self._node, self._keys, self._writes = node, keys, writes
        self._paths = config.key_repositories
        own = [each for each in config.databases if each.kind == "writer"]
        # Where the site has several nodes, the load balancer knows which of them takes the writes now.
        place = own[0] if len(own) == 1 else keys.writer
        self._eye = Eye(place.address, place.account, seconds=databases.WRITE_SECONDS)
        self._pace = _Pace()
        self._tidied: dict[Kind, tuple[int, float]] = {}
        self._said: dict[Kind, str | None] = {}
        self._encrypted_at = float("-inf")

    def tick(self) -> None:
        for kind in self._keys.kinds if self._writes() else ():
            said: str | None = None
            try:
                while self._eye.look(functools.partial(self._conduct, kind)):
                    pass
            except _TROUBLES as error:
                said = str(error)
            if said and said != self._said.get(kind):
                log.warning("%s keys: they cannot be looked after: %s", kind, said)
            self._said[kind] = said
        self._interval = self._pace.interval

    def _conduct(self, kind: Kind, session: records.Session) -> bool:
        """One transition, if there is one and nobody else was first."""
        seen, settings = records.look(session, kind, self._node.name), self._keys.kinds[kind]
        nodes, now = tuple(self._keys.nodes), time.time()
        if not seen.state.generations:
            return self._adopt(session, seen)
        self._pace.saw(kind, seen.state.revision)
        self._tidy_at_times(session, seen)
        spread = random.random()  # noqa: S311 - it spreads load
        # What is encrypted with an old credential key is looked for when the key is due, and not before.
        due = rotating.due(seen.state, now, settings)
        used = due if kind is Kind.CREDENTIAL else ()
        change = rotating.step(seen.state, seen.acks, nodes, now, settings, spread, used)
        if change is None and used:
            used = self._encrypted_anew(session, seen)
            change = rotating.step(seen.state, seen.acks, nodes, now, settings, spread, used)
        if change is None:
            return False
        made = {} if change.make is None else {change.make: _new_key()}
        if not change.state.digest:
            needed = set(generations.layout(change.state.generations).values()) - made.keys()
            keys = placed(change.state, {**self._at_hand(seen, needed), **made})
            digest = repository.describe(keys).digest
            change = replace(change, state=replace(change.state, digest=digest))
        boxes = self._node.sealed(kind, made, change.state.sealed_to)
        return self._stored(session, change, boxes)

    def _encrypted_anew(self, session: records.Session, seen: Seen) -> tuple[int, ...]:
        """Encrypt some of the stored credentials with the primary key; the generations that others still
        need, all of them if it is not time to look again."""
        numbers = {each.number for each in seen.state.live}
        if time.monotonic() - self._encrypted_at < CONFIRM_EVERY:
            return tuple(numbers)
        primary = seen.state.primary
        assert primary is not None  # noqa: S101 - a document with secondary keys has a primary one
        keys = self._at_hand(seen, numbers)
        done = credentials.encrypt_anew(session, keys, primary.number)
        if done.failed:
            log.warning("%d credentials cannot be decrypted with any key", done.failed)
        if done.changed:
            log.info("%d credentials encrypted with generation %d", done.changed, primary.number)
        else:
            # Nothing is left, or nothing that can be helped: the next look need not come at once.
            self._encrypted_at = time.monotonic()
        return done.used

    def _at_hand(self, seen: Seen, numbers: set[int]) -> dict[int, bytes]:
        """The keys of these generations: from this site's repository if it is what the document says, so
        that a box that somebody damaged stops nothing; else from the boxes. Raises UnsealError."""
        state = seen.state
        try:
            keys = repository.load(self._paths[state.kind])
        except repository.KeyRepositoryError:
            keys = {}
        if keys and repository.describe(keys).digest == state.digest:
            placed_at = generations.layout(state.generations)
            return {number: keys[at] for at, number in placed_at.items() if number in numbers}
        return self._node.opened(
            state.kind, [box for box in seen.boxes if box.generation in numbers]
        )

    def _adopt(self, session: records.Session, seen: Seen) -> bool:
        """Take over what all sites have; nothing before all of them have shown that it is equal."""
        kind = seen.state.kind
        keys = repository.load(self._paths[kind])
        if len(keys) > 1 and keys.get(0) == keys[max(keys)]:
            del keys[0]  # the place of a staged key, held by the primary one
        change = rotating.adopt(
            seen.state, seen.acks, tuple(self._keys.nodes), tuple(keys), time.time(),
            self._keys.kinds[kind],
        )  # fmt: skip
        if change is None:
            reason = rotating.disagreement(seen.acks, tuple(self._keys.nodes))
            raise ValueError(f"{reason or 'there are none'}; nothing is rotated until then")
        if repository.inspect(self._paths[kind]).digest != seen.acks[self._node.name].digest:
            return False
        by_generation = {
            each.number: keys[each.number if each.number in keys else 0]
            for each in change.state.generations
        }
        digest = repository.describe(placed(change.state, by_generation)).digest
        change = replace(change, state=replace(change.state, digest=digest))
        boxes = self._node.sealed(kind, by_generation, change.state.sealed_to)
        return self._stored(session, change, boxes, first=True)

    def _tidy_at_times(self, session: records.Session, seen: Seen) -> None:
        """Who needs which key follows from the document; boxes may be damaged by somebody at any time."""
        revision, now = seen.state.revision, time.monotonic()
        known, at = self._tidied.get(seen.state.kind, (-1, 0.0))
        if revision != known or now - at >= CONFIRM_EVERY:
            self._tidy(session, seen)
            self._tidied[seen.state.kind] = (revision, now)

    def _tidy(self, session: records.Session, seen: Seen) -> None:
        """Seal keys to nodes that are new or came back; remove what nobody needs any more."""
        state = seen.state
        have = records.sealed(session, state.kind)
        numbers = {each.number for each in state.live}
        want = {
            (number, node)
            for number in numbers
            for node in state.sealed_to
            if node in self._node.public
        }
        records.drop_boxes(session, state.kind, sorted(have - want))
        if absent := want - have:
            keys = self._at_hand(seen, numbers)
            boxes = [
                box
                for number, node in sorted(absent)
                if number in keys
                for box in self._node.sealed(state.kind, {number: keys[number]}, [node])
            ]
            records.add_boxes(session, state.kind, boxes)

    def _stored(
        self,
        session: records.Session,
        change: rotating.Change,
        boxes: Iterable[Box],
        *,
        first: bool = False,
    ) -> bool:
        if not records.store(session, change, boxes, first=first):
            return False
        log.info(
            "%s keys: %s (revision %d)", change.state.kind, change.event, change.state.revision
        )
        return True

    def close(self) -> None:
        self._eye.close()


def _new_key() -> bytes:
    """32 random bytes in URL-safe base64 (Fernet specification)."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32))
