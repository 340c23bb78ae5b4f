"""What holds guests on real hypervisors lets them go, whoever dies; one checkpoint after that is whole.

One story, in the order of the tests: the VNF of the module, and a site that is whole again after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest
from recovery_lab import RecoveryLab

from isthmus.lab import vnf, waiting
from isthmus.lab.recovering import reached
from isthmus.recovery.declarations import LONGEST_FREEZE_S

# The first one brings two clouds and three emulated guests up.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

NAME, POLICY, CIDR = "window", "window", IPv4Network("10.82.0.0/24")
# From a request to the first frozen guest: the policy's checks, the volumes' images, a process for each dead-man.
FIRST_FROZEN_SECONDS = 90.0
# The promise: the deadline and one second. The rest is what the questions themselves take on a busy machine.
LET_GO_SECONDS = LONGEST_FREEZE_S + 1.0 + 4.0


@dataclass(kw_only=True)
class Stage:
    """The VNF in Paris."""

    lab: RecoveryLab
    members: dict[str, str]

    def frozen(self) -> set[str]:
        """Names of the guests that say that they are frozen."""
        said = self.lab.people.armed(self.lab.paris)
        return {name for name, server in self.members.items() if said.get(server) == "frozen"}

    def protect_until_frozen(self) -> str:
        """Ask for a checkpoint and wait until the first guest is frozen: the operation."""
        asked = self.lab.people.isthmus("operation", "protect", NAME)
        waiting.until(
            lambda: None if self.frozen() else "nobody is frozen",
            deadline=FIRST_FROZEN_SECONDS,
            what="no guest is frozen for the checkpoint",
            where="paris",
            interval=0.05,
        )
        return str(asked["id"])

    def all_let_go(self) -> None:
        """Wait until no guest says that it is frozen, for as long as its dead-man may take."""
        waiting.until(
            lambda: f"frozen: {', '.join(sorted(held))}" if (held := self.frozen()) else None,
            deadline=LET_GO_SECONDS,
            what="guests are held",
            where="paris",
            interval=0.2,
        )

    def goes_on(self) -> None:
        people = self.lab.people
        people.goes_on(
            self.lab.paris, self.members, beyond=people.counts(self.lab.paris, self.members)
        )


@pytest.fixture(scope="module")
def stage(recovery_up: RecoveryLab) -> Iterator[Stage]:
    lab = recovery_up
    lab.mend()
    yield Stage(lab=lab, members=lab.declared(NAME, policy=POLICY, cidr=CIDR))
    vnf.delete(lab.home, NAME, say=print)


def test_guests_of_an_engine_that_dies_in_the_window_are_thawed_and_the_round_is_void(
    stage: Stage,
) -> None:
    lab, people = stage.lab, stage.lab.people
    operation = stage.protect_until_frozen()
    assert lab.kill("paris/engine") > 0
    stage.all_let_go()
    stage.goes_on()
    lab.resume("paris/engine")
    done = people.wait(operation, ask="paris")
    assert (done["phase"], done["outcome"]) == ("finished", "failed"), done
    assert "restarted in the middle of the round" in str(done["steps"])
    assert people.armed(lab.paris) == {}
    assert people.report(operation, ask="paris")["left"] == []


def test_guests_whose_host_agent_and_watchdog_die_in_the_window_are_thawed_by_its_next_life(
    stage: Stage,
) -> None:
    lab, people = stage.lab, stage.lab.people
    operation = stage.protect_until_frozen()
    # All that it has started dies with it, its watchdogs too.
    killed = [f"paris/{host.name}-agent" for host in lab.paris.host_specs]
    assert all(lab.kill(name) > 0 for name in killed)
    for name in killed:
        lab.resume(name)
    stage.all_let_go()
    stage.goes_on()
    done = people.wait(operation, ask="paris")
    assert (done["phase"], done["outcome"]) == ("finished", "failed"), done
    assert people.armed(lab.paris) == {}
    assert people.report(operation, ask="paris")["left"] == []


def test_the_next_checkpoint_is_of_one_point_in_time(stage: Stage) -> None:
    people = stage.lab.people
    done = reached(people.protect(NAME), "finished", "succeeded")
    found = people.isthmus("checkpoint", "show", done["checkpoint"])
    assert (found["phase"], found["outcome"]) == ("available", "complete")
    assert found["consistency"] == "app-ordered"
    assert found["window_s"] < LONGEST_FREEZE_S
    stage.goes_on()
