"""A guest agent as QEMU's socket shows it: one client at a time, and the words of the protocol.

It plays the guest for tests of what is said to it; tests/functional has a real one.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class GuestAgent:
    """Serves `path` until it is closed. `said`: the commands that were obeyed, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frozen = False
        self.said: list[str] = []
        self.deaf = threading.Event()
        """While set, nothing is answered."""
        self.refuse: str | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The guest dies: nobody listens any more, the socket's file stays."""
        self._ended.set()
        # The listener lives on as long as a thread waits at it.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as wake:
            wake.connect(str(self.path))
        self._thread.join(5.0)
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                link, _ = self._listener.accept()
                with link:
                    self._talk(link)

    def _talk(self, link: socket.socket) -> None:
        link.settimeout(0.05)
        read = b""
        while not self._ended.is_set():
            try:
                piece = link.recv(4096)
            except TimeoutError:
                continue
            if not piece:
                return
            read += piece
            while b"\n" in read:
                line, _, read = read.partition(b"\n")
                if self.deaf.is_set():
                    continue
                answer = self._obey(json.loads(line.lstrip(b"\xff")))
                link.sendall(answer + b"\n")

    def _obey(self, words: dict[str, Any]) -> bytes:
        name = words["execute"]
        if name == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": words["arguments"]["id"]}).encode()
        if name == "guest-fsfreeze-status":
            return json.dumps({"return": "frozen" if self.frozen else "thawed"}).encode()
        self.said.append(name)
        if self.refuse:
            return json.dumps({"error": {"class": "GenericError", "desc": self.refuse}}).encode()
        if name == "guest-fsfreeze-freeze":
            if self.frozen:
                desc = f"The command {name} has been disabled for this instance"
                return json.dumps({"error": {"class": "CommandNotFound", "desc": desc}}).encode()
            self.frozen = True
            return b'{"return": 2}'
        count = 2 if self.frozen else 0
        self.frozen = False
        return json.dumps({"return": count}).encode()


@contextlib.contextmanager
def serving(path: Path) -> Iterator[GuestAgent]:
    agent = GuestAgent(path)
    try:
        yield agent
    finally:
        agent.close()
