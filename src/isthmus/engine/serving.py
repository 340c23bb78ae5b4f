"""The HTTP server of the engine: uvicorn in a thread, on all addresses of the configuration.

The event loop lives in that thread alone; the routes run in its worker threads, so that nothing else
of the engine knows about asyncio.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time

import fastapi
import uvicorn

from isthmus import errors
from isthmus.engine.config import Address

LOG = logging.getLogger(__name__)

START_SECONDS = 10.0
STOP_SECONDS = 3
KEEP_ALIVE_SECONDS = 30
"""Longer than any pause between two requests of another engine, which keeps its connections."""


class Server:
    """Serves one application. Raises UnavailableError if an address cannot be had."""

    def __init__(self, app: fastapi.FastAPI, addresses: tuple[Address, ...]) -> None:
        self._sockets = [_listening(address) for address in addresses]
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            lifespan="on",
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Serve; returns when requests are answered."""
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started and self._thread.is_alive():
            if time.monotonic() > deadline:
                LOG.warning("the HTTP server takes long to start")
                return
            time.sleep(0.01)

    def stop(self) -> None:
        """Complete what is under way, for a moment, and end."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 1)

    def _run(self) -> None:
        try:
            self._server.run(sockets=self._sockets)
        finally:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.close()


def _listening(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Only where a socket says TCP does asyncio send at once. Else the body of an answer waits up to 40 ms until
    # its head is acknowledged.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address.host, address.port))
        server.listen(128)
    except OSError as error:
        server.close()
        raise errors.UnavailableError(
            "the engine cannot listen",
            where=str(address),
            cause=error.strerror,
            unchanged="nothing was started",
            next_command=f"ss -ltnp 'sport = :{address.port}'",
        ) from error
    return server
