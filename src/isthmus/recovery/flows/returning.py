"""The recipes of drills, failovers and cleanups: prechecks, what will be lost, the steps.

Boot order is the reverse of the freeze order: a member boots when all members of the level before
answer their tests. Volumes are restored in parallel from the beginning.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.operations import flows
from isthmus.operations.kinds import Kind
from isthmus.operations.ledger import Ledger, left
from isthmus.operations.recipes import Recipes, Result, Run, Thing
from isthmus.operations.values import Finding, Level, Operation, Plan, PlannedStep
from isthmus.recovery import documents
from isthmus.recovery.checkpoints import Checkpoint
from isthmus.recovery.declarations import Member
from isthmus.recovery.epochs import Marker
from isthmus.recovery.flows import (
    bringing,
    bringing_undo,
    floating,
    prechecks,
    protect,
    protect_undo,
)
from isthmus.recovery.flows.bringing import Bringing
from isthmus.recovery.flows.means import Kept, Means
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.plans.inventory import TargetServer
from isthmus.store import databases

Targets = Mapping[str, TargetServer]
"""By source server."""


def unknown_bytes(found: Manifest) -> str:
    """Why nobody can say how many bytes a failover gives up. A snapshot goes when it is backed up: kept,
    it would hold every block that is overwritten, and what it tells would be lost with its site."""
    site = found.group.site
    return (
        f"not known: no snapshot of the checkpoint is kept in {site} that its volumes could be compared"
        " with, and a lost site cannot be asked"
    )


_SPACE = uuid.UUID("0f4f3c52-9a0b-4f2e-9d5e-5b0a0f6f4f6d")


class Returning:
    """Plans a drill or a failover."""

    def __init__(self, means: Means, kept: Kept, *, isolated: bool) -> None:
        self._means, self._kept, self._isolated = means, kept, isolated

    def plan(self, operation: Operation) -> Plan:
        means = self._means
        group = means.declared.group(operation.group_id)
        chosen = self._chosen(operation)
        found = self._kept.manifest(chosen.id)
        validation = bringing.validated(means, found, isolated=self._isolated)
        findings = [
            *prechecks.others(operation, means.operations(group.id)),
            *prechecks.as_findings(validation.findings),
        ]
        if not self._isolated:
            findings += self._owned(found)
        bringing.records_of(means, found)
        at = chosen.frozen_at
        return Plan(
            made_at=datetime.datetime.now(datetime.UTC).timestamp(),
            steps=tuple(self._steps(found, validation.targets)),
            commit=() if self._isolated else (_OWN,),
            data_at=at.timestamp() if at else None,
            checkpoint_id=chosen.id,
            findings=tuple(findings),
            facts={
                "Returns to": f"checkpoint {chosen.seq}, {chosen.consistency}",
                "Members": ", ".join(each.name for each in group.members),
                "To": f"{means.site}, " + ("isolated networks" if self._isolated else "for good"),
                **({} if self._isolated else {"Written since": unknown_bytes(found)}),
            },
        )

    def _chosen(self, operation: Operation) -> Checkpoint:
        wanted = operation.parameters.get("checkpoint")
        found = (
            self._means.declared.checkpoint(str(wanted))
            if wanted
            else self._means.declared.newest(operation.group_id)
        )
        if found is None or found.group_id != operation.group_id:
            raise errors.UsageError(
                f"group {operation.group} has no such checkpoint",
                cause="none can be returned to" if found is None else "it is another group's",
                unchanged="nothing was done",
                next_command="isthmus recovery rebuild, then isthmus checkpoint list",
            )
        return found

    def _owned(self, found: Manifest) -> Iterator[Finding]:
        latest = self._means.epochs.latest(found.group.id)
        if (
            latest is not None
            and latest.epoch > found.checkpoint.epoch
            and (latest.site not in (found.group.site, self._means.site))
        ):
            yield Finding(
                level=Level.ERROR,
                summary=f"the group belongs to site {latest.site}",
                cause=f"operation {latest.operation_id} moved it there",
                remedy="fail over from there, with a checkpoint that was made there",
            )

    def _steps(self, found: Manifest, targets: Targets) -> Iterator[PlannedStep]:
        before: tuple[str, ...] = ()
        if not self._isolated:
            yield PlannedStep(name="claim", title="claim the group for this site", action="claim")
            before = ("claim",)
        yield PlannedStep(
            name="import", title="make the backups known here", action="import", after=before
        )
        if self._isolated:
            for network in found.definitions.networks:
                yield PlannedStep(
                    name=f"isolate-{network.id}",
                    title=f"make an isolated network like {network.name}",
                    action="isolate",
                    arguments={"network": network.id},
                    after=("import",),
                )
        yield from self._restores(found, targets)
        yield from self._boots(found, targets)

    def _restores(self, found: Manifest, targets: Targets) -> Iterator[PlannedStep]:
        """In the order of boot: whoever boots first has its volumes first."""
        servers = {each.id: each for each in found.definitions.servers}
        order = [member.server_id for level in found.group.boot_order for member in level]
        for server in (servers[each] for each in order):
            wanted: TargetServer | None = targets.get(server.id)
            for volume in server.volumes:
                arguments = {
                    "volume": volume.id,
                    "name": None if self._isolated else volume.name or None,
                    "volume_type": wanted.volume_types.get(volume.id) if wanted else None,
                }
                yield PlannedStep(
                    name=f"restore-{volume.id}",
                    title=f"restore {volume.device} of {server.name}",
                    action="restore",
                    arguments=arguments,
                    after=("import",),
                )

    def _boots(self, found: Manifest, targets: Targets) -> Iterator[PlannedStep]:
        servers = {each.id: each for each in found.definitions.servers}
        isolated = [f"isolate-{n.id}" for n in found.definitions.networks] if self._isolated else []
        before: list[str] = []
        for level in found.group.boot_order:
            tests = []
            for member in level:
                server = servers[member.server_id]
                restores = [f"restore-{volume.id}" for volume in server.volumes]
                yield PlannedStep(
                    name=f"boot-{server.id}",
                    title=f"start {member.name}",
                    action="boot",
                    arguments={
                        "server": server.id,
                        "isolated": self._isolated,
                        # Without a target there is an ERROR, and nothing of the plan is run.
                        "target": documents.write(targets[server.id])
                        if server.id in targets
                        else None,
                    },
                    after=(*restores, *isolated, *before),
                )
                tests.append(f"test-{server.id}")
                yield PlannedStep(
                    name=f"test-{server.id}",
                    title=f"test {member.name}",
                    action="test",
                    arguments={"server": server.id},
                    after=(f"boot-{server.id}",),
                    skippable=True,
                )
                yield from _leads(member, targets.get(server.id))
            before = tests


def _leads(member: Member, wanted: TargetServer | None) -> Iterator[PlannedStep]:
    """Nobody is led to a server before it is what it should be, and no other server waits for it."""
    found = [each for port in wanted.ports for each in port.floating] if wanted else []
    if found:
        yield PlannedStep(
            name=f"lead-{member.server_id}",
            title=f"lead floating addresses to {member.name}",
            action="lead",
            arguments={"floating": [documents.write(each) for each in found]},
            after=(f"test-{member.server_id}",),
            skippable=True,
        )


_OWN = PlannedStep(name="own", title="see that the group is still this site's", action="own")


CLAIM = "claim"
"""The kind of thing that a claim is: what is rolled back gives the group back."""


class Claim(Bringing):
    """Own the group from now on, in the store that both sites can read."""

    def act(self, run: Run) -> Result:
        epoch = run.ensure(
            CLAIM,
            run.name(CLAIM),
            site=self.means.site,
            find=lambda: self._known(run),
            create=lambda: self._claimed(run),
        )
        return {"epoch": int(epoch)}

    def _known(self, run: Run) -> str | None:
        latest = self.means.epochs.latest(run.operation.group_id)
        mine = latest is not None and latest.nonce == nonce_of(run.operation.id)
        return str(latest.epoch) if latest is not None and mine else None

    def _claimed(self, run: Run) -> str:
        kept = run.remembered()
        if not kept:
            latest = self.means.epochs.latest(run.operation.group_id)
            # The same words in every try are the same claim.
            now = datetime.datetime.now(datetime.UTC).isoformat()
            kept = {"epoch": (latest.epoch if latest else 0) + 1, "at": now}
            run.remember(kept)
        marker = Marker(
            group_id=run.operation.group_id,
            epoch=int(kept["epoch"]),
            site=self.means.site,
            operation_id=run.operation.id,
            at=datetime.datetime.fromisoformat(kept["at"]),
            nonce=nonce_of(run.operation.id),
        )
        run.guard()
        return str(self.means.epochs.claim(marker).epoch)


class GiveBack:
    """Takes a claim back: whoever owned the group before owns it again, by a higher epoch. What the
    other site had stopped because of the claim could not be let go else."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def remove(self, thing: Thing, run: Run) -> None:
        epochs, group = self._means.epochs, self._means.declared.group(run.operation.group_id)
        latest = epochs.latest(group.id)
        if latest is None or latest.nonce != nonce_of(thing.operation_id):
            # It never was claimed, was given back, or somebody claimed it since.
            return
        before = epochs.owner_before(latest) or group.site
        if before == self._means.site:
            return
        run.guard()
        epochs.claim(
            Marker(
                group_id=group.id,
                epoch=latest.epoch + 1,
                site=before,
                operation_id=thing.operation_id,
                at=datetime.datetime.now(datetime.UTC),
                nonce=nonce_of(f"{thing.operation_id}/back"),
            )
        )


def nonce_of(words: str) -> str:
    """The same in every try."""
    return str(uuid.uuid5(_SPACE, words))


class Own(Bringing):
    """Before it is final: nobody else claimed the group meanwhile."""

    def act(self, run: Run) -> Result:
        latest = self.means.epochs.latest(run.operation.group_id)
        if latest is None or latest.site != self.means.site:
            owner = latest.site if latest else "nobody"
            raise errors.IsthmusError(
                "the failover is not made final",
                where=f"group {run.operation.group}",
                cause=f"the group belongs to {owner} now",
                unchanged="the servers that run here were left as they are",
                next_command=f"isthmus operation show {run.operation.id}",
            )
        return {"epoch": latest.epoch}


class Cleanup:
    """Plans to take away what another operation left behind."""

    def __init__(self, means: Means, database: databases.Database) -> None:
        self._means, self._database = means, database

    def plan(self, operation: Operation) -> Plan:
        owner = str(operation.parameters.get("operation") or "")
        things = left(Ledger(self._database, owner).things())
        known = self._means.operations(operation.group_id)
        if owner not in {each.id for each in known}:
            raise errors.UsageError(
                f"group {operation.group} has no operation {owner!r}",
                unchanged="nothing was done",
                next_command="isthmus operation list",
            )
        return Plan(
            made_at=datetime.datetime.now(datetime.UTC).timestamp(),
            steps=flows.removals(things, owner),
            findings=(*self._ended(owner, known), *prechecks.others(operation, known)),
            facts={"Of": owner, "Left behind": str(len(things))},
        )

    def _ended(self, owner: str, known: Sequence[Operation]) -> Iterator[Finding]:
        found = next(each for each in known if each.id == owner)
        kept = found.kind in (Kind.FAILOVER, Kind.PROTECT) and found.outcome == "succeeded"
        if found.outcome is None or kept:
            yield Finding(
                level=Level.ERROR,
                summary=f"what {found.kind} {owner} made is not left behind",
                cause="it is in use" if kept else f"it is {found.phase}",
                remedy=f"isthmus operation show {owner}",
            )


def recipes(means: Means, database: databases.Database) -> Recipes:
    """All that recovery brings to `isthmus.operations`."""
    kept = Kept(means)
    shared: dict[str, Any] = {
        "import": bringing.Import(means, kept),
        "restore": bringing.Restore(means, kept),
        "isolate": bringing.Isolate(means, kept),
        "boot": bringing.Boot(means, kept),
        "test": bringing.Test(means, kept),
        "lead": floating.Lead(means, kept),
        "claim": Claim(means, kept),
        "own": Own(means, kept),
    }
    return Recipes(
        kinds={
            Kind.PROTECT: protect.Recipe(means),
            Kind.DRILL: Returning(means, kept, isolated=True),
            Kind.FAILOVER: Returning(means, kept, isolated=False),
            Kind.CLEANUP: Cleanup(means, database),
        },
        actions={**protect.actions(means), **shared},
        removers={
            **protect_undo.removers(means),
            **bringing_undo.removers(means),
            floating.MADE: floating.MadeAddresses(means),
            floating.LED: floating.LedAddresses(means),
            CLAIM: GiveBack(means),
        },
        at_once={"restore": means.restores_at_once},
    )
