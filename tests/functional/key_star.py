"""The star of real databases and agents with a token key repository in each site, for key rotation."""

from __future__ import annotations

import base64
import contextlib
import datetime
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agent_databases as db
import agent_star
import keystone.conf
from cryptography.hazmat.primitives import serialization
from keystone import exception
from keystone.credential.providers import fernet as credential_fernet
from keystone.token import token_formatters

from isthmus.agent import databases
from isthmus.agent.config import Account, Address
from isthmus.identity.keys import records, repository, rotating, sealing
from isthmus.identity.keys.generations import Kind, State

SITES = ("lyon", "madrid", "paris")
# Tokens live so briefly that a test sees keys retire.
LIFETIMES = {"expiration": 3, "allow_expired_window": 1, "clock_skew": 0.5}
ENGINE = "engine"


def configure() -> None:
    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone", default_config_files=[])


def issue(path: Path) -> str:
    """A real Fernet token of Keystone's, encrypted with the primary key at `path`."""
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    audit = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:-2].decode()
    with _at(path) as formatter:
        token = formatter.create_token(
            uuid.uuid4().hex,
            expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            [audit],
            token_formatters.UnscopedPayload,
            methods=["password"],
        )
    return str(token)


def validates(path: Path, token: str) -> bool:
    with _at(path) as formatter:
        try:
            formatter.validate_token(token)
        except exception.ValidationError:
            return False
        return True


def encrypted(path: Path, text: str) -> tuple[str, str]:
    """What Keystone stores of a credential: the sealed text, and the hash of the key."""
    keystone.conf.CONF.set_override("key_repository", str(path), "credential")
    blob, key = credential_fernet.Provider().encrypt(text)
    return blob.decode(), str(key)


def decrypted(path: Path, blob: str) -> str:
    keystone.conf.CONF.set_override("key_repository", str(path), "credential")
    return str(credential_fernet.Provider().decrypt(blob))


_configuration = threading.Lock()


@contextlib.contextmanager
def _at(path: Path) -> Iterator[token_formatters.TokenFormatter]:
    with _configuration:
        keystone.conf.CONF.set_override("key_repository", str(path), "fernet_tokens")
        yield token_formatters.TokenFormatter()


class KeyStar(agent_star.Star):
    """See the module. Every site begins with the same keys, as an operator copies them."""

    def __init__(self, folder: Path) -> None:
        configure()
        self.privates = {site: sealing.Private.generate() for site in SITES}
        self.paths = {site: folder / f"keys-{site}" / "fernet-keys" for site in SITES}
        self.credential_paths = {
            site: path.with_name("credential-keys") for site, path in self.paths.items()
        }
        self.first = {index: self.new_key() for index in (0, 1)}
        self.first_credential = {index: self.new_key() for index in (0, 1)}
        for path in self.paths.values():
            path.parent.mkdir()
            repository.install(path, self.first)
            repository.install(path.with_name("credential-keys"), self.first_credential)
        for site, private in self.privates.items():
            pem = private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            (folder / f"{site}.pem").touch(mode=0o600)
            (folder / f"{site}.pem").write_bytes(pem)
        super().__init__(folder)

    @staticmethod
    def new_key() -> bytes:
        return base64.urlsafe_b64encode(uuid.uuid4().bytes + uuid.uuid4().bytes)

    def document(self, site: str, server: db.Server) -> dict[str, Any]:
        listener = {
            "host": self.lyon.host,
            "port": self.lyon.port,
            "user": "agent",
            "password_file": str(self.password),
        }
        keys = {
            "private_key_file": str(self.folder / f"{site}.pem"),
            "nodes": {s: sealing.text_of(k.public_key()) for s, k in self.privates.items()},
            # Acknowledgements go to the node that does not conduct: Galera carries them.
            "writer": listener,
            "kinds": {"token": LIFETIMES, "credential": LIFETIMES},
        }
        repositories = {
            "token": str(self.paths[site]),
            "credential": str(self.credential_paths[site]),
        }
        return {**super().document(site, server), "keys": keys, "key_repositories": repositories}

    def session(self, server: db.Server, user: str = "agent") -> databases.Session:
        address = Address(host=server.host, port=server.port)
        return databases.Session(address, Account(user=user, password=db.PASSWORD), 5.0)

    def state(self, server: db.Server | None = None, kind: Kind = Kind.TOKEN) -> State:
        with contextlib.closing(self.session(server or self.lyon)) as session:
            return records.state(session, kind)

    def say(self, word: Any, kind: Kind = Kind.TOKEN) -> State:
        """An operator's word: a function of document and acknowledgements; returns what was stored."""
        with contextlib.closing(self.session(self.lyon)) as session:
            for _ in range(50):
                seen = records.look(session, kind)
                change: rotating.Change = word(seen)
                if records.store(session, change):
                    return change.state
        raise AssertionError("others were always first")

    def digests(self) -> set[str]:
        return {repository.inspect(path).digest for path in self.paths.values()}

    def equal(self) -> bool:
        return self.digests() == {self.state().digest}

    def idle(self) -> bool:
        """Nothing is in flight, nobody is fenced, and all sites have the same."""
        state = self.state()
        quiet = bool(state.generations) and not state.wanted and not state.fences
        marks = [repository.mark(path).fenced for path in self.paths.values()]
        return quiet and marks == [None] * len(SITES) and self.equal()

    def clear_keys(self) -> set[bytes]:
        """Every key that is in use now or was at the beginning."""
        found = {*self.first.values(), *self.first_credential.values()}
        for path in (*self.paths.values(), *self.credential_paths.values()):
            found |= set(repository.load(path).values())
        return found


class Logins(threading.Thread):
    """Issues a token in each site in turn, and validates the last of each in every site, all the time.

    `wrong`: what was refused. A token counts for as long as its key has to be kept.
    """

    def __init__(self, star: KeyStar, sites: tuple[str, ...] = SITES) -> None:
        super().__init__(daemon=True)
        self._star, self._sites = star, sites
        self._ended = threading.Event()
        self.wrong: list[str] = []
        self.validated = 0

    def run(self) -> None:
        while not self._ended.is_set():
            tokens = {site: issue(self._star.paths[site]) for site in self._sites}
            for at in self._sites:
                for by, token in tokens.items():
                    self.validated += 1
                    if not validates(self._star.paths[at], token):
                        self.wrong.append(f"a token of {by} at {at}")

    def __enter__(self) -> Logins:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(10)
