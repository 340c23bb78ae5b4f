"""Texts in manifests that only a backup site can read.

It exists because user data holds passwords and keys of applications, and manifests lie in a store
that others can read. A text is sealed for each site that may need it: X25519 with a key that is used
once, HKDF-SHA-256, ChaCha20-Poly1305 (RFC 7748, 5869, 8439). Who sealed it is proved by the
manifest's signature, not here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives.kdf import hkdf

from isthmus import errors
from isthmus.recovery.metadata.definitions import SealedText
from isthmus.recovery.signatures import secret_bytes

CONTEXT = b"isthmus-recovery-sealed-text-1"
_NONCE = bytes(12)
"""A key is used for one text only, so that the nonce may be constant."""
_PUBLIC_BYTES = 32


class UnsealError(errors.PrivilegeError):
    """A sealed text cannot be opened here."""


def load(path: Path) -> x25519.X25519PrivateKey:
    """The private key in a PEM file that only its owner can read. Raises ConfigurationError."""
    try:
        private = serialization.load_pem_private_key(secret_bytes(path), password=None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        private = None
    if not isinstance(private, x25519.X25519PrivateKey):
        raise errors.ConfigurationError(
            "the unsealing key cannot be used",
            where=str(path),
            cause="it is no X25519 private key in PEM without a passphrase",
            next_command=f"openssl genpkey -algorithm x25519 -out {path}",
        )
    return private


def public_key(text: str) -> x25519.X25519PublicKey:
    """From base64 of the 32 raw bytes. Raises ValueError."""
    return x25519.X25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def key_id(key: x25519.X25519PublicKey) -> str:
    """The first 16 hexadecimal digits of the key's SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def seal(text: bytes, keys: Iterable[x25519.X25519PublicKey], *, about: str) -> SealedText:
    """Seal for each key. `about` (the server's ID) is bound to the text, so that it cannot be put
    into another server's definition."""
    boxes = {key_id(key): base64.b64encode(_box(text, key, about)).decode() for key in keys}
    return SealedText(boxes=boxes, length=len(text))


def unseal(sealed: SealedText, key: x25519.X25519PrivateKey, *, about: str) -> bytes:
    """The text. Raises UnsealError."""
    mine = key_id(key.public_key())
    box = _find(sealed.boxes, mine, about)
    try:
        raw = base64.b64decode(box, validate=True)
        ephemeral = x25519.X25519PublicKey.from_public_bytes(raw[:_PUBLIC_BYTES])
        secret = key.exchange(ephemeral)
        cipher = aead.ChaCha20Poly1305(_derived(secret, ephemeral, key.public_key()))
        return cipher.decrypt(_NONCE, raw[_PUBLIC_BYTES:], about.encode())
    except (exceptions.InvalidTag, ValueError, binascii.Error):
        raise UnsealError(
            "a sealed text cannot be opened",
            where=f"server {about}",
            cause=f"the box for the key {mine} is damaged, or belongs to another server",
        ) from None


def _find(boxes: Mapping[str, str], mine: str, about: str) -> str:
    if mine not in boxes:
        raise UnsealError(
            "a sealed text cannot be opened",
            where=f"server {about}",
            cause=f"it is sealed for {', '.join(sorted(boxes)) or 'nobody'}, and our key is {mine}",
        )
    return boxes[mine]


def _box(text: bytes, key: x25519.X25519PublicKey, about: str) -> bytes:
    ephemeral = x25519.X25519PrivateKey.generate()
    secret = ephemeral.exchange(key)
    cipher = aead.ChaCha20Poly1305(_derived(secret, ephemeral.public_key(), key))
    sealed = cipher.encrypt(_NONCE, text, about.encode())
    return ephemeral.public_key().public_bytes_raw() + sealed


def _derived(
    secret: bytes, ephemeral: x25519.X25519PublicKey, recipient: x25519.X25519PublicKey
) -> bytes:
    both = ephemeral.public_bytes_raw() + recipient.public_bytes_raw()
    return hkdf.HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=CONTEXT + both).derive(
        secret
    )
