"""The documents of `GET /freezes`: pure."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from isthmus.agent.host.freezing.entries import Entry, Guest, Moment, Outcome


def entry(
    armed: Entry, guest: Guest, outcomes: Iterable[Outcome], now: Moment, *, watched: list[int]
) -> dict[str, Any]:
    """One armed guest. `guest` is what it says itself, now; `watchdogs`: process ids."""
    mine = [e for e in outcomes if (e.domain, e.round) == (armed.domain, armed.round)]
    return {
        "round": armed.round,
        "epoch": armed.epoch,
        "domain": armed.domain,
        "server_id": armed.server_id,
        "guest": str(guest),
        "armed": True,
        "state": _state(armed, guest, mine, now),
        "armed_at": time(armed.armed_wall),
        "deadline": time(armed.deadline_wall),
        "remaining": round(max(0.0, armed.remaining(now)), 3),
        "frozen_at": time(armed.frozen_wall),
        "thawed_at": time(armed.thawed_wall),
        "fired": bool(mine),
        "watchdogs": watched,
    }


def _state(armed: Entry, guest: Guest, outcomes: list[Outcome], now: Moment) -> str:
    """void: the dead-man fired; else the words of the freeze ledger."""
    if outcomes or armed.remaining(now) <= 0:
        return "void"
    if guest is Guest.FROZEN:
        return "frozen"
    return "thawed" if armed.thawed_wall is not None else "armed"


def fired(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One item for each round and guest whose dead-man fired, whichever guards did."""
    key = _round_and_guest
    groups = itertools.groupby(sorted(outcomes, key=key), key=key)
    return [_merged(list(group)) for _, group in groups]


def _round_and_guest(outcome: Outcome) -> tuple[str, str]:
    return outcome.round, outcome.domain


def _merged(group: list[Outcome]) -> dict[str, Any]:
    """The earliest word counts: that of the guard that was not stopped."""
    late = [each.late for each in group if each.late is not None]
    return {
        "round": group[0].round,
        "epoch": group[0].epoch,
        "domain": group[0].domain,
        "fired_at": time(min(each.fired_wall for each in group)),
        "late": min(late, default=None),
        "filesystems": max(each.filesystems for each in group),
        "attempts": sum(each.attempts for each in group),
        "by": sorted(each.by for each in group),
        "trouble": next((each.trouble for each in group if each.trouble), ""),
    }


def time(wall: float | None) -> str | None:
    """RFC 3339 in UTC with microseconds."""
    if wall is None:
        return None
    text = datetime.datetime.fromtimestamp(wall, datetime.UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
