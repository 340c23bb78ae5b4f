"""Runs the agent of a compute host until SIGTERM or SIGINT."""

import logging
import signal
import socket
from pathlib import Path

from isthmus import errors
from isthmus.agent.host import config
from isthmus.agent.host.freezing import service

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5
"""For requests in flight at the end; a probe's ping is the longest of them."""


def run(path: Path) -> int:
    """Read the configuration and serve; raises `errors.IsthmusError` if it cannot start."""
    settings = config.load(path)
    # Before all else: loading a web server takes a second on a busy host, in which a guest that an
    # earlier life has left frozen would wait.
    freezing = service.Freezing(settings)
    freezing.start()
    import uvicorn

    from isthmus.agent.host import app, core

    agent = core.HostAgent(settings, freezing)
    sockets = [listen(host, port) for host, port in agent.settings.addresses]
    logging.getLogger("uvicorn.access").disabled = True
    server = uvicorn.Server(
        uvicorn.Config(
            app.build(agent),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    log.info("agent of host %s at %s", agent.name, ", ".join(agent.settings.listen))
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server hears these itself, and raises them again at its end for whoever was before.
        signal.signal(number, lambda *_: None)
    agent.start()
    try:
        server.run(sockets)
    finally:
        agent.stop()
    log.info("agent of host %s ends", agent.name)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; a restarted agent must get its address back at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where a socket says TCP does asyncio send at once. Else the body of an answer waits up to 40 ms until
    # its head is acknowledged, and guests are frozen meanwhile.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise errors.UnavailableError(
            "the agent of this compute host cannot listen",
            where=f"{host}:{port}",
            cause=error.strerror,
            unchanged="nothing was started",
            next_command=f"ss -ltnp 'sport = :{port}'",
        ) from error
    return listener
