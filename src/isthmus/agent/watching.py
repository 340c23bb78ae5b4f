"""Threads that look: one per master, one per database, each with its connection and its limits.

A database that hangs holds up nothing but its own thread. What is decided lies in
`isthmus.identity`; what is done about it in `isthmus.agent.acting`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from isthmus.agent import databases
from isthmus.agent.acting import NodeActor, ReplicaActor
from isthmus.agent.config import Account, Address, Config, Database
from isthmus.agent.looping import Loop
from isthmus.agent.reports import Cluster, Report
from isthmus.identity import membership, replication, writer
from isthmus.identity.positions import Position

LOOK_EVERY = 0.25
MASTER_EVERY = 1.0
# Settings of a server change when somebody changes them.
VARIABLES_EVERY = 5.0

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Eye:
    """A connection that is kept between looks, and made anew when it broke."""

    def __init__(
        self,
        address: Address,
        account: Account,
        *,
        node: bool = False,
        seconds: float = databases.LOOK_SECONDS,
    ) -> None:
        """`seconds`: the longest that one statement may take."""
        self._address, self._account, self._node = address, account, node
        self._seconds = seconds
        self._session: databases.Session | None = None

    def look(self, question: Callable[[databases.Session], _T]) -> _T:
        """Ask; a connection that broke since the last look is replaced once before it counts."""
        if self._session is not None:
            try:
                return question(self._session)
            except databases.DatabaseError as error:
                if error.answered:
                    raise
                self.close()
        self._session = databases.Session(self._address, self._account, self._seconds)
        try:
            if self._node:
                databases.prepare_node(self._session)
            return question(self._session)
        except databases.DatabaseError as error:
            if not error.answered:
                self.close()
            raise

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


class MasterWatch(Loop):
    """Looks at one writer site's database with the replication user."""

    def __init__(self, name: str, address: Address, account: Account) -> None:
        super().__init__(f"master-{name}", MASTER_EVERY)
        self.site = name
        self._eye = Eye(address, account)
        self.view = replication.Master(
            at=float("-inf"), usable=False, position=Position(), reason="not observed yet"
        )

    def tick(self) -> None:
        try:
            self.view = self._eye.look(lambda s: databases.look_at_master(s, time.monotonic))
        except databases.DatabaseError as error:
            self.view = replace(self.view, at=time.monotonic(), usable=False, reason=str(error))

    def close(self) -> None:
        self._eye.close()


class Watch(Loop):
    """What the two kinds of watch share: the connection, the published report and the log of its changes."""

    def __init__(self, database: Database, *, node: bool) -> None:
        super().__init__(database.name, LOOK_EVERY)
        self.database = database
        self._eye = Eye(database.address, database.account, node=node)
        self.known_variables: Mapping[str, str] | None = None
        self._variables_at = float("-inf")
        self.report = Report(
            at=time.monotonic(), name=database.name, kind=database.kind, home=database.home
        )

    def publish(self, report: Report) -> None:
        before, self.report = self.report, report
        if (before.verdict, before.writer_until > 0) != (report.verdict, report.writer_until > 0):
            level = logging.INFO if report.serving else logging.WARNING
            log.log(level, "%s: %s: %s", report.name, report.verdict, report.reason)

    def ask_variables(self) -> None:
        """How the server is set, asked now and then and kept in between. No verdict depends on it, so that it is
        asked when the report is out."""
        if time.monotonic() - self._variables_at < VARIABLES_EVERY:
            return
        self._variables_at = time.monotonic()
        try:
            self.known_variables = self._eye.look(databases.variables)
        except databases.DatabaseError as error:
            self.known_variables = None
            log.info("%s: its variables are not known: %s", self.database.name, error)

    def loops(self) -> list[Loop]:
        """The threads that this watch is made of."""
        return [self]

    def close(self) -> None:
        self._eye.close()


class ReplicaWatch(Watch):
    """Looks at one replica, has it judged, and hands what is to be done to its actor."""

    def __init__(
        self, config: Config, database: Database, masters: Mapping[str, MasterWatch]
    ) -> None:
        super().__init__(database, node=False)
        self._config, self._masters = config, masters
        self._state = replication.State()
        self.actor = ReplicaActor(config, database)

    def tick(self) -> None:
        while (outcome := self.actor.outcome()) is not None:
            self._state = replication.acted(
                self._state, time.monotonic(), outcome.master, refused=outcome.refused
            )
        seen = self._look()
        decision = replication.observe(
            self._state, seen, self._config.policy.replica, self.database.home
        )
        self._state = decision.state
        self.publish(self._report(seen, decision))
        if decision.action.master is not None:
            self.actor.submit(decision.action, decision.reason)
        if seen.replica is not None:
            self.ask_variables()

    def _look(self) -> replication.Observation:
        replica, error, answered = None, "", False
        try:
            replica = self._eye.look(lambda s: databases.look_at_replica(s, self._config.master_at))
        except databases.DatabaseError as problem:
            error, answered = str(problem), problem.answered
        return replication.Observation(
            at=time.monotonic(),
            now=datetime.now(UTC),
            replica=replica,
            masters={name: watch.view for name, watch in self._masters.items()},
            error=error,
            answered=answered,
            may_act=self.actor.ready,
        )

    def _report(self, seen: replication.Observation, decision: replication.Decision) -> Report:
        replica = seen.replica
        return replace(
            self.report,
            at=seen.at,
            serving=decision.verdict is replication.Verdict.SERVING,
            verdict=decision.verdict,
            reason=decision.reason,
            position=str(replica.applied) if replica else self.report.position,
            master=replica.stream.master if replica and replica.stream else self.report.master,
            lag_seconds=decision.lag_seconds,
            advance_age_seconds=decision.advance_age_seconds,
            lease=self.actor.lease,
            last_event=self.actor.last_event,
            variables=self.known_variables if replica else None,
        )

    def loops(self) -> list[Loop]:
        return [self, self.actor]


class GaleraWatch(Watch):
    """Looks at a Galera node of this site; what a look means is `judged`."""

    def __init__(self, config: Config, database: Database) -> None:
        super().__init__(database, node=True)
        self._config = config

    def tick(self) -> None:
        try:
            view, position = self._eye.look(lambda s: databases.look_at_node(s, time.monotonic))
        except databases.DatabaseError as error:
            self._publish_failure(error)
            return
        seen = replace(
            self.report,
            at=view.at,
            position=position,
            cluster=Cluster(
                status=view.status,
                size=view.size,
                members=(*view.members, *view.arbitrators),
                state=view.state,
            ),
            variables=self.known_variables,
        )
        self.publish(self.judged(view, seen))
        self.ask_variables()

    def judged(self, view: writer.View, seen: Report) -> Report:
        """The report of what was seen, completed by what follows from it."""
        raise NotImplementedError

    def _publish_failure(self, error: databases.DatabaseError) -> None:
        verdict = writer.Verdict.UNKNOWN if error.answered else writer.Verdict.UNREACHABLE
        problem = "refuses to be looked at" if error.answered else "does not answer"
        self.publish(
            replace(
                self.report,
                at=time.monotonic(),
                serving=False,
                writer_until=0.0,
                verdict=verdict,
                reason=f"the database {problem}: {error}",
                cluster=None,
                lag_seconds=None,
                variables=None,
            )
        )


class MemberWatch(GaleraWatch):
    """Looks at a node of a cluster that follows; there is nothing to do about one."""

    def judged(self, view: writer.View, seen: Report) -> Report:
        limit = self._config.policy.lag_limit_seconds
        before = writer.Verdict(self.report.verdict)
        found = membership.judge(view, self.database.node, before, lag_limit_seconds=limit)
        return replace(
            seen,
            serving=found.verdict is writer.Verdict.SERVING,
            verdict=found.verdict,
            reason=found.reason,
            lag_seconds=found.lag_seconds,
            lease="none is needed: nothing is done about a node that takes no writes",
        )


class NodeWatch(GaleraWatch):
    """Looks at a Galera node that may take the writes, and decides whether it does."""

    def __init__(self, config: Config, database: Database) -> None:
        super().__init__(config, database)
        self._state = writer.State()
        self.actor = NodeActor(config, database)

    def judged(self, view: writer.View, seen: Report) -> Report:
        decision = writer.decide(
            self._state,
            view,
            self.database.node,
            self._config.writer_preference,
            self._config.policy.writer,
        )
        self._state = decision.state
        self.actor.told(view.at, decision)
        return replace(
            seen,
            serving=decision.verdict is writer.Verdict.SERVING,
            verdict=decision.verdict,
            reason=decision.reason,
            writer_until=decision.writer_until,
            lag_seconds=decision.lag_seconds,
        )

    def publish(self, report: Report) -> None:
        super().publish(replace(report, lease=self.actor.lease, last_event=self.actor.last_event))

    def loops(self) -> list[Loop]:
        return [self, self.actor]
