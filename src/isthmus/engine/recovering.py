"""Recovery in an engine, put together from the engine's configuration and its ways to other processes.

It exists so that `isthmus.recovery` knows no configuration file and the engine's core no recovery: an
engine whose file has no section `recovery` never imports it.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import x25519

from isthmus import errors
from isthmus.engine import config
from isthmus.engine.core import Engine
from isthmus.operations import runner
from isthmus.recovery import probing, remote_store, sealing
from isthmus.recovery.epochs import Epochs
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.means import Means, drivers
from isthmus.recovery.flows.service import Service, operations_of
from isthmus.recovery.flows.stale_members import StaleMembers
from isthmus.recovery.freezing.hosts import HostAgents
from isthmus.recovery.metadata import reading
from isthmus.recovery.metadata.definitions import SealedText
from isthmus.recovery.rest import Api
from isthmus.recovery.signatures import KeyRing, PublicKey, SigningKey
from isthmus.recovery.snapshots.rbd import Cluster, volume_digest
from isthmus.store import databases

K = TypeVar("K")


def build(engine: Engine, settings: config.Recovery) -> Service:
    """Everything of recovery of one engine; nothing is started and nobody asked.

    Raises ConfigurationError for a key that cannot be used.
    """
    database = databases.connect(settings.database_url.get_secret_value())
    key = SigningKey.load(settings.signing_key_file)
    ring = KeyRing(*_keys("trusted_keys", settings.trusted_keys, PublicKey.from_text))
    if key.public.id not in ring.ids:
        raise _unusable(
            f"trusted_keys.{engine.site}", "the own signing key is not among the trusted ones"
        )
    store = remote_store.swift(
        engine.session, settings.store_region, container=settings.store_container
    )
    cluster = _cluster(settings.ceph)
    hosts = HostAgents(engine.hosts)
    own = sealing.load(settings.sealing_key_file) if settings.sealing_key_file else None
    means = Means(
        site=engine.site,
        declared=Declared(database),
        operations=operations_of(database),
        session=engine.sessions.of_project,
        store=store,
        epochs=Epochs(store, key=key, ring=ring),
        key=key,
        ring=ring,
        hosts=hosts,
        guests=hosts,
        snapshots=drivers(cluster),
        sizes=lambda project: (
            remote_store.swift(
                engine.sessions.of_project(project), settings.store_region
            ).stored_bytes
        ),
        restores_at_once=settings.restores_at_once,
        hook_scripts=settings.hook_scripts,
        backup_container=settings.backup_container,
        seal_to=_keys("sealed_to", settings.sealed_to, sealing.public_key),
        unsealing_keys=(sealing.key_id(own.public_key()),) if own else (),
        unsealed=_unsealing(own),
        digest_of=functools.partial(volume_digest, cluster) if cluster else None,
        probe=probing.Guests(hosts),
        versions={"isthmus": importlib.metadata.version("isthmus")},
    )
    stale_members = StaleMembers(
        database,
        means.declared,
        means.epochs,
        Api(engine.session, engine.site, "compute", microversion=reading.COMPUTE),
        owner=runner.new_owner(engine.site),
        interval=settings.stale_members_seconds,
    )
    return Service(database, means, stale_members)


def _cluster(ceph: config.Ceph | None) -> Cluster | None:
    if ceph is None:
        return None
    return Cluster(
        conf=str(ceph.conf),
        user=ceph.user,
        pool=ceph.pool,
        keyring=str(ceph.keyring) if ceph.keyring else None,
    )


def _unsealing(
    own: x25519.X25519PrivateKey | None,
) -> Callable[[SealedText, str], str | None]:
    def unsealed(text: SealedText, server_id: str) -> str | None:
        return sealing.unseal(text, own, about=server_id).decode() if own else None

    return unsealed


def _keys(field: str, texts: Mapping[str, str], read: Callable[[str], K]) -> tuple[K, ...]:
    """The public keys of sites."""
    found = []
    for site, text in texts.items():
        try:
            found.append(read(text))
        except ValueError:
            raise _unusable(
                f"{field}.{site}", "it is not a public key: 32 bytes in base64"
            ) from None
    return tuple(found)


def _unusable(field: str, cause: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        "the engine cannot use its configuration",
        where=f"field recovery.{field}",
        cause=cause,
        unchanged="nothing was started or changed",
        next_command="openssl pkey -in KEY.pem -pubout -outform DER | tail -c 32 | base64",
    )
