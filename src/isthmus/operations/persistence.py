"""TaskFlow's persistence, without its habit of building its tables anew for every statement.

A connection of TaskFlow's SQLAlchemy backend holds no connection to the database, only the tables;
making them costs ten times what the statement does, and new tables defeat SQLAlchemy's cache.
"""

from __future__ import annotations

import functools
from typing import Any

from taskflow.persistence.backends import impl_sqlalchemy


class Backend(impl_sqlalchemy.SQLAlchemyBackend):  # type: ignore[misc]  # TaskFlow has no types
    """The stock backend with one connection object, which may be used by several threads."""

    @functools.cached_property
    def _one(self) -> Any:
        return super().get_connection()

    def get_connection(self) -> Any:
        """The one connection object; closing it does nothing."""
        return self._one
