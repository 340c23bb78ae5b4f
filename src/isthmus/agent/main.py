"""`isthmus-agent --config FILE`: starts the threads, answers over HTTP, ends on SIGTERM or SIGINT.

A file with `kind: host` makes it the agent of a compute host (`isthmus.agent.host`). Any other file
is that of the agent beside a site's identity databases, whose database user needs the rights
`isthmus.identity.schema.agent_grants`.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from isthmus import errors
from isthmus.agent import binlog, config, generation_file, http, sources
from isthmus.agent.coherence import Follower
from isthmus.agent.looping import Loop
from isthmus.agent.watching import MasterWatch, MemberWatch, NodeWatch, ReplicaWatch, Watch

# Looks end within two seconds; a change of master in progress is completed by the server anyway.
STOP_SECONDS = 3.0
# The default stack (8 MB of address space per thread) is for programs that recurse.
_STACK = 512 * 1024

log = logging.getLogger(__name__)


class Agent:
    """All threads of one site's agent and what they have found."""

    def __init__(self, settings: config.Config) -> None:
        self.settings = settings
        self._started_at = datetime.now(UTC)
        self.masters = _masters(settings)
        self.watches = {
            database.name: _watch(settings, database, self.masters)
            for database in settings.databases
        }
        self._generations = _generations(settings)
        self.followers = _followers(settings, self._generations)
        self._servers: list[http.Server] = []
        self._keying = _keying(settings, self.writes)
        self._packages = sources.packages()

    @property
    def _loops(self) -> list[Loop]:
        watches = [loop for watch in self.watches.values() for loop in watch.loops()]
        followers: list[Loop] = list(self.followers.values())
        return [
            *self.masters.values(),
            *watches,
            *followers,
            *self._keying,
        ]

    def writes(self) -> bool:
        """Whether a database of this site takes the writes now."""
        at = time.monotonic()
        return any(watch.report.writer(at)[0] for watch in self.watches.values())

    def start(self) -> None:
        """Listen, then look; raises `errors.UnavailableError` if an address cannot be had."""
        self._servers = [http.Server(address, self.answer) for address in self.settings.listen]
        for loop in self._loops:
            loop.start()
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        for server in self._servers:
            server.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for loop in self._loops:
            loop.join(max(0.0, deadline - time.monotonic()))
        if self._generations is not None:
            self._generations.close()

    def answer(self, path: str) -> http.Answer:
        """The answer to GET `path`."""
        match path.strip("/").split("/"):
            case ["healthcheck"]:
                return http.text(200, "OK")
            case ["status"]:
                return http.document(self.status())
            case ["database", name, "reader" | "writer" as use] if name in self.watches:
                report, at = self.watches[name].report, time.monotonic()
                good, reason = report.reader(at) if use == "reader" else report.writer(at)
                return http.text(200 if good else 503, reason)
        known = ", ".join(self.watches)
        return http.text(404, f"no such path; databases of this agent: {known}")

    def status(self) -> dict[str, Any]:
        """The document of `/status`."""
        at = time.monotonic()
        return {
            "site": self.settings.site,
            "time": _utc(datetime.now(UTC)),
            "agent": {
                "pid": os.getpid(),
                "started_at": _utc(self._started_at),
                "version": metadata.version("isthmus"),
                "packages": self._packages,
            },
            "databases": [watch.report.document(at) for watch in self.watches.values()],
            "keys": sources.key_repositories(self.settings.key_repositories),
            "key_rotation": self._keying[0].status if self._keying else {},
            "key_settings": _key_settings(self.settings.keys),
            "queue": sources.queue(self.settings.queue),
            "settings": sources.settings(self.settings.configuration_files),
            "coherence": {
                name: follower.told.document(binlog.clock())
                for name, follower in self.followers.items()
            },
        }


def _keying(settings: config.Config, writes: Callable[[], bool]) -> list[Any]:
    """The follower of the keys, and the conductor where a database may take the writes; none without
    keys. Raises ConfigurationError."""
    if settings.keys is None:
        return []
    # Imported late: who looks after no keys does without the 9 MB of `cryptography`.
    from isthmus.agent import keying

    node = keying.Node.of(settings, settings.keys)
    follower = keying.Follower(settings, settings.keys, node)
    if not any(each.kind is config.Kind.WRITER for each in settings.databases):
        return [follower]
    return [follower, keying.Conductor(settings, settings.keys, node, writes)]


def _key_settings(keys: config.Keys | None) -> dict[str, dict[str, Any]]:
    """Lifetimes and intervals, by kind of key."""
    return {} if keys is None else {kind: asdict(each) for kind, each in keys.kinds.items()}


def _watch(
    settings: config.Config, database: config.Database, masters: dict[str, MasterWatch]
) -> Watch:
    match database.kind:
        case config.Kind.REPLICA:
            return ReplicaWatch(settings, database, masters)
        case config.Kind.MEMBER:
            return MemberWatch(settings, database)
        case config.Kind.WRITER:
            return NodeWatch(settings, database)


def _masters(settings: config.Config) -> dict[str, MasterWatch]:
    """Masters are looked at only where there is a replica that could follow them."""
    account = settings.replication
    kinds = {database.kind for database in settings.databases}
    if config.Kind.REPLICA not in kinds:
        return {}
    return {name: MasterWatch(name, address, account) for name, address in settings.masters.items()}


def _generations(settings: config.Config) -> generation_file.File | None:
    """The generation file; without it Keystones only lose speed, so that the agent goes on."""
    if settings.generation_file is None:
        return None
    try:
        return generation_file.File(settings.generation_file)
    except errors.UnavailableError as error:
        log.warning("%s", error.describe())
        return None


def _followers(settings: config.Config, file: generation_file.File | None) -> dict[str, Follower]:
    """One for each database of the site, if there is a file to tell it."""
    if file is None:
        return {}
    account = settings.replication
    return {d.name: Follower(d, account, file) for d in settings.databases}


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _log_to_stderr() -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="isthmus-agent", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    _log_to_stderr()
    try:
        if _of_a_host(options.config):
            # Imported late: the agent beside the databases stays small.
            from isthmus.agent.host import main as host

            return host.run(options.config)
        threading.stack_size(_STACK)
        return _run(Agent(config.load(options.config)))
    except errors.IsthmusError as error:
        sys.stderr.write(error.describe() + "\n")
        return error.exit_code


def _of_a_host(path: Path) -> bool:
    """Whether the file says `kind: host`; what is wrong with a file is said by who reads it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(document, dict) and document.get("kind") == "host"


def _run(agent: Agent) -> int:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    agent.start()
    log.info("agent of %s watches %s", agent.settings.site, ", ".join(agent.watches))
    ended.wait()
    log.info("agent of %s ends", agent.settings.site)
    agent.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
