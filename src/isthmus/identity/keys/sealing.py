"""A key for one node, made by another: only that node can read it, and only a node can have made it.

Two things are wanted of a table that whoever reaches the database may read and write: a dump reveals
no key, and nobody plants a key of his own to forge tokens with. So a box is sealed in the way of
HPKE's authenticated mode (RFC 9180, section 5.1.3): X25519 (RFC 7748) of a key that is used once and
of the sealer's own with the recipient's, HKDF-SHA-256 over both (RFC 5869), ChaCha20-Poly1305 (RFC
8439). Kind and generation are bound to it, so that a box cannot pass for another one. The public keys
of all nodes are in each agent's configuration, never in the database.

Who has a node's private key reads what was sealed to it, and can seal in its name: that is what a
replacement of all keys under a fence that is kept is for.
"""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives.kdf import hkdf

from isthmus import errors

CONTEXT = b"isthmus-identity-key-1"
_NONCE = bytes(12)
"""A derived key is used for one box only, so that the nonce may be constant."""
_PUBLIC_BYTES = 32

Private = x25519.X25519PrivateKey
Public = x25519.X25519PublicKey


class UnsealError(errors.PrivilegeError):
    """A box cannot be opened here, or was not made by who it says."""


def load(path: Path) -> Private:
    """The private key in a PEM file that only its owner can read. Raises ConfigurationError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        pem = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be read") from None
    if mode & 0o077:
        raise _unusable(path, f"its mode is {mode:04o}: others can read or change it")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Private):
        raise _unusable(path, "it is no X25519 private key in PEM without a passphrase")
    return private


def _unusable(path: Path, cause: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        "the node's key cannot be used",
        where=str(path),
        cause=cause,
        unchanged="nothing was started or changed",
        next_command=f"chmod 0600 {path}      (or: openssl genpkey -algorithm x25519 -out {path},"
        " and its public key into the configuration of every agent)",
    )


def public_key(text: str) -> Public:
    """From base64 of the 32 raw bytes. Raises ValueError."""
    try:
        return Public.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64 of the 32 bytes of an X25519 public key") from None


def text_of(key: Public) -> str:
    """The inverse of `public_key`."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def seal(secret: bytes, sealer: Private, recipient: Public, *, about: str) -> str:
    """A box (base64) that only `recipient` opens, and only as one from `sealer` about `about`."""
    once = Private.generate()
    shared = once.exchange(recipient) + sealer.exchange(recipient)
    parties = (once.public_key(), recipient, sealer.public_key())
    sealed = aead.ChaCha20Poly1305(_derived(shared, parties)).encrypt(
        _NONCE, secret, about.encode()
    )
    return base64.b64encode(once.public_key().public_bytes_raw() + sealed).decode()


def unseal(box: str, recipient: Private, sealer: Public, *, about: str) -> bytes:
    """What is in the box. Raises UnsealError, which says nothing of what is in it."""
    try:
        raw = base64.b64decode(box, validate=True)
        once = Public.from_public_bytes(raw[:_PUBLIC_BYTES])
        shared = recipient.exchange(once) + recipient.exchange(sealer)
        cipher = aead.ChaCha20Poly1305(_derived(shared, (once, recipient.public_key(), sealer)))
        return cipher.decrypt(_NONCE, raw[_PUBLIC_BYTES:], about.encode())
    except (exceptions.InvalidTag, ValueError, binascii.Error):
        raise UnsealError(
            "a sealed key cannot be opened",
            where=about,
            cause="it is damaged, is about something else, is for another node, or was not made by"
            " the node that it names",
            unchanged="the keys that this node has stay in use",
            next_command="compare keys.nodes in the configuration of the agents",
        ) from None


def _derived(shared: bytes, parties: tuple[Public, Public, Public]) -> bytes:
    info = CONTEXT + b"".join(party.public_bytes_raw() for party in parties)
    return hkdf.HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(shared)
