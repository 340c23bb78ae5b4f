"""Steady probes: one user asking again and again while something breaks, and what that user noticed."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request: when it was sent and answered (monotonic seconds), whether it succeeded, what it said."""

    sent: float
    answered: float
    good: bool
    said: str


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """What a user noticed: requests, errors with their words, and the longest time without a success in seconds."""

    requests: int
    errors: int
    longest_gap: float
    first_error: str

    def __str__(self) -> str:
        words = f" ({self.first_error})" if self.errors else ""
        return f"{self.requests} requests, {self.errors} errors{words}, longest gap {self.longest_gap:.1f} s"


def judge(samples: Sequence[Sample], begun: float, ended: float) -> Noticed:
    """Sum up the samples answered between `begun` and `ended` (monotonic seconds).

    The gap is the longest time between two answered successes, counting from `begun` and to `ended`: a user who never got an
    answer noticed the whole time.
    """
    inside = [s for s in sorted(samples, key=lambda s: s.answered) if begun <= s.answered <= ended]
    good = [sample.answered for sample in inside if sample.good]
    marks = [begun, *good, ended]
    bad = [sample for sample in inside if not sample.good]
    return Noticed(
        requests=len(inside),
        errors=len(bad),
        longest_gap=max(b - a for a, b in itertools.pairwise(marks)),
        first_error=bad[0].said if bad else "",
    )


class Probe:
    """Calls `ask` (answers good or not, and words) every `period` seconds in a thread, until closed."""

    def __init__(self, ask: Callable[[], tuple[bool, str]], *, period: float) -> None:
        self._ask = ask
        self._period = period
        self._ending = threading.Event()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def samples(self) -> list[Sample]:
        """What was seen so far."""
        return list(self._samples)

    def noticed(self, begun: float) -> Noticed:
        """What the user noticed from `begun` (monotonic seconds) until now."""
        return judge(self.samples(), begun, time.monotonic())

    def _run(self) -> None:
        while not self._ending.is_set():
            sent = time.monotonic()
            good, said = self._ask()
            answered = time.monotonic()
            self._samples.append(Sample(sent=sent, answered=answered, good=good, said=said))
            self._ending.wait(max(0.0, self._period - (answered - sent)))
