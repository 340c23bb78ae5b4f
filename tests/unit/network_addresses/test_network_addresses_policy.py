"""Who should hold an address, and what probes of a target say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import errors
from isthmus.network.addresses import declarations, fence, health, policy
from isthmus.network.addresses.declarations import Check, Kind, Probe, ServiceAddress
from isthmus.network.addresses.health import Health
from isthmus.network.addresses.lease import Phase
from isthmus.network.addresses.policy import Do, Standing, View
from isthmus.network.declarations import DeclarationError

ADDRESS = ServiceAddress(
    id="11111111-2222-3333-4444-555555555555",
    name="web",
    address="192.0.2.50",
    kind=Kind.MOVED,
    network="backend",
    targets={"paris": ("10.0.0.11",), "lyon": ("10.0.0.140",)},
)


def standing(place: str = "paris/h1", **more: Any) -> Standing:
    values: dict[str, Any] = {"ready": True, "health": Health.HEALTHY, "health_seconds": 9.0}
    return Standing(place=place, **{**values, **more})


def decide(**more: Any) -> policy.Decision:
    values: dict[str, Any] = {
        "address": ADDRESS,
        "own": standing(),
        "others": (standing("lyon/h1"),),
        "phase": Phase.IDLE,
        "holder": None,
        "free_for": 5.0,
    }
    return policy.decide(View(**{**values, **more}))


def test_a_free_address_is_taken_by_the_preferred_site_first() -> None:
    preferred = replace(ADDRESS, prefer="paris")
    assert decide(address=preferred, last_owner="lyon/h1", free_for=0.0).do is Do.CAMPAIGN
    lyon: dict[str, Any] = {"own": standing("lyon/h1"), "others": (standing("paris/h1"),)}
    lyon |= {"address": preferred, "last_owner": "paris/h1"}
    assert decide(**lyon, free_for=0.0).do is Do.STAY
    assert decide(**lyon, free_for=policy.HEAD_START).do is Do.CAMPAIGN


def test_a_new_address_waits_for_the_first_site_while_that_prepares_and_not_for_ever() -> None:
    slow = (standing("lyon/h1", ready=False, health=Health.UNKNOWN),)
    new: dict[str, Any] = {"address": replace(ADDRESS, prefer="lyon"), "others": slow}
    assert decide(**new, free_for=policy.FIRST_SECONDS - 0.1).do is Do.STAY
    assert decide(**new, free_for=policy.FIRST_SECONDS).do is Do.CAMPAIGN


def test_a_site_that_was_not_heard_is_not_waited_for() -> None:
    preferred = replace(ADDRESS, prefer="paris")
    alone = decide(address=preferred, own=standing("lyon/h1"), others=(), free_for=0.0)
    assert alone.do is Do.CAMPAIGN


def test_who_held_it_last_goes_first_without_a_preference() -> None:
    assert decide(last_owner="lyon/h1", free_for=0.0).do is Do.STAY
    assert decide(last_owner="paris/h1", free_for=0.0).do is Do.CAMPAIGN


@pytest.mark.parametrize("state", [Health.UNHEALTHY, Health.UNKNOWN])
def test_a_site_without_a_healthy_target_does_not_want_the_address(state: Health) -> None:
    assert decide(own=standing(health=state)).do is Do.STAY


def test_a_site_without_a_gateway_does_not_want_the_address() -> None:
    refused = decide(own=standing(ready=False, reason="compute1: connection refused"))
    assert refused.do is Do.STAY
    assert "connection refused" in refused.reason


def test_a_holder_with_an_unhealthy_target_offers_the_address_to_a_healthy_site() -> None:
    ill = standing(health=Health.UNHEALTHY, reason="tcp:80 at 10.0.0.11: refused")
    offered = decide(own=ill, phase=Phase.HOLDING)
    assert (offered.do, offered.place) == (Do.OFFER, "lyon/h1")
    assert "refused" in offered.reason


def test_a_holder_with_an_unhealthy_target_keeps_it_when_no_other_site_is_better() -> None:
    ill = standing(health=Health.UNHEALTHY)
    other = standing("lyon/h1", health=Health.UNHEALTHY)
    assert decide(own=ill, others=(other,), phase=Phase.HOLDING).do is Do.STAY


def test_an_address_that_is_moved_by_hand_stays_with_who_held_it() -> None:
    manual = replace(ADDRESS, automatic=False)
    assert decide(address=manual, last_owner="lyon/h1").do is Do.STAY
    assert decide(address=manual, last_owner="paris/h1").do is Do.CAMPAIGN
    ill = standing(health=Health.UNHEALTHY)
    assert decide(address=manual, own=ill, phase=Phase.HOLDING).do is Do.STAY


def test_the_preferred_site_takes_the_address_back_only_when_told_and_after_its_time() -> None:
    preferred = replace(ADDRESS, prefer="paris")
    assert decide(address=preferred, holder="lyon/h1").do is Do.STAY
    back = replace(preferred, fail_back=10.0)
    assert decide(address=back, holder="lyon/h1").do is Do.STAY
    taken = decide(address=back, holder="lyon/h1", own=standing(health_seconds=10.0))
    assert (taken.do, taken.place) == (Do.TAKE, "lyon/h1")


def test_a_failed_campaign_is_followed_by_a_rest() -> None:
    assert decide(rested=0.1).do is Do.STAY


def test_a_deleted_address_is_left() -> None:
    assert decide(address=replace(ADDRESS, deleting=True)).do is Do.LEAVE


# -- health ------------------------------------------------------------------------------------


def test_the_first_probe_is_believed_and_then_several_in_a_row_are_needed() -> None:
    check = Check(probe=Probe.ICMP, fall=3, rise=2)
    record, seen = health.Record(), []
    for now, fault in enumerate([None, "x", "x", None, "x", "x", "x", None, None]):
        record = health.probed(record, check, fault, float(now))
        seen.append(str(record.health)[0])
    assert "".join(seen) == "hhhhhhuuh"
    assert record.since == 8.0


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_health_changes_only_after_as_many_equal_probes_as_it_needs(
    results: list[bool], fall: int, rise: int
) -> None:
    check, record = Check(probe=Probe.ICMP, fall=fall, rise=rise), health.Record()
    for number, good in enumerate(results):
        before = record.health
        record = health.probed(record, check, None if good else "x", float(number))
        if record.health is not before and before is not Health.UNKNOWN:
            needed = rise if record.health is Health.HEALTHY else fall
            run = results[max(0, number - needed + 1) : number + 1]
            assert run == [record.health is Health.HEALTHY] * needed


# -- declarations ------------------------------------------------------------------------------


def declared(**more: Any) -> ServiceAddress:
    return declarations.declare(replace(ADDRESS, **more), (), ("lyon", "paris"))


def test_a_declaration_survives_its_document() -> None:
    full = replace(
        ADDRESS,
        check=Check(probe=Probe.TCP, port=80),
        prefer="lyon",
        fail_back=30.0,
        hosts={"paris": "compute2"},
        next_hop="192.0.2.1",
    )
    assert ServiceAddress.from_document(full.to_document()) == full


def test_a_document_of_another_shape_is_refused_in_words() -> None:
    with pytest.raises(errors.InputError, match="cannot be read"):
        ServiceAddress.from_document({"id": "x", "name": "web", "address": "no"})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "a b"}),
        ("targets", {"targets": {}}),
        ("targets", {"targets": {"madrid": ("10.0.0.1",)}}),
        ("targets", {"targets": {"paris": ("10.0.0.1", "10.0.0.2")}}),
        ("targets", {"targets": {"paris": ("192.0.2.50",)}}),
        ("prefer", {"prefer": "madrid"}),
        ("fail_back", {"fail_back": 5.0}),
        ("hosts", {"hosts": {"madrid": "compute1"}}),
    ],
)
def test_what_cannot_work_is_refused_by_its_field(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(**change)
    assert caught.value.field == field


def test_two_moved_addresses_may_not_be_one_and_two_of_different_networks_may() -> None:
    other = replace(ADDRESS, id="other", name="other")
    with pytest.raises(DeclarationError):
        declarations.declare(other, (ADDRESS,), ("lyon", "paris"))
    vrrp = replace(ADDRESS, kind=Kind.VRRP)
    elsewhere = replace(other, kind=Kind.VRRP, network="another")
    declarations.declare(elsewhere, (vrrp,), ("lyon", "paris"))


@pytest.mark.parametrize("text", ["tcp", "tcp:0", "tcp:70000", "http", "icmp:3", ""])
def test_an_unknown_check_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        declarations.parse_check(text)


# -- the words for the kernel ------------------------------------------------------------------


@given(st.floats(-1.0, 10.0))
def test_an_element_lasts_no_longer_than_what_is_left_less_the_guard(seconds: float) -> None:
    words = fence.extend("192.0.2.50", seconds)
    if words is None:
        assert seconds < fence.GUARD_SECONDS + fence.TICK_SECONDS + 0.001
    else:
        lasts = int(words.rpartition("timeout ")[2].partition("ms")[0]) / 1000
        assert lasts + fence.GUARD_SECONDS + fence.TICK_SECONDS <= seconds


def test_an_announcement_says_that_the_address_is_at_the_mac() -> None:
    frame = fence.announcement("192.0.2.50", "02:aa:bb:cc:dd:ee")
    assert len(frame) == 42
    assert frame[:12].hex() == "ffffffffffff02aabbccddee"
    assert frame[22:32].hex() == "02aabbccddeec0000232"
    assert frame[38:].hex() == "c0000232"
