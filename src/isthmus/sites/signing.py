"""Signed requests: how engines and host agents of one cloud know each other's words.

It exists because engines act on what a peer says (a poke, a vote, "withdraw that address"), and
because such words cross a WAN. The secret is one file that all engines and host agents of a cloud
share. It proves who may speak, not what is said to whom: nothing is encrypted, so no secret belongs
into a request. It is not for people, who come with a token of Keystone.

A signature covers the method, the path with its query, the SHA-256 of the body, the names of sender
and addressee, a time and a nonce. So a request cannot be altered, sent to somebody else, sent again
while its time is good (the nonce is remembered), or sent again later (the time is not good then).
Clocks may differ by 30 seconds. A process that was started less than 60 seconds ago cannot remember
the nonces of its predecessor, so every signed request must be harmless when it is done twice.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import hmac
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from isthmus import errors

SKEW_SECONDS = 30.0
"""How far the sender's clock may be from ours, either way: what hosts with NTP never reach."""

SHORTEST_SECRET = 32
"""Bytes. Shorter ones could be guessed by whoever recorded one request."""

FROM = "X-Isthmus-From"
TO = "X-Isthmus-To"
TIME = "X-Isthmus-Time"
NONCE = "X-Isthmus-Nonce"
SIGNATURE = "X-Isthmus-Signature"

_VERSION = "isthmus-1"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"[0-9]{1,12}\.[0-9]{3}")


class Fault(enum.StrEnum):
    """Why a request is not accepted."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    MISADDRESSED = "misaddressed"
    SKEWED = "skewed"
    REPLAYED = "replayed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Message:
    """What is signed of a request. `path` is as on the wire, with its query."""

    method: str
    path: str
    body: bytes = b""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who sent a request, or why it is refused: exactly one of the two."""

    sender: str | None = None
    fault: Fault | None = None
    reason: str = ""
    """One sentence for the log and for the refused sender."""

    @property
    def accepted(self) -> bool:
        return self.fault is None


def engine_name(site: str) -> str:
    """The name of a site's engine as sender and addressee."""
    return f"engine/{site}"


def host_name(site: str, host: str) -> str:
    """The name of a host agent. Two sites may have hosts of the same name."""
    return f"host/{site}/{host}"


def sign(
    secret: bytes, message: Message, *, sender: str, to: str, now: float, nonce: str
) -> dict[str, str]:
    """The headers that go with a request. `now` is in seconds of the Unix epoch, `nonce` 32 hex
    digits that were never used before."""
    stamp = f"{now:.3f}"
    mark = _mac(secret, message, sender=sender, to=to, stamp=stamp, nonce=nonce)
    return {FROM: sender, TO: to, TIME: stamp, NONCE: nonce, SIGNATURE: mark}


def _mac(secret: bytes, message: Message, *, sender: str, to: str, stamp: str, nonce: str) -> str:
    """Lines cannot be mistaken for each other: none of the parts may hold a line feed."""
    digest = hashlib.sha256(message.body).hexdigest()
    parts = (_VERSION, message.method.upper(), message.path, digest, sender, to, stamp, nonce)
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def verify(
    secret: bytes, message: Message, headers: Mapping[str, str], *, me: str, now: float
) -> Verdict:
    """Judge everything but the nonce, which needs memory (:class:`Gate` has it).

    The signature is judged before what it covers, so that nobody without the secret learns our
    time or name.
    """
    given = {name.lower(): value for name, value in headers.items()}
    sender, to = given.get(FROM.lower(), ""), given.get(TO.lower(), "")
    stamp, nonce = given.get(TIME.lower(), ""), given.get(NONCE.lower(), "")
    mark = given.get(SIGNATURE.lower(), "")
    names = _PLAIN.fullmatch(sender) and _PLAIN.fullmatch(to)
    if not (mark and names and _NONCE.fullmatch(nonce) and _TIME.fullmatch(stamp)):
        return _refused(Fault.UNSIGNED, "the request is not signed")
    expected = _mac(secret, message, sender=sender, to=to, stamp=stamp, nonce=nonce)
    if not hmac.compare_digest(expected.encode(), mark.encode("utf-8", "replace")):
        return _refused(
            Fault.FORGED, f"the signature of {sender} is wrong: altered, or another secret"
        )
    if to != me:
        return _refused(Fault.MISADDRESSED, f"the request is for {to}, this is {me}")
    apart = now - float(stamp)
    if abs(apart) > SKEW_SECONDS:
        return _refused(
            Fault.SKEWED,
            f"the time of {sender} is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead'} "
            f"({SKEW_SECONDS:g} s are allowed); do both hosts keep time?",
        )
    return Verdict(sender=sender)


def _refused(fault: Fault, reason: str) -> Verdict:
    return Verdict(fault=fault, reason=reason)


class Nonces:
    """Remembers nonces for as long as their requests could be accepted.

    Invariant: of all requests with one nonce whose time is within the skew, `first` says True to
    exactly one. Only nonces of good signatures may be given to it, else anybody could fill it.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._purge_at = 0.0

    def first(self, nonce: str, *, now: float) -> bool:
        """Whether the nonce is new; it is remembered."""
        with self._lock:
            if now >= self._purge_at:
                self._purge_at = now + SKEW_SECONDS
                self._until = {each: end for each, end in self._until.items() if end > now}
            if self._until.get(nonce, 0.0) > now:
                return False
            # A request may be dated up to the skew ahead and be good until the skew after that.
            self._until[nonce] = now + 2 * SKEW_SECONDS + 1
            return True

    def __len__(self) -> int:
        return len(self._until)


class Signer:
    """Signs what one sender sends."""

    def __init__(self, secret: bytes, sender: str, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._sender, self._clock = secret, sender, clock

    def headers(self, method: str, path: str, body: bytes = b"", *, to: str) -> dict[str, str]:
        """The headers of one request; a request that is sent again needs new ones."""
        return sign(
            self._secret,
            Message(method=method, path=path, body=body),
            sender=self._sender,
            to=to,
            now=self._clock(),
            nonce=secrets.token_hex(16),
        )


class Gate:
    """Judges the requests that come to `me`, replays included. May be used by several threads."""

    def __init__(self, secret: bytes, me: str, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._me, self._clock = secret, me, clock
        self._nonces = Nonces()

    def verify(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Verdict:
        """Judge one request. `path` is as on the wire, with its query."""
        now = self._clock()
        message = Message(method=method, path=path, body=body)
        verdict = verify(self._secret, message, headers, me=self._me, now=now)
        if not verdict.accepted:
            return verdict
        nonce = next(value for name, value in headers.items() if name.lower() == NONCE.lower())
        if not self._nonces.first(nonce, now=now):
            return _refused(Fault.REPLAYED, f"the request of {verdict.sender} was sent before")
        return verdict


def load_secret(path: Path) -> bytes:
    """The secret of the cloud from its file, without white space around it.

    Raises ConfigurationError if the file cannot be read, can be read by others, or is too short.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes().strip()
    except OSError as error:
        raise _unusable(path, error.strerror or "cannot be read") from error
    if mode & 0o077:
        cause = f"its mode is {mode:04o}: others can read or change it"
        raise _unusable(path, cause, f"chmod 0600 {path}")
    if len(content) < SHORTEST_SECRET:
        cause = f"it holds {len(content)} bytes, {SHORTEST_SECRET} are the least"
        raise _unusable(path, cause, f"openssl rand -hex 32 >{path}, and copy it to all sites")
    return content


def _unusable(path: Path, cause: str, remedy: str | None = None) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        "the shared secret cannot be used",
        where=str(path),
        cause=cause,
        unchanged="nothing was started or changed",
        next_command=remedy,
    )
