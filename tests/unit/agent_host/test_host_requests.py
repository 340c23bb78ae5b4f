"""Who a host agent listens to, and how it words what it cannot do: real HTTP, no switch."""

import threading
import time
from collections.abc import Iterator

import pytest
import requests
import uvicorn

from isthmus.agent.host import app, config, core, main
from isthmus.sites import signing

SECRET = b"0123456789abcdef0123456789abcdef"
HOST = "host/paris/compute1"
STARTED_SECONDS = 20.0  # The import of a web server on a busy machine.


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("host")
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    settings = config.Settings(
        kind="host",
        site="paris",
        host="compute1",
        listen=("127.0.0.1:0",),
        secret_file=secret,
        ovsdb=f"unix:{folder}/db.sock",
        ovs_run=folder,
        state=folder / "state",
    )
    listener = main.listen("127.0.0.1", 0)
    served = uvicorn.Server(uvicorn.Config(app.build(core.HostAgent(settings)), log_config=None))
    thread = threading.Thread(target=served.run, args=([listener],), daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTED_SECONDS
    while not served.started and time.monotonic() < deadline:
        thread.join(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    served.should_exit = True
    thread.join(STARTED_SECONDS)


def headers(method: str, path: str, body: bytes = b"", *, to: str = HOST) -> dict[str, str]:
    return signing.Signer(SECRET, "engine/paris").headers(method, path, body, to=to)


def test_anybody_may_ask_whether_it_is_alive(url: str) -> None:
    assert requests.get(f"{url}/healthcheck", timeout=5).text == "OK\n"


def test_a_signed_request_is_answered_once(url: str) -> None:
    signed = headers("GET", "/status")
    assert requests.get(f"{url}/status", headers=signed, timeout=5).json()["vtep"] == "127.0.0.1"
    again = requests.get(f"{url}/status", headers=signed, timeout=5)
    assert again.status_code == 401
    assert "was sent before" in again.json()["error"]["cause"]


@pytest.mark.parametrize(
    "signed", [{}, headers("GET", "/status", to="host/lyon/compute1"), headers("GET", "/fdb")]
)
def test_other_requests_are_refused(url: str, signed: dict[str, str]) -> None:
    assert requests.get(f"{url}/status", headers=signed, timeout=5).status_code == 401


def test_a_changed_body_is_refused(url: str) -> None:
    signed = headers("POST", "/probes", b"{}")
    answer = requests.post(f"{url}/probes", data=b'{"a":1}', headers=signed, timeout=5)
    assert answer.status_code == 401


def test_without_a_switch_the_fdb_is_unavailable_and_says_why(url: str) -> None:
    answer = requests.get(f"{url}/fdb", headers=headers("GET", "/fdb"), timeout=15)
    assert answer.status_code == 503
    assert set(answer.json()["error"]) == {"what", "where", "cause", "unchanged", "next_command"}


def test_a_probe_that_is_not_there_is_not_found(url: str) -> None:
    for name in ("aaaaaaaa", "..%2Fsecret"):
        path = f"/probes/{name}"
        answer = requests.delete(url + path, headers=headers("DELETE", path), timeout=5)
        assert answer.status_code == 404


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(url: str) -> None:
    """Each call in a freeze window would last 40 ms longer; the first ones of a connection never do."""
    taken = []
    with requests.Session() as session:
        for _ in range(30):
            began = time.monotonic()
            session.get(f"{url}/status", headers=headers("GET", "/status"), timeout=5)
            taken.append(time.monotonic() - began)
    assert min(taken[5:]) < 0.03
