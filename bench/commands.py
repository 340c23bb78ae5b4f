"""What people type: the `isthmus` command on the lab. People who approve too are `isthmus.lab.recovering`."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from bench import labs
from isthmus.errors import IsthmusError
from isthmus.lab import clients
from isthmus.lab.components.base import script


def isthmus(
    lab: labs.Lab,
    *words: str,
    timeout: float = 180.0,
    judged: Sequence[int] = (),
) -> Any:
    """What a command prints, read as JSON if it is; raises `IsthmusError` when it fails.

    `judged`: exit codes with which a command says what it thinks of what it prints.
    """
    try:
        done = subprocess.run(
            [script("isthmus"), *words],
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                **clients.exports(lab.home, lab.environment),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        cause = f"no end after {timeout:g} s"
        raise IsthmusError("a command failed", where=" ".join(words), cause=cause) from error
    if done.returncode not in (0, *(judged if done.stdout.strip() else ())):
        raise IsthmusError("a command failed", where=" ".join(words), cause=done.stderr.strip())
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout
