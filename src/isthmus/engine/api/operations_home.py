"""What the routes of recovery need of an engine, put together from the engine and its recovery.

It exists so that the engine's core need not know the routes, nor the routes the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import fastapi

from isthmus.engine.api import groups, operations
from isthmus.engine.rights import Caller
from isthmus.operations.desk import Desk
from isthmus.recovery.findings import Finding
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.service import Service
from isthmus.recovery.mapping import Mapping


class Engine(Protocol):
    """What is needed of the engine itself."""

    @property
    def site(self) -> str: ...

    @property
    def require_admin(self) -> Callable[..., Caller]: ...

    @property
    def require_reader(self) -> Callable[..., Caller]: ...


class Home:
    """`operations.Home` and `groups.Home`."""

    def __init__(self, engine: Engine, service: Service, *, four_eyes: bool) -> None:
        self._service = service
        self.site, self.four_eyes = engine.site, four_eyes
        self.require_admin, self.require_reader = engine.require_admin, engine.require_reader

    @property
    def desk(self) -> Desk:
        return self._service.desk

    @property
    def declared(self) -> Declared:
        return self._service.declared

    def validate(self, plan: Mapping, *, create: bool) -> Sequence[Finding]:
        return self._service.validate(plan, create=create)

    def findings(self, group_id: str) -> Sequence[Finding]:
        return self._service.findings(group_id)

    def rebuild(self) -> tuple[tuple[int, int, int], Sequence[Finding]]:
        return self._service.rebuild()


def router(engine: Engine, service: Service, *, four_eyes: bool = True) -> fastapi.APIRouter:
    """All routes of recovery of one engine."""
    home, routes = Home(engine, service, four_eyes=four_eyes), fastapi.APIRouter()
    routes.include_router(operations.router(home))
    routes.include_router(groups.router(home))
    return routes
