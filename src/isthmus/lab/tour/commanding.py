"""The command line as a tour uses it: what the product does is asked for as an operator would."""

import json
import sys
from pathlib import Path
from typing import Any

from isthmus.lab import clients
from isthmus.lab.environment import Environment
from isthmus.lab.home import Home
from isthmus.lab.processes import clean_environment
from isthmus.lab.running import run
from isthmus.lab.tour.steps import Unexpected

COMMAND_SECONDS = 180.0


def isthmus(home: Home, environment: Environment, *words: str, remedy: str) -> Any:
    """Run `isthmus WORDS` as the lab's administrator; what it printed, if that is JSON.

    Raises Unexpected, with `remedy` as the next command, if it ends with another code than 0.
    """
    command = [str(Path(sys.executable).parent / "isthmus"), *words]
    variables = {
        **clean_environment(),
        **clients.exports(home, environment),
        "OS_CLOUD": "isthmus",
    }
    done = run(command, env=variables, timeout=COMMAND_SECONDS, check=False)
    if done.code != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise Unexpected(
            f"`isthmus {' '.join(words)}` ended with {done.code}",
            where="the command line",
            cause=said[-1500:],
            next_command=remedy,
        )
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else None
