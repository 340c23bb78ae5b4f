"""The generation file: what the agent writes is what Keystone reads, and nothing that is late, torn or foreign is believed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent import binlog
from isthmus.agent import generation_file as writer
from isthmus.plugins.keystone import generation_file

IDENTITY = "131|131|host|127.0.0.1|3306|/data/"


@pytest.fixture
def file(tmp_path: Path) -> writer.File:
    return writer.File(tmp_path / "run" / "generations")


def reader(file: writer.File, limit: float = 1.0) -> generation_file.Reader:
    return generation_file.Reader(str(file.path), limit_seconds=limit)


def test_both_sides_ask_a_server_the_same_and_name_it_the_same() -> None:
    assert " ".join(generation_file.IDENTITY.split()) == " ".join(binlog.IDENTITY.split())
    assert generation_file.digest(IDENTITY) == writer.digest(IDENTITY)
    assert (generation_file.SIZE, generation_file.MAGIC) == (writer.SIZE, writer.MAGIC)


def test_what_is_published_is_read(file: writer.File) -> None:
    seen = reader(file)
    assert seen.view() is None
    file.slot(IDENTITY, "one").publish(42, binlog.clock())
    file.slot("another", "two").publish(7, binlog.clock())
    expected = {generation_file.digest(IDENTITY): 42, generation_file.digest("another"): 7}
    view = reader(file).view()
    assert view is not None
    assert view.generations == expected
    assert view.changing


def test_a_database_whose_proof_is_late_is_not_followed(file: writer.File) -> None:
    slot = file.slot(IDENTITY, "one")
    seen = reader(file, limit=1.0)
    slot.publish(42, binlog.clock() - 1.1)
    assert seen.view() is None
    slot.publish(42, binlog.clock())
    assert seen.view() is not None
    slot.publish(42, 0.0)
    assert seen.view() is None
    # Another host's clock, or the same one's of a later start.
    slot.publish(42, binlog.clock() + 60)
    assert seen.view() is None


@given(st.integers(0, 39), st.integers(1, 255))
def test_a_torn_slot_is_not_believed(byte: int, change: int) -> None:
    record = writer._RECORD.pack(writer.digest(IDENTITY), 42, 1_000)
    whole = record + writer.zlib.crc32(record).to_bytes(8, "little")
    torn = bytearray(whole)
    torn[byte] ^= change
    for content, expected in ((whole, {writer.digest(IDENTITY): 42}), (bytes(torn), None)):
        memory = (bytes(64) + content).ljust(generation_file.SIZE, b"\0")
        view = generation_file.parse(memory, now=1_000, limit=10)
        assert (view and view.generations) == expected


def test_a_new_agent_s_file_is_found_when_the_old_one_grows_late(file: writer.File) -> None:
    file.slot(IDENTITY, "one").publish(42, binlog.clock())
    seen = reader(file)
    assert seen.view() is not None
    file.close()
    assert seen.view() is None
    second = writer.File(file.path)
    second.slot(IDENTITY, "one").publish(50, binlog.clock() + 0.4)
    deadline = time.monotonic() + 5
    while (view := seen.view()) is None and time.monotonic() < deadline:
        second.slot(IDENTITY, "one").publish(50, binlog.clock())
    assert view is not None
    assert list(view.generations.values()) == [50]


def test_a_file_that_others_can_write_is_not_used(file: writer.File) -> None:
    file.slot(IDENTITY, "one").publish(42, binlog.clock())
    file.path.chmod(0o666)
    assert reader(file).view() is None
    file.path.chmod(0o644)
    assert reader(file).view() is not None


@pytest.mark.parametrize("content", [b"", b"x" * 5000, writer.MAGIC + b"0" * 2000])
def test_a_foreign_file_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "generations"
    path.write_bytes(content)
    path.chmod(0o600)
    assert generation_file.Reader(str(path), limit_seconds=1e6).view() is None


def test_a_link_is_not_followed(file: writer.File, tmp_path: Path) -> None:
    file.slot(IDENTITY, "one").publish(42, binlog.clock())
    (tmp_path / "link").symlink_to(file.path)
    assert generation_file.Reader(str(tmp_path / "link"), limit_seconds=60).view() is None


def test_two_databases_that_cannot_be_told_apart_are_refused(file: writer.File) -> None:
    file.slot(IDENTITY, "one")
    with pytest.raises(ValueError, match="same server"):
        file.slot(IDENTITY, "two")
    for number in range(writer.SLOTS - 1):
        file.slot(f"server {number}", f"database {number}")
    with pytest.raises(ValueError, match="room"):
        file.slot("one too many", "last")


def test_the_file_can_be_read_by_all_and_written_by_the_agent_alone(file: writer.File) -> None:
    assert file.path.stat().st_mode & 0o777 == 0o644
    assert file.path.stat().st_uid == os.geteuid()
    assert list(file.path.parent.iterdir()) == [file.path]
