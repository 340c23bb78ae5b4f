"""A new volume as a file to which only what is not zero is written, so that it stays as sparse as the original was."""

from __future__ import annotations

from typing import Protocol

PIECE = 1 << 20
"""Bytes that are written or left out together; as in stock Cinder."""

_ZEROS = bytes(PIECE)


class Volume(Protocol):
    """What a backup driver needs of a volume that it fills."""

    def seek(self, offset: int, /) -> object: ...
    def write(self, content: bytes, /) -> object: ...
    def flush(self) -> object: ...
    def fileno(self) -> int: ...


class Holes:
    """Hands on to `volume`, which reads as zeros everywhere, whatever is not zero."""

    def __init__(self, volume: Volume) -> None:
        self._volume, self._at = volume, 0

    def seek(self, offset: int) -> None:
        """Go to a byte, from the beginning."""
        self._at = offset

    def write(self, content: bytes) -> None:
        """Write `content` where we are, without the pieces of it that are zero; the place moves on by all of it."""
        for begin in range(0, len(content), PIECE):
            piece = content[begin : begin + PIECE]
            # Two `bytes` are compared by the processor's own means; a `memoryview` would be compared item by item.
            if piece != _ZEROS[: len(piece)]:
                self._volume.seek(self._at + begin)
                self._volume.write(piece)
        self._at += len(content)

    def flush(self) -> None:
        """As the volume does it."""
        self._volume.flush()

    def fileno(self) -> int:
        """The volume's own. Raises OSError where it has none."""
        return self._volume.fileno()
