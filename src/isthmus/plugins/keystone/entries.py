"""What a site queues, and what a run of queued entries adds up to.

Pure values and functions: no clock, no database. ``journal`` stores entries, ``delivery`` writes
their sum at the writer site, the drivers show their sum locally.

Times are naive UTC ``datetime`` as in Keystone's models; ``Entry.recorded_at`` is seconds since the
epoch (float), because the queue's file is read by other programs too.
"""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

Moment = TypeVar("Moment", datetime.date, datetime.datetime)


class Kind(enum.StrEnum):
    """What an entry says."""

    LAST_ACTIVE = "last_active"
    FAILED_AUTH = "failed_auth"
    RESET_FAILED_AUTH = "reset_failed_auth"
    REVOCATION = "revocation"


# The order in which entries are given up when the queue is full. A revocation is a promise that was
# answered with 204, so it is not in the list.
DROP_ORDER = (Kind.LAST_ACTIVE, Kind.FAILED_AUTH, Kind.RESET_FAILED_AUTH)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One queued act. ``event`` is the JSON of a revocation event, empty for the other kinds."""

    kind: Kind
    recorded_at: float
    sequence: int = 0
    user_id: str = ""
    event: str = ""

    @property
    def at(self) -> datetime.datetime:
        """When it happened, naive UTC."""
        moment = datetime.datetime.fromtimestamp(self.recorded_at, datetime.UTC)
        return moment.replace(tzinfo=None)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What Keystone stores of a user's logins."""

    failures: int = 0
    failed_at: datetime.datetime | None = None
    last_active: datetime.date | None = None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a run of one user's entries does to an account.

    ``failures_before`` counts the failures that the last reset of the run took back; they count
    after all when the account has failed elsewhere since that reset, because then the reset is not
    the latest word. Invariant: applying the effect of a run equals applying its entries one by one,
    provided that times do not run backwards within the run (the journal sees to that).
    """

    reset_at: datetime.datetime | None = None
    failures_before: int = 0
    failures: int = 0
    failed_at: datetime.datetime | None = None
    last_active: datetime.date | None = None


def latest(one: Moment | None, other: Moment | None) -> Moment | None:
    """The later of two moments, where None is before everything."""
    if one is None or other is None:
        return one or other
    return max(one, other)


def combine(effect: Effect, entry: Entry) -> Effect:
    """The effect of a run that is longer by one entry."""
    match entry.kind:
        case Kind.LAST_ACTIVE:
            return replace(effect, last_active=latest(effect.last_active, entry.at.date()))
        case Kind.FAILED_AUTH:
            return replace(effect, failures=effect.failures + 1, failed_at=entry.at)
        case Kind.RESET_FAILED_AUTH:
            return replace(
                effect,
                reset_at=entry.at,
                failures_before=effect.failures_before + effect.failures,
                failures=0,
                failed_at=None,
            )
        case Kind.REVOCATION:
            # It is about tokens and changes no account.
            return effect


def coalesce(entries: Iterable[Entry]) -> Mapping[str, Effect]:
    """The effect on each user, from entries in order of sequence. Revocations are left out."""
    effects: dict[str, Effect] = {}
    for entry in entries:
        if entry.kind is not Kind.REVOCATION:
            effects[entry.user_id] = combine(effects.get(entry.user_id, Effect()), entry)
    return effects


def total(entries: Iterable[Entry]) -> Effect:
    """The effect of a run of entries of one user."""
    return functools.reduce(combine, entries, Effect())


def apply(account: Account, effect: Effect) -> Account:
    """The account after the effect.

    Local failures are added to the stored counter; a reset wins unless the account has failed
    elsewhere later; the time of the last failure and the last active day never go back.
    """
    last_active = latest(account.last_active, effect.last_active)
    resets = effect.reset_at is not None and (
        account.failed_at is None or account.failed_at <= effect.reset_at
    )
    if resets:
        return Account(
            failures=effect.failures, failed_at=effect.failed_at, last_active=last_active
        )
    return Account(
        failures=account.failures + effect.failures_before + effect.failures,
        failed_at=latest(account.failed_at, effect.failed_at),
        last_active=last_active,
    )


def after(entries: Iterable[Entry], position: int) -> tuple[Entry, ...]:
    """The entries that a database which has applied up to ``position`` does not hold yet."""
    return tuple(entry for entry in entries if entry.sequence > position)


def revocations(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Only the revocations."""
    return tuple(entry for entry in entries if entry.kind is Kind.REVOCATION)
