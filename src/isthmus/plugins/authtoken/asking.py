"""Talks to identity endpoints: what each answer means, and the proof that another site needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions as vendor
from keystonemiddleware.auth_token import InvalidToken, ServiceError, _identity

from isthmus.plugins.authtoken import proving

# Answers that say nothing about a token: the server is busy, failing or not there.
_BUSY = (408, 429)


class Unusable(Exception):
    """No answer, or one that cannot count; the next endpoint is asked."""


class Own(_identity.IdentityServer):  # type: ignore[misc]
    """An endpoint that is believed as it is. Stock but for its errors."""

    def verify_token(
        self, user_token: str, retry: bool = True, allow_expired: bool = False
    ) -> dict[str, Any]:
        """What Keystone says of a token: ``{"token": ...}``.

        Raises InvalidToken (refused), ServiceError (this service is refused), Unusable. A wrong
        password is not tried twice: the session has logged in anew already, and another try would
        only count towards a lockout.
        """
        try:
            answer = self._request_strategy.verify_token(user_token, allow_expired=allow_expired)
        except vendor.NotFound as error:
            raise InvalidToken("Token authorization failed") from error
        except vendor.HttpError as error:
            if error.http_status >= 500 or error.http_status in _BUSY:
                raise Unusable(f"HTTP {error.http_status}") from error
            raise ServiceError(
                f"The identity server refuses this service: HTTP {error.http_status}"
            ) from error
        except vendor.ClientException as error:
            # Connections, TLS, discovery, catalog, an answer that is not Keystone's.
            raise Unusable(f"{type(error).__name__}: {error}") from error
        except (NotImplementedError, ValueError, KeyError, TypeError, AttributeError) as error:
            # keystoneclient's ways to say that a body is not a token.
            raise Unusable("an answer that is not Keystone's") from error
        return dict(answer)

    def probe(self) -> None:
        """Check this service's own token: GET /v3 answers also where nothing else works.

        Raises Unusable.
        """
        try:
            token = self._adapter.get_token()
            self.verify_token(token)
        except vendor.HttpError as error:
            if error.http_status >= 500 or error.http_status in _BUSY:
                raise Unusable(f"HTTP {error.http_status}") from error
        except vendor.ClientException as error:
            raise Unusable(f"{type(error).__name__}: {error}") from error
        except (InvalidToken, ServiceError):
            # A refusal is an answer: the endpoint works.
            pass


class Agents:
    """Asks agents for proofs and keeps each for a moment."""

    def __init__(self, session: Any, local: str, stale_limit: float) -> None:
        self._session = session
        self._local = local
        self._stale_limit = stale_limit

    def prove(self, agent: str) -> float:
        """Ask both agents; the monotonic time for which the proof holds. Raises Unusable."""
        began = time.monotonic()
        reason = proving.unproven_queue(self._document(self._local))
        reason = reason or proving.unproven_site(self._document(agent), self._stale_limit)
        if reason:
            raise Unusable(reason)
        return began

    def _document(self, agent: str) -> Any:
        try:
            answer = self._session.get(f"{agent}/status", authenticated=False)
            return answer.json()
        except (vendor.ClientException, ValueError) as error:
            raise Unusable(f"the agent at {agent}: {type(error).__name__}") from error


class Far(Own):
    """An endpoint of another site: it counts only while its freshness is proven."""

    def __init__(
        self,
        *stock: Any,
        prove: Callable[[], float],
        lend: Callable[[], None],
        lasts: float,
        reused: float,
        **more: Any,
    ) -> None:
        """`prove` asks for a proof; `lend` makes this service's token of the own site known here;
        `lasts` is how old a proof may be when an answer has arrived, `reused` when the question is
        asked, in seconds."""
        super().__init__(*stock, **more)
        self._prove, self._lend, self._lasts, self._reused = prove, lend, lasts, reused
        self._proven = self._failed = float("-inf")
        self._why = ""
        self._proving = threading.Lock()

    def probe(self) -> None:
        """As the own endpoint's, without a login of its own."""
        self._lend()
        super().probe()

    def verify_token(
        self, user_token: str, retry: bool = True, allow_expired: bool = False
    ) -> dict[str, Any]:
        """As the own endpoint's, with a proof that is older than the answer but not too old."""
        proven = self._proof()
        self._lend()
        answer = super().verify_token(user_token, retry, allow_expired)
        if time.monotonic() - proven > self._lasts:
            raise Unusable("its answer took longer than the proof of its freshness lasts")
        return answer

    def _proof(self) -> float:
        """A proof that leaves time for the answer. One thread asks; the others wait for it, and share
        a failure too: an agent that is frozen would otherwise hold them up one after the other."""
        came = time.monotonic()
        with self._proving:
            if self._failed > came:
                raise Unusable(self._why)
            if time.monotonic() - self._proven > self._reused:
                try:
                    self._proven = self._prove()
                except Unusable as error:
                    self._failed, self._why = time.monotonic(), str(error)
                    raise
            return self._proven
