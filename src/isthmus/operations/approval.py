"""The typed code of an approval: made, hashed, judged.

It exists so that an operation that gives data up or starts servers is approved by somebody who has
read what it will do and was told the code by who asked for it: no schedule, alarm or script meets
both. The code is shown once, to the requester, and is kept hashed only.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets

from isthmus.operations.values import Lock

MOST_TRIES = 5
"""With 40 bits of code, five guesses are as good as none, and people do mistype."""

LASTS_S = 1800.0
"""How long a plan waits for approval: what it says about loss ages, and so do the prechecks."""

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without 0, O, 1 and I, which are misread over the telephone."""

_LENGTH = 8
_COST = {"n": 1 << 14, "r": 8, "p": 1}
"""16 MiB and some 50 ms: who has stolen the database cannot try 2^40 codes within half an hour."""


class Verdict(enum.StrEnum):
    """How a typed code is judged."""

    RIGHT = "right"
    WRONG = "wrong"
    EXPIRED = "expired"
    USED_UP = "used-up"


def new_code() -> str:
    """A code as it is shown: two groups of four."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return f"{text[:4]}-{text[4:]}"


def lock(code: str, operation_id: str) -> Lock:
    """What is kept of a code."""
    salt = secrets.token_hex(16)
    return Lock(salt=salt, hash=_hashed(code, salt, operation_id))


def judge(lock: Lock, typed: str, operation_id: str, now: float) -> Verdict:
    """Whether the typed code opens the lock at `now` (seconds since 1970).

    A lock that is used up or has expired is opened by no code. The comparison takes the same time
    whatever is typed.
    """
    if lock.tries >= MOST_TRIES:
        return Verdict.USED_UP
    if lock.expires_at is None or now >= lock.expires_at:
        return Verdict.EXPIRED
    same = hmac.compare_digest(_hashed(typed, lock.salt, operation_id), lock.hash)
    return Verdict.RIGHT if same else Verdict.WRONG


def _hashed(code: str, salt: str, operation_id: str) -> str:
    # Bound to the operation, so that the hash of one is of no use in the row of another.
    plain = code.upper().replace("-", "").replace(" ", "").encode("utf-8", "replace")
    salted = bytes.fromhex(salt) + operation_id.encode()
    return hashlib.scrypt(plain, salt=salted, **_COST).hex()
