"""Asking several sites at once: one result per question, whatever the sites do.

It exists so that no command fails, or waits for ever, because one site is dead (nornir's model of
partial failure). It is for short reads; operations that change something have their own engine.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from isthmus import errors

LOG = logging.getLogger(__name__)

AT_ONCE = 32
"""Questions under way at the same time. A thread that waits costs little; 32 covers ten sites."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result(Generic[T]):
    """What came of one question: a value, or the sentence that says why there is none."""

    value: T | None = None
    error: str | None = None
    seconds: float
    """How long it took, or how long it was waited for."""
    observed_at: datetime.datetime
    """When the answer (or the failure) was known, by this host's clock, in UTC."""

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclasses.dataclass(frozen=True)
class _Answer(Generic[K, T]):
    key: K
    value: T | None
    error: str | None


class _Asking(Generic[K, T]):
    """The questions under way.

    Invariant: every key ends with exactly one result, no later than `timeout` + `grace` seconds
    after its question was put, and no more than `at_once` questions that are not yet overdue run
    together.
    """

    def __init__(
        self,
        questions: Mapping[K, Callable[[], T]],
        *,
        timeout: float,
        grace: float,
        at_once: int,
    ) -> None:
        self._waiting = list(questions.items())[::-1]
        self._timeout = timeout
        self._overdue = timeout + grace
        self._at_once = at_once
        self._started: dict[K, float] = {}
        self._answers: queue.SimpleQueue[_Answer[K, T]] = queue.SimpleQueue()
        self._results: dict[K, Result[T]] = {}

    def results(self) -> dict[K, Result[T]]:
        self._put_questions()
        while self._started:
            oldest = min(self._started.values())
            self._receive(wait=oldest + self._overdue - time.monotonic())
            self._give_up_overdue()
            self._put_questions()
        return self._results

    def _put_questions(self) -> None:
        while self._waiting and len(self._started) < self._at_once:
            key, question = self._waiting.pop()
            self._started[key] = time.monotonic()
            # Threads of concurrent.futures are joined when the interpreter exits, so that one hung
            # site would hold the command at its end. Daemon threads are left behind.
            threading.Thread(
                target=_ask, args=(key, question, self._answers), daemon=True, name=f"ask {key}"
            ).start()

    def _receive(self, *, wait: float) -> None:
        try:
            answer = self._answers.get(timeout=max(wait, 0))
        except queue.Empty:
            return
        if answer.key in self._started:
            self._close(answer.key, value=answer.value, error=answer.error)

    def _give_up_overdue(self) -> None:
        now = time.monotonic()
        for key, started in list(self._started.items()):
            if now - started >= self._overdue:
                self._close(key, value=None, error=f"no answer within {self._timeout:g} s")

    def _close(self, key: K, *, value: T | None, error: str | None) -> None:
        self._results[key] = Result(
            value=value,
            error=error,
            seconds=time.monotonic() - self._started.pop(key),
            observed_at=datetime.datetime.now(datetime.UTC),
        )


def _ask(key: K, question: Callable[[], T], answers: queue.SimpleQueue[_Answer[K, T]]) -> None:
    try:
        answers.put(_Answer(key, question(), None))
    except errors.IsthmusError as error:
        answers.put(_Answer(key, None, str(error)))
    except BaseException as error:  # a result for every question, whatever happens
        LOG.debug("asking %s failed", key, exc_info=True)
        text = " ".join(str(error).split()) or "no message"
        answers.put(_Answer(key, None, f"unexpected {type(error).__name__}: {text}"))


def ask_all(
    questions: Mapping[K, Callable[[], T]],
    *,
    timeout: float,
    grace: float = 0.0,
    at_once: int = AT_ONCE,
) -> dict[K, Result[T]]:
    """Put all questions and return one result per key, in the order of the keys.

    `timeout` is in seconds and counts for each question from when it is put; `grace` is what is
    added for questions with a timeout of their own, which can word it better. So the whole takes at
    most (timeout + grace) * ceil(questions / at_once) and the time to start threads. A question
    that is overdue is left behind in its thread, which ends with the process. Nothing is raised
    because a question failed.
    """
    asking = _Asking(questions, timeout=timeout, grace=grace, at_once=at_once)
    found = asking.results()
    return {key: found[key] for key in questions}
