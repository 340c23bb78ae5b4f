"""What a run of queued entries adds up to."""

from __future__ import annotations

import datetime
import functools
import itertools

from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.keystone import entries
from isthmus.plugins.keystone.entries import Account, Effect, Entry, Kind

START = 1_800_000_000.0
LOGINS = st.sampled_from([Kind.LAST_ACTIVE, Kind.FAILED_AUTH, Kind.RESET_FAILED_AUTH])


@st.composite
def runs(draw: st.DrawFn, kinds: st.SearchStrategy[Kind] = LOGINS) -> list[Entry]:
    """Entries of a few users, with times that never decrease, as the journal stores them."""
    steps = draw(st.lists(st.tuples(kinds, st.sampled_from("ab"), st.integers(0, 90_000))))
    times = itertools.accumulate((pause for _, _, pause in steps), initial=0)
    return [
        Entry(sequence=number, kind=kind, user_id=user, recorded_at=START + at)
        for number, ((kind, user, _), at) in enumerate(zip(steps, times, strict=False), start=1)
    ]


moments = st.datetimes(datetime.datetime(2027, 1, 10), datetime.datetime(2027, 1, 25))
accounts = st.builds(
    lambda failures, failed_at, day: Account(
        failures=failures, failed_at=failed_at if failures else None, last_active=day
    ),
    st.integers(0, 6),
    moments,
    st.none() | st.dates(datetime.date(2027, 1, 1), datetime.date(2027, 2, 1)),
)


def one_by_one(account: Account, run: list[Entry]) -> Account:
    return functools.reduce(
        lambda state, entry: entries.apply(state, entries.combine(Effect(), entry)), run, account
    )


@given(runs(), accounts)
def test_the_effect_of_a_run_is_that_of_its_entries_one_by_one(
    run: list[Entry], account: Account
) -> None:
    for user_id, effect in entries.coalesce(run).items():
        own = [entry for entry in run if entry.user_id == user_id]
        assert entries.apply(account, effect) == one_by_one(account, own)


@given(runs(), accounts, st.integers(0, 20))
def test_it_does_not_matter_where_a_run_is_cut_into_batches(
    run: list[Entry], account: Account, cut: int
) -> None:
    own = [entry for entry in run if entry.user_id == "a"]
    first = entries.apply(account, entries.total(own[:cut]))
    assert entries.apply(first, entries.total(own[cut:])) == entries.apply(
        account, entries.total(own)
    )


@given(runs(), accounts, st.integers(0, 20))
def test_replica_and_queue_together_show_the_same_however_far_the_replica_is(
    run: list[Entry], account: Account, position: int
) -> None:
    own = [entry for entry in run if entry.user_id == "a"]
    held = [entry for entry in own if entry.sequence <= position]
    replica = entries.apply(account, entries.total(held))
    shown = entries.apply(replica, entries.total(entries.after(own, position)))
    assert shown == entries.apply(account, entries.total(own))


@given(runs(st.just(Kind.FAILED_AUTH)), accounts)
def test_failures_are_added_and_never_forgotten(run: list[Entry], account: Account) -> None:
    own = [entry for entry in run if entry.user_id == "a"]
    result = entries.apply(account, entries.total(own))
    assert result.failures == account.failures + len(own)
    assert result.failed_at == max(
        [entry.at for entry in own] + ([account.failed_at] if account.failed_at else []),
        default=None,
    )


def test_a_reset_does_not_take_back_failures_that_came_later_elsewhere() -> None:
    reset = Entry(kind=Kind.RESET_FAILED_AUTH, recorded_at=START, user_id="a")
    later = reset.at + datetime.timedelta(seconds=1)
    account = Account(failures=2, failed_at=later)
    assert entries.apply(account, entries.total([reset])) == account


def test_a_reset_takes_back_what_failed_before_it() -> None:
    reset = Entry(kind=Kind.RESET_FAILED_AUTH, recorded_at=START, user_id="a")
    account = Account(failures=2, failed_at=reset.at - datetime.timedelta(seconds=1))
    assert entries.apply(account, entries.total([reset])) == Account()


@given(runs(), accounts)
def test_the_last_active_day_never_goes_back(run: list[Entry], account: Account) -> None:
    result = entries.apply(account, entries.total(run))
    assert account.last_active is None or (
        result.last_active is not None and result.last_active >= account.last_active
    )
