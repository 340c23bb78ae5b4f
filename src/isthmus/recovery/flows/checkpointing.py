"""The steps of a checkpoint, from the definitions of the servers to the manifest in the remote store.

The freeze section, `rounds`, is *one* of them. All others look for what a crash left behind by the
round's and the checkpoint's marks.
"""

from __future__ import annotations

import datetime
import uuid

from isthmus.operations.recipes import Result, Run
from isthmus.recovery import checkpoints, consistency, documents, manifest
from isthmus.recovery.backups import retention, running
from isthmus.recovery.checkpoints import Checkpoint, Phase, Place, VolumeBackup
from isthmus.recovery.consistency import Consistency, Seen
from isthmus.recovery.declarations import OnError
from isthmus.recovery.flows.means import Means
from isthmus.recovery.freezing.ledger import FreezeLedger
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.metadata import reading
from isthmus.recovery.metadata.definitions import Definitions
from isthmus.recovery.snapshots import Driver

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
        made = running.run(cinder, order, sources, stored=self.means.sizes(group.project_id))
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
        return checkpoints.available(filled, Consistency.APP_ORDERED, self._trouble(run))

    def _trouble(self, run: Run) -> str | None:
        """A hook after the thaw that must not fail and did: the application may stand still."""
        after = run.result("freeze").get("hooks", {}).get("after", [])
        failed = [each for each in after if each["error"] and each["on_error"] == OnError.ABORT]
        if not failed:
            return None
        return f"hook {failed[0]['command']} after the thaw ({failed[0]['place']}): {failed[0]['error']}"

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
