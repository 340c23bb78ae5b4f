"""Operations on real clouds whose engine is killed in every step that is seen under way.

Where between two side effects a kill falls is not chosen here: tests/functional/test_recovery_operations.py kills at every place,
on a cloud that is simulated. Here the cloud is real, and what is left over would be, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest
from recovery_lab import RecoveryLab

from isthmus.lab import vnf
from isthmus.lab.environment import SiteSpec
from isthmus.lab.guest_image import records
from isthmus.lab.recovering import OPERATION_SECONDS, Recovering, reached

pytestmark = [pytest.mark.chaos, pytest.mark.lab, pytest.mark.timeout(5400)]

NAME, POLICY, CIDR = "killed", "killed", IPv4Network("10.81.0.0/24")
# Each kill costs the start of an engine and the end of its lease, and a step that is begun again.
KILLED_SECONDS = 3 * OPERATION_SECONDS
# Imports of an engine on two cores that emulate guests.
ANSWER_SECONDS = 120.0


@pytest.fixture(scope="module")
def members(recovery_up: RecoveryLab) -> Iterator[dict[str, str]]:
    """Servers by name of a VNF whose protocol runs, with a checkpoint that Lyon knows."""
    lab, people = recovery_up, recovery_up.people
    lab.mend()
    servers = lab.declared(NAME, policy=POLICY, cidr=CIDR)
    reached(people.protect(NAME), "finished", "succeeded")
    assert people.isthmus("recovery", "rebuild", "--site", "lyon") == []
    yield servers
    vnf.delete(lab.home, NAME, say=print)


def test_a_checkpoint_whose_engine_is_killed_in_every_step_leaves_guests_running(
    recovery_up: RecoveryLab, members: dict[str, str]
) -> None:
    lab, people = recovery_up, recovery_up.people
    asked = people.isthmus("operation", "protect", NAME)
    done, killed = _killed_in_every_step(lab, lab.paris, asked["id"])
    assert len(killed) > 1, killed
    people.goes_on(lab.paris, members, beyond=people.counts(lab.paris, members))
    assert people.report(done["id"], ask="paris")["left"] == []
    # A round whose engine died within its window may be void; the next one is whole.
    assert done["outcome"] in ("succeeded", "failed"), done
    reached(people.protect(NAME), "finished", "succeeded")


def test_a_drill_whose_engine_is_killed_in_every_step_ends_as_any_other(
    recovery_up: RecoveryLab, members: dict[str, str]
) -> None:
    lab, people = recovery_up, recovery_up.people
    before = people.things()
    asked = people.ask("drill", NAME, ask="lyon")
    words = ("operation", "approve", asked["id"], "--ask", "lyon", "--code-file", "-")
    people.isthmus(*words, text=str(asked["code"]), approver=True)
    done, killed = _killed_in_every_step(lab, lab.lyon, asked["id"])
    reached(done, "finished", "succeeded")
    assert len(killed) > 3, killed
    report = people.report(done["id"], ask="lyon")
    cut = records.restored(report["results"].values())
    assert cut is not None
    assert records.impossible(cut) is None, cut
    assert report["left"] == []
    assert people.things() == before
    people.goes_on(lab.paris, members, beyond=people.counts(lab.paris, members))


def _killed_in_every_step(
    lab: RecoveryLab, site: SiteSpec, identity: str
) -> tuple[dict[str, Any], set[str]]:
    """Kill the site's engine once in each step that is seen running, until the operation has ended; and in which."""
    killed: set[str] = set()
    deadline = time.monotonic() + KILLED_SECONDS
    while time.monotonic() < deadline:
        operation = _shown(lab.people, site, identity)
        if operation["phase"] == "finished":
            return operation, killed
        running = {each["name"] for each in operation["steps"] if each["state"] == "running"}
        if fresh := running - killed:
            killed |= fresh
            print(f"killed in {', '.join(sorted(fresh))}")
            assert lab.kill(f"{site.name}/engine") > 0
            lab.resume(f"{site.name}/engine")
    raise AssertionError(f"the operation has not ended: {operation}")


def _shown(people: Recovering, site: SiteSpec, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = people.isthmus(
        "operation",
        "show",
        identity,
        "--ask",
        site.name,
        codes=(0, 1, 2),
        seconds=ANSWER_SECONDS,
    )
    return found
