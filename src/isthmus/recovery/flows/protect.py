"""Protect: the recipe of a checkpoint.

What its steps do stands in `checkpointing` and `rounds`; what they leave behind when they fail, in `protect_undo`.
"""

from __future__ import annotations

import datetime
from typing import Any

from isthmus.operations.values import Operation, Plan, PlannedStep
from isthmus.recovery.declarations import Group, Policy
from isthmus.recovery.flows import checkpointing, prechecks, rounds
from isthmus.recovery.flows.means import Means
from isthmus.recovery.snapshots import Driver


class Recipe:
    """Plans a checkpoint."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def plan(self, operation: Operation) -> Plan:
        means, now = self._means, datetime.datetime.now(datetime.UTC)
        group = means.declared.group(operation.group_id)
        policy = means.declared.policy(group.policy)
        findings = [
            *prechecks.owner(means.site, group, means.epochs.latest(group.id)),
            *prechecks.others(operation, means.operations(group.id)),
            *prechecks.storage(lambda: self._driver(operation, group, policy)),
        ]
        steps = [("define", "read the definitions of the servers", 3),
                 ("freeze", "freeze in order, snapshot, thaw in reverse", 1),
                 ("adopt", "take the snapshots into Cinder", 3),
                 ("back-up", "back the snapshots up to the remote store", 3),
                 ("publish", "sign and store the manifest", 5),
                 ("tidy", "remove the snapshots", 5),
                 ("retain", "let go of checkpoints that are not kept", 3)]  # fmt: skip
        return Plan(
            made_at=now.timestamp(),
            steps=tuple(
                PlannedStep(
                    name=name,
                    title=title,
                    action=f"protect.{name}",
                    after=(steps[number - 1][0],) if number else (),
                    attempts=attempts,
                    skippable=name in ("tidy", "retain"),
                )
                for number, (name, title, attempts) in enumerate(steps)
            ),
            checkpoint_id=checkpointing.checkpoint_id(operation.id),
            findings=tuple(findings),
            facts={
                "Members": ", ".join(each.name for each in group.members),
                "Driver": policy.driver.value,
                "Freeze deadline": f"{policy.freeze_deadline_s:g} s",
            },
        )

    def _driver(self, operation: Operation, group: Group, policy: Policy) -> Driver:
        """The driver of the round, of whose volumes nothing is known yet."""
        cinder = self._means.cinder(group.project_id)
        round_id = checkpointing.round_id(operation.id)
        return self._means.snapshots(policy, cinder, (), round_id, group.id)


def actions(means: Means) -> dict[str, Any]:
    """By name."""
    steps: dict[str, type[checkpointing.Step]] = {
        "define": checkpointing.Define,
        "freeze": rounds.Freeze,
        "adopt": checkpointing.Adopt,
        "back-up": checkpointing.BackUp,
        "publish": checkpointing.Publish,
        "tidy": checkpointing.Tidy,
        "retain": checkpointing.Retain,
    }
    return {f"protect.{name}": step(means) for name, step in steps.items()}
