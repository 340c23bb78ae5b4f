"""The application: routes of the engine itself, of service addresses and of tracing."""

from __future__ import annotations

import importlib
import importlib.util

import fastapi

import isthmus
from isthmus.engine.api import faults, health, networks, peers, sites
from isthmus.engine.core import Engine

_OTHERS = ("isthmus.network.addresses.api", "isthmus.network.tracing.api")
"""Parts with routes of their own; each offers `router(engine)`."""


def build(engine: Engine) -> fastapi.FastAPI:
    """All routes of one engine."""
    app = fastapi.FastAPI(
        title="Isthmus engine",
        summary=f"Stretched networks and service addresses; this is the engine of {engine.site}",
        description=isthmus.__doc__ or "",
    )
    faults.install(app)
    for router in (health.router, peers.router, networks.router, sites.router):
        app.include_router(router(engine))
    for name in _OTHERS:
        if importlib.util.find_spec(name) is not None:
            app.include_router(importlib.import_module(name).router(engine))
    return app
