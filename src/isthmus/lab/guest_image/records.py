"""Judges logs of numbered records, and the logs of a protocol among three guests. Pure: text in, verdict out.

A log consists of lines `NUMBER SECONDS PREVIOUS HASH`: HASH is SHA-256 of the line before it (with its newline), PREVIOUS the
hash of the record before, 0 for the first. The guest counts a record when it is on the disk.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a log holds: whole records, how many of them are bad, the time of the last good one (Unix seconds), a torn tail.

    A torn tail (a last line without its newline) is no bad record: its guest had promised it to nobody.
    """

    records: int
    bad: int
    last: int | None
    torn: bool

    @property
    def good(self) -> int:
        return self.records - self.bad


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How far the three guests of the protocol had come, each by its own volumes."""

    issued: int
    acknowledged: int
    persisted: int

    @property
    def unfinished(self) -> int:
        """Numbers that were acknowledged and had not reached the database: the middle hands them over when it runs again."""
        return self.acknowledged - self.persisted


def judge(text: str) -> Verdict:
    """Check every record: its number, its link to the record before, its checksum."""
    *lines, rest = text.split("\n")
    bad, previous, last = 0, "0", None
    for number, line in enumerate(lines, start=1):
        fields = line.split(" ")
        if len(fields) == 4 and _whole(fields, number, previous):
            last = int(fields[1])
        else:
            bad += 1
        previous = fields[-1]
    return Verdict(records=len(lines), bad=bad, last=last, torn=rest != "")


def _whole(fields: list[str], number: int, previous: str) -> bool:
    said = " ".join(fields[:3])
    proper = fields[0] == str(number) and fields[1].isdecimal() and fields[2] == previous
    return proper and hashlib.sha256(f"{said}\n".encode()).hexdigest() == fields[3]


def restored(tests: Iterable[Mapping[str, Any]]) -> Cut | None:
    """What three guests that were restored had when they booted, by the figures of `verify` in each; None if one does not say."""
    said = {name: value for figures in tests for name, value in figures.items()}
    try:
        return Cut(
            issued=int(said["issued_at_boot"]),
            acknowledged=int(said["acknowledged_at_boot"]),
            persisted=int(said["persisted_at_boot"]),
        )
    except KeyError:
        return None


def impossible(cut: Cut) -> str | None:
    """Why three volumes cannot have been taken at one point in time, or None if they can.

    Whatever reached a later guest was on an earlier one's disk before. So at any instant persisted <= acknowledged <= issued.
    """
    if cut.acknowledged > cut.issued:
        return f"{cut.acknowledged} acknowledged, only {cut.issued} issued"
    if cut.persisted > cut.acknowledged:
        return f"{cut.persisted} persisted, only {cut.acknowledged} acknowledged"
    return None
