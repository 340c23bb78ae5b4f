"""Keystone's own caches under a moment: what was kept at one is not found at another.

A proxy of dogpile.cache, put around the backend of every region by ``[cache] proxies``. Clearing the
regions when something changes would not be enough: a request that has read before the change may
store after it. Here a value is stored under the moment at which its request began, so that whoever
finds it, finds what was true then or later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dogpile.cache import api, proxy

from isthmus.plugins.keystone import scope

PATH = f"{__name__}.Proxy"


class Proxy(proxy.ProxyBackend):
    """Keys of a request carry its moment.

    Without a moment (no agent, or a thread that serves no request) the cache is as stock's. While a
    change is on its way it is neither read nor filled.
    """

    def get(self, key: str) -> Any:
        """The value of this moment."""
        return _one(self.proxied.get, key)

    def get_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        """The values of this moment."""
        return _several(self.proxied.get_multi, keys)

    def set(self, key: str, value: Any) -> None:
        """Keep a value for this moment, if it was read from databases that are followed."""
        _keep(self.proxied.set, key, value)

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        """Keep values for this moment."""
        for key, value in mapping.items():
            self.set(key, value)

    def delete(self, key: str) -> None:
        """Forget a value, also where it would be found without a moment."""
        self.delete_multi([key])

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Forget values."""
        keys = list(keys)
        for name in {*keys, *_all_keyed(keys)}:
            self.proxied.delete(name)

    # Backends that store bytes are asked by these instead.

    def get_serialized(self, key: str) -> Any:
        """As ``get``."""
        return _one(self.proxied.get_serialized, key)

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        """As ``get_multi``."""
        return _several(self.proxied.get_serialized_multi, keys)

    def set_serialized(self, key: str, value: bytes) -> None:
        """As ``set``."""
        _keep(self.proxied.set_serialized, key, value)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """As ``set_multi``."""
        for key, value in mapping.items():
            self.set_serialized(key, value)


def _one(get: Callable[[str], Any], key: str) -> Any:
    mine = _keyed(key)
    return api.NO_VALUE if mine is None else get(mine)


def _several(get: Callable[[Sequence[str]], Iterable[Any]], keys: Iterable[str]) -> Sequence[Any]:
    keys = list(keys)
    mine = _all_keyed(keys)
    return [api.NO_VALUE for _ in keys] if len(mine) < len(keys) else list(get(mine))


def _keep(keep: Callable[[str, Any], None], key: str, value: Any) -> None:
    mine = _keyed(key)
    if mine is not None and _may_keep():
        keep(mine, value)


def _all_keyed(keys: Sequence[str]) -> list[str]:
    """The keys in the backend that there are."""
    return [name for name in map(_keyed, keys) if name is not None]


def _keyed(key: str) -> str | None:
    """The key in the backend; None: the cache must not be used now."""
    request = scope.current()
    if request is None or request.moment is None:
        return key
    if request.moment.name is None:
        return None
    return f"{request.moment.name}:{key}"


def _may_keep() -> bool:
    request = scope.current()
    return request is None or request.moment is None or request.moment.covers(request.databases)
