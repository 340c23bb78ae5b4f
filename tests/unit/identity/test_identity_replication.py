"""The decision about replicas, attacked with sequences of observations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from isthmus.identity import replication as rep
from isthmus.identity.positions import Gtid, Position
from isthmus.identity.replication import Act, Verdict

LIMITS = rep.Limits()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def position(sequence: int) -> Position:
    return Position((Gtid(100, 100, sequence),)) if sequence else Position()


def master(at: float, sequence: int, *, usable: bool = True) -> rep.Master:
    return rep.Master(at=at, usable=usable, position=position(sequence), reason="")


def stream(name: str | None = "paris", received: int = 0, **changes: object) -> rep.Stream:
    base = rep.Stream(master=name, connected=True, applying=True, received=position(received))
    return replace(base, **changes)  # type: ignore[arg-type]


def beat(sequence: int, written: float, writer: str = "paris") -> rep.Heartbeat:
    return rep.Heartbeat(
        writer=writer, sequence=sequence, written_at=EPOCH + timedelta(seconds=written)
    )


def seen(
    at: float,
    replica: rep.Replica | None,
    *,
    may_act: bool = True,
    clock: float = 0.0,
    **masters: rep.Master,
) -> rep.Observation:
    return rep.Observation(
        at=at,
        now=EPOCH + timedelta(seconds=at + clock),
        replica=replica,
        masters=masters,
        may_act=may_act,
        error="timed out",
    )


class Replica:
    """A replica at `paris` that can be driven second by second."""

    def __init__(self) -> None:
        self.state = rep.State()
        self.at = 1000.0
        self.sequence, self.beats = 500, 10
        self.written = self.at
        self.stream: rep.Stream | None = stream()
        self.arriving = True
        self.behind = 0.0
        self.masters_sequence: int | None = None
        self.usable = {"paris": True, "lyon": True}
        self.clock = 0.0
        self.decision: rep.Decision | None = None
        self.acts: list[rep.Action] = []

    def step(self, seconds: float = 0.5) -> rep.Decision:
        self.at += seconds
        if self.arriving:
            self.sequence, self.beats = self.sequence + 1, self.beats + 1
            self.written = self.at - self.behind
        ahead = self.sequence if self.masters_sequence is None else self.masters_sequence
        flow = self.stream and replace(self.stream, received=position(self.sequence))
        look = rep.Replica(
            applied=position(self.sequence),
            stream=flow,
            heartbeats=(beat(self.beats, self.written),),
        )
        views = {n: master(self.at, ahead, usable=u) for n, u in self.usable.items()}
        self.decision = rep.observe(
            self.state, seen(self.at, look, clock=self.clock, **views), LIMITS, "paris"
        )
        self.state = self.decision.state
        if self.decision.action.act is not Act.NONE:
            self.acts.append(self.decision.action)
        return self.decision

    def run(self, seconds: float) -> rep.Decision:
        for _ in range(int(seconds * 2)):
            decision = self.step()
        return decision


def test_a_replica_that_follows_serves() -> None:
    replica = Replica()
    decision = replica.run(3)
    assert decision.verdict is Verdict.SERVING
    assert decision.lag_seconds == 0.0


def test_a_silent_stream_is_frozen_and_left_for_a_master_that_has_more() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.masters_sequence = replica.sequence + 5
    decision = replica.run(LIMITS.repoint_after_seconds + 1)
    assert decision.verdict is Verdict.FROZEN
    assert replica.acts == [rep.Action(act=Act.REPOINT, master="lyon")]


def test_silence_alone_is_no_reason_to_leave() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.run(60)
    assert replica.acts == []


def test_a_lost_stream_is_replaced_even_if_nothing_new_was_written() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.stream = stream(connected=False, connect_errno=2003, connect_error="refused")
    decision = replica.run(LIMITS.repoint_after_seconds + 1)
    assert decision.verdict is Verdict.DISCONNECTED
    assert [a.master for a in replica.acts] == ["lyon"]


def test_a_stream_that_a_person_stopped_is_left_alone() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.stream = stream(connected=False, stopped=True)
    decision = replica.run(60)
    assert "by hand" in decision.reason
    assert replica.acts == []


def test_a_replica_that_holds_what_no_master_has_is_diverged_and_left_alone() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.stream = stream(connected=False, connect_errno=2003)
    replica.masters_sequence = replica.sequence - 3
    decision = replica.run(30)
    assert decision.verdict is Verdict.DIVERGED
    assert "reload this replica" in decision.reason
    assert replica.acts == []


def test_an_applier_that_failed_is_diverged_at_once() -> None:
    replica = Replica()
    replica.run(3)
    replica.stream = stream(applying=False, apply_errno=1062, apply_error="Duplicate entry")
    decision = replica.step()
    assert decision.verdict is Verdict.DIVERGED
    assert "1062" in decision.reason


def test_a_clock_that_is_wrong_is_not_lag() -> None:
    replica = Replica()
    replica.clock = 30.0
    decision = replica.run(10)
    assert decision.verdict is Verdict.SERVING
    assert decision.lag_seconds == 30.0
    assert "clocks" in decision.reason


def test_a_clock_ahead_does_not_hide_lag_behind_a_master_that_answers() -> None:
    replica = Replica()
    replica.clock = -30.0
    replica.run(3)
    replica.arriving, replica.masters_sequence = False, replica.sequence + 9
    decision = replica.run(LIMITS.lag_limit_seconds - 0.5)
    assert decision.lag_seconds == 0.0
    assert decision.verdict is Verdict.SERVING
    assert replica.run(2).verdict is not Verdict.SERVING


def test_a_late_replica_leaves_and_serves_again_when_it_has_caught_up() -> None:
    replica = Replica()
    replica.usable = {"paris": False, "lyon": False}
    replica.run(3)
    replica.behind = 8.0
    assert replica.run(1).verdict is Verdict.LAGGING
    replica.behind = 4.0
    assert replica.run(3).verdict is Verdict.LAGGING
    replica.behind = 0.0
    assert replica.run(1).verdict is Verdict.SERVING


def test_a_site_cut_off_from_all_masters_says_how_old_its_data_are() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable = False, {"paris": False, "lyon": False}
    replica.stream = stream(connected=False, connect_errno=2003)
    decision = replica.run(20)
    assert decision.verdict is Verdict.DISCONNECTED
    assert decision.advance_age_seconds == 20.0


def test_it_returns_home_only_after_home_was_stable() -> None:
    replica = Replica()
    replica.stream, replica.usable["paris"] = stream("lyon"), False
    replica.run(5)
    replica.usable["paris"] = True
    replica.run(LIMITS.home_after_seconds - 1)
    replica.usable["paris"] = False
    replica.run(2)
    replica.usable["paris"] = True
    replica.run(LIMITS.home_after_seconds - 1)
    assert replica.acts == []
    replica.run(2)
    assert replica.acts == [rep.Action(act=Act.HOME, master="paris")]


def test_a_replica_that_nobody_looked_at_is_not_taken_for_silent() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.masters_sequence = replica.sequence + 5
    replica.step(600)
    assert replica.acts == []


def test_a_master_that_refused_is_not_asked_again_soon() -> None:
    replica = Replica()
    replica.run(3)
    replica.arriving, replica.usable["paris"] = False, False
    replica.stream = stream(connected=False, connect_errno=2003)
    replica.run(6)
    replica.state = rep.acted(replica.state, replica.at, "lyon", refused=True)
    replica.run(60)
    assert len(replica.acts) == 1


def test_a_database_that_does_not_answer_is_named_as_such() -> None:
    decision = rep.observe(rep.State(), seen(1.0, None), LIMITS, "paris")
    assert decision.verdict is Verdict.UNREACHABLE
    assert "timed out" in decision.reason


sequences = st.integers(0, 4)
# Some things of the world change together, then half seconds pass: silences are met as often as
# quick changes.
faults = st.sampled_from([False, False, True])
events = st.one_of(
    st.tuples(st.just("connected"), faults),
    st.tuples(st.just("applying"), faults),
    st.tuples(st.just("stopped"), faults),
    st.tuples(st.just("apply_errno"), st.sampled_from([0, 1062])),
    st.tuples(st.just("follows"), st.sampled_from(["paris", "lyon", None])),
    st.tuples(st.just("configured"), faults),
    st.tuples(st.just("applied"), sequences),
    st.tuples(st.just("received"), sequences),
    st.tuples(st.just("beat"), st.integers(0, 40)),
    st.tuples(st.just("answers"), faults),
    st.tuples(st.just("may_act"), faults),
    *(
        st.tuples(st.just(f"{what}_{name}"), values)
        for name in ("paris", "lyon")
        for what, values in (
            ("usable", faults),
            ("position", sequences),
            ("age", st.sampled_from([0.0, 2.0, 4.0])),
        )
    ),
)
changes = st.lists(events, min_size=1, max_size=5)
scripts = st.lists(st.tuples(changes, st.sampled_from([1, 3, 14, 14, 30, 80])), max_size=5)
SOUND = {
    "connected": True, "applying": True, "stopped": False, "apply_errno": 0, "follows": "paris",
    "configured": True, "applied": 2, "received": 2, "beat": 1, "answers": True, "may_act": True,
    "usable_paris": True, "position_paris": 2, "age_paris": 0.0,
    "usable_lyon": True, "position_lyon": 2, "age_lyon": 0.0,
}  # fmt: skip


class World:
    """What the observations are made from, and what the invariants need to remember of it."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = dict(SOUND)
        self.state, self.at = rep.State(), 0.0
        self.changed_at, self.home_since = 0.0, None  # type: float, float | None
        self.moves: list[float] = []
        self.last_told = self.told()

    def replica(self) -> rep.Replica | None:
        f = self.facts
        if not f["answers"]:
            return None
        flow = stream(
            f["follows"], f["received"], connected=f["connected"], applying=f["applying"],
            stopped=f["stopped"], apply_errno=f["apply_errno"],
            connect_errno=0 if f["connected"] else 2003,
        )  # fmt: skip
        return rep.Replica(
            applied=position(f["applied"]),
            stream=flow if f["configured"] else None,
            heartbeats=(beat(f["beat"], f["beat"]),),
        )

    def masters(self) -> dict[str, rep.Master]:
        f = self.facts
        return {
            n: master(self.at - f[f"age_{n}"], f[f"position_{n}"], usable=f[f"usable_{n}"])
            for n in ("paris", "lyon")
        }

    def change(self, name: str, value: object) -> None:
        self.facts[name] = value

    def told(self) -> tuple[Any, ...]:
        """What an observer takes for a sign of life. What changes and changes back between two looks is none."""
        return tuple(self.facts[name] for name in ("applied", "received", "beat", "configured"))

    def tick(self) -> None:
        if self.told() != self.last_told:
            self.changed_at, self.last_told = self.at, self.told()
        self.at += 0.5
        masters = self.masters()
        home = masters["paris"]
        well = home.usable and self.at - home.at <= rep.FRESH_SECONDS
        self.home_since = (self.home_since or self.at) if well else None
        look = seen(self.at, self.replica(), may_act=self.facts["may_act"], **masters)
        decision = rep.observe(self.state, look, LIMITS, "paris")
        self.state = decision.state
        assert decision.lag_seconds is None or decision.lag_seconds >= 0
        if decision.action.act is not Act.NONE:
            self.acted(look, decision)

    def acted(self, look: rep.Observation, decision: rep.Decision) -> None:
        replica, action = look.replica, decision.action
        assert look.may_act
        assert replica is not None
        assert replica.stream is not None
        assert action.master is not None
        self.proven(replica, look.masters[action.master])
        # Never what is not the agent's to repair, never where it already is.
        assert not replica.stream.apply_errno
        assert not replica.stream.stopped
        assert replica.stream.applying
        assert action.master != replica.stream.master
        assert decision.verdict is not Verdict.DIVERGED
        if action.act is Act.REPOINT:
            assert self.at - self.changed_at >= LIMITS.repoint_after_seconds
        else:
            assert action.master == "paris"
            assert self.home_since is not None
            assert self.at - self.home_since >= LIMITS.home_after_seconds
            assert decision.verdict is Verdict.SERVING
        # No flapping.
        assert not self.moves or self.at - self.moves[-1] >= 2 * LIMITS.repoint_after_seconds
        self.moves.append(self.at)
        assert len([m for m in self.moves if self.at - m < 3600]) <= LIMITS.repoints_per_hour

    def proven(self, replica: rep.Replica, target: rep.Master) -> None:
        """The proof of position, by a master that is well now."""
        assert target.usable
        assert self.at - target.at <= rep.FRESH_SECONDS
        assert target.position.includes(replica.applied)
        assert replica.stream is not None
        assert target.position.includes(replica.stream.received)
        assert replica.applied or replica.stream.received


@settings(max_examples=250, deadline=None)
@given(scripts)
@example([([("connected", False), ("usable_paris", False)], 400)])
def test_no_sequence_of_observations_breaks_the_invariants(
    script: list[tuple[list[tuple[str, object]], int]],
) -> None:
    world = World()
    for together, ticks in script:
        for name, value in together:
            world.change(name, value)
        for _ in range(ticks):
            world.tick()
