"""Talks to QEMU's guest agent over its Unix socket, as libvirt does. For the lab and its tests, not for the product."""

import base64
import json
import secrets
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from isthmus.lab import errors

# Under plain emulation the agent answers in tenths of a second; a freeze waits for what is dirty.
_ANSWER_SECONDS = 30.0


class GuestAgent:
    """A connection to one guest's agent; only one can be open at a time."""

    def __init__(self, path: Path, *, timeout: float = _ANSWER_SECONDS) -> None:
        """Connect and find the beginning of the conversation. Raises `errors.NotReady`."""
        self._path = path
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._buffer = b""
        try:
            self._socket.connect(str(path))
            self._synchronize()
        except OSError as error:
            self._socket.close()
            raise self._silent(error) from error

    def __enter__(self) -> "GuestAgent":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def call(self, command: str, **arguments: Any) -> Any:
        """What the agent returns; raises `errors.Refused` when it refuses and `errors.NotReady` when it is silent."""
        try:
            self._send({"execute": command, **({"arguments": arguments} if arguments else {})})
            answer = self._receive()
        except OSError as error:
            raise self._silent(error) from error
        if "error" in answer:
            raise errors.Refused(what=command, where=str(self._path), cause=answer["error"]["desc"])
        return answer["return"]

    def shell(self, command: str) -> str:
        """The output of a shell command in the guest; raises `errors.Refused` if it ends badly."""
        argument = ["-c", command]
        started = self.call("guest-exec", path="/bin/sh", arg=argument, **{"capture-output": True})
        deadline = time.monotonic() + self._timeout
        while not (done := self.call("guest-exec-status", pid=started["pid"]))["exited"]:
            if time.monotonic() > deadline:
                raise self._silent(OSError(f"`{command}` has not ended"))
            time.sleep(0.05)
        output = base64.b64decode(done.get("out-data", "")).decode(errors="replace")
        if done.get("exitcode") != 0:
            complaint = base64.b64decode(done.get("err-data", "")).decode(errors="replace")
            raise errors.Refused(what=command, where=str(self._path), cause=complaint or output)
        return output

    def tell(self, command: str, **arguments: Any) -> None:
        """A command that has no answer, such as `guest-shutdown`."""
        self._send({"execute": command, **({"arguments": arguments} if arguments else {})})

    def _synchronize(self) -> None:
        """Skip what an earlier caller left unread. The agent answers with the number that it was given."""
        number = secrets.randbelow(1 << 31)
        self._send({"execute": "guest-sync", "arguments": {"id": number}}, before=b"\xff")
        while self._receive().get("return") != number:
            pass

    def _send(self, message: dict[str, Any], *, before: bytes = b"") -> None:
        self._socket.sendall(before + json.dumps(message).encode() + b"\n")

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            got = self._socket.recv(65536)
            if not got:
                raise OSError("the connection was closed")
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\n")
        # The agent complains about the byte that ended whatever was unread.
        found = json.loads(line.lstrip(b"\xff") or b"{}")
        return found if isinstance(found, dict) else {}

    def _silent(self, error: OSError) -> errors.NotReady:
        return errors.NotReady(
            what="the guest agent does not answer", where=str(self._path), cause=str(error)
        )
