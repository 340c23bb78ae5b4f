"""External commands of a compute host: one way to run them, always with a time limit.

The error carries the command, its exit code and what it wrote. It is not for programs that go on
running. No secret may stand in the arguments, since every user of the host sees them.
"""

import subprocess
from collections.abc import Mapping, Sequence

from isthmus import errors

TIMEOUT_SECONDS = 10.0
"""Open vSwitch answers in milliseconds; a restart of its daemon takes a few seconds."""

_EXCERPT = 800


class CommandError(errors.HostError):
    """A command is missing, ended with an error, or did not end; `code` is None then."""

    def __init__(self, argv: Sequence[str], *, cause: str, code: int | None = None) -> None:
        super().__init__(f"the command {argv[0]} failed", where=" ".join(argv), cause=cause)
        self.code = code


def run(
    argv: Sequence[str],
    *,
    timeout: float = TIMEOUT_SECONDS,
    namespace: str | None = None,
    env: Mapping[str, str] | None = None,
    allowed: frozenset[int] = frozenset({0}),
    merged: bool = False,
) -> str:
    """What `argv` wrote to its standard output, run inside a network namespace if one is named.

    `merged`: and what it wrote to its standard error, in the order of writing.

    Raises `CommandError` when the exit code is not among the `allowed` ones, after `timeout`
    seconds, or when the command is not installed.
    """
    full = [*(("ip", "netns", "exec", namespace) if namespace else ()), *argv]
    try:
        done = subprocess.run(
            full,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
            env=env,
        )
    except FileNotFoundError as error:
        raise CommandError(full, cause=f"{full[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(full, cause=f"no end after {timeout:g} s") from error
    if done.returncode not in allowed:
        wrote = " ".join(((done.stderr or "").strip() or done.stdout.strip())[-_EXCERPT:].split())
        raise CommandError(full, cause=f"exit {done.returncode}: {wrote}", code=done.returncode)
    return done.stdout
