"""What tracing needs of the engine that runs it.

It exists because capabilities do not import what runs them: `isthmus.engine.core.Engine` fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from isthmus.network import declarations, neutrons


class Callees(Protocol):
    """Signed calls by name: to engines by site, to host agents by host. Methods raise
    `errors.UnavailableError`; `timeout` in seconds."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def get(self, name: str, path: str, timeout: float = ...) -> Any: ...

    def post(self, name: str, path: str, body: Any = ..., timeout: float = ...) -> Any: ...

    def delete(self, name: str, path: str, timeout: float = ...) -> Any: ...


class Store(Protocol):
    """The declarations; `network` raises `errors.UsageError` for a name that is not declared."""

    def network(self, name: str) -> declarations.StretchedNetwork: ...


class Engine(Protocol):
    """One site's engine. `session` is a keystoneauth1 session of an administrator."""

    require_admin: Callable[..., Any]
    require_reader: Callable[..., Any]
    require_engine: Any

    @property
    def site(self) -> str: ...

    @property
    def session(self) -> Any: ...

    @property
    def store(self) -> Store: ...

    @property
    def peers(self) -> Callees: ...

    @property
    def hosts(self) -> Callees: ...

    @property
    def config(self) -> Any:
        """The configuration; of it, `networks.tunnel_overhead` is read."""
        ...

    def neutron(self, site: str | None = None) -> neutrons.Neutron: ...
