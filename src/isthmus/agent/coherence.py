"""Threads that follow the site's identity databases and publish their generations to this host's Keystones.

One per database, so that one that hangs holds up no other. What a stream and a look prove is `isthmus.identity.coherence`'s.
"""

import logging
from dataclasses import dataclass
from typing import Any

from isthmus.agent import binlog, databases, generation_file
from isthmus.agent.config import Account, Database
from isthmus.agent.looping import Loop
from isthmus.identity import coherence

# A proof is good for a second by default (the Keystones' setting), so that this leaves room for a busy host.
PROVE_EVERY = 0.1
# After a stream has ended. It is not followed meanwhile, and its Keystones go on without.
AGAIN_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was last published of a database, for the status; `error`: why it is not followed."""

    generation: int = 0
    changes: int = 0
    proven_at: float = 0.0
    error: str | None = "not followed yet"

    def document(self, at: float) -> dict[str, Any]:
        """As `/status` shows it."""
        followed = self.error is None
        return {
            "followed": followed,
            "changes": self.changes,
            "proven_age_seconds": round(at - self.proven_at, 3) if followed else None,
            "error": self.error,
        }


class Follower(Loop):
    """Follows one database for as long as its stream lasts, and then again from where its log is by then."""

    def __init__(self, database: Database, account: Account, file: generation_file.File) -> None:
        super().__init__(f"{database.name}-follower", AGAIN_SECONDS)
        self.database = database
        self.told = Told()
        self._account, self._file = account, file
        self._slot: generation_file.Slot | None = None
        self._generation = generation_file.first_generation()

    def tick(self) -> None:
        opened: list[databases.Session] = []
        try:
            self._follow(opened)
        except databases.DatabaseError as error:
            self._lost(str(error))
        except (coherence.RewoundError, ValueError) as error:
            self._lost(f"{self.database.address}: {error}")
        finally:
            if self._slot is not None:
                self._slot.publish(self._generation, 0.0)
            for session in opened:
                session.close()

    def _follow(self, opened: list[databases.Session]) -> None:
        eye = databases.Session(self.database.address, self._account)
        opened.append(eye)
        if why := binlog.unfit(eye):
            raise databases.DatabaseError(f"{self.database.address}: {why}", answered=True)
        self._slot = self._file.slot(binlog.identity(eye), self.database.name)
        stream = binlog.Stream(self.database.address, self._account)
        opened.append(stream)
        start = binlog.look(eye)
        stream.open(start)
        # What happened while nobody followed is unknown, so that this is a new generation in any case.
        self._generation += 2
        state = coherence.begin(self._generation, start.asked_at, start.place)
        self._publish(state)
        log.info("%s: is followed from %s:%d on", self.database.name, start.file, start.offset)
        while not self._stopping.is_set():
            state = self._step(state, stream.next(), eye)

    def _step(
        self, state: coherence.State, event: binlog.Event, eye: databases.Session
    ) -> coherence.State:
        touched = event.touches
        before, state = state, coherence.read(state, event.at, touched=touched)
        if state.generation != before.generation:
            # Before anything else is asked: from here on no Keystone uses what it has.
            self._publish(state)
        ends = event.kind in (coherence.Kind.XID, coherence.Kind.QUERY, coherence.Kind.HEARTBEAT)
        due = state.asked is None and binlog.clock() - state.proven_at >= PROVE_EVERY
        if (state.changing and ends) or due:
            found = binlog.look(eye)
            state = coherence.looked(state, found.asked_at, found.place)
        if state != before:
            self._publish(state)
        return state

    def _publish(self, state: coherence.State) -> None:
        if self._slot is not None:
            self._slot.publish(state.generation, state.proven_at)
        # What is said when the stream ends must be even, and what is said after that must be new.
        self._generation = state.generation + state.generation % 2
        changed = state.generation > self.told.generation and not state.changing
        self.told = Told(
            generation=state.generation,
            changes=self.told.changes + (1 if changed else 0),
            proven_at=state.proven_at,
            error=None,
        )

    def _lost(self, why: str) -> None:
        if self.told.error != why:
            log.warning("%s: is not followed: %s", self.database.name, why)
        self.told = Told(changes=self.told.changes, error=why)
