"""Encrypting stored credentials anew, as `keystone-manage credential_migrate` does, in small portions.

Tokens die of age; credentials (secrets of EC2 and TOTP) are kept, so that their old key may only go when
nothing is encrypted with it. Each row is changed only if nobody has changed it meanwhile. Plaintexts
stay in this module.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import fernet

from isthmus.identity.keys.records import Session

PORTION = 200
"""Rows of one transaction: each costs a millisecond, and replicas apply them in one go."""

NULL_KEY = base64.urlsafe_b64encode(b"\x00" * 32)
"""Keystone decrypts with it what was stored before there were keys (`keystone.common.fernet_utils`)."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How many were `changed`; how many `failed`, because no key decrypts them; which generations are
    still `used`."""

    changed: int
    failed: int
    used: tuple[int, ...]


def key_hash(key: bytes) -> str:
    """What Keystone stores beside a credential: which key was primary when it was encrypted."""
    return hashlib.sha1(key).hexdigest()  # noqa: S324 - Keystone's choice; of 256 random bits


def encrypt_anew(session: Session, keys: Mapping[int, bytes], primary: int) -> Done:
    """Encrypt a portion of the credentials with the key of generation `primary`. `keys`: all, by
    generation. What no key decrypts is passed over."""
    current, after, failed = key_hash(keys[primary]), "", 0
    reader = fernet.MultiFernet([fernet.Fernet(key) for key in (*keys.values(), NULL_KEY)])
    writer = fernet.Fernet(keys[primary])
    while rows := session.rows(_STALE, current, after, PORTION):
        fresh = {row["id"]: _anew(reader, writer, row["encrypted_blob"]) for row in rows}
        failed += sum(blob is None for blob in fresh.values())
        changed = _stored(session, rows, fresh, current)
        if changed:
            return Done(changed=changed, failed=failed, used=_used(session, keys))
        after = rows[-1]["id"]
    return Done(changed=0, failed=failed, used=_used(session, keys))


_STALE = (
    "SELECT id, encrypted_blob, key_hash FROM keystone.credential"
    " WHERE key_hash <> %s AND id > %s ORDER BY id LIMIT %s"
)


def _anew(reader: fernet.MultiFernet, writer: fernet.Fernet, blob: str) -> str | None:
    """The same text under the newest key; None if no key decrypts it."""
    try:
        return writer.encrypt(reader.decrypt(blob.encode())).decode()
    except fernet.InvalidToken:
        return None


def _stored(
    session: Session,
    rows: Iterable[Mapping[str, Any]],
    fresh: Mapping[str, str | None],
    current: str,
) -> int:
    """How many rows were changed: those that nobody has changed meanwhile."""
    session.change("START TRANSACTION")
    changed = sum(
        session.change(
            "UPDATE keystone.credential SET encrypted_blob = %s, key_hash = %s"
            " WHERE id = %s AND key_hash = %s AND encrypted_blob = %s",
            fresh[row["id"]],
            current,
            row["id"],
            row["key_hash"],
            row["encrypted_blob"],
        )
        for row in rows
        if fresh[row["id"]] is not None
    )
    session.change("COMMIT")
    return changed


def _used(session: Session, keys: Mapping[int, bytes]) -> tuple[int, ...]:
    """The generations that credentials are encrypted with."""
    rows = session.rows("SELECT DISTINCT key_hash FROM keystone.credential")
    hashes = {str(row["key_hash"]) for row in rows}
    return tuple(number for number, key in keys.items() if key_hash(key) in hashes)
