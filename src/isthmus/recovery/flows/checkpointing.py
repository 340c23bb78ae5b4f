"""The steps of a checkpoint, from the definitions of the servers to the manifest in the remote store.

The freeze section is *one* step; its ledger is written down before a guest is frozen, and a step that
is begun again finds it, thaws first, and fails: a round that was cut off is void. Everything else
looks for what a crash left behind by the round's and the checkpoint's marks.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.operations.recipes import Result, Run
from isthmus.recovery import checkpoints, consistency, documents, manifest
from isthmus.recovery.backups import retention, running
from isthmus.recovery.checkpoints import Checkpoint, Phase, Place, VolumeBackup
from isthmus.recovery.consistency import Consistency, Seen
from isthmus.recovery.declarations import Policy
from isthmus.recovery.flows.means import Means
from isthmus.recovery.freezing import atom, hooks, ledger, machine
from isthmus.recovery.freezing.ledger import FreezeLedger, Whereabouts
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.metadata import reading
from isthmus.recovery.metadata.definitions import Definitions
from isthmus.recovery.snapshots import Driver

ROUND = "round"
BACKUPS = "backups"
CHECKPOINT = "checkpoint"

_SPACE = uuid.UUID("7b0a5c43-5a07-4b52-8a2e-1f2f64a3a0b7")


def round_id(operation_id: str) -> str:
    """The id of the one round that an operation freezes."""
    return str(uuid.uuid5(_SPACE, f"{operation_id}/round"))


def checkpoint_id(operation_id: str) -> str:
    """The id of the checkpoint that an operation makes."""
    return str(uuid.uuid5(_SPACE, f"{operation_id}/checkpoint"))


class Step:
    """What the steps share."""

    def __init__(self, means: Means) -> None:
        self.means = means

    def look(self, run: Run) -> Result | None:
        """Most steps find out in acting what is done already."""
        return None

    def driver(self, run: Run, definitions: Definitions) -> Driver:
        group = self.means.group(run)
        policy = self.means.declared.policy(group.policy)
        volumes = [volume.id for server in definitions.servers for volume in server.volumes]
        cinder = self.means.cinder(group.project_id)
        return self.means.snapshots(policy, cinder, volumes, round_id(run.operation.id), group.id)

    def discard(self, run: Run) -> None:
        """Remove the round's snapshots."""
        driver = self.driver(run, self.definitions(run))
        try:
            run.guard()
            driver.discard()
        finally:
            driver.close()

    def definitions(self, run: Run) -> Definitions:
        return documents.read(Definitions, run.result("define")["definitions"])

    def checkpoint(self, run: Run) -> Checkpoint:
        return self.means.declared.checkpoint(checkpoint_id(run.operation.id))


class Define(Step):
    """Read the definitions, and begin the checkpoint."""

    def act(self, run: Run) -> Result:
        group = self.means.group(run)
        servers = [member.server_id for member in group.members]
        found = reading.read(self.means.clients(group.project_id), servers, self.means.seal_to)
        name = checkpoint_id(run.operation.id)
        run.ensure(CHECKPOINT, name, site=self.means.site, find=lambda: name, create=str)
        self._begin(run, name)
        return {"definitions": documents.write(found)}

    def _begin(self, run: Run, name: str) -> None:
        group = self.means.group(run)
        known = {each.id: each for each in self.means.declared.checkpoints(group.id)}
        if name in known:
            return
        begun = Checkpoint(
            id=name,
            seq=self.means.declared.next_sequence(group.id),
            group_id=group.id,
            site=self.means.site,
            epoch=run.epoch,
            round_id=round_id(run.operation.id),
            created_at=datetime.datetime.now(datetime.UTC),
            driver=self.means.declared.policy(group.policy).driver,
        )
        run.guard()
        self.means.declared.put_checkpoint(begun, run.database)


class Freeze(Step):
    """The freeze section, whole, with the hooks around it. Tried once: another round is another
    operation. Hooks before the freeze are followed by those after it, whatever happens between."""

    def look(self, run: Run) -> Result | None:
        """A ledger that was written down is of a round that was cut off, or is over."""
        kept = run.remembered()
        if not kept:
            return None
        found = FreezeLedger.from_document(kept["ledger"]) if "ledger" in kept else None
        if found is not None and not found.sound:
            found = self._atom(run, _Nothing()).run(machine.resumed(found))
        if not kept.get("done"):
            self._hooks(run, self._whereabouts(run)).after(self._policy(run).post_hooks)
        if found is None:
            return None
        if not found.sound:
            raise _void(found)
        return _told(found)

    def act(self, run: Run) -> Result:
        group, policy = self.means.group(run), self._policy(run)
        name, where = round_id(run.operation.id), self._whereabouts(run)
        run.ensure(ROUND, name, site=self.means.site, find=lambda: name, create=str)
        planned = ledger.planned(
            group,
            round_id=name,
            epoch=run.epoch,
            deadline_s=policy.freeze_deadline_s,
            whereabouts=where,
        )
        hooked = self._hooks(run, where)
        driver = self.driver(run, self.definitions(run))
        try:
            driver.prepare()
            run.remember({"hooked": True})
            run.guard()
            told = [*hooked.before(policy.pre_hooks)]
            run.guard()
            ended = self._atom(run, driver).run(planned)
        finally:
            driver.close()
            after = hooked.after(policy.post_hooks) if run.remembered() else ()
        run.remember({"ledger": ended.to_document(), "done": True})
        if not ended.sound:
            raise _void(ended)
        return {**_told(ended), "hooks": [dataclasses.asdict(each) for each in (*told, *after)]}

    def _policy(self, run: Run) -> Policy:
        return self.means.declared.policy(self.means.group(run).policy)

    def _hooks(self, run: Run, where: Mapping[str, Whereabouts]) -> hooks.Hooks:
        return hooks.Hooks(self.means.group(run), where, self.means.guests, self.means.hook_scripts)

    def _atom(self, run: Run, driver: atom.Snapshots) -> atom.Atom:
        def save(found: FreezeLedger) -> None:
            run.remember({"hooked": True, "ledger": found.to_document()})

        return atom.Atom(hosts=self.means.hosts, snapshots=driver, save=save)

    def _whereabouts(self, run: Run) -> Mapping[str, Whereabouts]:
        group = self.means.group(run)
        compute = self.means.clients(group.project_id).compute
        found = {}
        for member in group.members:
            server = compute.get(f"/servers/{member.server_id}")["server"]
            found[member.server_id] = Whereabouts(
                host=str(server["OS-EXT-SRV-ATTR:host"]),
                domain=str(server["OS-EXT-SRV-ATTR:instance_name"]),
            )
        return found


class _Nothing:
    """The snapshots of a round that is only thawed."""

    def take(self, timeout_s: float) -> None:
        raise errors.BusyError("a round that was cut off takes no snapshots")


def _told(ended: FreezeLedger) -> dict[str, Any]:
    return {"ledger": ended.to_document(), "window_s": ended.window_s}


def _void(ended: FreezeLedger) -> errors.IsthmusError:
    return errors.IsthmusError(
        "the round is void",
        where=f"round {ended.round_id}",
        cause=ended.void_reason or "not all guests were frozen while the snapshots were taken",
        unchanged="no checkpoint was made; all guests run",
        next_command="isthmus operation protect GROUP",
    )


class Adopt(Step):
    """Cinder's snapshots of the round, by volume; hashes where the driver can read them."""

    def act(self, run: Run) -> Result:
        driver = self.driver(run, self.definitions(run))
        try:
            run.guard()
            return {"snapshots": dict(driver.adopt()), "digests": dict(driver.digests())}
        finally:
            driver.close()


class BackUp(Step):
    """Incremental where a chain is proved, all volumes in parallel."""

    def act(self, run: Run) -> Result:
        group, mine = self.means.group(run), checkpoint_id(run.operation.id)
        policy = self.means.declared.policy(group.policy)
        run.ensure(BACKUPS, mine, site=self.means.site, find=lambda: mine, create=str)
        adopted, chains = run.result("adopt"), self._chains(group.id)
        sources = [
            running.Source(
                volume=volume,
                server_id=server.id,
                snapshot_id=adopted["snapshots"][volume.id],
                chains=chains.get(volume.id, {}),
                digest=adopted["digests"].get(volume.id),
            )
            for server in self.definitions(run).servers
            for volume in server.volumes
        ]
        order = running.Order(
            checkpoint_id=mine,
            group_id=group.id,
            full_every=policy.retention.full_every,
            container=self.means.backup_container,
        )
        run.guard()
        cinder = self.means.cinder(group.project_id)
        made = running.run(cinder, order, sources, stored=self.means.store.stored_bytes)
        total = sum(each.stored_bytes for each in made)
        return {"backups": [documents.write(each) for each in made], "stored_bytes": total}

    def _chains(self, group_id: str) -> dict[str, dict[str, tuple[str, ...]]]:
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for known in self.means.declared.checkpoints(group_id):
            for each in known.backups if known.phase is Phase.AVAILABLE else ():
                found.setdefault(each.volume_id, {})[each.backup_id] = each.chain
        return found


class Publish(Step):
    """Make the checkpoint available: manifest first, then the row."""

    def look(self, run: Run) -> Result | None:
        known = self.checkpoint(run)
        return self._told(known) if known.phase is Phase.AVAILABLE else None

    def act(self, run: Run) -> Result:
        group, kept = self.means.group(run), run.remembered()
        if not kept:
            # Written down first, so that a second try signs the very same bytes.
            kept = {"checkpoint": self._whole(run).to_document(), "at": documents.written(_now())}
            run.remember(kept)
        done = Checkpoint.from_document(kept["checkpoint"])
        found = Manifest(
            written_at=datetime.datetime.fromisoformat(kept["at"]),
            group=group,
            policy=self.means.declared.policy(group.policy),
            checkpoint=done,
            definitions=self.definitions(run),
            versions=dict(self.means.versions),
        )
        if self.means.store.manifest(Place.of(done))[1] is None:
            run.guard()
            self._put(found)
        self.means.declared.put_checkpoint(done, run.database)
        return self._told(done)

    def _put(self, found: Manifest) -> None:
        signed = manifest.sign(found, self.means.key)
        place = found.place
        if self.means.store.read(place.manifest) == signed.manifest:
            self.means.store.create(place.signature, signed.signature)
        else:
            self.means.store.put_manifest(place, signed)

    def _whole(self, run: Run) -> Checkpoint:
        frozen = FreezeLedger.from_document(run.result("freeze")["ledger"])
        made = [documents.read(VolumeBackup, each) for each in run.result("back-up")["backups"]]
        known = self.checkpoint(run)
        point = frozen.frozen_at
        filled = documents.read(
            Checkpoint,
            {
                **known.to_document(),
                "consistency": str(reached(frozen)),
                "frozen_at": documents.written(point.wall) if point else None,
                "window_s": frozen.window_s,
                "windows_s": dict(frozen.windows_s),
                "backups": [documents.write(each) for each in made],
                "finished_at": documents.written(_now()),
            },
        )
        return checkpoints.available(filled, Consistency.APP_ORDERED)

    def _told(self, found: Checkpoint) -> Result:
        return {
            "checkpoint": found.id,
            "seq": found.seq,
            "consistency": str(found.consistency),
            "freeze_window_s": found.window_s,
        }


class Tidy(Step):
    """Remove the round's snapshots: the backups have the data now."""

    def act(self, run: Run) -> Result:
        self.discard(run)
        return {}


class Retain(Step):
    """Delete what the policy does not keep, in an order that never breaks a chain."""

    def act(self, run: Run) -> Result:
        group = self.means.group(run)
        keep = self.means.declared.policy(group.policy).retention.keep
        verdict = retention.judge(self.means.declared.checkpoints(group.id), keep)
        for number, each in enumerate(verdict.delete, 1):
            run.progress(number, len(verdict.delete), f"checkpoint {each.seq}")
            self._delete(run, each, group.project_id)
        return {"deleted": [each.seq for each in verdict.delete]}

    def _delete(self, run: Run, found: Checkpoint, project_id: str) -> None:
        # The documents first: a checkpoint whose backups are gone must not look like one.
        run.guard()
        self.means.store.delete_checkpoint(Place.of(found))
        cinder = self.means.cinder(project_id)
        for backup in found.backups:
            run.guard()
            cinder.delete_backup(backup.backup_id)
        self.means.declared.forget_checkpoint(found.id)


def reached(frozen: FreezeLedger) -> Consistency:
    """The level that a sound round reached: all were frozen, level by level, before the snapshots."""
    servers = frozenset(entry.server_id for entry in frozen.entries)
    seen = Seen(
        servers=servers,
        frozen_throughout=servers if frozen.sound else frozenset(),
        in_order=frozen.sound,
        common=frozen.sound,
    )
    return consistency.reached(seen)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
