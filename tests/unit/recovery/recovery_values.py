"""Values for the tests of recovery: by hand where a test needs a known one, by Hypothesis else."""

from __future__ import annotations

import dataclasses
import datetime
import uuid

from hypothesis import strategies as st

from isthmus.recovery.checkpoints import (
    BackupRecord,
    Checkpoint,
    Outcome,
    Phase,
    VolumeBackup,
)
from isthmus.recovery.consistency import Consistency
from isthmus.recovery.declarations import Group, Member, Policy, SnapshotDriver
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FixedAddress,
    FlavorDefinition,
    NetworkDefinition,
    PortDefinition,
    ServerDefinition,
    SubnetDefinition,
    VolumeDefinition,
)

T0 = datetime.datetime(2026, 11, 23, 3, 0, 0, 123456, tzinfo=datetime.UTC)


def an_id(*parts: object) -> str:
    """The same words, the same ID."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, parts))))


def a_group(**changes: object) -> Group:
    members = (
        Member(server_id=an_id("client"), name="client", level=0, depends=("middle",)),
        Member(server_id=an_id("middle"), name="middle", level=1, depends=("database",)),
        Member(server_id=an_id("database"), name="database", level=2),
    )
    group = Group(
        id=an_id("group"),
        name="vnf",
        site="paris",
        backup_site="lyon",
        project_id=an_id("project"),
        members=members,
        policy="gold",
    )
    return dataclasses.replace(group, **changes)  # type: ignore[arg-type]


def a_server(member: Member, *, volumes: int = 2, number: int = 10) -> ServerDefinition:
    return ServerDefinition(
        id=member.server_id,
        name=member.name,
        flavor=FlavorDefinition(id=an_id("flavor"), name="m1.vnf", vcpus=1, ram_mib=256),
        zone="nova",
        ports=(
            PortDefinition(
                id=an_id("port", member.name),
                name="",
                network_id=an_id("network"),
                mac=f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}",
                fixed=(
                    FixedAddress(
                        subnet_id=an_id("subnet"), address=f"10.0.{number // 256}.{number % 256}"
                    ),
                ),
            ),
        ),
        volumes=tuple(
            VolumeDefinition(
                id=an_id("volume", member.name, n),
                name=f"{member.name}-{n}",
                device=f"/dev/vd{'abcdefgh'[n]}",
                size_gib=1,
                volume_type="rbd",
                boot_index=0 if n == 0 else None,
                bootable=n == 0,
            )
            for n in range(volumes)
        ),
    )


def definitions_of(group: Group) -> Definitions:
    subnet = SubnetDefinition(id=an_id("subnet"), name="inside-4", cidr="10.0.0.0/16")
    return Definitions(
        servers=tuple(a_server(each, number=10 + n) for n, each in enumerate(group.members)),
        networks=(NetworkDefinition(id=an_id("network"), name="inside", subnets=(subnet,)),),
    )


def backups_of(definitions: Definitions, seq: int, parent: int | None = None) -> list[VolumeBackup]:
    return [
        VolumeBackup(
            volume_id=volume.id,
            server_id=server.id,
            device=volume.device,
            size_gib=volume.size_gib,
            volume_type=volume.volume_type,
            backup_id=an_id("backup", volume.id, seq),
            chain=(
                *([an_id("backup", volume.id, parent)] if parent else []),
                an_id("backup", volume.id, seq),
            ),
            record=BackupRecord(service="cinder.backup.drivers.swift", url="e30="),
            data_at=T0,
            stored_bytes=1000,
        )
        for server in definitions.servers
        for volume in server.volumes
    ]


def a_checkpoint(group: Group, seq: int = 1, **changes: object) -> Checkpoint:
    checkpoint = Checkpoint(
        id=an_id("checkpoint", group.id, seq),
        seq=seq,
        group_id=group.id,
        site=group.site,
        epoch=1,
        round_id=an_id("round", group.id, seq),
        created_at=T0,
        driver=SnapshotDriver.RBD,
        phase=Phase.AVAILABLE,
        outcome=Outcome.COMPLETE,
        consistency=Consistency.APP_ORDERED,
        frozen_at=T0 + datetime.timedelta(seconds=seq),
        window_s=0.75,
        windows_s={each.server_id: 0.5 for each in group.members},
        backups=tuple(backups_of(definitions_of(group), seq)),
    )
    return dataclasses.replace(checkpoint, **changes)  # type: ignore[arg-type]


def a_manifest(group: Group | None = None, seq: int = 1, **changes: object) -> Manifest:
    group = group or a_group()
    return Manifest(
        written_at=T0,
        group=group,
        policy=Policy(name=group.policy),
        checkpoint=a_checkpoint(group, seq, **changes),
        definitions=definitions_of(group),
        versions={"isthmus": "0.1.0"},
    )


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789é", min_size=1, max_size=12)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Any group that may be declared."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    levels = {name: draw(st.integers(-3, 5)) for name in names}
    members = []
    for name in names:
        higher = [other for other in names if levels[other] > levels[name]]
        needed = draw(st.lists(st.sampled_from(higher), unique=True)) if higher else []
        member = Member(
            server_id=an_id("server", name), name=name, level=levels[name], depends=tuple(needed)
        )
        members.append(member)
    return a_group(members=tuple(members))
