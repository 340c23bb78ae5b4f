"""Runs external commands: one function, always with a timeout, with errors that can be acted on.

Long-lived daemons are not started here; see `processes`.
"""

import subprocess
from collections.abc import Mapping, Sequence
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
) -> Completed:
    """Run `argv` to its end within `timeout` seconds, inside a network namespace if one is named.

    Raises `errors.CommandFailed` when the command is missing, exceeds its time, or (with `check`) exits non-zero.
    Secrets go through `stdin` or files: `argv` is shown in errors and visible to every user of the machine.
    """
    full = (*in_namespace(namespace), *argv)
    try:
        done = subprocess.run(
            full, timeout=timeout, input=stdin, env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise errors.CommandFailed(full, cause=f"{full[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise errors.CommandFailed(full, cause=f"no end after {timeout:g} s") from error
    if check and done.returncode != 0:
        text = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise errors.CommandFailed(full, cause=f"exit {done.returncode}: {text}")
    return Completed(argv=full, code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def in_namespace(namespace: str | None) -> tuple[str, ...]:
    """The words that put a command into a network namespace."""
    return ("ip", "netns", "exec", namespace) if namespace else ()
