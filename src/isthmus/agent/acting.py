"""Threads that act on a database: they hold its lease, re-point a replica, renew the writes.

The lease is a named lock of the database server itself, held by the connection that acts: when the
connection is gone, so is the right to act. A second agent only looks.
"""

import logging
import queue
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus.agent import databases, repointing
from isthmus.agent.config import Config, Database
from isthmus.agent.looping import Loop
from isthmus.identity import replication, writer

LEASE_EVERY = 1.0
# A decision older than this is not acted upon: looking has stopped meanwhile.
DECISION_SECONDS = 2.0

log = logging.getLogger(__name__)


class Actor(Loop):
    """Holds the lease of one database and remembers the last event."""

    seconds = databases.LOOK_SECONDS

    def __init__(self, database: Database, interval: float) -> None:
        super().__init__(f"{database.name}-actor", interval)
        self.database = database
        self.lease: str | None = "the lease is not held yet"
        self.last_event: str | None = None
        self._session: databases.Session | None = None
        self._leased_at = float("-inf")

    def tick(self) -> None:
        try:
            session = self._held()
            if session is not None:
                self.act(session)
        except databases.DatabaseError as error:
            self._lost(f"the lease is not held: {error}")

    def _held(self) -> databases.Session | None:
        """The session that holds the lease, None if another agent has it."""
        if self._session is None:
            address, account = self.database.address, self.database.account
            self._session = databases.Session(address, account, self.seconds)
            self._leased_at = float("-inf")
        if time.monotonic() - self._leased_at >= LEASE_EVERY:
            before = self.lease
            self.lease = databases.take_lease(self._session, self.database.name)
            self._leased_at = time.monotonic()
            if self.lease != before:
                log.info("%s: %s", self.database.name, self.lease or "the lease is held")
        return self._session if self.lease is None else None

    def _lost(self, why: str) -> None:
        if self.lease is None:
            log.warning("%s: %s", self.database.name, why)
        self.lease = why
        self.close()

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def event(self, text: str, *, good: bool = True) -> None:
        """Remember and log something that happened to the database."""
        log.log(logging.INFO if good else logging.WARNING, "%s: %s", self.database.name, text)
        self.last_event = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}"

    def act(self, session: databases.Session) -> None:
        """Do what is due; only called with the lease."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An action has ended; `refused`: the new master did not give the stream."""

    master: str
    refused: bool


class ReplicaActor(Actor):
    """Re-points one replica when its watch says so."""

    seconds = databases.CHANGE_SECONDS

    def __init__(self, config: Config, database: Database) -> None:
        super().__init__(database, 0.1)
        self._config = config
        self._job: queue.SimpleQueue[tuple[replication.Action, str]] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy = False

    @property
    def ready(self) -> bool:
        return self.lease is None and not self._busy

    def submit(self, action: replication.Action, why: str) -> None:
        """Have an action done; only when `ready`."""
        self._busy = True
        self._job.put((action, why))

    def outcome(self) -> Outcome | None:
        """What became of the last action, once."""
        try:
            return self._outcomes.get_nowait()
        except queue.Empty:
            return None

    def tick(self) -> None:
        super().tick()
        if self._busy and self.lease is not None:
            # The lease was lost before the action was begun; if it is still due, it is found again.
            self._drop()

    def _drop(self) -> None:
        try:
            action, _ = self._job.get_nowait()
        except queue.Empty:
            return
        self._finish(action.master or "", refused=False)

    def _finish(self, master: str, *, refused: bool) -> None:
        self._outcomes.put(Outcome(master=master, refused=refused))
        self._busy = False

    def act(self, session: databases.Session) -> None:
        try:
            action, why = self._job.get_nowait()
        except queue.Empty:
            return
        target = action.master or ""
        refused = False
        try:
            result = repointing.repoint(session, self._config, target)
            refused = result.refused
            self.event(f"{result.text}; because: {why}", good=result.succeeded)
        except databases.DatabaseError as error:
            self.event(f"re-pointing to {target} failed: {error}", good=False)
            raise
        finally:
            self._finish(target, refused=refused)


class NodeActor(Actor):
    """Renews or claims the writes for this site's node, twice a second."""

    def __init__(self, config: Config, database: Database) -> None:
        super().__init__(database, config.policy.heartbeat_seconds)
        self._node = database.node
        self._told: tuple[float, writer.Decision] | None = None

    def told(self, at: float, decision: writer.Decision) -> None:
        """Take note of the latest decision, made at monotonic time `at`."""
        self._told = at, decision

    def act(self, session: databases.Session) -> None:
        told = self._told
        if told is None or time.monotonic() - told[0] > DECISION_SECONDS:
            return
        decision = told[1]
        if decision.act is writer.Act.RENEW:
            databases.renew(session, self._node, decision.epoch)
        elif decision.act is writer.Act.CLAIM:
            self._claim(session, decision)

    def _claim(self, session: databases.Session, decision: writer.Decision) -> None:
        if databases.claim(session, self._node, decision.epoch):
            epoch = decision.epoch + 1
            self.event(
                f"{self._node} takes the writes at epoch {epoch}; because: {decision.reason}"
            )
