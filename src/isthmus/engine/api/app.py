"""The application: routes of the engine itself, of keys, service addresses and tracing."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import AsyncIterator

import anyio.to_thread
import fastapi

import isthmus
from isthmus.engine.api import faults, health, keys, networks, peers, sites
from isthmus.engine.core import Engine

_OTHERS = ("isthmus.network.addresses.api", "isthmus.network.tracing.api")
"""Parts with routes of their own; each offers `router(engine)`."""


AT_ONCE = 160
"""Requests that are worked on together. Some wait for minutes (sync, verify), and votes on service
addresses must never wait for those."""


@contextlib.asynccontextmanager
async def _with_many_threads(app: fastapi.FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = AT_ONCE
    yield


def build(engine: Engine, *others: fastapi.APIRouter) -> fastapi.FastAPI:
    """All routes of one engine; `others`: those of recovery, where the engine has it."""
    app = fastapi.FastAPI(
        lifespan=_with_many_threads,
        title="Isthmus engine",
        summary=f"Stretched networks, service addresses, keys, recovery; this is the engine of {engine.site}",
        description=isthmus.__doc__ or "",
    )
    faults.install(app)
    for router in (health.router, peers.router, networks.router, sites.router, keys.router):
        app.include_router(router(engine))
    for name in _OTHERS:
        if importlib.util.find_spec(name) is not None:
            app.include_router(importlib.import_module(name).router(engine))
    for routes in others:
        app.include_router(routes)
    return app
