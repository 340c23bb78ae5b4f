"""`python -m bench.simulated_sites CONFIG...`: the followers of the token keys of many sites in one process, until SIGTERM.

Each is the agent's own follower with a configuration, a repository, a private key and connections of its own. What else an agent
does (watching databases, answering) is not done, so that thirty sites fit on one machine.
"""

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from isthmus.agent import config, keying
from isthmus.errors import ConfigurationError


def main(paths: Sequence[str]) -> int:
    """Follow for all of these configurations; 0 after SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    followers = [_follower(config.load(Path(path))) for path in paths]
    for each in followers:
        each.start()
    ended.wait()
    for each in followers:
        each.stop()
    return 0


def _follower(settings: config.Config) -> keying.Follower:
    if settings.keys is None:
        raise ConfigurationError("there are no keys to follow", where=settings.site)
    return keying.Follower(settings, settings.keys, keying.Node.of(settings, settings.keys))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
