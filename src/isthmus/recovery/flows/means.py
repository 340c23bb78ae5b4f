"""What the actions of recovery work with: clouds, stores, keys, hosts; made once by the engine.

It exists so that actions hold no configuration. Everything here may be used from any thread.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import x25519

from isthmus import errors
from isthmus.operations.recipes import Run
from isthmus.operations.values import Operation
from isthmus.recovery import manifest
from isthmus.recovery.checkpoints import Checkpoint, Place
from isthmus.recovery.cinder import Cinder, Volume
from isthmus.recovery.declarations import Group, Member, Policy, SnapshotDriver
from isthmus.recovery.epochs import Epochs
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.freezing.atom import Hosts
from isthmus.recovery.freezing.hooks import Guests
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.metadata.definitions import SealedText
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.remote_store import Store
from isthmus.recovery.signatures import KeyRing, SigningKey
from isthmus.recovery.snapshots import Driver
from isthmus.recovery.snapshots.cinder import CinderSnapshots
from isthmus.recovery.snapshots.rbd import Cluster, RbdSnapshots

Snapshots = Callable[[Policy, Cinder, Sequence[str], str, str], Driver]
"""The driver for policy, Cinder, volumes, round id, group id."""

Sizes = Callable[[str], Callable[[str, str], int]]
"""For a project, whose account of the store Cinder's backups of its volumes lie in: the bytes below a
prefix of a container."""

Probe = Callable[[Any, Member, str], Mapping[str, Any]]
"""Tests the guest of a member in the server with this id of this Nova; returns figures for the report, raises
IsthmusError when the guest is not what it should be, UnavailableError when it does not answer yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Means:
    """`session`: keystoneauth1 session for a project, as the engine's account; `operations`: those
    of a group; `unsealed`: user data of the server with this id in clear, None where this site has no
    key for it; `digest_of`:
    reads a restored volume's tree hash, None where nobody can; `versions`: for manifests;
    `restores_at_once`: volumes of one operation that Cinder fills at the same time."""

    site: str
    declared: Declared
    operations: Callable[[str], Sequence[Operation]]
    session: Callable[[str], Any]
    store: Store
    epochs: Epochs
    key: SigningKey
    ring: KeyRing
    hosts: Hosts
    guests: Guests
    snapshots: Snapshots
    sizes: Sizes
    restores_at_once: int = 4
    hook_scripts: Path | None = None
    backup_container: str | None = None
    seal_to: tuple[x25519.X25519PublicKey, ...] = ()
    unsealing_keys: tuple[str, ...] = ()
    unsealed: Callable[[SealedText, str], str | None] = lambda _text, _server: None
    digest_of: Callable[[Volume], str] | None = None
    probe: Probe | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def clients(self, project_id: str) -> Clients:
        """The services of the own site."""
        return Clients.of(self.session(project_id), self.site)

    def cinder(self, project_id: str) -> Cinder:
        """Cinder of the own site."""
        return Cinder(self.session(project_id), self.site)

    def group(self, run: Run) -> Group:
        """The group of the operation, as it is declared now."""
        return self.declared.group(run.operation.group_id)

    def manifest(self, checkpoint: Checkpoint) -> Manifest:
        """The verified manifest of a checkpoint. Raises RefusedError, StoreError, UsageError."""
        place = Place.of(checkpoint)
        content, signature = self.store.manifest(place)
        if content is None:
            raise errors.UsageError(
                f"there is no manifest of checkpoint {checkpoint.seq}",
                where=place.manifest,
                cause="it is not in the remote store",
                unchanged="nothing was restored",
                next_command="isthmus checkpoint list",
            )
        return manifest.read(content, signature, place=place, ring=self.ring)

    def target_project(self, group: Group) -> str:
        """Where the group's servers are made here."""
        plan = self.declared.plan_for(group)
        return (plan.target_project_id if plan else None) or group.project_id


def drivers(cluster: Cluster | None) -> Snapshots:
    """The drivers of this site; `cluster`: of the volumes' backend, None where it is not Ceph."""

    def driver(
        policy: Policy, cinder: Cinder, volumes: Sequence[str], round_id: str, group_id: str
    ) -> Driver:
        if policy.driver is SnapshotDriver.CINDER:
            return CinderSnapshots(cinder, volumes, round_id=round_id, group_id=group_id)
        if cluster is None:
            raise errors.ConfigurationError(
                f"the policy {policy.name} cannot be followed",
                cause="it asks for the driver rbd, and this engine knows no Ceph cluster",
                unchanged="no guest was frozen",
                next_command=f"isthmus policy set {policy.name} --driver cinder",
            )
        return RbdSnapshots(cinder, cluster, volumes, round_id=round_id, group_id=group_id)

    return driver


class Kept:
    """Manifests by checkpoint: several steps need the same, which is verified once per engine."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._manifest = functools.lru_cache(maxsize=8)(self._read)

    def manifest(self, checkpoint_id: str) -> Manifest:
        """The verified manifest. Raises what `Means.manifest` does."""
        return self._manifest(checkpoint_id)

    def _read(self, checkpoint_id: str) -> Manifest:
        return self._means.manifest(self._means.declared.checkpoint(checkpoint_id))
