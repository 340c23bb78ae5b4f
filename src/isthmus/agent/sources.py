"""Facts of the site that are not databases: the token keys on disk, the queue of waiting writes, how its services are set.

Read on request, never changed. Whatever cannot be read is told as text in its place.
"""

import contextlib
import functools
import sqlite3
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from isthmus.identity import published
from isthmus.identity.keys import repository

# Waiting for a writer of the queue must not hold up an answer.
_BUSY_SECONDS = 0.2
_PENDING = "SELECT count(*), min(recorded_at) FROM entry WHERE replayed_at IS NULL AND aside = 0"


def key_repositories(paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Digest, number of keys and primary index per repository."""
    return {name: _repository(path) for name, path in paths.items()}


def _repository(path: Path) -> dict[str, Any]:
    try:
        found = repository.inspect(path)
    except repository.KeyRepositoryError as error:
        return {"error": str(error)}
    return {"digest": found.digest, "keys": found.keys, "primary": found.primary}


def queue(path: Path | None) -> dict[str, Any]:
    """How many writes wait for the writer site and the age of the oldest in seconds."""
    if path is None:
        return {"error": "no queue is configured at this site"}
    try:
        pending, oldest = _read(path)
    except sqlite3.Error as error:
        return {"error": f"{path}: {error}"}
    age = None if oldest is None else round(max(0.0, time.time() - oldest), 3)
    return {"pending": pending, "oldest_age_seconds": age}


def _read(path: Path) -> tuple[int, float | None]:
    location = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(location, uri=True, timeout=_BUSY_SECONDS)
    try:
        pending, oldest = connection.execute(_PENDING).fetchone()
        return pending, oldest
    finally:
        connection.close()


def settings(paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The options of each configuration file that may be told; never the words of a file that cannot be read."""
    return {name: _settings(name, path) for name, path in paths.items()}


def _settings(name: str, path: Path) -> dict[str, Any]:
    try:
        found = path.stat()
        return {"options": _told(name, path, found.st_mtime_ns, found.st_size)}
    except OSError as error:
        return {"error": f"{path}: {error.strerror}"}
    except UnicodeDecodeError:
        return {"error": f"{path} is not UTF-8 text"}


@functools.lru_cache(maxsize=32)
def _told(name: str, path: Path, _changed_ns: int, _size: int) -> dict[str, str]:
    """The status is asked for again and again, and a long file takes a while to be read: once for each change of it."""
    return published.options(name, path.read_text(encoding="utf-8"))


def packages() -> dict[str, str]:
    """Releases of the distributions that stand in the agent's own environment."""
    found = {}
    for name in published.PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
