"""Answers repeated validations of tokens from memory, for as long as nothing has changed.

Two WSGI layers, around everything and directly around Keystone::

    Front      takes the request's moment; gives an answer that was kept at the same moment
    └─ unavailable.Middleware ...
       └─ Witness   notes what the request read, and whether its answer may be kept

Only ``GET`` and ``HEAD /v3/auth/tokens`` answered with 200 are kept, under everything that the
request said: both tokens, the query, every header and variable but those of ``_IRRELEVANT``. An
answer is given only

- at the moment at which it was made (``moments``): no followed database, key, policy or revocation
  of this host has changed since, and none is about to;
- before either token expires, and for ``[isthmus] answer_max_age`` at the longest;
- about users of the database. What is true of the others (LDAP, federation) changes elsewhere, and
  theirs are kept only for ``[isthmus] external_max_age``, by default not at all.

Without a moment (no agent, or a late one) both layers step aside, and everything is as without them.
"""

from __future__ import annotations

import datetime
import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keystone.conf
from keystone.common import authorization, provider_api, sql
from keystone.identity.backends import sql_model
from oslo_log import log
from oslo_utils import timeutils

from isthmus.plugins.keystone import answers, moments, scope

LOG = log.getLogger(__name__)

PROVIDERS = provider_api.ProviderAPIs

PATH = "/v3/auth/tokens"
_ENVIRON = "isthmus.coherence"
_REQUEST_ID = "x-openstack-request-id"
# What a client or server says about the connection, or about itself for logs, and nothing answers by.
_IRRELEVANT = frozenset(
    {
        "HTTP_USER_AGENT",
        "HTTP_X_OPENSTACK_REQUEST_ID",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_CONNECTION",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "SERVER_SOFTWARE",
    }
)
_METHODS = ("GET", "HEAD")

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def key(environ: Mapping[str, Any]) -> bytes | None:
    """What tells one validation from another, None for any other request.

    Server variables that are no texts (streams, flags of WSGI) are the server's own. The tokens are
    hashed with the rest, so that what is kept does not hold them.
    """
    if environ.get("PATH_INFO") != PATH or environ.get("REQUEST_METHOD") not in _METHODS:
        return None
    if environ.get("CONTENT_LENGTH") not in (None, "", "0"):
        return None
    if "HTTP_TRANSFER_ENCODING" in environ or "HTTP_X_SUBJECT_TOKEN" not in environ:
        return None
    said = sorted(
        (name, value)
        for name, value in environ.items()
        if type(value) is str and name not in _IRRELEVANT
    )
    return hashlib.blake2b(repr(said).encode(), digest_size=32).digest()


@dataclass(kw_only=True)
class Seen:
    """One request: its moment, its key (None: its answer is not kept, whatever it is), and what the
    witness allows: keeping the answer so long or not at all."""

    moment: moments.Moment
    asked: bytes | None
    expires_at: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long answers are kept at the longest, in seconds: of the database's users, and of others."""

    answer_max_age: float
    external_max_age: float


class Front:
    """The outer layer; see the module."""

    def __init__(
        self,
        application: Application,
        *,
        clock: Callable[[], moments.Clock],
        kept: Callable[[], answers.Answers],
    ) -> None:
        self._application = application
        self._clock, self._kept = clock, kept
        # Until it is known otherwise: a site without an agent of this kind needs no word about it.
        self._aside = True

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        moment = self._now()
        self._tell(aside=moment is None)
        if moment is None:
            return self._application(environ, start_response)
        asked = key(environ) if moment.name is not None else None
        seen = environ[_ENVIRON] = Seen(moment=moment, asked=asked)
        if asked is None:
            return self._application(environ, start_response)
        kept = self._kept()
        found = kept.get(moment.name, asked, now=time.time(), monotonic=time.monotonic())
        if found is not None:
            start_response(found.status, _own(found.headers))
            return [found.body]
        return self._ask(environ, start_response, seen, asked)

    def _ask(
        self, environ: dict[str, Any], start_response: StartResponse, seen: Seen, asked: bytes
    ) -> Iterable[bytes]:
        """Have the answer made, and keep it if it may be and nothing has changed meanwhile."""
        began = time.monotonic()
        head: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            head[:] = [status, tuple(headers)]
            return (
                start_response(status, headers, error) if error else start_response(status, headers)
            )

        body = b"".join(self._application(environ, start))
        if seen.seconds > 0 and head and head[0].startswith("200 "):
            answer = answers.Answer(
                status=head[0],
                headers=head[1],
                body=body,
                expires_at=seen.expires_at,
                kept_until=began + seen.seconds,
            )
            now = self._now()
            if now is not None and now.name == seen.moment.name:
                self._kept().put(now.name, asked, answer)
        return [body]

    def _now(self) -> moments.Moment | None:
        """The moment now. There is nothing around this layer that would answer for an error in it."""
        try:
            return self._clock().now()
        except Exception as error:
            if not self._aside:
                LOG.warning("The moment of a request cannot be taken: %r", error)
            return None

    def _tell(self, *, aside: bool) -> None:
        """One line when it changes whether answers are given from memory."""
        if aside != self._aside:
            self._aside = aside
            if aside:
                LOG.warning("No identity database is followed: no answer is given from memory.")
            else:
                LOG.info("The identity database is followed: answers are given from memory.")


def _own(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with a request id of this request's own, as oslo.context makes them."""
    return [
        (name, f"req-{uuid.uuid4()}" if name.lower() == _REQUEST_ID else value)
        for name, value in headers
    ]


class Witness:
    """The inner layer; see the module. Runs within ``scope.request``."""

    def __init__(
        self, application: Application, *, limits: Limits, count_write: Callable[[], None]
    ) -> None:
        self._application = application
        self._limits, self._count_write = limits, count_write

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        request, seen = scope.current(), environ.get(_ENVIRON)
        if request is None or seen is None:
            return self._counted(request, environ, start_response)
        request.moment = seen.moment
        seen.seconds = 0.0
        status: list[str] = []

        def start(line: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            status[:] = [line]
            return start_response(line, headers, *error)

        body = self._counted(request, environ, start)
        if status and status[0].startswith("200 ") and seen.asked is not None:
            self._judge(request, seen, environ)
        return body

    def _counted(
        self, request: scope.Scope | None, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have the answer made whole, and count a write before it goes out, also if it fails."""
        try:
            chunks = self._application(environ, start_response)
            try:
                return list(chunks)
            finally:
                close = getattr(chunks, "close", None)
                if close is not None:
                    close()
        finally:
            if request is not None and request.wrote:
                self._count_write()

    def _judge(self, request: scope.Scope, seen: Seen, environ: dict[str, Any]) -> None:
        """Allow the answer to be kept if all of it is known to be covered; any doubt means no."""
        try:
            expires_at, external = _facts(environ)
        except Exception as error:
            # The answer is good; only how long it stays so is not known.
            scope.forget_error()
            LOG.debug("A validation is not kept: %s", type(error).__name__)
            return
        if request.wrote or not seen.moment.covers(request.databases):
            return
        seen.expires_at = expires_at
        seen.seconds = self._limits.answer_max_age
        if external:
            seen.seconds = min(seen.seconds, self._limits.external_max_age)


class _DoubtError(Exception):
    """The answer is not that of the caller who asked."""


def _facts(environ: Mapping[str, Any]) -> tuple[float, bool]:
    """When the first of both tokens expires (seconds since the epoch), and whether a user's truth lies elsewhere.

    Raises whatever Keystone raises for a subject that has expired or was revoked meanwhile.
    """
    caller = environ[authorization.AUTH_CONTEXT_ENV]["token"]
    if caller.id != environ["HTTP_X_AUTH_TOKEN"]:
        # Keystone's middleware keeps the caller's token in one place for all threads.
        raise _DoubtError
    subject = PROVIDERS.token_provider_api.validate_token(
        environ["HTTP_X_SUBJECT_TOKEN"],
        access_rules_support=environ.get("HTTP_OPENSTACK_IDENTITY_ACCESS_RULES"),
    )
    expires_at = min(_seconds(token.expires_at) for token in (caller, subject))
    if keystone.conf.CONF.security_compliance.disable_user_account_days_inactive is not None:
        # A user becomes inactive by the calendar, without a change of the database.
        expires_at = min(expires_at, _midnight())
    return expires_at, any(_is_external(token) for token in (caller, subject))


def _seconds(moment: str) -> float:
    return float(timeutils.parse_isotime(moment).timestamp())


def _midnight() -> float:
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    return datetime.datetime.combine(tomorrow, datetime.time(), datetime.UTC).timestamp()


def _is_external(token: Any) -> bool:
    """Whether a token speaks of a user who is not the database's alone."""
    if token.is_federated:
        return True
    users = {token.user_id}
    if token.trust_id:
        users |= {token.trustor["id"], token.trustee["id"]}
    identity = PROVIDERS.identity_api
    if identity.driver.is_sql and not keystone.conf.CONF.identity.domain_specific_drivers_enabled:
        # The validation has asked for these users, so that this costs nothing.
        return any("federated" in identity.get_user(user) for user in users)
    with sql.session_for_read() as session:
        return any(not _is_local(session.get(sql_model.User, user)) for user in users)


def _is_local(user: Any) -> bool:
    """LDAP's users have no row among the local ones, federated ones a row of their own."""
    return (
        user is not None
        and user.local_user is not None
        and user.nonlocal_user is None
        and not user.federated_users
    )
