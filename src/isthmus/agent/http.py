"""The agent's answers over HTTP: health checks for the load balancer and one status document.

Every answer is made from the last observation, so that a hung database delays none. It is for the
site's own load balancer and for operators' tools; it changes nothing and tells no secret.
"""

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from isthmus import errors
from isthmus.agent.config import Address

Answer = tuple[int, str, str]  # status, content type, body


class Server(ThreadingHTTPServer):
    """Listens at one address and answers with `answer(path)`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Address, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        try:
            super().__init__((address.host, address.port), _Handler)
        except OSError as error:
            raise errors.UnavailableError(
                "the agent cannot listen",
                where=str(address),
                cause=error.strerror,
                unchanged="nothing was started",
                next_command=f"ss -ltnp 'sport = :{address.port}'",
            ) from error

    def server_bind(self) -> None:
        # The stock method asks the resolver for the host's name, which may hang in a cut-off site.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no event."""

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.2,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = 5
    server: Server

    def do_GET(self) -> None:
        status, kind, body = self.server.answer(self.path.partition("?")[0])
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def version_string(self) -> str:
        return "isthmus-agent"

    def log_message(self, format: str, *args: Any) -> None:
        """Health checks come every second and are not logged."""


def text(status: int, line: str) -> Answer:
    """A one-line answer."""
    return status, "text/plain; charset=utf-8", " ".join(line.split()) + "\n"


def document(content: object) -> Answer:
    """A JSON answer."""
    return 200, "application/json", json.dumps(content, indent=1) + "\n"
