"""Which endpoint to ask now, and when to look whether a silent one is back. Pure: no clock, no I/O.

An endpoint is up until an attempt fails that began after it came up; then it is down until an
attempt succeeds that began after it went down. Attempts that began before tell of a state that is
over: in a crowd of threads the late failures of an outage would otherwise take out an endpoint that
has just come back. Requests do not try a silent endpoint; one probe at a time does.
"""

from __future__ import annotations

import dataclasses

FIRST_PAUSE = 0.5
"""Seconds until the first look: a Keystone that is restarted is away for seconds, not minutes."""

NEVER = float("-inf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """One endpoint. Times are monotonic seconds."""

    up: bool = True
    since: float = NEVER
    failures: int = 0
    """Failures in a row; a failure soon after a return counts on, so that flapping is damped."""
    look_at: float = NEVER
    """When a probe is due, if it is down."""
    probed_until: float = NEVER
    """Until then a probe is under way; one that was lost (a fork, a kill) is given up after that."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """The longest pause between two probes, and how long a probe may take. Seconds."""

    pause: float
    probe: float


State = tuple[Health, ...]
"""Endpoints in the order in which they are asked; the first is the site's own."""


def begin(endpoints: int) -> State:
    """All endpoints, taken for good until they prove otherwise."""
    return tuple(Health() for _ in range(endpoints))


def candidates(state: State) -> tuple[int, ...]:
    """Whom a request asks, one after the other until one answers.

    Never empty and always in the declared order: those that are up; if none is, all of them, so
    that a moment's trouble at the last one that was left is not an outage until its next probe.
    """
    return tuple(i for i, health in enumerate(state) if health.up) or tuple(range(len(state)))


def probes(state: State, now: float, limits: Limits) -> tuple[State, tuple[int, ...]]:
    """The silent endpoints to be probed now; nobody else is told to probe them meanwhile."""
    due = tuple(
        i
        for i, health in enumerate(state)
        if not health.up and now >= health.look_at and now >= health.probed_until
    )
    for index in due:
        state = _with(state, index, probed_until=now + limits.probe)
    return state, due


def outcome(
    state: State, index: int, *, began: float, now: float, good: bool, limits: Limits
) -> State:
    """The state after an attempt (a request's or a probe's) at an endpoint."""
    health = state[index]
    if began < health.since:
        return state
    if good:
        if health.up:
            return state
        return _with(state, index, up=True, since=now, probed_until=NEVER)
    if not health.up and now < health.look_at:
        # Several requests failed at once: one step of the pause, not several.
        return state
    again = not health.up or now - health.since <= limits.pause
    failures = health.failures + 1 if again else 1
    return _with(
        state,
        index,
        up=False,
        since=now if health.up else health.since,
        failures=failures,
        look_at=now + _pause(failures, limits),
        probed_until=NEVER,
    )


def _pause(failures: int, limits: Limits) -> float:
    # The exponent is cut: after a night of failures the power would not fit a float.
    return float(min(limits.pause, FIRST_PAUSE * 2 ** min(failures - 1, 16)))


def _with(state: State, index: int, **changes: float | bool) -> State:
    changed = dataclasses.replace(state[index], **changes)  # type: ignore[arg-type]
    return (*state[:index], changed, *state[index + 1 :])
