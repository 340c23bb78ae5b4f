"""Sites with real key repositories and Keystone's own token code, driven by the real protocol.

What is left out of it is only what carries documents and acknowledgements: the database.
"""

from __future__ import annotations

import base64
import datetime
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keystone.conf
from keystone import exception
from keystone.token import token_formatters

from isthmus.identity.keys import following, repository, rotating
from isthmus.identity.keys.generations import Ack, Kind, State, layout
from isthmus.identity.keys.settings import Settings

CONF = keystone.conf.CONF
NODES = ("lyon", "madrid", "paris")
SETTINGS = Settings(expiration=3600, allow_expired_window=7200, clock_skew=5)


def new_key() -> bytes:
    return base64.urlsafe_b64encode(os.urandom(32))


def configure() -> None:
    keystone.conf.configure()
    CONF([], project="keystone", default_config_files=[])


@contextmanager
def at(path: Path) -> Iterator[token_formatters.TokenFormatter]:
    """Keystone's token code over a repository."""
    CONF.set_override("key_repository", str(path), "fernet_tokens")
    try:
        yield token_formatters.TokenFormatter()
    finally:
        CONF.clear_override("key_repository", "fernet_tokens")


def issue(path: Path) -> str:
    """A real Fernet token, encrypted with the primary key at `path`."""
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    audit = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:-2].decode()
    with at(path) as formatter:
        return str(
            formatter.create_token(
                uuid.uuid4().hex,
                expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                [audit],
                token_formatters.UnscopedPayload,
                methods=["password"],
            )
        )


def validates(path: Path, token: str) -> bool:
    """Whether Keystone decrypts a token with the repository at `path`."""
    with at(path) as formatter:
        try:
            formatter.validate_token(token)
        except exception.ValidationError:
            return False
        return True


class Sites:
    """Three repositories, one document, and the keys by generation."""

    def __init__(self, folder: Path) -> None:
        configure()
        self.paths = {node: folder / node / "fernet-keys" for node in NODES}
        self.now = 1_000_000.0
        self.keys = {1: new_key(), 2: new_key()}
        for path in self.paths.values():
            path.parent.mkdir()
            repository.install(path, {0: self.keys[2], 1: self.keys[1]})
        self.state = State(kind=Kind.TOKEN)
        self.acks = {node: self.ack(node) for node in NODES}
        self.store(rotating.adopt(self.state, self.acks, NODES, (0, 1), self.now, SETTINGS))

    def ack(self, node: str) -> Ack:
        digest = repository.inspect(self.paths[node]).digest
        return Ack(node=node, revision=self.state.revision, digest=digest, at=self.now)

    def repository_of(self, state: State) -> dict[int, bytes]:
        return {index: self.keys[number] for index, number in layout(state.generations).items()}

    def store(self, change: rotating.Change | None) -> bool:
        if change is None:
            return False
        if change.make is not None:
            self.keys[change.make] = new_key()
        state = change.state
        self.state = replace(state, digest=repository.describe(self.repository_of(state)).digest)
        return True

    def conduct(self) -> bool:
        return self.store(rotating.step(self.state, self.acks, NODES, self.now, SETTINGS, 0.0))

    def follow(self, node: str) -> None:
        path = self.paths[node]
        mark = repository.mark(path)
        installed = following.Installed(
            digest=repository.inspect(path).digest,
            revision=mark.revision,
            fenced=mark.fenced is not None,
        )
        if following.decide(self.state, node, installed) is following.Act.INSTALL:
            said = repository.Mark(revision=self.state.revision)
            repository.install(path, self.repository_of(self.state), said)
        self.acks[node] = self.ack(node)
