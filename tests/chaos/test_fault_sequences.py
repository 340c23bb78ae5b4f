"""Random sequences of faults; whatever they were, the invariants hold after healing.

The seed is printed, and ISTHMUS_CHAOS_SEED repeats a run; ISTHMUS_CHAOS_STEPS makes it longer. What is random is only which
faults come in which order and how long they last: the timing of the lab's processes is not repeated.
"""

import os
import random
import secrets
from dataclasses import dataclass

import pytest
from running_lab import Lab, User
from users import Users, lasting, names

from isthmus.lab import calling, waiting

pytestmark = [pytest.mark.chaos, pytest.mark.lab, pytest.mark.timeout(3600)]

STEPS = int(os.environ.get("ISTHMUS_CHAOS_STEPS", "12"))

# Two faults at once: every pair is survivable or at least recoverable, and more would be a machine room on fire.
AT_ONCE = 2

LINKS = ("paris-lyon", "paris-madrid", "lyon-madrid")

# A returned site takes its missing writes, replicas are re-pointed or come home, and the writer may change once more.
HEAL_DEADLINE = 120.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: `cut`, `half` (open), `delay`, `kill` or `freeze` of a target."""

    kind: str
    target: str
    silenced: str = ""

    def make(self, lab: Lab) -> None:
        if self.kind == "cut":
            lab.cut(self.target)
        elif self.kind == "half":
            lab.cut(self.target, silenced=self.silenced)
        elif self.kind == "delay":
            lab.delay(self.target, 50)
        elif self.kind == "kill":
            lab.kill(self.target)
        else:
            lab.freeze(self.target)

    def undo(self, lab: Lab) -> None:
        if self.kind in ("cut", "half", "delay"):
            lab.heal(self.target)
        else:
            lab.resume(self.target)


def drawn(dice: random.Random, lab: Lab) -> Fault:
    """Any fault of the lab's links, sites and components."""
    kind = dice.choice(["cut", "half", "delay", "kill", "kill", "freeze", "site"])
    if kind in ("cut", "half", "delay"):
        link = dice.choice(LINKS)
        return Fault(kind=kind, target=link, silenced=dice.choice(link.split("-")))
    if kind == "site":
        return Fault(kind="kill", target=dice.choice(lab.sites).name)
    units = [unit for unit in lab.units if not unit.startswith("outside/")]
    return Fault(kind=kind, target=dice.choice(units))


@pytest.mark.parametrize("run", [1, 2])
def test_after_any_sequence_of_faults_nothing_acknowledged_is_lost(lab: Lab, run: int) -> None:
    seed = int(os.environ.get("ISTHMUS_CHAOS_SEED", secrets.randbelow(1 << 32)))
    print(f"ISTHMUS_CHAOS_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311
    newcomers = [lab.new_user() for _ in range(STEPS)]
    active: list[Fault] = []
    came: list[User] = []
    revoked: list[str] = []
    workers = [*names(lab.sites, "check", "read"), *names(lab.environment.writers, "write")]
    with Users(lab, workers) as users:
        for newcomer in newcomers:
            if len(active) == AT_ONCE or (active and dice.random() < 0.4):
                fault = active.pop(dice.randrange(len(active)))
                print(f"  undo {fault}")
                fault.undo(lab)
            else:
                fault = drawn(dice, lab)
                print(f"  make {fault}")
                fault.make(lab)
                active.append(fault)
            lasting(dice.uniform(1, 12), why="faults of every length meet every timer")
            _live(lab, dice, newcomer, came, revoked)
        for fault in active:
            print(f"  undo {fault}")
        lab.mend()
        users.all_served(after=users.now(), deadline=60.0)
        assert {call.status for call in users.refused} <= {0, 502, 503, 504}
    _assert_settled(lab)
    lab.everywhere(users.written, deadline=30.0, why=f"seed {seed}")
    _assert_logins_arrived(lab, came)
    _assert_refused(lab, revoked)


def _live(
    lab: Lab, dice: random.Random, newcomer: User, came: list[User], revoked: list[str]
) -> None:
    """A newcomer logs in somewhere and revokes the token; what was acknowledged is remembered."""
    client = calling.at(dice.choice(lab.sites))
    call = client.login(newcomer.account)
    if call.status == 201:
        came.append(newcomer)
        if client.revoke(call.token, by=lab.admin).status == 204:
            revoked.append(call.token)


def _assert_settled(lab: Lab) -> None:
    """One writer, all databases at one position and with one content."""
    assert len(lab.writers()) == 1
    lab.caught_up()
    tables = "keystone.project, keystone.user, keystone.local_user, keystone.revocation_event"

    def differing() -> str | None:
        lab.caught_up()
        sums = {
            unit: tuple(row["Checksum"] for row in lab.sql(unit, f"CHECKSUM TABLE {tables}"))
            for unit in lab.identity_databases()
        }
        return None if len(set(sums.values())) == 1 else f"checksums differ: {sums}"

    # Between two databases' answers a login may still be replayed.
    waiting.until(differing, deadline=HEAL_DEADLINE, what="databases differ", where="lab")


def _assert_logins_arrived(lab: Lab, came: list[User]) -> None:
    statement = "SELECT last_active_at IS NOT NULL AS stored FROM keystone.user WHERE id = %s"
    for unit in lab.identity_databases():
        for user in came:
            assert lab.sql(unit, statement, user.id)[0]["stored"] == 1, f"{unit}: {user.id}"


def _assert_refused(lab: Lab, revoked: list[str]) -> None:
    for site in lab.sites:
        for token in revoked:
            call = calling.at(site).validate(token, by=lab.admin)
            assert call.status == 404, f"{site.name}: {call.said}"
