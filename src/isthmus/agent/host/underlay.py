"""Whether tunnel ends reach each other, and how large packets may be between them.

Measured with ICMP from the host's own namespace. It says nothing of UDP port 4789, which a filter
may treat otherwise; only a probe's ping does.
"""

from collections.abc import Callable
from concurrent import futures
from dataclasses import asdict, dataclass
from typing import Any

import pydantic

from isthmus.agent.host import pinging

SMALLEST = 576
"""Every IPv4 path is expected to carry this (RFC 791)."""

_TRIES = 2
_WAIT_SECONDS = 0.7
_PRECISION = 2  # bytes; a step less for each halving would take longer than it is worth


class Question(pydantic.BaseModel):
    """Which tunnel ends to try, and the size in bytes that should pass."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    to: tuple[pydantic.IPvAnyAddress, ...] = pydantic.Field(max_length=256)
    size: int = pydantic.Field(ge=SMALLEST, le=65535)


@dataclass(frozen=True, kw_only=True)
class Way:
    """What was met on the way. `largest`: the largest packet that passed, at most the asked one."""

    reached: bool
    largest: int | None = None
    milliseconds: float | None = None
    error: str | None = None


def look(question: Question) -> dict[str, dict[str, Any]]:
    """Try all ends, several at once; one that does not answer takes three seconds."""
    with futures.ThreadPoolExecutor(8) as pool:
        ways = pool.map(lambda end: _way(str(end), question.size), question.to)
        return {str(end): asdict(way) for end, way in zip(question.to, ways, strict=True)}


def _way(to: str, size: int) -> Way:
    small = _ping(to)
    if not small.received:
        return Way(reached=False, error=small.error)
    told: list[int] = []

    def passes(candidate: int) -> bool:
        result = _ping(to, candidate)
        told.extend([result.mtu] if result.mtu else [])
        return result.received > 0

    largest = widest(size, passes, told)
    return Way(reached=True, largest=largest, milliseconds=small.min_ms)


def widest(size: int, passes: Callable[[int], bool], told: list[int]) -> int:
    """The largest size up to `size` that passes, exact to two bytes below.

    `told`: what routers say they can carry, filled by `passes`; believed when a try confirms it,
    since a router behind it may carry less.
    """
    if passes(size):
        return size
    upper, lower = size, SMALLEST
    while upper - lower > _PRECISION:
        hint = told[-1] if told and lower < told[-1] < upper else None
        middle = hint or (upper + lower) // 2
        if passes(middle):
            lower = middle
            if hint:
                return hint
        else:
            upper = middle
    return lower


def _ping(to: str, size: int | None = None) -> pinging.Result:
    order = pinging.Order.model_validate(
        {
            "targets": [to],
            "count": _TRIES,
            "interval": 0.1,
            "wait": _WAIT_SECONDS,
            "size": size,
            "df": size is not None,
        }
    )
    return pinging.Result(**pinging.ping(order)[to])  # type: ignore[arg-type]
