"""Runs external commands: one function, always with a timeout, with errors that can be acted on.

Long-lived daemons are not started here; see `processes`.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from isthmus.lab import errors


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a command left: its exit code and both outputs as text."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout: float = 30.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    namespace: str | None = None,
    check: bool = True,
    told: Callable[[str], None] | None = None,
) -> Completed:
    """Run `argv` to its end within `timeout` seconds, inside a network namespace if one is named.

    Raises `errors.CommandFailed` when the command is missing, exceeds its time, or (with `check`) exits non-zero.
    Secrets go through `stdin` or files: `argv` is shown in errors and visible to every user of the machine. `told` hears each
    line of standard error when it comes, in a thread of its own.
    """
    full = (*in_namespace(namespace), *argv)
    lines: list[str] = []
    try:
        with _followed(told, lines) as stderr:
            done = subprocess.run(
                full,
                timeout=timeout,
                input=stdin,
                env=env,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                check=False,
            )
    except FileNotFoundError as error:
        raise errors.CommandFailed(full, cause=f"{full[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise errors.CommandFailed(full, cause=f"no end after {timeout:g} s") from error
    said = "".join(lines) if told else done.stderr
    if check and done.returncode != 0:
        text = (said.strip() or done.stdout.strip())[-2000:]
        raise errors.CommandFailed(full, cause=f"exit {done.returncode}: {text}")
    return Completed(argv=full, code=done.returncode, stdout=done.stdout, stderr=said)


@contextlib.contextmanager
def _followed(told: Callable[[str], None] | None, lines: list[str]) -> Iterator[int]:
    """Where standard error goes: to be collected by `subprocess`, or, line by line, to `told` and `lines`."""
    if told is None:
        yield subprocess.PIPE
        return
    reading, writing = os.pipe()

    def follow() -> None:
        with os.fdopen(reading, errors="replace") as stream:
            for line in stream:
                lines.append(line)
                told(line.rstrip("\n"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield writing
    finally:
        os.close(writing)
        thread.join()


def in_namespace(namespace: str | None) -> tuple[str, ...]:
    """The words that put a command into a network namespace."""
    return ("ip", "netns", "exec", namespace) if namespace else ()
