"""One digest for the content of a disk, computed without reading what is empty.

It exists so that a restored volume can be held against the frozen original, byte for byte, before a
guest boots from it. It is a tree: SHA-256 of the size and of the digests of all chunks in order. A chunk
of zeros has a digest that is known without reading it, so that a sparse disk costs what is in it, and
a disk that was restored with other holes has the same digest. It reads nothing itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

CHUNK = 4 << 20
"""Bytes; the size of an RBD object by default, so that one hole is one chunk."""

PREFIX = "sha256-tree-4m:"


def chunk_digest(content: bytes) -> bytes:
    """The digest of one chunk, without the zeros that it may end with or lack at the end."""
    return hashlib.sha256(content.rstrip(b"\0")).digest()


ZEROS = chunk_digest(b"")


def tree(size: int, chunks: Mapping[int, bytes]) -> str:
    """The digest of a disk of `size` bytes. `chunks`: digests by number; the others are zeros."""
    root = hashlib.sha256(size.to_bytes(8, "big"))
    for number in range(-(-size // CHUNK)):
        root.update(chunks.get(number, ZEROS))
    return PREFIX + root.hexdigest()


def touched(extents: Iterable[tuple[int, int]], size: int) -> list[int]:
    """The numbers of the chunks that hold some of the extents (offset, length), in order."""
    found: set[int] = set()
    for offset, length in extents:
        last = min(offset + length, size) - 1
        found.update(range(offset // CHUNK, last // CHUNK + 1) if last >= offset else ())
    return sorted(found)
