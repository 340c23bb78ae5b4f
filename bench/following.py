"""Following long work: lines of progress, what the engine's log says of it, and entries of hosts over time."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from isthmus.errors import IsthmusError

LOOK_SECONDS = 1.0
_COUNT_SECONDS = 0.5


def say(text: str) -> None:
    """One line of progress."""
    print(f"scale: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """One bulk request as the engine's log tells it: when it ended (seconds since the epoch), how many actions, seconds."""

    ended: float
    actions: int
    seconds: float


def portions(log: str, network: str) -> list[Portion]:
    """The engine's actions on a network, as its log has them."""
    pattern = rf"^(\S+)Z \S+ network {re.escape(network)}: (\d+) actions in ([\d.]+) s"
    return [
        Portion(
            ended=datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp(),
            actions=int(actions),
            seconds=float(seconds),
        )
        for moment, actions, seconds in re.findall(pattern, log, re.MULTILINE)
    ]


def follow(state: Callable[[], str | None], *, budget: float, what: str) -> bool:
    """Look again and again until `state` is None, with a line of progress every ten; False if `budget` seconds were too few."""
    began = time.monotonic()
    told = began
    while True:
        try:
            text = state()
        except IsthmusError as error:
            text = str(error)  # a busy engine answers late
        now = time.monotonic()
        if text is None:
            return True
        if now - began > budget:
            say(f"{what}: after {now - began:.0f} s: {text}")
            return False
        if now - told >= 10.0:
            told = now
            say(f"{text} ({now - began:.0f} s)")
        time.sleep(LOOK_SECONDS)


@dataclass(kw_only=True)
class Watch:
    """Counts the entries of hosts twice a second, from its making until `stop`.

    `flows` says how many a host has; `lasting` how many of these it does not forget by itself: what traffic of before has
    taught it may go while it is counted.
    """

    flows: Callable[[str], int]
    lasting: Callable[[str], int]
    hosts: Sequence[str]
    seen: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """By host: (seconds since the epoch, entries beyond those at the beginning)."""

    def __post_init__(self) -> None:
        self._before = {host: self.lasting(host) for host in self.hosts}
        self.seen = {host: [] for host in self.hosts}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now(self, host: str) -> int:
        """Entries beyond those at the beginning, as last counted."""
        return self.seen[host][-1][1] if self.seen[host] else 0

    def reached(self, host: str, count: int) -> float | None:
        """When the host had `count` entries for the first time; None if it has not."""
        return next((at for at, held in self.seen[host] if held >= count), None)

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        while not self._ending.wait(_COUNT_SECONDS):
            for host in self.hosts:
                with contextlib.suppress(IsthmusError):  # a busy switch answers late
                    self.seen[host].append((time.time(), self.flows(host) - self._before[host]))
