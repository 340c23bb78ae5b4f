"""A guest agent as QEMU's socket shows it: one client at a time, and the words of the protocol.

It plays the guest for tests of what is said to it; tests/functional has a real one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
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
        self.longest = 0
        """Bytes of its longest answer."""
        self.thaws_when_asked = False
        """While set, the first command that it refuses because it is frozen is the last one."""
        self.forgetful = False
        """While set, it knows no process, as one that was started anew."""
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
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
        for each in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.communicate()

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
                self.longest = max(self.longest, len(answer))
                link.sendall(answer + b"\n")

    def _obey(self, words: dict[str, Any]) -> bytes:
        name = words["execute"]
        if name == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": words["arguments"]["id"]}).encode()
        if name == "guest-fsfreeze-status":
            return json.dumps({"return": "frozen" if self.frozen else "thawed"}).encode()
        self.said.append(name)
        if self.refuse:
            return _refusal(self.refuse)
        if name.startswith("guest-exec"):
            return self._execute(name, words["arguments"])
        if name == "guest-fsfreeze-freeze":
            if self.frozen:
                return _refusal(f"The command {name} has been disabled for this instance")
            self.frozen = True
            return b'{"return": 2}'
        count = 2 if self.frozen else 0
        self.frozen = False
        return json.dumps({"return": count}).encode()

    def _execute(self, name: str, given: dict[str, Any]) -> bytes:
        """Programs are run here, in place of the guest."""
        if self.frozen:
            self.frozen = not self.thaws_when_asked
            return _refusal(f"Command {name} has been disabled: the agent is in frozen state")
        if name == "guest-exec":
            argv = [given["path"], *given["arg"]]
            pipe = subprocess.PIPE
            try:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=pipe,
                    stderr=pipe,
                    start_new_session=True,
                )
            except OSError as error:
                return _refusal(f"Failed to execute child process ({error.strerror})")
            self.processes[child.pid] = child
            return json.dumps({"return": {"pid": child.pid}}).encode()
        if self.forgetful or given["pid"] not in self.processes:
            return _refusal("Invalid parameter 'pid'")
        child = self.processes[given["pid"]]
        if child.poll() is None:
            return b'{"return": {"exited": false}}'
        del self.processes[child.pid]
        return json.dumps({"return": {"exited": True, **_ended(child)}}).encode()


def _ended(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """How a program ended; what it did not write is left out."""
    code = child.returncode
    wrote = dict(zip(("out-data", "err-data"), child.communicate(), strict=True))
    told = {name: base64.b64encode(text).decode() for name, text in wrote.items() if text}
    return {**told, **({"exitcode": code} if code >= 0 else {"signal": -code})}


def _refusal(text: str) -> bytes:
    return json.dumps({"error": {"class": "GenericError", "desc": text}}).encode()


@contextlib.contextmanager
def serving(path: Path) -> Iterator[GuestAgent]:
    agent = GuestAgent(path)
    try:
        yield agent
    finally:
        agent.close()
