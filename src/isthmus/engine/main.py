"""`isthmus-engine --config FILE`: starts the threads, answers over HTTP, ends on SIGTERM or SIGINT.

It may be killed at any moment: what it knows, it finds out again. Two engines of one site do no harm
to each other; each does what the other would have done.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import fastapi

from isthmus import errors
from isthmus.engine import config
from isthmus.engine.api import app
from isthmus.engine.core import Engine
from isthmus.engine.serving import Server

if TYPE_CHECKING:
    from isthmus.recovery.flows.service import Service

LOG = logging.getLogger(__name__)

_NOISY = (
    *("keystoneauth", "oslo.messaging", "oslo_messaging", "oslo_service", "amqp"),
    *("taskflow", "oslo_utils.excutils", "alembic", "swiftclient"),
)

# The default stack (8 MB of address space per thread) is for programs that recurse.
_STACK = 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="isthmus-engine", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    _log_to_stderr()
    threading.stack_size(_STACK)
    try:
        return _run(config.load(options.config))
    except errors.IsthmusError as error:
        sys.stderr.write(error.describe() + "\n")
        return error.exit_code


def _run(settings: config.Config) -> int:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = Engine(settings)
    recovery, routes = _recovery(engine, settings.recovery)
    server = Server(app.build(engine, *routes), settings.listen)
    server.start()
    engine.start()
    if recovery is not None:
        recovery.start()
    LOG.info("engine of %s on %s", engine.site, ", ".join(str(each) for each in settings.listen))
    ended.wait()
    LOG.info("engine of %s ends", engine.site)
    server.stop()
    if recovery is not None:
        recovery.stop()
    engine.stop()
    return 0


def _recovery(
    engine: Engine, settings: config.Recovery | None
) -> tuple[Service | None, list[fastapi.APIRouter]]:
    """Recovery and its routes, where it is configured; what it stands on takes a second to import."""
    if settings is None:
        return None, []
    from isthmus.engine import recovering
    from isthmus.engine.api import operations_home

    service = recovering.build(engine, settings)
    return service, [operations_home.router(engine, service, four_eyes=settings.four_eyes)]


def _log_to_stderr() -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    # What goes wrong between here and other services is said in our own words, once.
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
