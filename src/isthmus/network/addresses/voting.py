"""One site's voter: its ballots in memory and on disk.

It exists so that a promise outlives the process that made it. It decides nothing (`voters` does) and
talks to nobody (`links` and `api` do). Two engines of one site never vote both: the second one finds
the lock taken and says so to whoever asks, until the first one has ended.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.network.addresses import voters
from isthmus.network.addresses.voters import Ask, Ballot, Promise, Release, Word

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What the own voter knows of an address. `owner`: to whom it is promised now; `last`: to whom
    it was promised last; `free_for`: seconds since that ended; `epoch`: the highest seen."""

    owner: str | None = None
    last: str | None = None
    remaining: float = 0.0
    free_for: float = 0.0
    epoch: int = 0


class Voter:
    """The voter of one site. For several threads.

    Invariant: a promise to another claim than before is on disk before it is told.
    """

    def __init__(
        self, site: str, directory: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.site = site
        self._file, self._lock_file = directory / "votes.json", directory / "votes.lock"
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._ballots: dict[str, Ballot] = {}
        self._saved: dict[str, tuple[Any, ...]] = {}
        self._blank_until = 0.0
        self._began = clock()

    @property
    def active(self) -> bool:
        """Whether this process is the one that votes for its site."""
        with self._lock:
            return self._votes()

    def ask(self, ask: Ask) -> Word:
        """Vote."""
        with self._lock:
            if not self._votes():
                return _silent(self.site, ask)
            now = self._clock()
            ballot, word = voters.vote(self.site, self._ballot(ask.address, now), ask, now)
            self._keep(ask.address, ballot)
            return word

    def release(self, given: Release) -> None:
        """Let go of a promise."""
        with self._lock:
            if self._votes() and given.address in self._ballots:
                ballot = voters.release(self._ballots[given.address], given)
                self._keep(given.address, ballot)

    def know(self, address: str) -> Knowledge:
        """What is promised to whom."""
        with self._lock:
            now = self._clock()
            ballot = self._ballot(address, now)
            live, promise = ballot.live(now), ballot.promise
            ended = promise.until if promise else self._began
            return Knowledge(
                owner=live.owner if live else None,
                last=promise.owner if promise else None,
                remaining=live.until - now if live else 0.0,
                free_for=0.0 if live else now - ended,
                epoch=ballot.highest,
            )

    def _ballot(self, address: str, now: float) -> Ballot:
        known = self._ballots.get(address)
        if known is not None:
            return known
        if now < self._blank_until:
            # Nothing was on disk: what was promised before is not known.
            left = self._blank_until - voters.LONGEST_LEASE
            return voters.blank(left)
        return Ballot()

    def _keep(self, address: str, ballot: Ballot) -> None:
        self._ballots[address] = ballot
        saved = ballot.saved()
        if self._saved.get(address) != saved:
            self._write()
            self._saved[address] = saved

    def _write(self) -> None:
        document = {
            address: {"highest": each.highest, "promise": _promise(each.promise)}
            for address, each in self._ballots.items()
        }
        draft = self._file.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._file)
        descriptor = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _votes(self) -> bool:
        """Take the lock of the site's voter if nobody has it; then remember."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self._remember()
        return True

    def _remember(self) -> None:
        now = self._clock()
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            self._ballots = {
                address: voters.restored(_ballot(each), now) for address, each in document.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.warning(
                "no votes are remembered (%s); nothing is promised for %g s",
                error,
                voters.LONGEST_LEASE,
            )
            self._ballots, self._blank_until = {}, now + voters.LONGEST_LEASE
        self._saved = {address: each.saved() for address, each in self._ballots.items()}

    def close(self) -> None:
        """Let another process vote."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _promise(promise: Promise | None) -> dict[str, Any] | None:
    """What is kept of a promise: the moment of its end means nothing to another process."""
    if promise is None:
        return None
    document = dataclasses.asdict(promise)
    del document["until"]
    return document


def _ballot(document: Any) -> Ballot:
    kept = document["promise"]
    promise = Promise(**kept, until=0.0) if kept else None
    return Ballot(promise=promise, highest=int(document["highest"]))


def _silent(site: str, ask: Ask) -> Word:
    return Word(
        voter=site,
        address=ask.address,
        claim=ask.claim,
        round=ask.round,
        granted=False,
        highest=0,
        owner=None,
        remaining=0.0,
        reason="another engine of this site votes",
    )
