"""Swift with one device keeps what it was given, over a kill and a restart."""

import signal
import time
from collections.abc import Iterator

import lab_site
import pytest
import requests
from lab_site import Place

from conditions import wait_for
from isthmus.lab import inside, processes
from isthmus.lab.components import swift, swift_config
from isthmus.lab.components.swift_config import SERVERS

pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(300)]

STARTED = 120.0  # four Python services one after the other on a busy core


@pytest.fixture
def place() -> Iterator[Place]:
    with lab_site.place() as found:
        yield found


def start(place: Place) -> None:
    for kind in (*SERVERS, "proxy"):
        place.spawn(swift.command(place.folder, kind))
    wait_for(
        "Swift answers", lambda: swift.missing(place.namespace, place.address) is None, STARTED
    )


def without_keystone(place: Place) -> str:
    """The proxy as configured, but for the two filters that need a Keystone beside it."""
    text = swift_config.proxy(
        folder=place.folder, address=place.address, memcached="127.0.0.1:1", identity="http://127.0.0.1:1",
        public_identity="http://127.0.0.1:1", region="paris", password="unused",
    )  # fmt: skip
    return text.replace(" cache authtoken keystoneauth ", " ")


def test_objects_stay_over_a_kill(place: Place) -> None:
    swift.prepare(place.folder, place.address, suffix="tried")
    (place.folder / "proxy-server.conf").write_text(without_keystone(place))
    began = time.monotonic()
    start(place)
    print(f"Swift answers after {time.monotonic() - began:.1f} s")
    account = f"http://{place.address}:{swift_config.PORT}/v1/AUTH_tried"
    content = b"x" * 3_000_000

    def call(method: str, path: str, data: bytes | None = None) -> requests.Response:
        return inside.within(
            place.namespace, lambda: requests.request(method, account + path, data=data, timeout=30)
        )

    assert call("PUT", "/isthmus-recovery").status_code in (201, 202)
    assert call("PUT", "/isthmus-recovery/groups/g/manifest.json", content).status_code == 201
    for found in processes.running(place.folder).values():
        processes.send(found, signal.SIGKILL)
    wait_for("Swift is dead", lambda: not place.pids(), 30.0)
    swift.prepare(place.folder, place.address, suffix="tried")
    start(place)
    assert call("GET", "/isthmus-recovery/groups/g/manifest.json").content == content
    assert call("GET", "/isthmus-recovery?prefix=groups/").text.split() == [
        "groups/g/manifest.json"
    ]
