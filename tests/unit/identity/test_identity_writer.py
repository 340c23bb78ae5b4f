"""Who takes the writes: single decisions, and a cluster that is cut into pieces again and again."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from isthmus.identity import writer
from isthmus.identity.replication import Heartbeat
from isthmus.identity.writer import Act, Register, State, Verdict, View

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = ("paris", "lyon", "turin")
LIMITS = writer.Limits()


def view(at: float = 100.0, **changes: object) -> View:
    base = View(
        at=at, now=NOW, name="lyon", status="Primary", state="Synced", ready=True, size=3,
        members=("lyon", "paris"), register=Register(site="paris", epoch=4),
        heartbeats=(Heartbeat(writer="paris", sequence=1, written_at=NOW),),
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def decide(seen: View, state: State | None = None) -> writer.Decision:
    return writer.decide(state or State(), seen, "lyon", ORDER, LIMITS)


def test_a_node_leaves_the_writes_to_their_holder_even_if_it_is_preferred() -> None:
    held_by_lyon = view(name="paris", register=Register(site="lyon", epoch=5))
    decision = writer.decide(State(), held_by_lyon, "paris", ORDER, LIMITS)
    assert (decision.writer, decision.act) == (False, Act.NONE)
    assert "lyon takes the writes" in decision.reason


def test_a_node_claims_the_writes_of_a_holder_that_left_the_view() -> None:
    decision = decide(view(members=("lyon",)))
    assert (decision.writer, decision.act, decision.epoch) == (False, Act.CLAIM, 4)


def test_a_node_that_is_not_preferred_waits_for_its_turn() -> None:
    free = Register(site=None, epoch=0)
    first = decide(view(register=free))
    assert first.act is Act.NONE
    state = first.state
    for half in range(1, 12):
        decision = decide(view(100.0 + half / 2, register=free), state)
        state = decision.state
        expected = Act.CLAIM if half / 2 >= LIMITS.rank_delay_seconds else Act.NONE
        assert decision.act is expected


def test_a_holder_that_is_silent_loses_the_writes() -> None:
    state, act = State(), Act.NONE
    for half in range(40):
        decision = decide(view(100.0 + half / 2), state)
        state, act = decision.state, decision.act
        if half / 2 <= LIMITS.silent_after_seconds:
            assert act is Act.NONE
    assert act is Act.CLAIM


@pytest.mark.parametrize(
    "changes",
    [{"status": "non-Primary"}, {"ready": False}, {"name": "lion"}, {"register": None}],
)
def test_a_node_that_is_not_well_neither_writes_nor_claims(changes: dict[str, object]) -> None:
    mine = Register(site="lyon", epoch=4)
    decision = decide(view(**{"members": ("lyon",), "register": mine, **changes}))
    assert (decision.writer, decision.act) == (False, Act.NONE)


def test_a_joining_node_claims_nothing() -> None:
    decision = decide(view(state="Joined", members=("lyon",)))
    assert decision.act is Act.NONE
    assert decision.verdict is Verdict.JOINING


def test_a_holder_that_gives_its_data_to_a_joining_node_goes_on_writing() -> None:
    beats = (Heartbeat(writer="lyon", sequence=1, written_at=NOW),)
    mine = Register(site="lyon", epoch=4)
    before = decide(view(state="Donor/Desynced", register=mine, heartbeats=beats))
    assert before.writer is False
    beats = (replace(beats[0], sequence=2),)
    later = view(100.5, state="Donor/Desynced", register=mine, heartbeats=beats)
    decision = decide(later, before.state)
    assert (decision.writer, decision.act) == (True, Act.RENEW)


def test_a_holder_that_was_just_started_first_proves_that_it_can_renew() -> None:
    mine = Register(site="lyon", epoch=4)
    beats = (Heartbeat(writer="lyon", sequence=1, written_at=NOW),)
    decision = decide(view(register=mine, heartbeats=beats))
    assert (decision.writer, decision.act) == (False, Act.RENEW)


def test_a_holder_whose_renewals_do_not_arrive_is_not_the_writer() -> None:
    mine = Register(site="lyon", epoch=4)
    beats = (Heartbeat(writer="lyon", sequence=1, written_at=NOW),)
    before = view(99.75, register=mine, heartbeats=(replace(beats[0], sequence=0),))
    state, writes = decide(before).state, []
    for quarter in range(12):
        decision = decide(view(100 + quarter / 4, register=mine, heartbeats=beats), state)
        state = decision.state
        writes.append(decision.writer)
    assert writes == [True] * 9 + [False] * 3
    assert "do not arrive" in decision.reason
    assert decision.act is Act.RENEW


# A model of Galera: a change commits only in the component with the majority, one winner per epoch;
# who is cut off keeps the row as it was and believes in its old view until the timers have run out.

SUSPECT = 3.0
TICK = 0.25


@dataclass
class Node:
    """A node as the model sees it."""

    name: str
    status: str = "Primary"
    state: str = "Synced"
    members: tuple[str, ...] = ORDER
    register: Register = field(default_factory=lambda: Register(site=None, epoch=0))
    beats: dict[str, int] = field(default_factory=dict)
    memory: State = field(default_factory=State)
    writer_until: float = 0.0


class Cluster:
    """Three nodes and an arbitrator; `pieces` says who can talk to whom."""

    def __init__(self) -> None:
        self.nodes = {name: Node(name) for name in ORDER}
        self.pieces: list[set[str]] = [{*ORDER, "arbitrator"}]
        self.at, self.cut_at = 100.0, 0.0
        self.agents = set(ORDER)
        self.majority_names: set[str] = {*ORDER, "arbitrator"}

    def cut(self, pieces: list[set[str]]) -> None:
        self.pieces, self.cut_at = pieces, self.at

    def settle(self) -> None:
        """The timers have run out: each piece forms its view, the majority goes on.

        The minority may take longer to notice: that is when two nodes could claim to be the writer.
        """
        before = self.majority_names
        for piece in self.pieces:
            primary = 2 * len(piece & before) > len(before)
            if primary:
                self.majority_names = set(piece)
            elif self.at - self.cut_at < 2 * SUSPECT:
                continue
            for name in piece - {"arbitrator"}:
                node = self.nodes[name]
                node.status = "Primary" if primary else "non-Primary"
                node.members = tuple(sorted(piece - {"arbitrator"}))
                if primary:
                    self.catch_up(node, piece)

    def catch_up(self, node: Node, piece: set[str]) -> None:
        newest = max(
            (self.nodes[n] for n in piece - {"arbitrator"}), key=lambda n: n.register.epoch
        )
        node.register = newest.register
        for other in piece - {"arbitrator"}:
            for name, beat in self.nodes[other].beats.items():
                node.beats[name] = max(node.beats.get(name, 0), beat)

    def tick(self) -> None:
        self.at += TICK
        if self.at - self.cut_at >= SUSPECT:
            self.settle()
        for node in self.nodes.values():
            if node.name in self.agents:
                self.agent(node)

    def agent(self, node: Node) -> None:
        beats = tuple(
            Heartbeat(writer=n, sequence=s, written_at=NOW) for n, s in node.beats.items()
        )
        decision = writer.decide(
            node.memory,
            View(
                at=self.at, now=NOW, name=node.name, status=node.status, state=node.state,
                ready=node.status == "Primary", size=len(node.members), members=node.members,
                register=node.register, heartbeats=beats,
            ),
            node.name, ORDER, LIMITS,
        )  # fmt: skip
        node.memory, node.writer_until = decision.state, decision.writer_until
        if node.status != "Primary":
            assert (decision.writer, decision.act) == (False, Act.NONE)
        if decision.act is not Act.NONE:
            self.commit(node, decision)

    def commit(self, node: Node, decision: writer.Decision) -> None:
        """A change arrives only if the whole view can be talked to and has that view too (messages of
        an older view are dropped), and only on the epoch it was made for."""
        piece = next(p for p in self.pieces if node.name in p)
        if not set(node.members) <= piece or node.status != "Primary":
            return
        if any(self.nodes[name].members != node.members for name in node.members):
            return
        if decision.epoch != node.register.epoch:
            return
        claims = decision.act is Act.CLAIM
        register = Register(site=node.name, epoch=decision.epoch + 1) if claims else node.register
        for name in node.members:
            other = self.nodes[name]
            other.register = register
            other.beats[node.name] = other.beats.get(node.name, 0) + 1

    def writers(self) -> list[str]:
        return [n.name for n in self.nodes.values() if n.writer_until and self.at <= n.writer_until]


names = st.sampled_from([*ORDER, "arbitrator"])
actions = st.one_of(
    st.tuples(st.just("cut"), st.sets(names, max_size=3)),
    st.tuples(st.just("heal"), st.just(set[str]())),
    st.tuples(st.just("agent dies"), st.sets(st.sampled_from(ORDER), max_size=1)),
    st.tuples(st.just("agents live"), st.just(set[str]())),
    st.tuples(st.just("desync"), st.sets(st.sampled_from(ORDER), max_size=2)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(actions, st.sampled_from([1, 5, 13, 20, 60])), max_size=8))
# Cut off for long enough that others claim, then back before anybody's view has followed.
@example(
    [(("heal", set()), 1), (("cut", {"paris"}), 13), (("cut", set()), 1), (("cut", {"paris"}), 1)]
)
def test_no_partition_makes_two_writers(
    script: list[tuple[tuple[str, set[str]], int]],
) -> None:
    cluster = Cluster()
    everyone = {*ORDER, "arbitrator"}
    holders = set[str]()
    for (what, who), ticks in script:
        if what == "cut":
            cluster.cut([p for p in (who, everyone - who) if p])
        elif what == "heal":
            cluster.cut([everyone])
        elif what == "agent dies":
            cluster.agents -= who
        elif what == "agents live":
            cluster.agents = set(ORDER)
        else:
            for node in cluster.nodes.values():
                node.state = "Joined" if node.name in who else "Synced"
        for _ in range(ticks):
            cluster.tick()
            assert len(cluster.writers()) <= 1
            holders.update(cluster.writers())
    event(f"{len(holders)} sites were the writer")


@settings(max_examples=50, deadline=None)
@given(st.sets(names, max_size=1))
def test_a_majority_always_finds_a_writer(cut_off: set[str]) -> None:
    cluster = Cluster()
    cluster.cut([p for p in (cut_off, {*ORDER, "arbitrator"} - cut_off) if p])
    # The timers, a turn for each rank, a claim and a renewal.
    for _ in range(int((SUSPECT + 3 * LIMITS.rank_delay_seconds + 2) / TICK)):
        cluster.tick()
    assert len(cluster.writers()) == 1
    assert cluster.writers()[0] not in cut_off
