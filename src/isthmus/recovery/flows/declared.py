"""Groups, policies, recovery plans and checkpoints in the site's database.

It exists so that routes and recipes get values and never documents, and so that what contradicts
itself (a policy that is in use and taken away, a name that is taken) is refused in one place. The
truth that survives the site is in the manifests; see `isthmus.recovery.manifest`.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from sqlalchemy import orm

from isthmus import errors
from isthmus.recovery import checkpoints, declarations
from isthmus.recovery.checkpoints import Checkpoint
from isthmus.recovery.declarations import Group, Policy
from isthmus.recovery.mapping import Mapping
from isthmus.recovery.rebuild import Rebuilt
from isthmus.store import databases, tables
from isthmus.store import declared as rows

V = TypeVar("V", Group, Policy, Mapping)


class _Value(Protocol):
    @property
    def name(self) -> str: ...

    def to_document(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A declared value, with the id and revision of its row."""

    id: str
    revision: int
    value: Any


class Declared:
    """Everything declared in one site. For several threads.

    Raises UnavailableError; UsageError when something named does not exist; BusyError when somebody
    else was first, and then nothing was changed.
    """

    def __init__(self, database: databases.Database) -> None:
        self._database = database

    def groups(self) -> tuple[Group, ...]:
        """All groups, by name."""
        return tuple(each.value for each in self._known(tables.Group, Group.from_document))

    def group(self, name: str) -> Group:
        """The group with this id, or the only one with this name."""
        return _one(self.groups(), name, "protection group", "isthmus group list")

    def create_group(self, group: Group) -> Group:
        """Declare a group. Its policy must exist, its servers be in no other group."""
        declarations.check_group(group)
        declarations.check_together(group, self.groups())
        self.policy(group.policy)
        self._insert(tables.Group, group, group.id, group.project_id)
        return group

    def change_group(self, group: Group) -> Group:
        """Replace the group of that id, if it is still of the revision before."""
        declarations.check_group(group)
        declarations.check_together(group, self.groups())
        self.policy(group.policy)
        row = self._row(tables.Group, Group.from_document, group.id, "protection group")
        # Rows count by themselves: a group that was learnt from a manifest has a past elsewhere.
        expected = row.revision if row.value.revision == group.revision - 1 else -1
        self._replace(tables.Group, group, group.id, expected)
        return group

    def delete_group(self, group: Group) -> None:
        """Forget a group; its checkpoints stay in the remote store until they are deleted."""
        self._database.write(lambda session: rows.remove(session, tables.Group, group.id))

    def policies(self) -> tuple[Policy, ...]:
        """All policies, by name."""
        return tuple(each.value for each in self._known(tables.Policy, Policy.from_document))

    def policy(self, name: str) -> Policy:
        """The policy of that name."""
        return _one(self.policies(), name, "policy", "isthmus policy list")

    def create_policy(self, policy: Policy) -> Policy:
        """Declare a policy."""
        declarations.check_policy(policy)
        self._insert(tables.Policy, policy, str(uuid.uuid4()), "")
        return policy

    def change_policy(self, policy: Policy) -> Policy:
        """Replace the policy of that name."""
        declarations.check_policy(policy)
        row = self._row(tables.Policy, Policy.from_document, policy.name, "policy")
        self._replace(tables.Policy, policy, row.id, row.revision)
        return policy

    def delete_policy(self, name: str) -> None:
        """Forget a policy that no group uses."""
        row = self._row(tables.Policy, Policy.from_document, name, "policy")
        users = [group.name for group in self.groups() if group.policy == name]
        if users:
            raise errors.BusyError(
                f"the policy {name} was not deleted",
                cause=f"it protects {', '.join(users)}",
                unchanged="nothing was changed",
            )
        self._database.write(lambda session: rows.remove(session, tables.Policy, row.id))

    def plans(self) -> tuple[Mapping, ...]:
        """All recovery plans, by name."""
        return tuple(each.value for each in self._known(tables.RecoveryPlan, Mapping.from_document))

    def plan(self, name: str) -> Mapping:
        """The recovery plan of that name."""
        return _one(self.plans(), name, "recovery plan", "isthmus plan list")

    def plan_for(self, group: Group) -> Mapping | None:
        """The plan that takes the group to its backup site: of its project, or of all."""
        found = [
            each
            for each in self.plans()
            if (each.source, each.target) == (group.site, group.backup_site)
            and each.project_id in (None, group.project_id)
        ]
        return min(found, key=lambda each: each.project_id is None, default=None)

    def put_plan(self, plan: Mapping) -> Mapping:
        """Declare a recovery plan, or replace the one of that name."""
        plan = Mapping.from_document(plan.to_document())
        known = [
            each
            for each in self._known(tables.RecoveryPlan, Mapping.from_document)
            if each.value.name == plan.name
        ]
        if not known:
            self._insert(tables.RecoveryPlan, plan, str(uuid.uuid4()), "")
            return plan
        plan = dataclasses.replace(plan, revision=known[0].revision + 1)
        self._replace(tables.RecoveryPlan, plan, known[0].id, known[0].revision)
        return plan

    def delete_plan(self, name: str) -> None:
        """Forget a recovery plan."""
        row = self._row(tables.RecoveryPlan, Mapping.from_document, name, "recovery plan")
        self._database.write(lambda session: rows.remove(session, tables.RecoveryPlan, row.id))

    def checkpoints(self, group_id: str | None = None) -> tuple[Checkpoint, ...]:
        """What is known of checkpoints, the newest of each group first."""
        found = self._database.read(lambda session: rows.checkpoints(session, group_id=group_id))
        return tuple(Checkpoint.from_document(each) for each in found)

    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint."""
        found = self._database.read(lambda session: rows.checkpoint(session, checkpoint_id))
        if found is None:
            raise errors.UsageError(
                f"there is no checkpoint {checkpoint_id!r}",
                unchanged="nothing was done",
                next_command="isthmus checkpoint list",
            )
        return Checkpoint.from_document(found)

    def newest(self, group_id: str) -> Checkpoint | None:
        """The newest checkpoint of a group that can be returned to."""
        found = self.checkpoints(group_id)
        return next((each for each in found if each.phase is checkpoints.Phase.AVAILABLE), None)

    def next_sequence(self, group_id: str) -> int:
        """The number of the group's next checkpoint, counted from 1."""
        return self._database.read(lambda session: rows.last_sequence(session, group_id)) + 1

    def put_checkpoint(
        self, checkpoint: Checkpoint, database: databases.Database | None = None
    ) -> None:
        """Keep what is known of a checkpoint; `database`: the one behind the fence of a lease."""
        document = checkpoint.to_document()

        def action(session: orm.Session) -> None:
            rows.put_checkpoint(
                session,
                id=checkpoint.id,
                group_id=checkpoint.group_id,
                sequence=checkpoint.seq,
                phase=checkpoint.phase,
                document=document,
            )

        try:
            (database or self._database).write(action)
        except databases.TakenError:
            raise errors.BusyError(
                f"the checkpoint {checkpoint.seq} was not kept",
                where=f"group {checkpoint.group_id}",
                cause="another checkpoint has its number",
                unchanged="nothing was changed",
            ) from None

    def forget_checkpoint(self, checkpoint_id: str) -> None:
        """Forget a checkpoint that is gone."""
        self._database.write(lambda session: rows.forget_checkpoint(session, checkpoint_id))

    def keep(self, rebuilt: Rebuilt) -> tuple[int, int, int]:
        """Take over what manifests say; how many groups, policies and checkpoints were new or
        changed. What is declared here and newer stays."""
        policies = [each for each in rebuilt.policies if self._kept_policy(each)]
        # Who has to give a name up does so before the other takes it.
        here = {each.id: each for each in self.groups()}
        ordered = sorted(
            rebuilt.groups, key=lambda one: one.id not in here or here[one.id].name == one.name
        )
        groups = [each for each in ordered if self._kept_group(each, here.get(each.id))]
        known = {each.id: each for each in self.checkpoints()}
        fresh = [each for each in rebuilt.checkpoints if known.get(each.id) != each]
        for each in fresh:
            self.put_checkpoint(each)
        return len(groups), len(policies), len(fresh)

    def _kept_policy(self, policy: Policy) -> bool:
        if policy.name in {each.name for each in self.policies()}:
            return False
        self.create_policy(policy)
        return True

    def _kept_group(self, group: Group, known: Group | None) -> bool:
        if known is None:
            self.create_group(group)
            return True
        renamed = known.revision == group.revision and known.name != group.name
        if known.revision >= group.revision and not renamed:
            return False
        self._replace(tables.Group, group, group.id, self._revision(group.id))
        return True

    def _revision(self, group_id: str) -> int:
        found = self._known(tables.Group, Group.from_document)
        return next(each.revision for each in found if each.id == group_id)

    def _known(self, table: rows.Table, read: Callable[[dict[str, Any]], V]) -> list[Known]:
        found = self._database.read(lambda session: rows.rows(session, table))
        return [Known(id=row[0], revision=row[1], value=read(row[2])) for row in found]

    def _row(
        self, table: rows.Table, read: Callable[[dict[str, Any]], V], name: str, noun: str
    ) -> Known:
        for each in self._known(table, read):
            if name in (each.id, each.value.name):
                return each
        raise _none(noun, name, ())

    def _insert(self, table: rows.Table, value: _Value, identity: str, scope: str) -> None:
        document = value.to_document()
        try:
            self._database.write(
                lambda session: rows.insert(
                    session, table, id=identity, name=value.name, scope=scope, document=document
                )
            )
        except databases.TakenError:
            raise errors.BusyError(
                f"{value.name} was not declared",
                cause="the name is taken",
                unchanged="nothing was declared or changed",
            ) from None

    def _replace(self, table: rows.Table, value: _Value, identity: str, revision: int) -> None:
        document = value.to_document()
        won = self._database.write(
            lambda session: rows.replace(
                session,
                table,
                id=identity,
                revision=revision,
                name=value.name,
                document=document,
            )
        )
        if not won:
            raise errors.BusyError(
                f"{value.name} was not changed",
                cause="somebody else changed it meanwhile, or took it away",
                unchanged="nothing was changed",
            )


def _one(values: Iterable[V], name: str, noun: str, listing: str) -> V:
    known = tuple(values)
    found = [each for each in known if getattr(each, "id", None) == name]
    found = found or [each for each in known if each.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise errors.UsageError(
            f"there are {len(found)} of the name {name!r}",
            cause="projects may use the same name; the id says which one is meant",
            unchanged="nothing was done",
            next_command=listing,
        )
    raise _none(noun, name, known, listing)


def _none(
    noun: str, name: str, known: Iterable[V], listing: str | None = None
) -> errors.UsageError:
    names = ", ".join(sorted(each.name for each in known)) or "none"
    return errors.UsageError(
        f"there is no {noun} {name!r}",
        cause=f"those that exist: {names}",
        unchanged="nothing was done",
        next_command=listing,
    )
