"""Groups and checkpoints from manifests alone: what a controller that lost everything still knows.

It exists so that the database of a site is never the only place of a truth that a disaster needs.
Pure: documents in, values and findings out; reading the store and writing the database are others'.
Where manifests disagree nothing is chosen silently: the newer is taken where that is safe, and a
finding says what was not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from isthmus.outcomes import Outcome
from isthmus.recovery.checkpoints import BackupRecord, Checkpoint, Place, VolumeBackup
from isthmus.recovery.declarations import DeclarationError, Group, Policy, check_together
from isthmus.recovery.epochs import Marker
from isthmus.recovery.findings import Code, Finding
from isthmus.recovery.manifest import Manifest, read
from isthmus.recovery.signatures import KeyRing, Refusal, RefusedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What lies in the store for one checkpoint."""

    place: Place
    manifest: bytes | None
    signature: bytes | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What the database is to hold. `manifests` by checkpoint: those that may be restored from.

    Invariants: every checkpoint here belongs to a group here, and to nothing that was refused; the
    whole chain of each of its backups has a record.
    """

    groups: tuple[Group, ...]
    policies: tuple[Policy, ...]
    checkpoints: tuple[Checkpoint, ...]
    manifests: Mapping[str, Manifest]
    findings: tuple[Finding, ...]


def rebuild(
    stored: Sequence[Stored],
    *,
    site: str,
    ring: KeyRing,
    markers: Mapping[str, Marker | None] | None = None,
) -> Rebuilt:
    """All that the documents say together. `site`: where they lie, for findings; `markers`: the latest
    epoch markers by group."""
    findings: list[Finding] = []
    believed = [
        manifest
        for each in sorted(stored, key=lambda one: (one.place.group_id, one.place.seq))
        if (manifest := _believed(each, site, ring, findings)) is not None
    ]
    by_group = {
        group_id: list(found)
        for group_id, found in itertools.groupby(believed, key=lambda one: one.group.id)
    }
    sound: list[Manifest] = []
    for found in by_group.values():
        sound += _sound(found, site, findings)
        _compare(found, site, findings)
    groups = _named_apart([found[-1] for found in by_group.values()], site, findings)
    _check_groups(groups, site, findings)
    _check_markers(groups, sound, markers or {}, site, findings)
    return Rebuilt(
        groups=tuple(groups),
        policies=_policies(sound or believed),
        checkpoints=tuple(each.checkpoint for each in sound),
        manifests={each.checkpoint.id: each for each in sound},
        findings=tuple(findings),
    )


def records(rebuilt: Rebuilt, checkpoint: Checkpoint) -> tuple[BackupRecord, ...]:
    """All records that must be imported before the checkpoint can be restored, parents first."""
    known = _records(each.checkpoint for each in rebuilt.manifests.values())
    parts = (part for backup in checkpoint.backups for part in backup.chain)
    return tuple(known[part] for part in dict.fromkeys(parts))


def _believed(stored: Stored, site: str, ring: KeyRing, findings: list[Finding]) -> Manifest | None:
    place = stored.place
    if stored.manifest is None:
        return None  # It was deleted between the listing and the reading.
    try:
        return read(stored.manifest, stored.signature, place=place, ring=ring)
    except RefusedError as error:
        unfinished = error.reason is Refusal.UNSIGNED
        findings.append(
            Finding(
                code=Code.MANIFEST_REFUSED,
                outcome=Outcome.WARN if unfinished else Outcome.ERROR,
                subject=f"manifest {place.manifest}",
                site=site,
                summary=f"it is refused: {error.reason}",
                cause=error.cause or "",
                remedy=(
                    "nothing, if a checkpoint was being written when the site was lost"
                    if unfinished
                    else "use another checkpoint; find out who writes to the store"
                ),
            )
        )
        return None


def _sound(found: list[Manifest], site: str, findings: list[Finding]) -> list[Manifest]:
    """Those whose every chain is whole, without two of one sequence number."""
    sound: list[Manifest] = []
    for _, same in itertools.groupby(found, key=lambda one: one.checkpoint.seq):
        twins = list(same)
        if len(twins) > 1:
            findings.append(_twins(twins, site))
        sound += twins
    known = _records(each.checkpoint for each in found)
    broken = [(each, part) for each in sound if (part := _missing(each.checkpoint, known))]
    findings += [_broken(each, part, site) for each, part in broken]
    bad = {each.checkpoint.id for each, _ in broken}
    return [each for each in sound if each.checkpoint.id not in bad]


def _records(checkpoints: Iterable[Checkpoint]) -> dict[str, BackupRecord]:
    return {backup.backup_id: backup.record for each in checkpoints for backup in each.backups}


def _missing(checkpoint: Checkpoint, known: Mapping[str, BackupRecord]) -> str | None:
    """The first backup of a chain that nobody has a record of."""
    parts = (part for backup in checkpoint.backups for part in backup.chain)
    return next((part for part in parts if part not in known), None)


def _twins(twins: list[Manifest], site: str) -> Finding:
    first = twins[0]
    return Finding(
        code=Code.SAME_SEQUENCE,
        outcome=Outcome.ERROR,
        subject=f"checkpoint {first.checkpoint.seq} of group {first.group.name}",
        site=site,
        summary=f"{len(twins)} checkpoints have this number",
        cause="; ".join(
            f"{each.checkpoint.id} of site {each.checkpoint.site}, epoch {each.checkpoint.epoch}"
            for each in twins
        ),
        remedy="name the checkpoint by its ID when you restore; two sites have owned the group at once",
    )


def _broken(manifest: Manifest, part: str, site: str) -> Finding:
    return Finding(
        code=Code.CHAIN_BROKEN,
        outcome=Outcome.ERROR,
        subject=f"checkpoint {manifest.checkpoint.seq} of group {manifest.group.name}",
        site=site,
        summary="it cannot be restored: a parent is missing",
        cause=f"backup {part}, on which it stands, is in no manifest that can be believed",
        remedy="use an older checkpoint, or a newer one with full backups",
    )


def _compare(found: list[Manifest], site: str, findings: list[Finding]) -> None:
    """What the manifests of one group say against each other."""
    pairs = list(itertools.pairwise(found))
    for old, new in pairs:
        if new.checkpoint.epoch < old.checkpoint.epoch:
            findings.append(
                Finding(
                    code=Code.EPOCH_BACKWARDS,
                    outcome=Outcome.ERROR,
                    subject=f"checkpoint {new.checkpoint.seq} of group {new.group.name}",
                    site=site,
                    summary="it was taken under an older epoch than the one before it",
                    cause=f"epoch {new.checkpoint.epoch} after {old.checkpoint.epoch}: a site went on"
                    f" ({new.checkpoint.site}) that had lost the group",
                    remedy="look at both before you restore; the higher epoch owned the group",
                )
            )
    if any(_facts(old.group) != _facts(new.group) for old, new in pairs):
        last = found[-1].group
        findings.append(
            Finding(
                code=Code.GROUP_DIFFERS,
                outcome=Outcome.INFO,
                subject=f"group {last.name}",
                site=site,
                summary="it was changed between its checkpoints",
                cause=f"revisions {', '.join(str(n) for n in sorted({m.group.revision for m in found}))}",
                remedy="nothing: the newest is taken, and each checkpoint restores its own members",
            )
        )
    findings += _contradictions(found, site)


def _facts(group: Group) -> tuple[object, ...]:
    return (group.name, group.site, group.backup_site, group.members, group.policy)


def _contradictions(found: list[Manifest], site: str) -> list[Finding]:
    """Backups of which two manifests say different things."""
    first: dict[str, VolumeBackup] = {}
    wrong: list[Finding] = []
    for manifest in found:
        for backup in manifest.checkpoint.backups:
            other = first.setdefault(backup.backup_id, backup)
            if (other.chain, other.record, other.volume_id) != (
                backup.chain,
                backup.record,
                backup.volume_id,
            ):
                wrong.append(
                    Finding(
                        code=Code.BACKUP_DIFFERS,
                        outcome=Outcome.ERROR,
                        subject=f"backup {backup.backup_id}",
                        site=site,
                        summary="two manifests describe it differently",
                        cause=f"checkpoint {manifest.checkpoint.seq} of group {manifest.group.name}"
                        " and an older one",
                        remedy="verify a restore of it in a drill before you rely on it",
                    )
                )
    return wrong


def _named_apart(newest: list[Manifest], site: str, findings: list[Finding]) -> list[Group]:
    """The groups, each under a name of its own: a group that was deleted, and declared anew under its
    name, is in the store twice. Whoever was protected last keeps the name."""
    groups, taken = [], set()
    for each in sorted(newest, key=lambda one: (one.written_at, one.group.id), reverse=True):
        group = each.group
        name = (group.name, group.project_id)
        if name in taken:
            findings.append(_renamed(group, site))
            group = dataclasses.replace(group, name=_longer(group))
        taken.add(name)
        groups.append(group)
    return sorted(groups, key=lambda one: one.id)


def _longer(group: Group) -> str:
    return f"{group.name}-{group.id[:8]}"


def _renamed(group: Group, site: str) -> Finding:
    return Finding(
        code=Code.GROUP_DIFFERS,
        outcome=Outcome.WARN,
        subject=f"group {group.name}",
        site=site,
        summary=f"an older group of that name is called {_longer(group)} here",
        cause=f"group {group.id} has checkpoints in the store, and a newer one has its name",
        remedy=f"if it is no more: isthmus group delete {_longer(group)}",
    )


def _check_groups(groups: list[Group], site: str, findings: list[Finding]) -> None:
    for n, group in enumerate(groups):
        try:
            check_together(group, groups[:n])
        except DeclarationError as error:
            findings.append(
                Finding(
                    code=Code.GROUP_DIFFERS,
                    outcome=Outcome.WARN,
                    subject=f"group {group.name}",
                    site=site,
                    summary="it cannot be together with another group",
                    cause=error.cause or "",
                    remedy="delete the one that is no more: isthmus group delete",
                )
            )


def _check_markers(
    groups: list[Group],
    sound: list[Manifest],
    markers: Mapping[str, Marker | None],
    site: str,
    findings: list[Finding],
) -> None:
    """An owner in the store that the manifests do not know of: the group moved after the last."""
    for group in groups:
        marker = markers.get(group.id)
        epochs = [each.checkpoint.epoch for each in sound if each.group.id == group.id]
        if marker is not None and marker.epoch > max(epochs, default=0):
            findings.append(
                Finding(
                    code=Code.EPOCH_AHEAD,
                    outcome=Outcome.WARN,
                    subject=f"group {group.name}",
                    site=site,
                    summary=f"site {marker.site} owns it since its last checkpoint",
                    cause=f"epoch {marker.epoch} was claimed by operation {marker.operation_id}",
                    remedy=f"ask site {marker.site} whether it runs there before you start anything",
                )
            )


def _policies(manifests: Sequence[Manifest]) -> tuple[Policy, ...]:
    """The newest of each name."""
    newest = sorted(manifests, key=lambda each: each.written_at)
    return tuple({each.policy.name: each.policy for each in newest}.values())
