"""One component dies or hangs: what users notice, and what they do not.

`writer` and `other` stand for the writer site that takes the writes and the other one, whichever they are at that moment.
Components whose users differ break in the same test: a dead Glance in one site and a dead database of Glance in another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from running_lab import WRITES_DEADLINE, Lab
from users import LOGIN_URL, Users, lasting

from isthmus.lab import state

pytestmark = pytest.mark.lab

EVERYBODY = (
    "writer/check", "writer/read", "writer/image", "other/check", "other/read", "other/image",
    "madrid/check", "madrid/read", "madrid/image", "madrid/login", "other/write", f"{LOGIN_URL}/check",
)  # fmt: skip

# Dead for the whole window.
LOST = -1


@dataclass(frozen=True, kw_only=True)
class Bother:
    """What a user may notice at most: failed requests (`LOST`: not served at all), seconds without service."""

    errors: int = 0
    # The probes' own periods and slow answers are part of it: a login costs a third of a second of CPU, and on a machine that is
    # busy with the restart of what died, several of them wait for two cores.
    gap: float = 8.0


MADRID = ("madrid/check", "madrid/read", "madrid/image", "madrid/login")

# A request that the component was working on when it died, and one that was on its way to it.
AT_WORK = Bother(errors=2)
# The component hangs: three seconds until a check has failed, one until the next, three more; then another stands in.
HANGS = Bother(errors=1, gap=12.0)
# A statement gives up after 10 s at the latest, and the checks are quicker than that. Each worker thread that served this user may
# hold a connection to the database that is gone, and the load balancer leaves one tier of readers after the other.
DATABASE = Bother(errors=5, gap=14.0)
WRITER_READS = dict.fromkeys(
    ("writer/check", "writer/read", "writer/image", f"{LOGIN_URL}/check"), DATABASE
)
UNSERVED = Bother(errors=LOST)
# Group communication excludes a dead member after 6 s, the next writer waits its turn.
WRITES = Bother(errors=100, gap=WRITES_DEADLINE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault and who may notice it; everybody else notices nothing."""

    fault: str
    targets: tuple[str, ...]
    noticed: Mapping[str, Bother] = field(default_factory=dict)
    seconds: float = 6.0

    @property
    def name(self) -> str:
        return f"{self.fault} {' and '.join(self.targets)}".replace("/", "'s ")


CASES = [
    # Every answer comes from the databases. The door of a site is gone: nobody comes in there, and the login URL goes elsewhere.
    Case(
        fault="kill",
        targets=("writer/memcached", "madrid/haproxy"),
        noticed=dict.fromkeys(MADRID, UNSERVED),
    ),
    # A client gives up on a frozen cache after 0.5 s, for 10 s at a time.
    Case(
        fault="freeze",
        targets=("madrid/memcached", "other/haproxy"),
        noticed={
            "madrid/image": Bother(gap=10.0),
            **dict.fromkeys(("other/check", "other/read", "other/image", "other/write"), UNSERVED),
            f"{LOGIN_URL}/check": HANGS,
        },
        seconds=9.0,
    ),
    # The image service of a site is its own: nobody stands in, and nobody else notices.
    Case(
        fault="kill",
        targets=("madrid/glance", "writer/local-db"),
        noticed={"madrid/image": UNSERVED, "writer/image": UNSERVED},
        seconds=4.0,
    ),
    Case(
        fault="freeze",
        targets=("madrid/local-db", "writer/glance"),
        noticed={"madrid/image": UNSERVED, "writer/image": UNSERVED},
        seconds=4.0,
    ),
    # Another site's Keystone stands in.
    Case(
        fault="kill",
        targets=("madrid/keystone", "other/memcached"),
        noticed={"madrid/check": AT_WORK, "madrid/read": AT_WORK, "madrid/login": AT_WORK},
    ),
    Case(
        fault="freeze",
        targets=("madrid/keystone",),
        noticed=dict.fromkeys(MADRID, HANGS),
        seconds=9.0,
    ),
    # And another replica is read.
    Case(
        fault="kill",
        targets=("other/keystone", "madrid/replica-paris"),
        noticed={
            "other/check": AT_WORK,
            "other/read": AT_WORK,
            "other/write": AT_WORK,
            f"{LOGIN_URL}/check": AT_WORK,
            "madrid/check": DATABASE,
            "madrid/read": DATABASE,
            "madrid/login": DATABASE,
        },
    ),
    Case(
        fault="freeze",
        targets=("madrid/replica-paris",),
        noticed=dict.fromkeys(MADRID, DATABASE),
        seconds=9.0,
    ),
    # Nobody vouches for the replicas any more: they are read as long as they answer, and the load balancer closes the
    # connections of the tier that it leaves. Without the arbitrator quorum is two of three.
    Case(
        fault="kill",
        targets=("madrid/agent", "madrid/arbitrator"),
        noticed={
            "madrid/check": AT_WORK,
            "madrid/read": AT_WORK,
            "madrid/login": AT_WORK,
            "other/write": Bother(errors=100, gap=15.0),
        },
        seconds=10.0,
    ),
    Case(
        fault="freeze",
        targets=("madrid/agent", "madrid/arbitrator"),
        noticed={**dict.fromkeys(MADRID, DATABASE), "other/write": Bother(errors=100, gap=15.0)},
        seconds=10.0,
    ),
    # Without its agent the writer's lease runs out, and the other writer site takes the writes.
    Case(
        fault="kill",
        targets=("writer/agent",),
        noticed={
            "writer/check": AT_WORK,
            "writer/read": AT_WORK,
            "other/write": WRITES,
            f"{LOGIN_URL}/check": AT_WORK,
        },
        seconds=8.0,
    ),
    # The site reads at the other writer site, and the writes go there.
    Case(
        fault="kill",
        targets=("writer/identity-db",),
        noticed={**WRITER_READS, "other/write": WRITES},
        seconds=8.0,
    ),
    # The other writer site may hold connections to this database from a time when its own was dead. (Glance says
    # 401 when its Keystone says 503: its pipeline defers the decision, `delay_auth_decision`.)
    Case(
        fault="freeze",
        targets=("writer/identity-db",),
        noticed={
            **WRITER_READS,
            "other/check": AT_WORK,
            "other/read": AT_WORK,
            "other/image": AT_WORK,
            "other/write": WRITES,
        },
        seconds=12.0,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_users_notice_no_more_than_they_must_when_components_fail(lab: Lab, case: Case) -> None:
    places = _places(lab)
    targets = [_resolved(target, places) for target in case.targets]
    with Users(lab, [_resolved(name, places) for name in EVERYBODY], timeout=10.0) as users:
        begun = users.now()
        for target in targets:
            assert getattr(lab, case.fault)(target) > 0, f"{target} did not run"
        lasting(case.seconds, why="the checks of load balancer, agent and group communication run")
        phases = {u.unit: u.phase for u in state.of_units(lab.home, lab.units)}
        expected = state.Phase.DEAD if case.fault == "kill" else state.Phase.FROZEN
        assert {phases[target] for target in targets} == {expected}
        _until_served(users, case, places, begun)
        for name in EVERYBODY:
            _assert_noticed(users, _resolved(name, places), case.noticed.get(name, Bother()), begun)
        for target in targets:
            lab.resume(target)
        lab.healthy()
        users.all_served(after=users.now())
    lab.everywhere(users.written, deadline=15.0, why=case.name)


def _places(lab: Lab) -> dict[str, str]:
    writer = lab.writers()[0]
    other = next(site.name for site in lab.environment.writers if site.name != writer)
    return {"writer": writer, "other": other}


def _resolved(name: str, places: Mapping[str, str]) -> str:
    place, rest = name.split("/")
    return f"{places.get(place, place)}/{rest}"


def _until_served(users: Users, case: Case, places: Mapping[str, str], begun: float) -> None:
    """Whoever may be without service for a while is served again while the fault lasts."""
    for name, bother in case.noticed.items():
        if bother.errors != LOST:
            left = begun + bother.gap - users.now()
            # How long they waited is judged below; a login that begins just before the window ends takes seconds on busy cores.
            users.until_served(
                _resolved(name, places), begun + case.seconds - 1, deadline=max(left, 10.0)
            )


def _assert_noticed(users: Users, name: str, bother: Bother, begun: float) -> None:
    seen = users.noticed(name, begun)
    if bother.errors == LOST:
        # What was on its way may still have arrived.
        assert users.resumed(name, begun + 1.0) is None, (
            f"{name} was served although it cannot be: {seen}"
        )
        return
    assert seen.errors <= bother.errors, f"{name}: {seen}"
    assert seen.longest_gap <= bother.gap, f"{name}: {seen}"
