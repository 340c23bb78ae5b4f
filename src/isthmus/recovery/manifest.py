"""Manifests: all that another site needs to know about one checkpoint, in one signed document.

It exists so that a checkpoint outlives everything that made it: a controller with an empty database
and the right key brings the group back from the manifest and the backups that it lists. It moves
nothing to or from the store (`remote_store`), and it is strict: what it does not understand wholly it
refuses, by a reason that a person can act on.

The format is described in docs/manifest-format.rst.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from isthmus.recovery import documents
from isthmus.recovery.checkpoints import Checkpoint, Phase, Place
from isthmus.recovery.declarations import (
    DeclarationError,
    Group,
    Policy,
    check_group,
)
from isthmus.recovery.documents import Moment
from isthmus.recovery.metadata.definitions import Definitions
from isthmus.recovery.signatures import KeyRing, Refusal, RefusedError, SigningKey

FORMAT = 1
LARGEST = 64 << 20
"""Bytes; a manifest of 1,000 servers is some 5 MB. What is larger is none of ours."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """One checkpoint with its group, policy and server definitions, as they were then.

    `versions`: of what made it, by name (isthmus, nova, cinder, qemu...), to be shown when a restore
    fails. Invariants: `checkpoint` is available and belongs to `group`; each volume of a definition
    has a backup.
    """

    format: int = FORMAT
    written_at: Moment
    group: Group
    policy: Policy
    checkpoint: Checkpoint
    definitions: Definitions
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> Place:
        return Place.of(self.checkpoint)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signed:
    """The two objects of the store, as bytes."""

    manifest: bytes
    signature: bytes


def sign(manifest: Manifest, key: SigningKey) -> Signed:
    """The manifest as it is stored. Raises ValueError for one that `read` would refuse."""
    wrong = _contradiction(manifest)
    if wrong:
        raise ValueError(f"this manifest must not be written: {wrong}")
    content = documents.canonical(documents.write(manifest))
    return Signed(manifest=content, signature=key.sign(content))


def read(content: bytes, signature: bytes | None, *, place: Place, ring: KeyRing) -> Manifest:
    """The manifest of `place`. Raises RefusedError with the reason.

    Nothing of an unverified document is interpreted: the signature comes first. A valid manifest
    that lies where another belongs is refused too, so that nobody can pass an old checkpoint off as
    a new one by copying objects.
    """
    where = place.manifest
    if len(content) > LARGEST:
        raise RefusedError(Refusal.SHAPE, where=where, cause=f"it is longer than {LARGEST} bytes")
    ring.verify(content, signature, where=where)
    document = _json(content, where)
    _check_format(document, where)
    manifest = _understood(document, where)
    if documents.canonical(document) != content:
        cause = "it is signed, but not written as manifests are"
        raise RefusedError(Refusal.NOT_CANONICAL, where=where, cause=cause)
    wrong = _contradiction(manifest)
    if wrong:
        raise RefusedError(Refusal.SHAPE, where=where, cause=wrong)
    if manifest.place != place:
        cause = f"it is the manifest of {manifest.place.manifest}"
        raise RefusedError(Refusal.MISPLACED, where=where, cause=cause)
    return manifest


def _json(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise RefusedError(Refusal.NOT_JSON, where=where, cause="it is not JSON") from None
    if not isinstance(document, dict):
        raise RefusedError(Refusal.SHAPE, where=where, cause="it is no JSON object")
    return document


def _check_format(document: Mapping[str, Any], where: str) -> None:
    found = document.get("format")
    if found != FORMAT or isinstance(found, bool):
        cause = f"its format is {found!r}; this release reads {FORMAT}"
        raise RefusedError(Refusal.UNKNOWN_FORMAT, where=where, cause=cause)


def _understood(document: Mapping[str, Any], where: str) -> Manifest:
    try:
        return documents.read(Manifest, document)
    except documents.ShapeError as error:
        raise RefusedError(Refusal.SHAPE, where=where, cause=str(error)) from None


def _contradiction(manifest: Manifest) -> str | None:
    """What in a manifest cannot be true together."""
    group, checkpoint = manifest.group, manifest.checkpoint
    try:
        check_group(group)
    except DeclarationError as error:
        return f"its group cannot be: {error.cause}"
    if checkpoint.group_id != group.id:
        return "its checkpoint is of another group"
    if checkpoint.phase is not Phase.AVAILABLE:
        return f"its checkpoint is {checkpoint.phase}"
    if manifest.policy.name != group.policy:
        return "its policy is not the group's"
    return _incomplete(manifest)


def _incomplete(manifest: Manifest) -> str | None:
    members = {each.server_id for each in manifest.group.members}
    defined = {each.id for each in manifest.definitions.servers}
    if members != defined:
        return "its server definitions are not those of the group's members"
    volumes = {each.id for server in manifest.definitions.servers for each in server.volumes}
    backups = [each.volume_id for each in manifest.checkpoint.backups]
    if sorted(volumes) != sorted(backups):
        return "its backups are not one of each volume of its servers"
    wrong = [
        each.backup_id for each in manifest.checkpoint.backups if not _chained(each.chain, each)
    ]
    return f"the chain of backup {wrong[0]} does not end with it" if wrong else None


def _chained(chain: tuple[str, ...], backup: Any) -> bool:
    return bool(chain) and chain[-1] == backup.backup_id and len(set(chain)) == len(chain)
