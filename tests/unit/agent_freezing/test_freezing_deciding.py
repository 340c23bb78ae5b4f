"""The decisions of guards, attacked: whatever dies or stops, no guest stays frozen after its deadline."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from isthmus.agent.host.freezing import deciding
from isthmus.agent.host.freezing.deciding import Do, Seen
from isthmus.agent.host.freezing.entries import Entry, Guest, Moment, Process

BOOT = "boot-1"
ME = Process(pid=7, start=1)
ENTRY = Entry(
    round="r1",
    epoch=3,
    domain="instance-00000001",
    server_id="s1",
    boot_id=BOOT,
    deadline=100.0,
    armed_wall=1000.0,
    deadline_wall=1010.0,
)


def at(boottime: float, boot_id: str = BOOT) -> Moment:
    return Moment(boot_id=boot_id, boottime=boottime, wall=1000.0 + boottime)


SEEN = st.builds(Seen, attempts=st.integers(0, 500), said=st.sampled_from([None, *Guest]))
MOMENTS = st.builds(at, st.floats(0, 400), st.sampled_from([BOOT, "boot-2"]))


@given(SEEN, MOMENTS, st.booleans())
def test_a_guard_ends_only_for_a_guest_that_is_settled(
    seen: Seen, now: Moment, alive: bool
) -> None:
    step = deciding.decide(ENTRY, seen, now, freezer_alive=alive)
    if step.do is Do.END:
        assert ENTRY.remaining(now) <= 0
        assert seen.attempts > 0
        assert seen.said in deciding.SETTLED
        assert not alive


@given(SEEN, st.floats(0, 99.99), st.booleans())
def test_before_the_deadline_a_guard_does_nothing_and_never_oversleeps(
    seen: Seen, boottime: float, alive: bool
) -> None:
    step = deciding.decide(ENTRY, seen, at(boottime), freezer_alive=alive)
    assert step.do is Do.WAIT
    assert boottime + step.after <= 100.0 + 1e-9


@given(SEEN, st.floats(100.0, 400.0), st.booleans())
def test_after_the_deadline_a_guest_that_is_not_settled_is_thawed_again_and_again(
    seen: Seen, boottime: float, alive: bool
) -> None:
    step = deciding.decide(ENTRY, seen, at(boottime), freezer_alive=alive)
    if seen.attempts == 0 or seen.said in (Guest.FROZEN, Guest.UNKNOWN):
        assert step.do is Do.THAW
        assert step.after <= deciding.RARELY_SECONDS
    if seen.attempts < 10:
        assert step.after <= deciding.LOOK_SECONDS


def test_another_boot_is_after_every_deadline() -> None:
    step = deciding.decide(ENTRY, Seen(), at(1.0, "boot-2"), freezer_alive=False)
    assert step == deciding.Step(do=Do.THAW)


@given(MOMENTS, st.booleans())
def test_nothing_is_frozen_that_was_thawed_or_whose_deadline_has_passed(
    now: Moment, fired: bool
) -> None:
    if deciding.refuse_freeze(ENTRY, now, fired=fired) is None:
        assert not fired
        assert ENTRY.remaining(now) >= deciding.LEAST_SECONDS
    thawed = dataclasses.replace(ENTRY, thawed_wall=1001.0)
    assert deciding.refuse_freeze(thawed, now, fired=fired) is not None


@given(st.sampled_from(list(Guest)), st.booleans())
def test_a_dead_man_is_disarmed_only_for_a_guest_that_is_settled(guest: Guest, alive: bool) -> None:
    if deciding.refuse_disarm(ENTRY, guest, freezer_alive=alive) is None:
        assert guest in deciding.SETTLED
        assert not alive


@given(st.integers(0, 5), st.sampled_from(list(Guest)), MOMENTS)
def test_only_a_thawed_guest_of_this_epoch_that_nobody_else_armed_is_armed(
    known: int, guest: Guest, now: Moment
) -> None:
    other = dataclasses.replace(ENTRY, round="r0")
    if deciding.refuse_arm(ENTRY, other, known, guest, now) is None:
        assert guest is Guest.THAWED
        assert known <= ENTRY.epoch
        assert other.remaining(now) <= 0


class Host(RuleBasedStateMachine):
    """A host with one guest, an agent and a watchdog, each of which may be killed, stopped and
    resumed, and come back, at any moment; freezes come from the agent and, uncalled for, from Nova.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.frozen = False
        self.frozen_late = 0.0
        self.disk: Entry | None = None
        self.guards: dict[str, Seen] = {}
        self.running: dict[str, bool] = {}
        self.agent_intends = False
        self.settled_at: float | None = None

    @initialize(deadline=st.floats(1.0, 10.0))
    def arm(self, deadline: float) -> None:
        # What `rounds.arm` has done when it answers: disk, watchdog, guard.
        self.disk = dataclasses.replace(ENTRY, deadline=deadline)
        self.guards = {"agent": Seen(), "watchdog": Seen()}
        self.running = {"agent": True, "watchdog": True}

    @property
    def agent_alive(self) -> bool:
        return "agent" in self.guards

    # --- what may happen

    @rule()
    @precondition(lambda self: self.agent_alive and self.running["agent"] and self.disk)
    def intend_to_freeze(self) -> None:
        if self.frozen or deciding.refuse_freeze(self.disk, at(self.now), fired=False):
            return
        self.disk = dataclasses.replace(self.disk, freezer=ME)
        self.agent_intends = True

    @rule()
    @precondition(lambda self: self.agent_intends and self.running.get("agent"))
    def send_the_freeze(self) -> None:
        """May be long after it was intended: the agent was stopped in between."""
        self.agent_intends = False
        assert self.disk is not None, "an entry outlives the freeze that it was written for"
        self.frozen = True
        self.disk = dataclasses.replace(self.disk, freezer=None)
        if self.disk.remaining(at(self.now)) <= 0:
            self.frozen = False

    @rule()
    @precondition(lambda self: self.disk and self.disk.remaining(at(self.now)) > 0)
    def nova_freezes(self) -> None:
        self.frozen = True

    @rule()
    def the_controller_thaws(self) -> None:
        self.frozen = False

    @rule()
    @precondition(lambda self: self.agent_alive and self.running["agent"] and self.disk)
    def disarm(self) -> None:
        guest = Guest.FROZEN if self.frozen else Guest.THAWED
        alive = self.agent_intends and self.agent_alive
        if deciding.refuse_disarm(self.disk, guest, freezer_alive=alive) is None:
            self.disk = None

    @rule(who=st.sampled_from(["agent", "watchdog"]))
    def kill(self, who: str) -> None:
        # Not both: that is what the restart of the agent is for.
        if len(self.guards) == 2:
            self.guards.pop(who)
            self.running.pop(who)
            if who == "agent":
                self.agent_intends = False

    @rule(who=st.sampled_from(["agent", "watchdog"]))
    def stop(self, who: str) -> None:
        if sum(self.running.values()) == 2:
            self.running[who] = False

    @rule(who=st.sampled_from(["agent", "watchdog"]))
    def resume(self, who: str) -> None:
        if who in self.running:
            self.running[who] = True

    @rule()
    @precondition(lambda self: not self.agent_alive and self.disk)
    def restart_the_agent(self) -> None:
        self.disk = dataclasses.replace(self.disk, freezer=None)
        self.guards["agent"], self.running["agent"] = Seen(), True

    @rule(seconds=st.floats(0.01, 3.0))
    def time_goes_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._guard()
            self.now += 0.05
            over = self.disk is not None and self.disk.remaining(at(self.now)) <= 0
            self.frozen_late = self.frozen_late + 0.05 if self.frozen and over else 0.0

    def _guard(self) -> None:
        """Every guard that runs takes one step."""
        for who in [name for name, runs in self.running.items() if runs and name in self.guards]:
            seen = self.guards[who]
            alive = self.agent_intends and self.agent_alive
            step = deciding.decide(self.disk, seen, at(self.now), freezer_alive=alive)
            if step.do is Do.THAW:
                self.frozen = False
                self.guards[who] = Seen(attempts=seen.attempts + 1)
            elif step.do is Do.LOOK:
                said = Guest.FROZEN if self.frozen else Guest.THAWED
                self.guards[who] = dataclasses.replace(seen, said=said)

    # --- what must hold

    @invariant()
    def a_frozen_guest_has_an_armed_dead_man(self) -> None:
        if self.frozen:
            assert self.disk is not None

    @invariant()
    def no_guest_stays_frozen_after_its_deadline(self) -> None:
        running = [who for who in self.guards if self.running.get(who)]
        if running:
            assert self.frozen_late < 1.0


TestHost = Host.TestCase
TestHost.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
