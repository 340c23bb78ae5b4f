"""A node's keys: what is refused before anything is started or changed, and that no refusal tells a key."""

from __future__ import annotations

import base64
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
from isthmus.identity.keys import repository, rotating, sealing
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
