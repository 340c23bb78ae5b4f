"""The WSGI entry of a site: ``isthmus.plugins.keystone.wsgi:application``.

Stock Keystone (``keystone.wsgi.api``) with the replica-site kit around it; see the package. The
order matters: the readers' factory must be in place before Keystone uses its database, and
everything that is made lazily is made here, by one thread, before the server starts others: in
Keystone 30 the first requests of several threads otherwise race for a policy enforcer that is only
half made, and some are refused with 403.

Processes may be forked after this module is loaded (gunicorn's ``preload_app``): it makes no
connection, opens no file of its own and starts no thread.
"""

from __future__ import annotations

import contextlib
import sys
import wsgiref.util
from collections.abc import Iterator
from typing import Any

import keystone.conf
import sqlalchemy.orm
from keystone.common import rbac_enforcer
from keystone.server.flask import core as flask_core
from oslo_context import context

from isthmus.plugins.keystone import (
    coherence,
    fencing,
    options,
    regions,
    routing,
    runtime,
    unavailable,
)


def _make_application() -> Any:
    options.register(keystone.conf.CONF)
    with _no_arguments():
        application = flask_core.initialize_application(
            name="public",
            config_files=flask_core._get_config_files(),
            # The configuration has been read and no driver is loaded yet.
            post_log_configured_function=_install,
        )
    _warm_up(application)
    runtime.replay_in_children()
    if not keystone.conf.CONF[options.GROUP].coherence:
        inner: Any = unavailable.Middleware(application, before=_before_request)
    else:
        inner = _coherent(application)
    return fencing.Middleware(inner)


def _coherent(application: Any) -> Any:
    """The application between the two layers that answer from memory what is known to stand."""
    section = keystone.conf.CONF[options.GROUP]
    limits = coherence.Limits(
        answer_max_age=section.answer_max_age, external_max_age=section.external_max_age
    )
    witness = coherence.Witness(
        application, limits=limits, count_write=lambda: runtime.get().count_write()
    )
    return coherence.Front(
        unavailable.Middleware(witness, before=_before_request),
        clock=lambda: runtime.get().clock,
        kept=lambda: runtime.get().kept,
    )


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """Hide the server's command line: Keystone would take it for its own and exit."""
    arguments, sys.argv = sys.argv, ["keystone-wsgi-public"]
    try:
        yield
    finally:
        sys.argv = arguments


def _install() -> None:
    section = keystone.conf.CONF[options.GROUP]
    routing.install(follow_timeout=section.follow_timeout)
    if section.coherence:
        # Last, so that what an operator has put around the backend keeps its values by moment too.
        proxies = [*keystone.conf.CONF.cache.proxies, regions.PATH]
        keystone.conf.CONF.set_override("proxies", proxies, group="cache")


def _warm_up(application: Any) -> None:
    """Make what is made on first use: mappers, policy rules, Flask's first request."""
    sqlalchemy.orm.configure_mappers()
    rbac_enforcer.RBACEnforcer()._enforcer.load_rules()
    environ: dict[str, Any] = {"PATH_INFO": "/v3", "REMOTE_ADDR": "127.0.0.1"}
    wsgiref.util.setup_testing_defaults(environ)
    chunks = application(environ, lambda *_: None)
    for _chunk in chunks:
        pass


def _before_request() -> None:
    """What every request begins with."""
    # Keystone keeps a request's cache on oslo.context's context of the thread, and makes a new one
    # only after it has validated the caller's token: with what the thread's last request had
    # cached. Begin with an empty one.
    context.RequestContext()
    site = runtime.get()
    site.replayer.start()
    site.drop_stale_caches()


application = _make_application()
