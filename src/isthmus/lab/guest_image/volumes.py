"""Reads logs out of disk images as they lie there, without mounting them: nothing is changed, no root is needed.

A volume that was taken without a freeze needs its journal replayed before it shows what was promised; `replayed` does that on
a copy. A frozen one does not.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import errors
from isthmus.lab.guest_image import records
from isthmus.lab.guest_image.building import PARTITION_OFFSET
from isthmus.lab.guest_image.records import Verdict
from isthmus.lab.running import run

ROOT_LOG = "/root/records.log"
DATA_LOG = "/records.log"

_SECONDS = 120.0  # a check of a gibibyte on a busy disk


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a volume shows: its records, whether its file system is whole, whether its journal has yet to be replayed."""

    log: Verdict
    whole: bool
    journal_clean: bool


def file_system(image: Path) -> str:
    """The file system of an image in the words of e2fsprogs: with an offset if the image is a disk with a partition."""
    with image.open("rb") as stream:
        start = stream.read(512)
    partitioned = len(start) == 512 and start[510:] == b"\x55\xaa" and start[446] == 0x80
    return f"{image}?offset={PARTITION_OFFSET}" if partitioned else str(image)


def inspect(image: Path, *, log: str | None = None) -> Inspection:
    """Judge the records (`log`: a path inside; else the image's usual one) and the file system of an image or volume.

    Raises `errors.CommandFailed` when there is no file system or no such file.
    """
    where = file_system(image)
    usual = ROOT_LOG if where != str(image) else DATA_LOG
    text = read(image, log or usual)
    shown = run(["dumpe2fs", "-h", where], timeout=_SECONDS).stdout
    checked = run(["e2fsck", "-fn", where], timeout=_SECONDS, check=False)
    return Inspection(
        log=records.judge(text),
        whole=checked.code == 0,
        journal_clean="needs_recovery" not in shown,
    )


def read(image: Path, path: str) -> str:
    """The text of a file inside an image. Raises `errors.CommandFailed` when it is not there."""
    where = file_system(image)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        done = run(["debugfs", "-R", f"dump {path} {target}", where], timeout=_SECONDS, check=False)
        if not target.exists() or "File not found" in done.stderr:
            raise errors.CommandFailed(done.argv, cause=done.stderr.strip()[-500:])
        return target.read_text(errors="replace")


@contextmanager
def replayed(image: Path) -> Iterator[Path]:
    """A copy of the image with its journal replayed, as a guest would find it after a power cut."""
    with tempfile.TemporaryDirectory(dir=image.parent) as folder:
        copy = Path(folder) / image.name
        shutil.copyfile(image, copy)
        run(["e2fsck", "-fy", file_system(copy)], timeout=_SECONDS, check=False)
        yield copy
