"""Steady pings from a namespace, and what they noticed: the time without an answer and what was lost after a moment.

Ping itself stamps each answer (`-D`), so that a busy reader changes no figure. Linux iputils; RFC 792.
"""

import itertools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from isthmus.lab.running import in_namespace

_ANSWER = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) ")
# Said (`-O`) when the next ping is due and this one has no answer yet.
_LATE = re.compile(r"^\[(\d+\.\d+)\] no answer yet for icmp_seq=(\d+)")

# After the signal, ping has nothing left to do; a busy machine takes a while to let it.
_END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """When each ping was answered, and when each that was not was given up: seconds since the epoch by sequence number."""

    answered: dict[int, float]
    lost: dict[int, float]

    def longest_gap(self) -> float:
        """The longest time between two answers, in seconds; the period of the pings is part of it."""
        moments = sorted(self.answered.values())
        return max((b - a for a, b in itertools.pairwise(moments)), default=float("inf"))

    def lost_after(self, moment: float) -> int:
        """How many pings that were given up after `moment` (seconds since the epoch) were never answered."""
        return sum(given_up > moment for given_up in self.lost.values())


def parse(lines: Sequence[str]) -> Answers:
    """Read the output of `ping -D -O`."""
    answered = {int(m.group(2)): float(m.group(1)) for m in map(_ANSWER.match, lines) if m}
    late = {int(m.group(2)): float(m.group(1)) for m in map(_LATE.match, lines) if m}
    return Answers(answered=answered, lost={n: at for n, at in late.items() if n not in answered})


class Pinging:
    """Pings `address` from `namespace` every `period` seconds until closed; then `answers` holds what came."""

    def __init__(self, namespace: str, address: str, *, period: float = 0.05) -> None:
        self._argv = [
            *in_namespace(namespace),
            *("ping", "-n", "-D", "-O", "-W", "1", "-i", f"{period:g}", address),
        ]
        self.answers = Answers(answered={}, lost={})

    def __enter__(self) -> "Pinging":
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # SIGTERM and not SIGINT: a child of a shell's background job ignores the latter.
        self._process.terminate()
        try:
            output, _ = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        self.answers = parse(output.splitlines())
