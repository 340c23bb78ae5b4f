"""The keys with which a site's agent reads the token keys that are sealed to it.

As for the engines (`recovery_keys`), a lab's sites have to know each other's public keys before the first agent starts, so that
they follow from one of the lab's secrets. An operator makes them with `openssl genpkey`, and the private ones never leave a site.
"""

import hashlib

from cryptography.hazmat.primitives import serialization

from isthmus.identity.keys import sealing
from isthmus.lab.environment import SiteSpec
from isthmus.lab.templates import Template


def public(template: Template, site: SiteSpec) -> str:
    """The public key of a site's node, in base64."""
    return sealing.text_of(_private(template, site).public_key())


def pem(template: Template, site: SiteSpec) -> str:
    """The private key of a site's node."""
    return (
        _private(template, site)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _private(template: Template, site: SiteSpec) -> sealing.Private:
    text = f"{template.secret('recovery-keys')} node {site.name}"
    return sealing.Private.from_private_bytes(hashlib.sha256(text.encode()).digest())
