"""Who wrote a document of the remote store: Ed25519 signatures (RFC 8032) beside the documents.

It exists so that a controller that knows nothing but the store can tell its site's documents from
what somebody else put there, and can say *what* is wrong with one: a short one, a changed one, one of
a stranger. It keeps no secret in a form that others can read. What is in the documents is not its
business.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from isthmus import errors

ALGORITHM = "ed25519"
CONTEXT = b"isthmus-recovery-document-1\n"
"""Signed before the bytes, so that a signature made for something else is never valid here."""


class Refusal(enum.StrEnum):
    """Why a document is not believed; stable, for scripts and documentation."""

    UNSIGNED = "unsigned"
    SIGNATURE_UNREADABLE = "signature-unreadable"
    UNKNOWN_KEY = "unknown-key"
    TRUNCATED = "truncated"
    ALTERED = "altered"
    WRONG_SIGNATURE = "wrong-signature"
    NOT_JSON = "not-json"
    UNKNOWN_FORMAT = "unknown-format"
    SHAPE = "shape"
    NOT_CANONICAL = "not-canonical"
    MISPLACED = "misplaced"


class RefusedError(errors.InputError):
    """A document of the store is refused; `reason` says why. It was left as it is."""

    def __init__(self, reason: Refusal, *, where: str, cause: str) -> None:
        super().__init__(
            "a document of the remote store is refused",
            where=where,
            cause=cause,
            unchanged="nothing was taken from it, and it was left as it is",
        )
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class SigningKey:
    """The private key of one site's controller."""

    private: ed25519.Ed25519PrivateKey = dataclasses.field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """From a PEM file (PKCS 8) that only its owner can read. Raises ConfigurationError."""
        try:
            private = serialization.load_pem_private_key(secret_bytes(path), password=None)
        except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
            private = None
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise errors.ConfigurationError(
                "the signing key cannot be used",
                where=str(path),
                cause="it is no Ed25519 private key in PEM without a passphrase",
                next_command=f"openssl genpkey -algorithm ed25519 -out {path}",
            )
        return cls(private)

    def save(self, path: Path) -> None:
        """Write a new PEM file, readable by the owner only. Raises FileExistsError."""
        text = self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.private.public_key())

    def sign(self, content: bytes) -> bytes:
        """The signature document for these bytes."""
        document = {
            "algorithm": ALGORITHM,
            "key_id": self.public.id,
            "sha256": hashlib.sha256(content).hexdigest(),
            "signature": base64.b64encode(self.private.sign(CONTEXT + content)).decode(),
            "size": len(content),
        }
        return json.dumps(document, sort_keys=True).encode()


@dataclasses.dataclass(frozen=True)
class PublicKey:
    """The key that others verify by."""

    key: ed25519.Ed25519PublicKey

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """From base64 of the 32 raw bytes. Raises ValueError."""
        return cls(
            ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
        )

    @property
    def raw(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def text(self) -> str:
        return base64.b64encode(self.raw).decode()

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key's SHA-256: enough to find, not to trust."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


class KeyRing:
    """The public keys whose documents are believed."""

    def __init__(self, *keys: PublicKey) -> None:
        self._keys = {key.id: key for key in keys}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._keys))

    def verify(self, content: bytes, signature: bytes | None, *, where: str) -> str:
        """The ID of the key that signed `content`. Raises RefusedError, which says why not.

        The cheap reasons come first because they say more: a size that differs is a truncated (or
        grown) document, whoever signed it.
        """
        told = _told(signature, where)
        key_id = str(told["key_id"])
        key = self._keys.get(key_id)
        if key is None:
            known = ", ".join(self.ids) or "none"
            cause = f"it is signed by the key {key_id}; the keys that are trusted here: {known}"
            raise RefusedError(Refusal.UNKNOWN_KEY, where=where, cause=cause)
        if len(content) < told["size"]:
            cause = f"{len(content)} bytes of {told['size']} are there"
            raise RefusedError(Refusal.TRUNCATED, where=where, cause=cause)
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            cause = "its bytes are not those that were signed"
            raise RefusedError(Refusal.ALTERED, where=where, cause=cause)
        try:
            key.key.verify(told["signature"], CONTEXT + content)
        except exceptions.InvalidSignature:
            cause = f"the signature is not by the key {key_id} that it names"
            raise RefusedError(Refusal.WRONG_SIGNATURE, where=where, cause=cause) from None
        return key_id


def _told(signature: bytes | None, where: str) -> Mapping[str, Any]:
    if signature is None:
        raise RefusedError(Refusal.UNSIGNED, where=where, cause="there is no signature beside it")
    try:
        document = json.loads(signature)
        if document["algorithm"] != ALGORITHM:
            raise ValueError("another algorithm")  # noqa: TRY301
        return {
            "key_id": str(document["key_id"]),
            "sha256": str(document["sha256"]),
            "size": int(document["size"]),
            "signature": base64.b64decode(document["signature"], validate=True),
        }
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        cause = "the signature beside it cannot be read"
        raise RefusedError(Refusal.SIGNATURE_UNREADABLE, where=where, cause=cause) from None


def secret_bytes(path: Path) -> bytes:
    """The content of a file that only its owner may read. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise errors.ConfigurationError(
                    "a key file can be read by others",
                    where=str(path),
                    next_command=f"chmod 600 {path}",
                )
            return file.read()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise errors.ConfigurationError(
            "cannot read a key file", where=str(path), cause=cause
        ) from error
