"""Snapshots, backups and restores over many requests, interrupted and repeated, lose and double nothing."""

import contextlib
import dataclasses
from collections.abc import Iterator

import keystoneauth1.noauth
import keystoneauth1.session
import pytest
from loopback_cinder import Model, serving

from isthmus.recovery import rest
from isthmus.recovery.backups import restoring, running
from isthmus.recovery.backups.restoring import RestoreError, Target
from isthmus.recovery.backups.running import BackupError, Order, Source
from isthmus.recovery.checkpoints import VolumeBackup
from isthmus.recovery.cinder import Cinder, Volume
from isthmus.recovery.metadata.definitions import VolumeDefinition
from isthmus.recovery.rest import CloudError
from isthmus.recovery.snapshots import adoption, naming
from isthmus.recovery.snapshots.adoption import SnapshotError
from isthmus.recovery.snapshots.cinder import CinderSnapshots

VOLUMES = ("v1", "v2", "v3")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is done at the second look."""
    for module in (running, restoring, adoption):
        monkeypatch.setattr(module, "EVERY_S", 0.01)
    monkeypatch.setattr(rest, "AGAIN_S", (0.0, 0.0, 0.0))


@pytest.fixture
def model() -> Model:
    model = Model()
    for volume in VOLUMES:
        model.volume(volume, f"{volume} at first")
    return model


@pytest.fixture
def cinder(model: Model) -> Iterator[Cinder]:
    with serving(model) as found:
        yield found


Chains = dict[str, dict[str, tuple[str, ...]]]


def snapshots_of(cinder: Cinder, round_id: str) -> dict[str, str]:
    driver = CinderSnapshots(cinder, VOLUMES, round_id=round_id, group_id="group")
    driver.prepare()
    driver.take(10.0)
    return dict(driver.adopt())


def back_up(
    cinder: Cinder, checkpoint: str, snapshots: dict[str, str], chains: Chains
) -> tuple[VolumeBackup, ...]:
    sources = [
        Source(
            volume=VolumeDefinition(
                id=volume,
                name=volume,
                device="/dev/vda",
                size_gib=1,
                boot_index=0 if volume == "v1" else None,
            ),
            server_id="server",
            snapshot_id=snapshots[volume],
            chains=chains.get(volume, {}),
        )
        for volume in VOLUMES
    ]
    order = Order(checkpoint_id=checkpoint, group_id="group", full_every=3, within_s=20)
    made = running.run(cinder, order, sources, stored=lambda container, prefix: 7)
    for each in made:
        chains.setdefault(each.volume_id, {})[each.backup_id] = each.chain
    return made


def test_checkpoints_grow_chains_and_begin_new_ones(cinder: Cinder, model: Model) -> None:
    chains: Chains = {}
    lengths = []
    for n in range(5):
        made = back_up(cinder, f"c{n}", snapshots_of(cinder, f"r{n}"), chains)
        lengths.append({len(each.chain) for each in made})
        for each in made:
            assert model.backups[each.backup_id]["parent_id"] == each.parent_id
    assert lengths == [{1}, {2}, {3}, {1}, {2}]


def test_a_run_that_is_repeated_makes_nothing_twice(cinder: Cinder, model: Model) -> None:
    chains: Chains = {}
    snapshots = snapshots_of(cinder, "r")
    first = back_up(cinder, "c", snapshots, {})
    again = back_up(cinder, "c", snapshots, chains)
    assert again == first
    assert len(model.backups) == 3
    assert snapshots_of(cinder, "other") != snapshots
    driver = CinderSnapshots(cinder, VOLUMES, round_id="r", group_id="group")
    assert dict(driver.adopt()) == snapshots


@pytest.mark.parametrize("dies_at", range(0, 17, 4))
def test_a_run_that_dies_at_any_request_is_completed_by_the_next(
    cinder: Cinder, model: Model, dies_at: int
) -> None:
    chains: Chains = {}
    back_up(cinder, "c0", snapshots_of(cinder, "r0"), chains)
    snapshots = snapshots_of(cinder, "r1")
    count = len(model.requests)
    model.fail = lambda method, path: len(model.requests) > count + dies_at
    with pytest.raises(BackupError, match="500"):
        back_up(cinder, "c1", snapshots, chains)
    model.fail = lambda method, path: False
    made = back_up(cinder, "c1", snapshots, chains)
    assert {len(each.chain) for each in made} == {2}
    assert len(model.backups) == 6


def test_a_backup_of_somebody_else_makes_all_of_ours_full(cinder: Cinder, model: Model) -> None:
    chains: Chains = {}
    back_up(cinder, "c0", snapshots_of(cinder, "r0"), chains)
    theirs = cinder.create_snapshot("v1", "theirs", {})
    cinder.create_backup(
        volume_id="v1",
        snapshot_id=theirs.id,
        name="theirs",
        incremental=False,
        container=None,
        metadata={},
    )
    with pytest.raises(BackupError, match="under way"):
        back_up(cinder, "c1", snapshots_of(cinder, "r1"), chains)
    for each in list(model.backups):
        cinder.backup(each)
    made = {
        each.volume_id: each for each in back_up(cinder, "c1", snapshots_of(cinder, "r2"), chains)
    }
    lengths = {volume: len(each.chain) for volume, each in made.items()}
    assert lengths == {"v1": 1, "v2": 1, "v3": 1}, "all in step, or retention could free nothing"


def test_a_backup_on_another_parent_than_was_proved_is_deleted(
    cinder: Cinder, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains: Chains = {}
    back_up(cinder, "c0", snapshots_of(cinder, "r0"), chains)
    right = Model._parent
    monkeypatch.setattr(Model, "_parent", lambda *args: None)
    with pytest.raises(BackupError, match="another parent"):
        back_up(cinder, "c1", snapshots_of(cinder, "r1"), chains)
    assert len(model.backups) == 3
    monkeypatch.setattr(Model, "_parent", right)
    assert {
        len(each.chain) for each in back_up(cinder, "c1", snapshots_of(cinder, "r2"), chains)
    } == {2}


@pytest.mark.parametrize("kind", ["snapshots", "backups"])
def test_the_quota_is_looked_at_before_anybody_is_frozen(
    cinder: Cinder, model: Model, kind: str
) -> None:
    model.limits[kind] = 2
    driver = CinderSnapshots(cinder, VOLUMES, round_id="r", group_id="group")
    with pytest.raises(SnapshotError, match=f"{kind}: 0 of 2 used, 3 more needed"):
        driver.prepare()
    assert model.snapshots == {}


def test_a_void_round_leaves_no_snapshot(cinder: Cinder, model: Model) -> None:
    snapshots_of(cinder, "kept")
    snapshots_of(cinder, "void")
    driver = CinderSnapshots(cinder, VOLUMES, round_id="void", group_id="group")
    driver.discard()
    driver.discard()
    assert {each["metadata"][naming.ROUND] for each in model.snapshots.values()} == {"kept"}


def restored(
    cinder: Cinder, backups: tuple[VolumeBackup, ...], operation: str = "op"
) -> dict[str, str]:
    made = {}
    for each in backups:
        target = Target(backup=each, name=f"new-{each.volume_id}")
        made[each.volume_id] = restoring.restore(
            cinder, target, operation_id=operation, digest_of=None, within_s=20
        )
    return made


@pytest.fixture
def two_checkpoints(
    cinder: Cinder, model: Model
) -> tuple[tuple[VolumeBackup, ...], tuple[VolumeBackup, ...]]:
    chains: Chains = {}
    first = back_up(cinder, "c0", snapshots_of(cinder, "r0"), chains)
    for volume in VOLUMES:
        model.volumes[volume]["content"] = f"{volume} at last"
    return first, back_up(cinder, "c1", snapshots_of(cinder, "r1"), chains)


Both = tuple[tuple[VolumeBackup, ...], tuple[VolumeBackup, ...]]


def test_another_site_that_knows_nothing_restores_from_the_records(two_checkpoints: Both) -> None:
    first, last = two_checkpoints
    records = [each.record for each in (*first, *last)]
    lyon = Model()
    with serving(lyon) as there:
        known = restoring.import_records(there, records)
        assert restoring.import_records(there, records) == known
        made = restored(there, last)
        assert restored(there, last) == made
        assert len(lyon.volumes) == 3
        content = {source: lyon.volumes[volume]["content"] for source, volume in made.items()}
        assert {lyon.volumes[volume]["name"] for volume in made.values()} == {
            f"new-{volume}" for volume in VOLUMES
        }
        assert [source for source in VOLUMES if lyon.volumes[made[source]].get("bootable")] == [
            "v1"
        ]
        assert all(lyon.volumes[each]["metadata"]["of"] == "the source" for each in made.values())
        assert {source: restoring.find(there, "op", source) for source in VOLUMES} == made
    assert content == {volume: f"{volume} at last" for volume in VOLUMES}


def test_an_increment_without_its_parent_is_refused_before_cinder_fails(
    two_checkpoints: Both,
) -> None:
    _, last = two_checkpoints
    lyon = Model()
    with serving(lyon) as there, pytest.raises(RestoreError, match="its parent is missing"):
        restoring.import_records(there, [each.record for each in last])
    assert lyon.backups == {}


def test_a_volume_that_is_not_what_was_frozen_is_refused(two_checkpoints: Both) -> None:
    first, _ = two_checkpoints
    lyon = Model()

    def digest_of(volume: Volume) -> str:
        return f"hash of {lyon.volumes[volume.id]['content']}"

    expected = [
        dataclasses.replace(each, digest=f"hash of {each.volume_id} at first") for each in first
    ]
    with serving(lyon) as there:
        restoring.import_records(there, [each.record for each in first])
        for each in expected:
            target = Target(backup=each, name="new")
            made = restoring.restore(there, target, operation_id="op", digest_of=digest_of)
            assert lyon.volumes[made]["name"] == "new"
        wrong = Target(backup=dataclasses.replace(expected[0], digest="hash of x"), name="new")
        with pytest.raises(RestoreError, match="not what was frozen"):
            restoring.restore(there, wrong, operation_id="other", digest_of=digest_of)


def test_a_volume_that_cinder_could_not_fill_is_made_anew_at_the_next_try(
    two_checkpoints: Both,
) -> None:
    first, _ = two_checkpoints
    lyon = Model()
    with serving(lyon) as there:
        restoring.import_records(there, [each.record for each in first])
        lyon.broken = {first[0].backup_id}
        with pytest.raises(RestoreError, match="error_restoring"):
            restored(there, first)
        assert [each["status"] for each in lyon.volumes.values()] == ["error_restoring"]
        lyon.broken = set()
        made = restored(there, first)
        assert set(made.values()) == set(lyon.volumes)
        assert {each["status"] for each in lyon.volumes.values()} == {"available"}


def test_a_restore_that_died_before_its_end_is_begun_again(two_checkpoints: Both) -> None:
    first, _ = two_checkpoints
    lyon = Model()
    with serving(lyon) as there:
        restoring.import_records(there, [each.record for each in first])
        for count in range(1, 24, 2):
            seen = len(lyon.requests)
            lyon.fail = lambda method, path, stop=seen + count: len(lyon.requests) > stop
            # The last of them may find that all is done already.
            with contextlib.suppress(RestoreError, CloudError):
                restored(there, first)
            assert len(lyon.volumes) <= 3
        lyon.fail = lambda method, path: False
        made = restored(there, first)
        assert len(lyon.volumes) == 3
        assert {lyon.volumes[each]["content"] for each in made.values()} == {
            f"{volume} at first" for volume in VOLUMES
        }


def test_what_a_cloud_refuses_is_said_in_its_words(cinder: Cinder, model: Model) -> None:
    with pytest.raises(CloudError, match="could not be found") as caught:
        cinder.volume("nobody")
    assert caught.value.status == 404
    assert cinder.backup("nobody") is None
    cinder.delete_snapshot("nobody")


@pytest.mark.parametrize(("failures", "found"), [(1, True), (3, True), (4, False)])
def test_what_only_reads_is_asked_again_when_a_service_is_not_itself(
    cinder: Cinder, model: Model, failures: int, found: bool
) -> None:
    """Nova and Cinder answer 500 while their own first login at Keystone is late."""
    volume = model.volume("v1")
    model.fail = lambda method, path: len(model.requests) <= failures
    if found:
        assert cinder.volume(volume).id == volume
    else:
        with pytest.raises(CloudError, match="500"):
            cinder.volume(volume)
    assert len(model.requests) == min(failures + 1, 4)


def test_what_changes_something_is_asked_once(cinder: Cinder, model: Model) -> None:
    model.volume("v1")
    model.fail = lambda method, path: True
    with pytest.raises(CloudError, match="500"):
        cinder.create_snapshot("v1", "s", {})
    assert len(model.requests) == 1


def test_a_list_that_the_service_cut_off_is_read_to_its_end(
    cinder: Cinder, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(7):
        cinder.create_snapshot("v1", f"s{n}", {})
    whole = Model.list_snapshots

    def in_pages(self: Model, query: dict[str, str], **more: object) -> dict[str, object]:
        found = whole(self, query)["snapshots"]
        ids = [each["id"] for each in found]
        start = ids.index(query["marker"]) + 1 if "marker" in query else 0
        links = [{"rel": "next", "href": ""}] if start + 3 < len(found) else []
        return {"snapshots": found[start : start + 3], "snapshots_links": links}

    monkeypatch.setattr(Model, "list_snapshots", in_pages)
    in_pages.__name__ = "list_snapshots"
    assert len(cinder.snapshots("v1")) == 7


def test_a_cloud_that_is_gone_and_a_catalog_without_the_service_are_told_apart() -> None:
    gone = keystoneauth1.session.Session(
        auth=keystoneauth1.noauth.NoAuth(endpoint="http://127.0.0.1:9")
    )
    with pytest.raises(CloudError, match="connection refused"):
        Cinder(gone, "paris").volume("v")
    nothing = keystoneauth1.session.Session(auth=keystoneauth1.noauth.NoAuth())
    with pytest.raises(CloudError, match="no block-storage endpoint"):
        Cinder(nothing, "paris").volume("v")
