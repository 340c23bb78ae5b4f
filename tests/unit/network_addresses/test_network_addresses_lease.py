"""Who may hold an address: the rules of voters, claimants and gates, each by example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.network.addresses import gate, lease, voters

TERMS = lease.Terms()
VOTERS = frozenset({"lyon", "madrid", "paris"})
ADDRESS = "a"


def ask(claim: str = "c1", owner: str = "paris/h", epoch: int = 1, round: int = 1) -> voters.Ask:
    return voters.Ask(
        address=ADDRESS, claim=claim, owner=owner, epoch=epoch, lease=TERMS.lease, round=round
    )


def claimant(place: str = "paris/h") -> lease.Claimant:
    return lease.Claimant(address=ADDRESS, place=place, voters=VOTERS)


def word(voter: str, claim: str = "c1", round: int = 1, **more: Any) -> voters.Word:
    values: dict[str, Any] = {"granted": True, "highest": 1, "owner": None, "remaining": 1.0}
    return voters.Word(voter=voter, address=ADDRESS, claim=claim, round=round, **{**values, **more})


# -- voters ------------------------------------------------------------------------------------


def test_a_voter_promises_a_free_address_for_one_lease() -> None:
    ballot, said = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    assert said.granted
    assert ballot.promise is not None
    assert ballot.promise.until == 101.0


def test_a_voter_breaks_no_promise_before_its_end_and_makes_another_at_its_end() -> None:
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    other = ask(claim="c2", owner="lyon/h", epoch=2)
    refused, said = voters.vote("madrid", ballot, other, 100.999)
    assert not said.granted
    assert (said.owner, said.reason) == ("paris/h", "promised to paris/h")
    assert said.remaining == pytest.approx(0.001)
    _, said = voters.vote("madrid", refused, other, 101.0)
    assert said.granted


def test_a_claim_renews_its_own_promise_and_a_new_claim_of_the_same_place_is_a_stranger() -> None:
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    ballot, said = voters.vote("madrid", ballot, ask(round=2), 100.5)
    assert said.granted
    _, said = voters.vote("madrid", ballot, ask(claim="c9", epoch=2), 100.6)
    assert not said.granted


def test_a_message_of_an_earlier_epoch_gets_no_promise() -> None:
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(epoch=5), 100.0)
    _, said = voters.vote("madrid", ballot, ask(claim="c0", epoch=5), 200.0)
    assert not said.granted
    assert said.highest == 5


def test_a_released_address_is_free_at_once_and_the_late_ask_of_the_released_claim_is_refused() -> (
    None
):
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    ballot = voters.release(ballot, voters.Release(address=ADDRESS, claim="c1", epoch=1))
    _, late = voters.vote("madrid", ballot, ask(), 100.1)
    _, fresh = voters.vote("madrid", ballot, ask(claim="c2", epoch=2), 100.1)
    assert not late.granted
    assert fresh.granted


def test_a_promise_that_is_passed_on_keeps_its_end() -> None:
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    given = voters.Release(
        address=ADDRESS, claim="c1", epoch=1, successor="c2", successor_owner="lyon/h"
    )
    ballot = voters.release(ballot, given)
    assert ballot.promise == voters.Promise(
        claim="c2", owner="lyon/h", epoch=1, lease=1.0, until=101.0
    )
    assert voters.release(ballot, given) == ballot
    _, said = voters.vote("madrid", ballot, ask(claim="c3", epoch=7), 100.9)
    assert not said.granted


def test_a_restarted_voter_counts_its_promise_as_made_just_now() -> None:
    ballot, _ = voters.vote("madrid", voters.Ballot(), ask(), 100.0)
    ballot = voters.restored(ballot, 7.0)
    _, said = voters.vote("madrid", ballot, ask(claim="c2", epoch=2), 7.99)
    assert not said.granted
    _, said = voters.vote("madrid", ballot, ask(claim="c2", epoch=2), 8.0)
    assert said.granted


def test_a_voter_that_lost_its_memory_promises_nothing_for_the_longest_lease() -> None:
    ballot = voters.blank(7.0)
    assert not voters.vote("madrid", ballot, ask(), 7.0 + voters.LONGEST_LEASE - 0.01)[1].granted
    assert voters.vote("madrid", ballot, ask(), 7.0 + voters.LONGEST_LEASE)[1].granted


def test_a_longer_lease_than_the_longest_is_not_promised() -> None:
    said = voters.vote("madrid", voters.Ballot(), replace(ask(), lease=60.0), 1.0)[1]
    assert not said.granted


# -- claimants ---------------------------------------------------------------------------------


def test_two_of_three_make_a_holder_who_counts_from_before_it_asked() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    state, nothing = lease.heard(state, word("paris"), TERMS, 50.01)
    assert nothing == ()
    state, actions = lease.heard(state, word("madrid"), TERMS, 50.4)
    until = 50.0 + TERMS.usable(1.0)
    assert actions == (lease.Won(epoch=1), lease.Hold(claim="c1", until=until))
    assert state.holds(until - 0.001)
    assert not state.holds(until)


def test_the_same_voter_twice_is_no_majority() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    for _ in range(2):
        state, actions = lease.heard(state, word("paris"), TERMS, 50.01)
    assert actions == ()


def test_grants_of_different_rounds_are_no_majority() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    for voter in ("paris", "madrid"):
        state, _ = lease.heard(state, word(voter), TERMS, 50.01)
    state, _ = lease.tick(state, TERMS, 50.3)
    before = state.until
    state, _ = lease.heard(state, word("paris", round=2), TERMS, 50.31)
    state, _ = lease.heard(state, word("lyon", round=1), TERMS, 50.31)
    assert state.until == before


def test_a_holder_that_hears_nothing_gives_up_before_its_promises_end() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    for voter in ("paris", "madrid"):
        state, _ = lease.heard(state, word(voter), TERMS, 50.01)
    state, actions = lease.tick(state, TERMS, 50.97)
    assert lease.Drop(claim="c1") in actions
    assert state.phase is lease.Phase.IDLE


def test_a_campaign_without_a_majority_ends_and_frees_its_promises() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    state, _ = lease.heard(state, word("paris"), TERMS, 50.01)
    state, actions = lease.tick(state, TERMS, 50.5)
    assert [type(each) for each in actions] == [lease.SendRelease, lease.Ended]
    assert state.phase is lease.Phase.IDLE


def test_a_holder_raises_its_epoch_when_a_voter_has_promised_to_a_later_claim_in_vain() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    for voter in ("paris", "madrid"):
        state, _ = lease.heard(state, word(voter), TERMS, 50.01)
    state, _ = lease.heard(state, word("lyon", granted=False, highest=4), TERMS, 50.02)
    state, actions = lease.tick(state, TERMS, 50.25)
    assert isinstance(actions[0], lease.SendAsk)
    assert actions[0].ask.epoch == 5


def test_a_lease_is_passed_on_only_after_the_gateway_is_silent() -> None:
    state, _ = lease.campaign(claimant(), "c1", TERMS, 50.0)
    for voter in ("paris", "madrid"):
        state, _ = lease.heard(state, word(voter), TERMS, 50.01)
    state, actions = lease.give(state, lease.Heir(claim="c2", owner="lyon/h"), 50.2)
    assert actions == (lease.Drop(claim="c1"),)
    state, actions = lease.dropped(state, "c1", 50.3)
    passed = actions[0]
    assert isinstance(passed, lease.PassOn)
    assert passed.remaining == pytest.approx(TERMS.usable(1.0) - 0.3)
    assert state.phase is lease.Phase.IDLE


def test_an_heir_counts_what_it_was_passed_from_before_it_asked() -> None:
    state, _ = lease.take(claimant("lyon/h"), "c2", 10.0)
    state, actions = lease.passed(state, "c2", 4, 0.6, TERMS, 10.1)
    assert state.until == pytest.approx(10.0 + TERMS.usable(0.6))
    assert state.epoch == 5
    assert [type(each) for each in actions] == [lease.Won, lease.Hold, lease.SendAsk]


def test_a_lease_that_arrives_too_late_is_not_held() -> None:
    state, _ = lease.take(claimant("lyon/h"), "c2", 10.0)
    state, actions = lease.passed(state, "c2", 4, 0.1, TERMS, 10.2)
    assert state.phase is lease.Phase.IDLE
    assert not any(isinstance(each, lease.Hold) for each in actions)


# -- the arithmetic: `rate` is how fast a clock goes, seconds of true time / rate = what it shows

RATES = st.floats(0.99, 1.01)


@given(promised=st.floats(0.1, voters.LONGEST_LEASE), voter=RATES, holder=RATES)
def test_what_a_holder_uses_of_a_promise_ends_before_the_promise_whatever_their_clocks(
    promised: float, voter: float, holder: float
) -> None:
    # Both count from one instant: the voter promises no earlier than the holder asked.
    assert TERMS.usable(promised) / holder <= promised / voter - TERMS.margin / 1.01


@given(ahead=st.floats(0.0, 10.0), age=st.floats(0.0, 10.0), engine=RATES, host=RATES)
def test_the_moment_that_a_host_is_told_does_not_lie_after_the_engines(
    ahead: float, age: float, engine: float, host: float
) -> None:
    # The reading arrived at true time 0 and was taken no later; the order is made `age` after it.
    reading = gate.Reading(incarnation="i", clock=500.0, received_at=70.0)
    until = 70.0 + (age + ahead) * engine
    moment = reading.moment(until, TERMS.drift)
    assert (moment - 500.0) / host <= age + ahead + 1e-9


# -- the gate of a host ------------------------------------------------------------------------


def test_an_order_that_waited_in_a_frozen_agent_is_refused() -> None:
    held = gate.Gate(incarnation="i")
    order = gate.Order(claim="c1", incarnation="i", moment=8.0)
    assert gate.obey(held, order, 7.9)[1] == ""
    assert "too late" in gate.obey(held, order, 8.0)[1]


def test_a_dropped_claim_stays_dropped_and_another_agents_order_is_refused() -> None:
    order = gate.Order(claim="c1", incarnation="i", moment=8.0)
    held, _ = gate.obey(gate.Gate(incarnation="i"), order, 7.0)
    held = gate.drop(held, "c1")
    assert not held.holds(7.1)
    assert gate.obey(held, order, 7.1)[1] == "the claim was dropped here"
    assert gate.obey(gate.Gate(incarnation="j"), order, 7.1)[1]
