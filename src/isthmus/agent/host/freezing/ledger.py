"""The files of the dead-man: ``armed/DOMAIN.json`` and ``fired/DOMAIN.ROUND.GUARD.json``.

A file is written to a draft, flushed to the disk, renamed, and its directory flushed; so after a
crash or a loss of power it is whole, or not there. Entries are written by the agent alone, and each
guard writes its own record, so that no lock is needed: a stopped process could not give one back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from isthmus.agent.host.freezing import entries
from isthmus.agent.host.freezing.entries import Entry, EntryError, Outcome

AGENT, WATCHDOG = "agent", "watchdog"
KEPT_SECONDS = 86400.0
"""How long records of rounds that are over are kept."""


class Ledger:
    """The files under one directory. For several threads and processes; see above."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._armed, self._fired = directory / "armed", directory / "fired"
        for each in (directory, self._armed, self._fired):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def arm(self, entry: Entry) -> None:
        """On the disk when this returns. Raises OSError: then nothing is armed."""
        _write(self._armed / f"{entry.domain}.json", entries.write(entry), lasting=True)

    def note(self, entry: Entry) -> None:
        """Replace an entry by one that says more; whether it outlives a loss of power is no matter,
        since the guests do not."""
        _write(self._armed / f"{entry.domain}.json", entries.write(entry), lasting=False)

    def disarm(self, entry: Entry) -> None:
        (self._armed / f"{entry.domain}.json").unlink(missing_ok=True)

    def entry(self, domain: str) -> Entry | None:
        """Raises EntryError if there is one that cannot be read."""
        path = self._armed / f"{domain}.json"
        try:
            return entries.read_entry(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise EntryError(f"{path}: {error}") from error

    def entries(self) -> tuple[dict[str, Entry], dict[str, str]]:
        """All that can be read by domain, and for all others what is wrong."""
        good: dict[str, Entry] = {}
        bad: dict[str, str] = {}
        for path in sorted(self._armed.glob("*.json")):
            try:
                if found := self.entry(path.stem):
                    good[path.stem] = found
            except EntryError as error:
                bad[path.stem] = str(error)
        return good, bad

    def record(self, outcome: Outcome) -> None:
        """Write down what a guard did, instead of what it wrote before."""
        name = f"{outcome.domain}.{outcome.round}.{outcome.by}.json"
        _write(self._fired / name, entries.write(outcome), lasting=True)

    def outcomes(self, domain: str = "*", round_id: str = "*") -> list[Outcome]:
        """What guards did, first things first; records that cannot be read are left out."""
        found = []
        for path in self._fired.glob(f"{domain}.{round_id}.*.json"):
            try:
                found.append(entries.read_outcome(path.read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError, EntryError):
                continue
        mine = [each for each in found if domain in ("*", each.domain)]
        return sorted(mine, key=lambda each: each.fired_wall)

    def tidy(self) -> None:
        """Remove records that nobody will ask for."""
        for path in self._fired.glob("*.json"):
            try:
                if path.stat().st_mtime < time.time() - KEPT_SECONDS:
                    path.unlink(missing_ok=True)
            except OSError:
                continue


def _write(path: Path, text: str, *, lasting: bool) -> None:
    """Replace a file as a whole. Drafts of two writers do not meet."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        if lasting:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    if lasting:
        _flush(path.parent)


def _flush(directory: Path) -> None:
    """Let the rename be on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
