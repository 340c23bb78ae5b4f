"""A node's keys: what is refused before anything is started or changed, and that no refusal tells a key."""

from __future__ import annotations

import base64
import datetime
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from isthmus import errors
from isthmus.agent import keying
from isthmus.identity.keys import generations, repository, rotating, sealing
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.identity.keys.settings import Settings

PARIS, MADRID = sealing.Private.generate(), sealing.Private.generate()
PUBLIC = {"paris": PARIS.public_key(), "madrid": MADRID.public_key()}
KEYS = {number: base64.urlsafe_b64encode(os.urandom(32)) for number in (1, 2, 3)}


def node(name: str, private: sealing.Private) -> keying.Node:
    return keying.Node(name=name, private=private, public=PUBLIC)


def state() -> State:
    acks = {n: Ack(node=n, revision=0, digest="d", at=0.0) for n in PUBLIC}
    change = rotating.adopt(State(kind=Kind.TOKEN), acks, tuple(PUBLIC), (0, 1, 2), 0.0, Settings())
    assert change is not None
    return replace(change.state, digest="e")


def configuration(folder: Path, private: sealing.Private, **public: str) -> Any:
    file = folder / "node.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    nodes = {name: sealing.text_of(key) for name, key in PUBLIC.items()}
    keys = SimpleNamespace(private_key_file=file, nodes={**nodes, **public})
    return SimpleNamespace(site="madrid"), keys


def told(wrong: Callable[[], object], kind: type[Exception]) -> str:
    """All that a refusal says, with its trace."""
    with pytest.raises(kind) as refused:
        wrong()
    text = "".join(traceback.format_exception(refused.value))
    if isinstance(refused.value, errors.IsthmusError):
        text += refused.value.describe()
    for key in KEYS.values():
        assert key.decode() not in text
    return text


def test_a_node_reads_what_another_one_sealed_to_it(tmp_path: Path) -> None:
    madrid = keying.Node.of(*configuration(tmp_path, MADRID))
    boxes = node("paris", PARIS).sealed(Kind.TOKEN, KEYS, ["madrid"])
    assert madrid.opened(Kind.TOKEN, boxes) == KEYS
    assert repository.describe(keying.placed(state(), KEYS)).primary == 2
    assert "PrivateKey object" in repr(madrid), "a private key is not printed"


def test_a_private_key_that_is_not_the_one_of_the_configuration_is_refused(tmp_path: Path) -> None:
    text = told(lambda: keying.Node.of(*configuration(tmp_path, PARIS)), errors.ConfigurationError)
    assert "that of another private key" in text
    assert "openssl pkey -in" in text
    assert base64.b64encode(PARIS.private_bytes_raw()).decode() not in text


def test_a_public_key_that_is_none_is_named(tmp_path: Path) -> None:
    text = told(
        lambda: keying.Node.of(*configuration(tmp_path, MADRID, paris="AAAA")),
        errors.ConfigurationError,
    )
    assert "keys.nodes.paris" in text


def test_a_box_of_a_stranger_of_another_kind_or_for_another_node_is_refused() -> None:
    madrid = node("madrid", MADRID)
    [box] = node("paris", PARIS).sealed(Kind.TOKEN, {1: KEYS[1]}, ["madrid"])
    stranger = replace(box, sealer="nice")
    assert "which keys.nodes does not" in told(
        lambda: madrid.opened(Kind.TOKEN, [stranger]), sealing.UnsealError
    )
    for kind, other in (
        (Kind.RECEIPT, box),
        (Kind.TOKEN, replace(box, generation=2)),
        (Kind.TOKEN, replace(box, sealer="madrid")),
    ):
        text = told(lambda k=kind, b=other: madrid.opened(k, [b]), sealing.UnsealError)
        assert "the keys that this node has stay in use" in text


def test_a_repository_is_never_made_of_a_part_of_its_keys() -> None:
    text = told(
        lambda: keying.placed(state(), {1: KEYS[1], 2: KEYS[2]}), repository.KeyRepositoryError
    )
    assert "generation 3 is not sealed to this node" in text


class World:
    """A site's own database, the writer, and the clock, for a follower of Madrid's."""

    def __init__(self, folder: Path) -> None:
        self.now, self.path = 1000.0, folder / "keys"
        repository.install(self.path, {0: KEYS[3], 1: KEYS[1], 2: KEYS[2]})
        digest = repository.inspect(self.path).digest
        self.document = replace(state(), digest=digest)
        self.boxes = node("paris", PARIS).sealed(Kind.TOKEN, KEYS, ["madrid"])
        self.told: list[tuple[object, ...]] = []
        self.asked = 0

    def next(self, **changes: Any) -> None:
        """A later document arrives."""
        self.document = replace(self.document, revision=self.document.revision + 1, **changes)

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        if "key_state" in statement:
            text = generations.dump(self.document)
            return [{"revision": self.document.revision, "document": text}]
        if "key_box" in statement:
            return [vars(box) for box in self.boxes]
        return [{"node": "madrid", **self.shown}] if self.told else []

    @property
    def shown(self) -> dict[str, Any]:
        """The last acknowledgement, as replication brings it back."""
        revision, digest = self.told[-1]
        at = datetime.datetime(2026, 1, 1)
        return {"revision": revision, "digest": digest, "at": at, "trouble": None}

    def change(self, statement: str, *arguments: object) -> int:
        if "key_ack" in statement:
            self.told.append(arguments[2:4])
        return 1

    def value(self, statement: str) -> object:
        self.asked += 1
        return 1

    def look(self, question: Callable[[World], Any]) -> Any:
        return question(self)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path)
    monkeypatch.setattr(keying, "Eye", lambda *_, **__: found)
    monkeypatch.setattr(keying, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


@pytest.fixture
def follower(world: World) -> keying.Follower:
    place = SimpleNamespace(address=None, account=None, kind="replica")
    settings: Any = SimpleNamespace(key_repositories={Kind.TOKEN: world.path}, databases=[place])
    keys: Any = SimpleNamespace(kinds=[Kind.TOKEN], writer=place)
    return keying.Follower(settings, keys, node("madrid", MADRID))


def test_new_keys_are_acknowledged_at_once_and_a_later_revision_of_the_same_when_nobody_waits(
    world: World, follower: keying.Follower
) -> None:
    follower.tick()
    revision, digest = world.document.revision, world.document.digest
    assert world.told == [(revision, digest)]
    world.now += 1
    world.next()
    follower.tick()
    assert len(world.told) == 1, "the next step is not held up by words that nobody waits for"
    world.now += 1
    without = {index: key for index, key in repository.load(world.path).items() if index != 1}
    left = tuple(
        replace(each, phase=generations.Phase.RETIRED) if each.number == 1 else each
        for each in world.document.generations
    )
    world.next(generations=left, digest=repository.describe(without).digest)
    follower.tick()
    assert world.told[1:] == [(revision + 2, world.document.digest)]
    world.next()
    follower.tick()
    world.now += keying.CONFIRM_EVERY + 0.1
    follower.tick()
    assert world.told[2:] == [(revision + 3, world.document.digest)]


def test_looks_follow_soon_after_a_change_and_the_connection_to_the_writer_is_kept_in_quiet_times(
    world: World, follower: keying.Follower
) -> None:
    def interval() -> float:
        follower.tick()
        return follower._interval

    assert interval() == keying.SOON_EVERY
    world.now += keying.SOON_SECONDS
    assert interval() == keying.LOOK_EVERY, "a rotation that somebody holds is no hurry"
    world.now += keying.KEEP_EVERY
    world.next()
    assert interval() == keying.SOON_EVERY
    assert world.asked == 0, "nothing is in the way of an acknowledgement"
    world.now += keying.SOON_SECONDS
    interval()
    assert len(world.told) == 2, "an acknowledgement is a use of it"
    world.now += keying.KEEP_EVERY
    interval()
    interval()
    assert world.asked == 1
