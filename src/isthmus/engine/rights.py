"""Who may ask the engine: people by a token of Keystone, other processes of the cloud by signature.

A token is checked at the Keystone of the engine's own site, with the caller's token as both tokens,
so that the engine needs no rights for it and a site that is cut off still answers its people. Role
`admin` may change and read, role `reader` may read. What a caller may do in Neutron is not asked:
stretched networks are made by the engine's own account, therefore only for administrators.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
import requests

from isthmus import errors
from isthmus.sites import failures, signing

CACHE_SECONDS = 5.0
"""How long a checked token is believed: what a revocation may take in addition."""

CHECK_SECONDS = 10.0
"""How long Keystone may take: the first check after its start imports half of it."""

ADMIN, READER = "admin", "reader"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks. `roles` are names, in lower case, on the token's project (None: unscoped)."""

    user_id: str
    user: str
    project_id: str | None
    roles: frozenset[str]


class UnknownCallerError(errors.PrivilegeError):
    """There is no token, or it is not valid (HTTP 401; 403 is a PrivilegeError as such)."""


class Tokens:
    """Checks tokens and believes each for at most CACHE_SECONDS. For several threads.

    Tokens are kept by digest only, so that a memory dump of the engine holds none.
    """

    def __init__(self, auth_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = f"{auth_url}/auth/tokens?nocatalog"
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False

    def caller(self, token: str | None) -> Caller:
        """Whose token this is. Raises UnknownCallerError, UnavailableError."""
        if not token:
            raise UnknownCallerError(
                "the request carries no token", next_command="send the header X-Auth-Token"
            )
        digest, now = hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._clock()
        with self._lock:
            self._known = {d: (end, who) for d, (end, who) in self._known.items() if end > now}
            if known := self._known.get(digest):
                return known[1]
        caller = _caller(self._asked(token))
        with self._lock:
            self._known[digest] = (now + CACHE_SECONDS, caller)
        return caller

    def _asked(self, token: str) -> Any:
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        try:
            answer = self._session.get(self._url, headers=headers, timeout=(2.0, CHECK_SECONDS))
        except (requests.RequestException, UnicodeError) as error:
            cause = failures.sentence(error, connect=2.0, read=CHECK_SECONDS)
            raise _unchecked(cause) from error
        if answer.status_code in (400, 401, 403, 404):
            raise UnknownCallerError(
                "the token is not valid",
                cause="this site's Keystone does not know it, or it has expired or was revoked",
                next_command="log in again",
            )
        if answer.status_code != 200:
            raise _unchecked(failures.status_line(answer.status_code, answer.reason))
        return answer.json()


def _unchecked(cause: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        "the token cannot be checked",
        where="Keystone of this site",
        cause=cause,
        unchanged="nothing was done",
        next_command="isthmus status",
    )


def _caller(document: Any) -> Caller:
    try:
        token = document["token"]
        return Caller(
            user_id=str(token["user"]["id"]),
            user=str(token["user"]["name"]),
            project_id=token.get("project", {}).get("id"),
            roles=frozenset(str(role["name"]).lower() for role in token.get("roles", ())),
        )
    except (KeyError, TypeError) as error:
        raise _unchecked("the answer does not look like a token") from error


class Rights:
    """The dependencies that routes are guarded with; each returns who asks."""

    def __init__(self, tokens: Tokens, gate: signing.Gate) -> None:
        self._tokens, self._gate = tokens, gate

    def require_admin(self, x_auth_token: Annotated[str | None, fastapi.Header()] = None) -> Caller:
        """For what changes something. Raises PrivilegeError, UnavailableError."""
        return self._with_role(x_auth_token, frozenset({ADMIN}))

    def require_reader(
        self, x_auth_token: Annotated[str | None, fastapi.Header()] = None
    ) -> Caller:
        """For what only shows. Raises PrivilegeError, UnavailableError."""
        return self._with_role(x_auth_token, frozenset({ADMIN, READER}))

    def _with_role(self, token: str | None, enough: frozenset[str]) -> Caller:
        caller = self._tokens.caller(token)
        if not caller.roles & enough:
            raise errors.PrivilegeError(
                f"{caller.user} may not do this",
                cause=f"the token has none of the roles: {', '.join(sorted(enough))}",
                unchanged="nothing was done",
                next_command="ask an administrator of the cloud",
            )
        return caller

    async def require_engine(self, request: fastapi.Request) -> str:
        """For calls among engines: returns the site of the engine that signed the request."""
        body = await request.body()
        path = request.scope["raw_path"].decode("ascii", "replace")
        if query := request.scope["query_string"].decode("ascii", "replace"):
            path = f"{path}?{query}"
        verdict = self._gate.verify(request.method, path, body, request.headers)
        kind, _, site = (verdict.sender or "").partition("/")
        if not verdict.accepted or kind != "engine":
            raise UnknownCallerError(
                "the request is not from an engine of this cloud",
                cause=verdict.reason or f"{verdict.sender} is not an engine",
            )
        return site
