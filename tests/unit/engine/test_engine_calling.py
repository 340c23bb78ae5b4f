"""Signed calls over real HTTP: what was sent is what is judged, and failures are sentences."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.engine import calling
from isthmus.sites import signing

SECRET = b"s" * 32


class Server:
    """An engine of lyon that says what it was asked, or what the test has it say."""

    def __init__(self) -> None:
        self.gate = signing.Gate(SECRET, signing.engine_name("lyon"))
        self.verdicts: list[signing.Verdict] = []
        self.answer: tuple[int, bytes] | None = None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                verdict = server.gate.verify(self.command, self.path, body, dict(self.headers))
                server.verdicts.append(verdict)
                asked = {"method": self.command, "path": self.path, "body": body.decode()}
                status, content = server.answer or (200, json.dumps(asked).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *args: object) -> None:
                """Tests are silent."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def peers(server: Server) -> calling.Callees:
    urls = {"lyon": server.url, "nice": "http://127.0.0.1:1"}
    return calling.engines(urls, SECRET, "paris")


def test_every_method_arrives_signed_and_unaltered(server: Server, peers: calling.Callees) -> None:
    assert peers.get("lyon", "/v1/presence?a=b%20c")["path"] == "/v1/presence?a=b%20c"
    assert json.loads(peers.post("lyon", "/v1/poke", {"é": 1})["body"]) == {"é": 1}
    assert peers.put("lyon", "/x")["method"] == "PUT"
    assert peers.delete("lyon", "/x/1")["method"] == "DELETE"
    assert [each.sender for each in server.verdicts] == ["engine/paris"] * 4


def test_a_refusal_is_worded_as_the_callee_words_it(server: Server, peers: calling.Callees) -> None:
    error: dict[str, Any] = {"error": {"what": "the network is busy", "cause": "so it is"}}
    server.answer = (503, json.dumps(error).encode())
    with pytest.raises(calling.CallError) as caught:
        peers.get("lyon", "/x")
    assert str(caught.value) == "the network is busy: so it is (the engine of lyon)"
    assert caught.value.status == 503


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"error": 7}', b"[]"])
def test_a_refusal_without_words_has_its_status(
    server: Server, peers: calling.Callees, content: bytes
) -> None:
    server.answer = (404, content)
    with pytest.raises(calling.CallError, match="404 Not Found"):
        peers.get("lyon", "/x")


def test_an_answer_that_is_no_json_is_an_error(server: Server, peers: calling.Callees) -> None:
    server.answer = (200, b"<html>")
    with pytest.raises(calling.CallError, match="not JSON"):
        peers.get("lyon", "/x")


def test_an_empty_answer_is_nothing(server: Server, peers: calling.Callees) -> None:
    server.answer = (200, b"")
    assert peers.post("lyon", "/x") is None


def test_somebody_who_is_not_there_is_named(peers: calling.Callees) -> None:
    with pytest.raises(calling.CallError, match=r"connection refused|the engine of nice"):
        peers.get("nice", "/x")
    with pytest.raises(calling.CallError, match="atlantis in the configuration"):
        peers.get("atlantis", "/x")
