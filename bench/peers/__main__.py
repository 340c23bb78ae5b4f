"""`python -m bench.peers --config FILE`: simulated sites until SIGTERM or SIGINT."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bench.peers.app import Peers, Settings
from isthmus.engine.serving import Server
from isthmus.errors import IsthmusError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        settings = Settings.model_validate_json(options.config.read_text(encoding="utf-8"))
        server = Server(Peers(settings).app(), settings.listen)
    except IsthmusError as error:
        sys.stderr.write(error.describe() + "\n")
        return error.exit_code
    server.start()
    ended.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
