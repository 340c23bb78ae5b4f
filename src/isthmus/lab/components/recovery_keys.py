"""The keys with which a site's engine signs what it writes into the remote store and reads what is sealed for it.

A lab's sites have to know each other's public keys before the first engine starts, so that the lab's keys follow from one of its
secrets. An operator makes them with `openssl genpkey`, and the private ones never leave their site.
"""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from isthmus.lab.environment import SiteSpec
from isthmus.lab.templates import Template
from isthmus.recovery.signatures import SigningKey


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The private keys of one site."""

    signing: SigningKey
    sealing: x25519.X25519PrivateKey

    @property
    def signing_pem(self) -> str:
        return _pem(self.signing.private)

    @property
    def sealing_pem(self) -> str:
        return _pem(self.sealing)

    @property
    def sealing_public(self) -> str:
        """In base64."""
        return base64.b64encode(self.sealing.public_key().public_bytes_raw()).decode()


def of(template: Template, site: SiteSpec) -> Keys:
    """The keys of a site of the lab."""
    return Keys(
        signing=SigningKey(
            ed25519.Ed25519PrivateKey.from_private_bytes(_bytes(template, site, "signing"))
        ),
        sealing=x25519.X25519PrivateKey.from_private_bytes(_bytes(template, site, "sealing")),
    )


def _bytes(template: Template, site: SiteSpec, purpose: str) -> bytes:
    text = f"{template.secret('recovery-keys')} {purpose} {site.name}"
    return hashlib.sha256(text.encode()).digest()


def _pem(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
