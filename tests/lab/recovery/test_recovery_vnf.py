"""A VNF of three real servers: protected, rehearsed elsewhere, and brought back after its site was destroyed.

One story, in the order of the tests: each stands on what the one before has left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import pytest
from recovery_lab import RecoveryLab

from isthmus.lab import vnf
from isthmus.lab.environment import SiteSpec
from isthmus.lab.guest_image import records
from isthmus.lab.recovering import Recovering, reached

# The first one brings two clouds up; each operation copies six volumes beside emulated guests.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NAME, POLICY, CIDR = "vnf", "gold", IPv4Network("10.80.0.0/24")


@dataclass(kw_only=True)
class Story:
    """The VNF, and what has become of it so far."""

    lab: RecoveryLab
    people: Recovering
    members: dict[str, str]
    checkpoint: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(recovery_up: RecoveryLab) -> Story:
    lab = recovery_up
    lab.mend()
    members = lab.declared(NAME, policy=POLICY, cidr=CIDR)
    return Story(lab=lab, people=lab.people, members=members)


def test_a_checkpoint_is_of_one_point_in_time_and_the_guests_hardly_notice(story: Story) -> None:
    done = reached(story.people.protect(NAME), "finished", "succeeded")
    found = story.people.isthmus("checkpoint", "show", done["checkpoint"])
    assert (found["phase"], found["outcome"]) == ("available", "complete")
    assert found["consistency"] == "app-ordered"
    assert found["window_s"] < 10.0, "the dead-men would have thawed the guests"
    story.checkpoint = found


def test_a_site_that_knows_nothing_learns_from_the_remote_store(story: Story) -> None:
    people = story.people
    wrong = people.isthmus("recovery", "rebuild", "--site", "lyon")
    assert wrong == []
    known = people.isthmus("checkpoint", "list", "--ask", "lyon")
    assert [each["ID"] for each in known] == [story.checkpoint["id"]]
    assert people.isthmus("plan", "validate", NAME, "--ask", "lyon") == []


def test_a_drill_brings_it_up_apart_as_of_one_point_in_time_and_leaves_nothing(
    story: Story,
) -> None:
    before = story.people.things()
    asked = story.people.ask("drill", NAME, ask="lyon")
    done = reached(story.people.approve(asked, ask="lyon"), "finished", "succeeded")
    tests = [each for each in done["steps"] if each["name"].startswith("test-")]
    assert len(tests) == len(story.members)
    assert {each["state"] for each in tests} == {"done"}
    _assert_restored_of_one_point_in_time(story.people.report(done["id"], ask="lyon"))
    assert story.people.things() == before


def test_a_failover_is_not_approved_by_whoever_asked_for_it(story: Story) -> None:
    people = story.people
    asked = people.ask("failover", NAME, ask="lyon")
    try:
        words = ("operation", "approve", asked["id"], "--ask", "lyon", "--code-file", "-")
        refused = people.run(words, text=asked["code"])
        assert refused.code != 0
        assert "recovery_failover" in refused.stderr or "may not" in refused.stderr
    finally:
        words = ("operation", "cancel", asked["id"], "--ask", "lyon")
        # 2: an operation that was cancelled has not succeeded.
        assert people.isthmus(*words, codes=(2,))["outcome"] == "not-approved"


def test_after_the_loss_of_its_site_it_goes_on_in_the_other_with_its_records(story: Story) -> None:
    lab, people = story.lab, story.people
    lab.kill("paris")
    people.logs_in(lab.lyon)
    asked = people.ask("failover", NAME, ask="lyon")
    began = time.monotonic()
    reached(people.approve(asked, ask="lyon"), "awaiting-commit")
    print(f"failover: {time.monotonic() - began:.0f} s from approval to tested")
    done = reached(people.commit(asked["id"], ask="lyon"), "finished", "succeeded")
    servers = {each.name: each for each in people.cloud(lab.lyon).demo.compute.servers()}
    assert set(servers) == {f"{NAME}-{role}" for role in vnf.ROLES}
    assert {each.status for each in servers.values()} == {"ACTIVE"}
    addresses = {found["addr"] for each in servers.values() for found in each.addresses[NAME]}
    assert addresses == {"10.80.0.10", "10.80.0.11", "10.80.0.12"}
    _assert_restored_of_one_point_in_time(people.report(done["id"], ask="lyon"))
    _assert_goes_on(people, lab.lyon)


def _assert_restored_of_one_point_in_time(report: dict[str, Any]) -> None:
    """What the guests had when they booted: every number that was persisted was acknowledged, and every such one issued."""
    cut = records.restored(report["results"].values())
    assert cut is not None, report["results"]
    assert records.impossible(cut) is None, cut
    assert cut.persisted > 0


def _assert_goes_on(people: Recovering, site: SiteSpec) -> None:
    """All three count on, nobody gets ahead of those before, and no record is bad."""
    servers = people.cloud(site).servers(NAME)
    first = people.counts(site, servers)
    assert records.impossible(first) is None, first
    assert records.impossible(people.goes_on(site, servers, beyond=first)) is None
    good, bad = people.judged(site, servers)
    assert (good > 0, bad) == (True, 0)
