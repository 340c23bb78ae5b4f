"""The remote store against a real Swift: what survives, what is refused, and what its troubles look like."""

from __future__ import annotations

import concurrent.futures
import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import swiftclient
from recovery_swift import Swift, running

from isthmus.recovery import epochs
from isthmus.recovery.checkpoints import Place
from isthmus.recovery.manifest import Signed
from isthmus.recovery.remote_store import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    FullError,
    SlowError,
    Store,
    StoreError,
)
from isthmus.recovery.signatures import KeyRing, Refusal, RefusedError, SigningKey

pytestmark = pytest.mark.functional

GROUP = "6f0d4f2a-0d7e-4a0b-9c55-2f4f1a6d9a01"
CHECKPOINT = "0b9d9a7e-3c0f-4c56-8f0f-9a4e5f6a7b02"


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with running(tmp_path_factory.mktemp("swift")) as found:
        yield found


@pytest.fixture
def store(swift: Swift, request: pytest.FixtureRequest) -> Store:
    """Of a container that is made with the first document."""
    return Store(swift.connect, where="lyon", container=request.node.name[:100])


def test_what_was_written_is_read_back_and_what_is_not_there_is_none(store: Store) -> None:
    assert store.read("groups/a") is None
    store.write("groups/ä b/1", b"one")
    store.write("groups/ä b/1", b"two")
    assert store.read("groups/ä b/1") == b"two"
    store.write("groups/empty", b"")
    assert store.read("groups/empty") == b""
    assert [(each.key, each.size) for each in store.listed("groups/")] == [
        ("groups/empty", 0),
        ("groups/ä b/1", 3),
    ]
    store.delete("groups/empty")
    store.delete("groups/empty")
    assert store.read("groups/empty") is None


def test_an_object_is_created_once(store: Store) -> None:
    store.create("epoch", b"ours")
    store.create("epoch", b"ours")
    with pytest.raises(ConflictError, match="there already"):
        store.create("epoch", b"theirs")
    assert store.read("epoch") == b"ours"


def test_a_manifest_without_its_signature_is_no_checkpoint_yet(store: Store) -> None:
    place = Place(group_id=GROUP, seq=7, checkpoint_id=CHECKPOINT)
    store.write(place.manifest, b"{}")
    assert store.manifest(place) == (b"{}", None)
    store.put_manifest(place, Signed(manifest=b"{}", signature=b"sig"))
    store.put_manifest(place, Signed(manifest=b"{}", signature=b"sig"))
    assert store.manifest(place) == (b"{}", b"sig")
    assert store.places() == [place]
    with pytest.raises(ConflictError):
        store.put_manifest(place, Signed(manifest=b"{1}", signature=b"sig"))
    store.delete_checkpoint(place)
    assert store.manifest(place) == (None, None)


def test_an_epoch_is_claimed_by_one_site_only(swift: Swift, store: Store) -> None:
    paris, lyon = SigningKey.generate(), SigningKey.generate()
    ring = KeyRing(paris.public, lyon.public)
    sites = {
        "paris": epochs.Epochs(store, key=paris, ring=ring),
        "lyon": epochs.Epochs(store, key=lyon, ring=ring),
    }

    def marker(site: str, epoch: int) -> epochs.Marker:
        return epochs.Marker(
            group_id=GROUP,
            epoch=epoch,
            site=site,
            operation_id=f"op-{site}",
            at=datetime.datetime.now(datetime.UTC),
            nonce=f"{site}-{epoch}",
        )

    assert sites["lyon"].latest(GROUP) is None
    for epoch in (1, 2, 3):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            claims = {
                site: pool.submit(each.claim, marker(site, epoch)) for site, each in sites.items()
            }
        owners = [site for site, claim in claims.items() if claim.exception() is None]
        assert len(owners) == 1
        loser = next(claim.exception() for claim in claims.values() if claim.exception())
        assert isinstance(loser, epochs.ClaimError)
        assert loser.marker.site == owners[0]
        for each in sites.values():
            latest = each.latest(GROUP)
            assert latest is not None
            assert (latest.site, latest.epoch) == (owners[0], epoch)
    again = sites[owners[0]].latest(GROUP)
    assert again is not None
    assert sites[owners[0]].claim(again) == again
    with pytest.raises(ValueError, match="does not follow"):
        sites["lyon"].claim(marker("lyon", 9))
    stranger = epochs.Epochs(store, key=SigningKey.generate(), ring=KeyRing(paris.public))
    if owners[0] == "lyon":
        with pytest.raises(RefusedError) as caught:
            stranger.latest(GROUP)
        assert caught.value.reason is Refusal.UNKNOWN_KEY


def test_a_full_store_says_so_and_keeps_what_it_has(swift: Swift, store: Store) -> None:
    store.write("kept", b"x" * 50)
    container = store.where.rpartition(" ")[2]
    swift.connect().post_container(container, {"X-Container-Meta-Quota-Bytes": "60"})
    with pytest.raises(FullError, match="full"):
        store.write("too much", b"y" * 100)
    assert store.read("kept") == b"x" * 50
    assert store.read("too much") is None


def test_a_disk_without_room_is_named_as_a_possible_cause(swift: Swift, store: Store) -> None:
    with swift.full_disk(), pytest.raises(StoreError, match="full"):
        store.write("too much", b"y")
    store.write("fits", b"y")
    assert store.read("fits") == b"y"


def test_a_user_without_rights_is_refused_in_words(swift: Swift, store: Store) -> None:
    def stranger() -> object:
        return swiftclient.Connection(
            preauthurl=swift.storage_url, preauthtoken="wrong", retries=0, timeout=5
        )

    with pytest.raises(ForbiddenError):
        Store(stranger, where="lyon", container="isthmus").read("x")


def test_a_store_that_is_gone_is_told_from_one_without_the_object(swift: Swift) -> None:
    def nobody() -> object:
        return swiftclient.Connection(
            preauthurl="http://127.0.0.1:9/v1/AUTH_x", preauthtoken="t", retries=0, timeout=5
        )

    with pytest.raises(StoreError, match="refused"):
        Store(nobody, where="lyon").read("x")


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server that answers with a promise of 1,000 bytes and sends one every 0.1 s, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not done.wait(0.1):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/AUTH_x"
    done.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_store_that_trickles_is_given_up(trickle: str) -> None:
    def slow() -> object:
        return swiftclient.Connection(preauthurl=trickle, preauthtoken="t", retries=0, timeout=1)

    with pytest.raises(SlowError, match="too slow"):
        Store(slow, where="lyon", timeout_s=0.3).read("x")


def test_an_object_that_rotted_on_the_disk_is_not_believed(swift: Swift, store: Store) -> None:
    content = b"the one and only manifest" * 10
    store.write("rotten", content)
    (path,) = [each for each in swift.data_files() if each.read_bytes() == content]
    _flip(path)
    with pytest.raises((DamagedError, StoreError)):
        store.read("rotten")


def _flip(path: Path) -> None:
    """Change a byte in place: the file's extended attributes must stay."""
    with path.open("r+b") as file:
        file.write(b"T")
