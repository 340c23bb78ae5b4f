"""Cinder's own restore of chunked backups, through our driver and through the stock one, into files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cinder import objects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.plugins.cinder import holes

# As cinder-backup does it when it starts; without it no manager can be imported.
objects.register_all()

from cinder.backup import chunkeddriver, manager  # noqa: E402
from cinder.backup.drivers import swift as stock  # noqa: E402

from isthmus.plugins.cinder import swift  # noqa: E402

PIECE = holes.PIECE


class Disk(io.BytesIO):
    """A volume that counts what is written to it. It has no file number, as a volume of Ceph has none."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.written = 0

    def write(self, content: Any) -> int:
        self.written += len(content)
        return super().write(content)


class Requested:
    """The backup whose restore nobody has cancelled."""

    status = "restoring"

    @contextlib.contextmanager
    def as_read_deleted(self) -> Iterator[None]:
        yield

    def refresh(self) -> None:
        """Nothing changes."""


def restored(kind: Any, stored: list[bytes], disk: Disk, *, new: bool) -> Disk:
    """What `kind`'s restore makes of one backup with these objects, which lie one after the other."""
    kept = {f"part-{number}": content for number, content in enumerate(stored)}
    places, at = [], 0
    for name, content in kept.items():
        places.append({name: {"offset": at, "length": len(content), "compression": "none"}})
        at += len(content)
    driver = object.__new__(kind)
    driver._generate_object_names = lambda _backup: list(kept)
    driver._metadata_filename = lambda _backup: "metadata"
    driver._sha256_filename = lambda _backup: "sha256"
    driver._get_object_reader = lambda _container, name, extra_metadata: contextlib.closing(
        io.BytesIO(kept[name])
    )
    backup = {"id": "backup", "container": "volumes"}
    kind._restore_v1(driver, backup, "volume", {"objects": places}, disk, new, Requested())
    return disk


# Lengths that end within a piece, at its end, and just beyond it.
lengths = st.sampled_from([1, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7])
contents = st.builds(
    lambda length, at, mark: bytes(at % length) + mark + bytes(length - at % length - len(mark)),
    lengths,
    st.integers(min_value=0),
    st.sampled_from([b"", b"\1"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(contents, min_size=1, max_size=4), st.booleans())
def test_a_restore_writes_what_the_stock_driver_writes(stored: list[bytes], new: bool) -> None:
    before = bytes(sum(map(len, stored))) if new else b"\7" * sum(map(len, stored))
    ours = restored(swift.SwiftBackupDriver, stored, Disk(before), new=new)
    theirs = restored(stock.SwiftBackupDriver, stored, Disk(before), new=new)
    assert ours.getvalue() == theirs.getvalue() == b"".join(stored)
    if not new:
        assert ours.written == len(before), "what lay there before would show through"


def test_what_is_empty_is_not_written() -> None:
    stored = [bytes(3 * PIECE), bytes(PIECE) + b"full" + bytes(PIECE)]
    disk = restored(swift.SwiftBackupDriver, stored, Disk(b""), new=True)
    assert disk.written == PIECE


def test_backups_of_the_stock_driver_are_its_own_and_those_of_others_are_not() -> None:
    ours = SimpleNamespace(driver_name=swift.NAME)
    assert manager.BackupManager._is_our_backup(ours, swift.STOCK)
    assert manager.BackupManager._is_our_backup(ours, swift.NAME)
    assert not manager.BackupManager._is_our_backup(
        ours, "cinder.backup.drivers.ceph.CephBackupDriver"
    )


def test_cinder_loads_it_by_the_name_that_operators_write() -> None:
    module, _, kind = swift.NAME.rpartition(".")
    assert (module, kind) == (swift.__name__, swift.SwiftBackupDriver.__name__)
    assert issubclass(swift.SwiftBackupDriver, chunkeddriver.ChunkedBackupDriver)


@pytest.mark.parametrize("said", [OSError, io.UnsupportedOperation])
def test_a_volume_without_a_file_number_says_so_as_before(said: type[OSError]) -> None:
    class Numberless(Disk):
        def fileno(self) -> int:
            raise said("no number")

    with pytest.raises(OSError, match="no number"):
        holes.Holes(Numberless(b"")).fileno()
