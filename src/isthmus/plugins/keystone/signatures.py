"""Whether files that Keystone reads again and again have changed: token keys and policy rules."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable


def of(paths: Iterable[str]) -> Hashable:
    """A value that is another one after a file or directory among ``paths`` (or in it) was replaced or changed.

    A directory counts with its own inode, so that an exchange of the whole directory shows, and
    with every entry. Whatever cannot be read counts as such.
    """
    return tuple(map(_one, paths))


def _one(path: str) -> Hashable:
    try:
        with os.scandir(path) as entries:
            inside = sorted((entry.name, _stat(entry.stat())) for entry in entries)
        return _stat(os.stat(path)), tuple(inside)  # noqa: PTH116 - on every request
    except NotADirectoryError:
        return _file(path)
    except OSError as error:
        return error.errno


def _file(path: str) -> Hashable:
    try:
        return _stat(os.stat(path))  # noqa: PTH116 - on every request
    except OSError as error:
        return error.errno


def _stat(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
