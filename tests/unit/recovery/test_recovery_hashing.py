"""Disks with the same content have the same digest, however sparse they are kept."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.recovery import hashing
from isthmus.recovery.consistency import Consistency, Seen, reached


def of(content: bytes, size: int, chunk: int, known: set[int] | None = None) -> str:
    numbers = range(-(-size // chunk)) if known is None else known
    chunks = {n: hashing.chunk_digest(content[n * chunk : (n + 1) * chunk]) for n in numbers}
    return hashing.tree(size, chunks)


@given(st.lists(st.tuples(st.integers(0, 63), st.binary(min_size=1, max_size=9)), max_size=6))
@settings(max_examples=60)
def test_the_digest_of_a_sparse_disk_is_that_of_the_whole_one(
    writes: list[tuple[int, bytes]],
) -> None:
    import unittest.mock

    size = 70
    with unittest.mock.patch.object(hashing, "CHUNK", 16):
        disk = bytearray(size)
        extents = []
        for offset, content in writes:
            part = content[: size - offset]
            disk[offset : offset + len(part)] = part
            extents.append((offset, len(part)))
        known = set(hashing.touched(extents, size))
        assert of(bytes(disk), size, 16, known) == of(bytes(disk), size, 16)
        other = bytearray(disk)
        other[size - 1] ^= 1
        assert of(bytes(other), size, 16) != of(bytes(disk), size, 16)
        assert of(bytes(disk) + b"\0", size + 1, 16) != of(bytes(disk), size, 16)


def test_extents_at_the_edges_touch_the_chunks_that_they_are_in() -> None:
    size = 3 * hashing.CHUNK
    assert hashing.touched([(0, 1)], size) == [0]
    assert hashing.touched([(hashing.CHUNK - 1, 2)], size) == [0, 1]
    assert hashing.touched([(hashing.CHUNK, hashing.CHUNK)], size) == [1]
    assert hashing.touched([(size - 1, 100)], size) == [2]
    assert hashing.touched([(5, 0)], size) == []


ALL = Seen(servers=frozenset("abc"), frozen_throughout=frozenset("abc"), in_order=True, common=True)


def test_a_checkpoint_is_called_what_was_seen() -> None:
    assert reached(ALL) is Consistency.APP_ORDERED
    assert reached(dataclasses.replace(ALL, in_order=False)) is Consistency.FS_PER_VM
    assert reached(dataclasses.replace(ALL, common=False)) is Consistency.FS_PER_VM
    partly = dataclasses.replace(ALL, frozen_throughout=frozenset("ab"))
    assert reached(partly) is Consistency.CRASH_VOLUME
    assert reached(dataclasses.replace(partly, atomic=True)) is Consistency.CRASH_GROUP
    assert Consistency.APP_ORDERED.reaches(Consistency.FS_PER_VM)
    assert not Consistency.CRASH_VOLUME.reaches(Consistency.CRASH_GROUP)
