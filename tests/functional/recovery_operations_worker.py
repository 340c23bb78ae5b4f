"""A real worker process for the tests of operations, to be killed anywhere.

It loads everything once and then forks a child for each line on stdin, so that a hundred kills do not
cost a hundred interpreter starts. The child works on one operation as an engine does, and may be told
where it is to be killed by SIGKILL: at a place of a step ("b inside"), or at the n-th beginning or
commit of a transaction ("begin 17", "commit 17"), TaskFlow's own transactions included.

Line: {"url": ..., "yard": ..., "operation": ..., "kill": [places], "lasts": seconds}
Answer: {"signal": number or 0, "exit": code, "said": place of the kill, or how many were committed}
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import operations_yard
import sqlalchemy as sa

# Loaded before the children are forked.
import taskflow.engines  # noqa: F401

from isthmus.operations import executing, flows, persistence, records  # noqa: F401
from isthmus.operations.runner import Runner
from isthmus.operations.values import WORKING
from isthmus.store import databases

LONGEST_SECONDS = 60.0
"""What an operation of a few files may take on a machine that is busy with other tests."""


class Killer:
    """Kills this process at the first of the places that it comes to."""

    def __init__(self, places: list[str], answer: int) -> None:
        self.places, self.answer = places, answer
        self.seen = {"begin": 0, "commit": 0}
        self.lock = threading.Lock()

    def __call__(self, place: str) -> None:
        if place in self.places:
            with self.lock:  # Only one of several threads says where; none comes out of here.
                os.write(self.answer, place.encode())
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(LONGEST_SECONDS)

    def watch(self, kind: str) -> Any:
        def happened(_connection: sa.Connection) -> None:
            self.seen[kind] += 1
            self(f"{kind} {self.seen[kind]}")

        return happened


def child(order: dict[str, Any], answer: int) -> None:
    """Work on the operation until it waits for somebody or is finished."""
    killer = Killer(order["kill"], answer)
    for kind in killer.seen:
        sa.event.listen(sa.Engine, kind, killer.watch(kind))
    database = databases.connect(order["url"])
    recipes = operations_yard.recipes(Path(order["yard"]), killer)
    owner = f"worker-{os.getpid()}"
    runner = Runner(database, recipes, owner=owner, lasts=order["lasts"])
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        operation = records.read(database, order["operation"])
        if operation.phase not in WORKING:
            os.write(answer, str(killer.seen["commit"]).encode())
            os._exit(0)
        # The lease of whoever was killed has to expire first.
        runner.work(operation)
        time.sleep(0.02)
    os._exit(3)


def main() -> None:
    """Fork a child for each line."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("taskflow").setLevel(logging.CRITICAL)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(order, writer)
            finally:
                os._exit(4)
        os.close(writer)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader) as answer:
            text = answer.read()
        said = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "said": text,
        }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
