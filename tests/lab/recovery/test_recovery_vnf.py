"""A VNF of three real servers: protected, rehearsed elsewhere, and brought back after its site was destroyed.

One story, in the order of the tests: each stands on what the one before has left.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import pytest
from recovery_lab import OPERATION_SECONDS, RecoveryLab

from isthmus.lab import vnf, waiting
from isthmus.lab.environment import SiteSpec

# The first one brings two clouds up; each operation copies six volumes beside emulated guests.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NAME, POLICY, CIDR = "vnf", "gold", IPv4Network("10.80.0.0/24")
# Three emulated guests: one number from one end to the other takes seconds.
GOES_ON_SECONDS = 120.0
EVERYTHING = [
    *("flavor", "network", "subnet", "volume-type", "zone", "keypair"),
    *("security-group", "image", "server-group"),
]


@dataclass(kw_only=True)
class Story:
    """The VNF, and what has become of it so far."""

    lab: RecoveryLab
    members: dict[str, str]
    checkpoint: dict[str, Any] = field(default_factory=dict)

    def seen(self, site: SiteSpec) -> vnf.Site:
        return vnf.Site(self.lab.home, site)

    def things(self, site: SiteSpec) -> dict[str, set[str]]:
        """Everything of the project in a site that a restore could leave behind."""
        there = self.seen(site).demo
        return {
            "servers": {each.id for each in there.compute.servers()},
            "volumes": {each.id for each in there.block_storage.volumes()},
            "networks": {each.id for each in there.network.networks()},
            "ports": {each.id for each in there.network.ports()},
        }


@pytest.fixture(scope="module")
def story(recovery_up: RecoveryLab, tmp_path_factory: pytest.TempPathFactory) -> Story:
    lab = recovery_up
    lab.mend()
    # Not by its command, which would wait for the lock that this session holds.
    made = vnf.create(lab.home, NAME, site="paris", cidr=CIDR, say=print)
    lab.isthmus("policy", "create", POLICY, "--site", "paris", "--driver", "rbd", "--keep", "2")
    declared = lab.isthmus(*made.declare(backup_site="lyon", policy=POLICY)[1:])
    plan = tmp_path_factory.mktemp("plan") / "plan.json"
    plan.write_text(json.dumps({"source": "paris", "target": "lyon", "same_name": EVERYTHING}))
    lab.isthmus("plan", "set", NAME, "--ask", "lyon", "--file", str(plan))
    return Story(lab=lab, members={each["name"]: each["server_id"] for each in declared["members"]})


def test_a_checkpoint_is_of_one_point_in_time_and_the_guests_hardly_notice(story: Story) -> None:
    words = ("operation", "protect", NAME, "--wait")
    done = story.lab.isthmus(*words, seconds=OPERATION_SECONDS)
    assert done["outcome"] == "succeeded", done
    found = story.lab.isthmus("checkpoint", "show", done["checkpoint"])
    assert (found["phase"], found["outcome"]) == ("available", "complete")
    assert found["consistency"] == "app-ordered"
    assert found["window_s"] < 10.0, "the dead-men would have thawed the guests"
    story.checkpoint = found


def test_a_site_that_knows_nothing_learns_from_the_remote_store(story: Story) -> None:
    wrong = story.lab.isthmus("recovery", "rebuild", "--site", "lyon")
    assert wrong == []
    known = story.lab.isthmus("checkpoint", "list", "--ask", "lyon")
    assert [each["ID"] for each in known] == [story.checkpoint["id"]]
    assert story.lab.isthmus("plan", "validate", NAME, "--ask", "lyon") == []


def test_a_drill_brings_it_up_apart_judges_its_records_and_leaves_nothing(story: Story) -> None:
    lab = story.lab
    before = {site.name: story.things(site) for site in (lab.paris, lab.lyon)}
    asked = lab.isthmus("operation", "drill", NAME, "--ask", "lyon", "--wait", seconds=120)
    done = lab.approve(asked, ask="lyon")
    assert done["outcome"] == "succeeded", done
    tests = [each for each in done["steps"] if each["name"].startswith("test-")]
    assert len(tests) == len(story.members)
    assert {each["state"] for each in tests} == {"done"}
    assert {site.name: story.things(site) for site in (lab.paris, lab.lyon)} == before


def test_a_failover_is_not_approved_by_whoever_asked_for_it(story: Story) -> None:
    lab = story.lab
    asked = lab.isthmus("operation", "failover", NAME, "--ask", "lyon", "--wait", seconds=120)
    try:
        words = ("operation", "approve", asked["id"], "--ask", "lyon", "--code-file", "-")
        refused = lab.run(words, seconds=60, text=asked["code"])
        assert refused.returncode != 0
        assert "recovery_failover" in refused.stderr or "may not" in refused.stderr
    finally:
        lab.isthmus("operation", "cancel", asked["id"], "--ask", "lyon")


def test_after_the_loss_of_its_site_it_goes_on_in_the_other_with_its_records(story: Story) -> None:
    lab = story.lab
    lab.kill("paris")
    asked = lab.isthmus("operation", "failover", NAME, "--ask", "lyon", "--wait", seconds=120)
    began = time.monotonic()
    done = lab.approve(asked, ask="lyon")
    print(f"failover: {time.monotonic() - began:.0f} s from approval to tested")
    assert done["phase"] == "awaiting-commit", done
    committed = ("operation", "commit", asked["id"], "--ask", "lyon", "--wait")
    done = lab.isthmus(*committed, seconds=120, approver=True)
    assert done["outcome"] == "succeeded", done
    there = story.seen(lab.lyon).demo
    servers = {each.name: each for each in there.compute.servers()}
    assert set(servers) == {f"{NAME}-{role}" for role in vnf.ROLES}
    assert {each.status for each in servers.values()} == {"ACTIVE"}
    addresses = {found["addr"] for each in servers.values() for found in each.addresses[NAME]}
    assert addresses == {"10.80.0.10", "10.80.0.11", "10.80.0.12"}
    _assert_of_one_point_in_time(lab, {name: each.id for name, each in servers.items()})


def _assert_of_one_point_in_time(lab: RecoveryLab, servers: dict[str, str]) -> None:
    """Nobody has what those before have not: the database's numbers were acknowledged, and those were issued. And all go on."""

    def counts() -> list[int]:
        # They count on while they are read, so that whoever has least is read first.
        logs = {"database": "persisted", "middle": "acknowledged", "client": "issued"}
        return [
            int(lab.shell(lab.lyon, servers[f"{NAME}-{role}"], f"wc -l </data/vdb/{log}.log"))
            for role, log in logs.items()
        ]

    first = counts()
    assert first == sorted(first), f"persisted, acknowledged, issued: {first}"
    assert first[0] > 0
    waiting.until(
        lambda: None if min(map(int.__sub__, counts(), first)) > 0 else "somebody stands still",
        deadline=GOES_ON_SECONDS,
        what="the protocol does not go on",
        where="lyon",
        interval=2.0,
    )
