"""The filter: stock ``auth_token`` whose identity server is a list of endpoints.

In a paste pipeline::

    [filter:authtoken]
    paste.filter_factory = isthmus.plugins.authtoken.middleware:filter_factory

or ``use = egg:isthmus#authtoken``. Probes of silent endpoints run in threads that requests start,
so that no request waits for one: under uwsgi that needs ``enable-threads``.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import keystonemiddleware.auth_token as stock
from keystoneauth1 import adapter, loading
from keystonemiddleware.auth_token import _base
from oslo_log import log

from isthmus.plugins.authtoken import asking, choosing, options, refusals

LOG = log.getLogger(__name__)


class Elsewhere(dict[str, Any]):
    """What another site's endpoint said of a token."""


class AuthProtocol(stock.AuthProtocol):  # type: ignore[misc]
    """The stock filter; with ``[isthmus_authtoken] others``, it asks them when its own is silent."""

    def _create_identity_server(self) -> Any:
        conf = self._conf.oslo_conf_obj
        self._settings = options.read(conf, int(self._conf.get("token_cache_time")))
        if self._settings is None:
            return super()._create_identity_server()
        settings = self._settings
        agents = asking.Agents(
            self._create_session(timeout=settings.timeout),
            settings.local_agent,
            settings.stale_limit,
        )
        servers = [
            self._own(settings),
            *(self._far(each, settings, agents) for each in settings.others),
        ]
        names = ["this site's own", *(each.name for each in settings.others)]
        limits = choosing.Limits(
            pause=settings.come_back_seconds,
            # A probe may ask two agents, log in, and check a token.
            probe=4 * settings.timeout,
        )
        return Endpoints(servers, names, limits)

    def _token_cache_factory(self) -> Any:
        cache = super()._token_cache_factory()
        return cache if self._settings is None else Cache(cache, self._settings.keep_seconds)

    def _own(self, settings: options.Settings) -> asking.Own:
        """The endpoint that the stock filter asks, without its retries: the next one is asked."""
        session = self._create_session(timeout=settings.timeout)
        return asking.Own(
            **self._server(
                adapter.Adapter(
                    session,
                    auth=self._auth,
                    service_type="identity",
                    interface=self._interface,
                    region_name=self._conf.get("region_name"),
                    connect_retries=0,
                )
            )
        )

    def _far(
        self, other: options.Other, settings: options.Settings, agents: asking.Agents
    ) -> asking.Far:
        """Another site's endpoint, by its URL: the catalog leads a service to its own region."""
        session = self._create_session(timeout=settings.timeout)
        auth = self._account_at(other.url)
        return asking.Far(
            **self._server(
                adapter.Adapter(
                    session,
                    auth=auth,
                    service_type="identity",
                    interface=self._interface,
                    endpoint_override=other.url,
                    connect_retries=0,
                )
            ),
            prove=lambda: agents.prove(other.agent),
            lend=lambda: self._lend(auth),
            lasts=settings.proof_seconds,
            reused=settings.proof_seconds - settings.timeout,
        )

    def _server(self, asked: Any) -> dict[str, Any]:
        return {
            "log": self.log,
            "adap": asked,
            "include_service_catalog": self._include_service_catalog,
            # The endpoints are v3, so no version is asked for first.
            "requested_auth_version": (3, 0),
            "requested_auth_interface": self._interface,
        }

    def _account_at(self, url: str) -> Any:
        """This service's account as the stock filter reads it, to log in at another endpoint."""
        group = self._conf.get("auth_section") or _base.AUTHTOKEN_GROUP
        loader: Any = loading.get_plugin_loader(self._conf.get("auth_type", group=group))

        def value(option: Any) -> Any:
            return url if option.dest == "auth_url" else self._conf.get(option.dest, group=group)

        return loader.load_from_options_getter(value)

    def _lend(self, auth: Any) -> None:
        """This service's own token is valid everywhere: failing over costs no login."""
        if auth.get_auth_state() is None:
            auth.set_auth_state(self._auth.get_auth_state())


class Endpoints:
    """The identity server of the stock filter, made of several. Safe among threads."""

    def __init__(
        self, servers: Sequence[Any], names: Sequence[str], limits: choosing.Limits
    ) -> None:
        self._servers = servers
        self._names = names
        self._limits = limits
        self._state = choosing.begin(len(servers))
        self._lock = threading.Lock()
        self._refusals = refusals.Refusals()

    @property
    def www_authenticate_uri(self) -> Any:
        return self._servers[0].www_authenticate_uri

    @property
    def auth_version(self) -> Any:
        return self._servers[0].auth_version

    def invalidate(self) -> Any:
        return self._servers[0].invalidate()

    def verify_token(
        self, user_token: str, retry: bool = True, allow_expired: bool = False
    ) -> dict[str, Any]:
        """The first answer of an endpoint. A refusal is an answer; see the package.

        Raises InvalidToken (401 for the client) and ServiceError (503: nobody answered, or this
        service is refused).
        """
        self._look_after_the_silent()
        silent = []
        for index in choosing.candidates(self._state):
            try:
                answer = self._ask(index, user_token, retry, allow_expired)
            except asking.Unusable as error:
                silent.append(f"{self._names[index]}: {error}")
                continue
            if self._refusals.stands(user_token, index, time.monotonic()):
                raise stock.InvalidToken("Another endpoint has refused this token")
            return answer if index == 0 else Elsewhere(answer)
        raise stock.ServiceError(f"No identity endpoint answers: {'; '.join(silent)}")

    def _ask(self, index: int, user_token: str, retry: bool, allow_expired: bool) -> dict[str, Any]:
        server = self._servers[index]
        try:
            return dict(
                self._attempt(index, lambda: server.verify_token(user_token, retry, allow_expired))
            )
        except stock.InvalidToken:
            self._refusals.refused(user_token, index, time.monotonic())
            raise

    def _attempt(self, index: int, call: Callable[[], Any]) -> Any:
        """Do it and note whether the endpoint answered."""
        began = time.monotonic()
        try:
            result = call()
        except asking.Unusable as error:
            self._note(index, began, good=False, why=str(error))
            raise
        except (stock.InvalidToken, stock.ServiceError):
            self._note(index, began, good=True)
            raise
        self._note(index, began, good=True)
        return result

    def _note(self, index: int, began: float, *, good: bool, why: str = "") -> None:
        with self._lock:
            before = self._state[index].up
            self._state = choosing.outcome(
                self._state,
                index,
                began=began,
                now=time.monotonic(),
                good=good,
                limits=self._limits,
            )
            after = self._state[index].up
        if before and not after:
            LOG.warning("Identity endpoint %s does not answer: %s", self._names[index], why)
        elif after and not before:
            LOG.warning("Identity endpoint %s answers again.", self._names[index])

    def _look_after_the_silent(self) -> None:
        with self._lock:
            self._state, due = choosing.probes(self._state, time.monotonic(), self._limits)
        for index in due:
            threading.Thread(target=self._probe, args=(index,), daemon=True).start()

    def _probe(self, index: int) -> None:
        try:
            self._attempt(index, self._servers[index].probe)
        except asking.Unusable as error:
            LOG.info("Identity endpoint %s is still silent: %s", self._names[index], error)


class Cache:
    """The stock token cache, in which another endpoint's answers live shorter or not at all."""

    def __init__(self, cache: Any, seconds: int) -> None:
        self._cache = cache
        self._seconds = seconds

    def initialize(self, environ: dict[str, Any]) -> None:
        self._cache.initialize(environ)

    def get(self, token: str) -> Any:
        return self._cache.get(token)

    def set(self, token: str, answer: Any) -> None:
        """Keep an answer. Never for 0 seconds: that is for ever in memcached."""
        if not isinstance(answer, Elsewhere):
            self._cache.set(token, answer)
        elif self._seconds > 0:
            # The same pool of connections with another time.
            shorter = copy.copy(self._cache)
            shorter._cache_time = self._seconds
            shorter.set(token, answer)


def filter_factory(global_conf: dict[str, Any], **local_conf: Any) -> Callable[[Any], AuthProtocol]:
    """For paste.deploy; takes what the stock factory takes."""
    conf = {**global_conf, **local_conf}
    # keystonemiddleware takes some keys out of the dictionary, so each filter gets its own.
    return lambda app: AuthProtocol(app, dict(conf))
