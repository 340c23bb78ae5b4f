"""What a guard does next, and why an order is refused: pure.

Invariants, attacked by Hypothesis (tests/unit/agent_freezing): no guest is frozen here without an
armed entry on the disk; after its deadline a guard ends only when the guest itself has said that it
is thawed, or is gone; a guard that starts late, or again, does what one that never stopped would have done; an
entry is taken away only when the guest says that it is thawed.
"""

from __future__ import annotations

import dataclasses
import enum

from isthmus.agent.host.freezing.entries import Entry, Guest, Moment

LINGER_SECONDS = 60.0
"""A guard that fired goes on looking for this long. Whoever was told to freeze before the deadline and
was stopped may do so after it: nova-compute's RPC gives up after 60 seconds."""

AGAIN_SECONDS = ((20, 0.1), (120, 1.0))
"""Between attempts to thaw a guest that does not say that it is thawed: as long as there were fewer
attempts than the first number, the second. After them `RARELY_SECONDS`, but never not at all."""

RARELY_SECONDS = 10.0

LOOK_SECONDS = 1.0
"""Between looks of a guard that lingers."""

NOTICE_SECONDS = 0.25
"""How soon a guard notices that its entry was taken away."""

LEAST_SECONDS = 0.3
"""A freeze is not begun with less than this left: a guest needs a tenth of a second for it."""


SETTLED = (Guest.THAWED, Guest.GONE)
"""What a guest is when there is nothing to thaw in it."""


class Do(enum.StrEnum):
    """What a guard does."""

    WAIT = "wait"
    THAW = "thaw"
    LOOK = "look"
    END = "end"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What to do, after `after` seconds. A wait ends with a new decision."""

    do: Do
    after: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What a guard has seen of its guest since the deadline. `attempts`: thaws that were sent.

    `said` is the guest's last word, `None` before the first and while a thaw was sent after it.
    """

    attempts: int = 0
    said: Guest | None = None


def decide(entry: Entry | None, seen: Seen, now: Moment, *, freezer_alive: bool) -> Step:
    """The next step of a guard. `entry` is what the disk holds now; None: it was disarmed.

    `freezer_alive`: whether the process that announced a freeze, and has not said how it went, runs.
    """
    if entry is None:
        return Step(do=Do.END)
    remaining = entry.remaining(now)
    if remaining > 0:
        return Step(do=Do.WAIT, after=min(remaining, NOTICE_SECONDS))
    if seen.attempts == 0:
        return Step(do=Do.THAW)
    if seen.said is None:
        # The number that the guest answered a thaw with says what it did, not how it is.
        return Step(do=Do.LOOK)
    if seen.said not in SETTLED:
        return Step(do=Do.THAW, after=_pause(seen.attempts))
    if freezer_alive or not over(entry, now):
        return Step(do=Do.LOOK, after=LOOK_SECONDS)
    return Step(do=Do.END)


def _pause(attempts: int) -> float:
    return next((pause for limit, pause in AGAIN_SECONDS if attempts < limit), RARELY_SECONDS)


def over(entry: Entry, now: Moment) -> bool:
    """Whether nobody looks after an entry any more that was settled after its deadline."""
    return entry.boot_id != now.boot_id or entry.remaining(now) <= -LINGER_SECONDS


def refuse_arm(
    order: Entry, found: Entry | None, known_epoch: int, guest: Guest, now: Moment
) -> str | None:
    """Why a guest cannot be armed for a round. `found`: the entry that it has; `known_epoch`: the
    highest that a record of the guest names."""
    if order.epoch < known_epoch:
        return (
            f"{order.domain}: epoch {order.epoch} is over, {known_epoch} has been here; another engine "
            "has taken over the group"
        )
    if found and found.round != order.round and (found.remaining(now) > 0 or found.freezer):
        return f"{order.domain}: it is armed for round {found.round}; thaw and disarm that first"
    if guest is Guest.FROZEN:
        return f"{order.domain}: the guest is frozen already, by whom is not known; thaw it first"
    if guest is Guest.GONE:
        return f"{order.domain}: the guest does not run on this host"
    if guest is Guest.UNKNOWN:
        return f"{order.domain}: its guest agent does not answer"
    return None


def refuse_freeze(entry: Entry, now: Moment, *, fired: bool) -> str | None:
    """Why an armed guest cannot be frozen (any more)."""
    if fired or entry.remaining(now) <= 0:
        return f"{entry.domain}: the deadline has passed, round {entry.round} is void"
    if entry.remaining(now) < LEAST_SECONDS:
        return f"{entry.domain}: less than {LEAST_SECONDS:g} s are left until the deadline"
    if entry.thawed_wall is not None:
        return f"{entry.domain}: round {entry.round} has thawed it; arm a new round"
    return None


def refuse_disarm(entry: Entry, guest: Guest, *, freezer_alive: bool) -> str | None:
    """Why the dead-man of a guest stays armed."""
    if freezer_alive:
        return f"{entry.domain}: a freeze is under way"
    if guest not in SETTLED:
        return f"{entry.domain}: the guest does not say that it is thawed ({guest})"
    return None
