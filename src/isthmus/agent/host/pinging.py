"""Pings, and what they found: by the host's own `ping`, because it sends from any namespace.

Sizes are those of whole IPv4 packets, as an MTU is, and not of the payload.
"""

import re
from concurrent import futures
from dataclasses import asdict, dataclass

import pydantic

from isthmus.agent.host import running

HEADERS = 28
"""IPv4 and ICMP headers, in bytes."""

_AT_ONCE = 16
_GRACE_SECONDS = 3.0
_SENT = re.compile(r"(\d+) packets transmitted, (\d+)(?: packets)? received")
_TIMES = re.compile(r"= ([\d.]+)/([\d.]+)/([\d.]+)/")
_REFUSALS = re.compile(r"(?:Frag needed and DF set|message too long).*?mtu ?= ?(\d+)")
_ERRORS = re.compile(r"^(?:From|ping:|PING:).*", re.MULTILINE)


class Order(pydantic.BaseModel):
    """What to send. `interval` and `wait` (for the last answer) in seconds; `df`: not to be
    fragmented. Without `size`: 84 bytes."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    targets: tuple[pydantic.IPvAnyAddress, ...] = pydantic.Field(min_length=1, max_length=1024)
    count: int = pydantic.Field(default=3, ge=1, le=200)
    interval: float = pydantic.Field(default=0.2, ge=0.01, le=5)
    wait: float = pydantic.Field(default=1.0, ge=0.05, le=5)
    size: int | None = pydantic.Field(default=None, ge=HEADERS, le=65535)
    df: bool = False

    @pydantic.model_validator(mode="after")
    def _short(self) -> "Order":
        if self.seconds > 30:
            raise ValueError("count times interval must not be more than 30 seconds")
        return self

    @property
    def seconds(self) -> float:
        """How long a target that never answers takes."""
        return self.count * self.interval + self.wait


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of the pings to one target. `mtu`: what the way said it can carry, if it did."""

    sent: int = 0
    received: int = 0
    min_ms: float | None = None
    avg_ms: float | None = None
    max_ms: float | None = None
    mtu: int | None = None
    error: str | None = None


def ping(order: Order, *, namespace: str | None = None) -> dict[str, dict[str, object]]:
    """Ping all targets, several at once, and tell of each; raises nothing because one failed."""
    if order.df:
        # The kernel remembers for ten minutes what a way refused, and would not try again.
        running.run(["ip", "route", "flush", "cache"], namespace=namespace)
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda target: _one(str(target), order, namespace), order.targets)
        return {str(t): asdict(result) for t, result in zip(order.targets, found, strict=True)}


def _one(target: str, order: Order, namespace: str | None) -> Result:
    try:
        text = running.run(
            command(target, order),
            namespace=namespace,
            timeout=order.seconds + _GRACE_SECONDS,
            allowed=frozenset({0, 1, 2}),
            merged=True,
        )
    except running.CommandError as error:
        return Result(error=error.cause)
    return parse(text)


def command(target: str, order: Order) -> list[str]:
    """The words of ping (iputils)."""
    words = ["ping", "-n", "-c", str(order.count), "-i", f"{order.interval:g}"]
    words += ["-W", f"{order.wait:g}"]
    if order.size is not None:
        words += ["-s", str(order.size - HEADERS)]
    if order.df:
        words += ["-M", "do"]
    return [*words, target]


def parse(text: str) -> Result:
    """What `ping` printed, as a value."""
    counted, times = _SENT.search(text), _TIMES.search(text)
    refusals = [int(each) for each in _REFUSALS.findall(text)]
    reason = _ERRORS.search(text)
    received = int(counted.group(2)) if counted else 0
    return Result(
        sent=int(counted.group(1)) if counted else 0,
        received=received,
        min_ms=float(times.group(1)) if times else None,
        avg_ms=float(times.group(2)) if times else None,
        max_ms=float(times.group(3)) if times else None,
        mtu=min(refusals) if refusals else None,
        error=reason.group(0) if reason and not received else None,
    )
