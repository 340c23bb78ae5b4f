"""Recovery in one engine: desk, runner, schedule and the keeper of stale members over one database,
started and stopped together.

It exists so that the engine needs to know one object. Everything may be used from any thread; routes
take `desk` and `declared`, and `validate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from isthmus.operations import records
from isthmus.operations.desk import Asker, Desk, Request
from isthmus.operations.kinds import Kind, Origin, Privilege
from isthmus.operations.leases import SECONDS
from isthmus.operations.runner import Runner, new_owner
from isthmus.operations.values import Operation, Person, Phase
from isthmus.outcomes import Outcome
from isthmus.recovery import findings, manifest
from isthmus.recovery import rebuild as rebuilding
from isthmus.recovery.declarations import Group
from isthmus.recovery.findings import Finding
from isthmus.recovery.flows import bringing, returning
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.looking import Looking
from isthmus.recovery.flows.means import Means
from isthmus.recovery.flows.stale_members import StaleMembers
from isthmus.recovery.mapping import Mapping
from isthmus.recovery.plans import creating
from isthmus.store import databases

LOOK_SECONDS = 5.0
"""How often the schedule is looked at; policies count in minutes."""

SCHEDULER = Person(id="schedule", name="schedule")


class Service:
    """See the module. `means` is made by the engine, with the `operations` of this database."""

    def __init__(
        self,
        database: databases.Database,
        means: Means,
        stale_members: StaleMembers,
        *,
        lease_seconds: float = SECONDS,
    ) -> None:
        self.means, self.declared = means, means.declared
        self._stale_members = stale_members
        self.runner = Runner(
            database,
            returning.recipes(means, database),
            owner=new_owner(means.site),
            lasts=lease_seconds,
        )
        self.desk = Desk(database, means.site, changed=self.runner.wake)
        self._schedule = Schedule(self.desk, self.declared, means.site)

    def start(self) -> None:
        """Begin to work; what was cut off is gone on with."""
        self._stale_members.start()
        self.runner.start()
        self._schedule.start()

    def stop(self) -> None:
        """Begin nothing more; what runs is gone on with by the next engine."""
        self._schedule.stop()
        self._stale_members.stop()
        self.runner.stop()

    def findings(self, group_id: str) -> Sequence[Finding]:
        """What is known of a group's members in this site that may not run here."""
        return self._stale_members.findings(group_id)

    def validate(self, plan: Mapping, *, create: bool) -> Sequence[Finding]:
        """What would keep the groups of a plan from coming back here now, each by its newest
        checkpoint; `create`: make first what can be made safely."""
        found: list[Finding] = []
        for group in self.declared.groups():
            if self.declared.plan_for(group) == plan:
                found += self._validated(group, create=create)
        return found

    def rebuild(self) -> tuple[tuple[int, int, int], Sequence[Finding]]:
        """Learn groups, policies and checkpoints from the manifests of the remote store: how many of
        each were new, and what is wrong with the others. Raises StoreError."""
        store, places = self.means.store, self.means.store.places()
        stored = []
        for place in places:
            found, signature = store.manifest(place)
            stored.append(rebuilding.Stored(place=place, manifest=found, signature=signature))
        markers = {place.group_id: self.means.epochs.latest(place.group_id) for place in places}
        rebuilt = rebuilding.rebuild(
            stored, site=self.means.site, ring=self.means.ring, markers=markers
        )
        return self.declared.keep(rebuilt), rebuilt.findings

    def _validated(self, group: Group, *, create: bool) -> Sequence[Finding]:
        newest = self.declared.newest(group.id)
        if newest is None:
            return [_unprotected(group)]
        known: manifest.Manifest = self.means.manifest(newest)
        validation = bringing.validated(self.means, known)
        if create and validation.creations:
            clients = self.means.clients(self.means.target_project(group))
            creating.create(clients, validation.creations)
            validation = bringing.validated(self.means, known)
        return validation.findings


def _unprotected(group: Group) -> Finding:
    return Finding(
        code=findings.Code.NO_RESTORE_PATH,
        outcome=Outcome.ERROR,
        subject=f"group {group.name}",
        site=group.backup_site,
        summary="it has no checkpoint that can be returned to",
        cause="none was made, or none is known here",
        remedy=f"isthmus operation protect {group.name}",
        servers=tuple(member.name for member in group.members),
    )


def operations_of(database: databases.Database) -> Callable[[str], Sequence[Operation]]:
    """For `Means.operations`."""
    return lambda group_id: records.listed(database, group_id=group_id)


class Schedule(Looking):
    """Asks for checkpoints as policies say. It can ask for nothing else: see `kinds`."""

    def __init__(
        self,
        desk: Desk,
        declared: Declared,
        site: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            "recovery-schedule",
            LOOK_SECONDS,
            first=LOOK_SECONDS,
            unknown="the schedule cannot be looked at",
        )
        self._desk, self._declared, self._site, self._clock = desk, declared, site, clock

    def look(self) -> None:
        """Ask for what is due."""
        for group in self._declared.groups():
            if group.site == self._site and self._due(group):
                self._ask(group)

    def _due(self, group: Group) -> bool:
        """From one checkpoint's start to the next's; never two at once."""
        every = self._declared.policy(group.policy).schedule_s
        if every is None:
            return False
        known = self._desk.operations(group.id)
        if any(each.phase is not Phase.FINISHED for each in known):
            return False
        last = [each.requested_at for each in known if each.kind is Kind.PROTECT]
        return self._clock() - max(last, default=0.0) >= every

    def _ask(self, group: Group) -> None:
        asker = Asker(
            person=SCHEDULER,
            privileges=frozenset({Privilege.OPERATE}),
            origin=Origin.SCHEDULE,
        )
        request = Request(kind=Kind.PROTECT, group_id=group.id, group=group.name)
        self._desk.request(asker, request)
