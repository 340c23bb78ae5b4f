"""What a checkpoint that did not come to be leaves behind, taken away.

Each remover looks for what is there by the marks of the round or the checkpoint, so that it does not
matter where the operation was cut off.
"""

from __future__ import annotations

from typing import Any

from isthmus.operations.recipes import Run, Thing
from isthmus.recovery import checkpoints
from isthmus.recovery.checkpoints import Phase, Place
from isthmus.recovery.flows import rounds
from isthmus.recovery.flows.checkpointing import BACKUPS, CHECKPOINT, Step
from isthmus.recovery.flows.means import Means
from isthmus.recovery.snapshots import naming


class RoundRemover(Step):
    """Takes the snapshots of a round away that was void, or whose checkpoint did not come to be. Ends the
    round first if that was left undone: its operation may have been cancelled while no engine ran."""

    def remove(self, thing: Thing, run: Run) -> None:
        rounds.settle(self.means, run)
        if run.result("define"):
            self.discard(run)


class BackupsRemover(Step):
    """Takes the backups of a checkpoint away that did not come to be."""

    def remove(self, thing: Thing, run: Run) -> None:
        cinder = self.means.cinder(self.means.group(run).project_id)
        for server in self.definitions(run).servers:
            for volume in server.volumes:
                for backup in cinder.backups(volume.id):
                    if backup.metadata.get(naming.CHECKPOINT) == thing.name:
                        run.guard()
                        cinder.delete_backup(backup.id)


class CheckpointRemover(Step):
    """Says of a checkpoint that did not come to be why; what lies in the store is deleted."""

    def remove(self, thing: Thing, run: Run) -> None:
        known = {each.id: each for each in self.means.declared.checkpoints()}
        found = known.get(thing.name)
        if found is None:
            return
        run.guard()
        self.means.store.delete_checkpoint(Place.of(found))
        if found.phase is Phase.CREATING:
            why = "; ".join(each.what for each in run.operation.troubles) or run.operation.reason
            frozen = any(each.step == "freeze" for each in run.operation.troubles)
            phase = Phase.VOID if frozen else Phase.ERROR
            outcome = checkpoints.Outcome.VOIDED if frozen else checkpoints.Outcome.FAILED
            ended = checkpoints.moved(found, phase, outcome, why)
            self.means.declared.put_checkpoint(ended, run.database)


def removers(means: Means) -> dict[str, Any]:
    """By kind of thing."""
    return {
        rounds.ROUND: RoundRemover(means),
        BACKUPS: BackupsRemover(means),
        CHECKPOINT: CheckpointRemover(means),
    }
