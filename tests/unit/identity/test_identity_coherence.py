"""What a stream and looks prove: no reader ever keeps what the database had changed a proof ago."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus.identity import coherence
from isthmus.identity.coherence import Kind, Place, State


@dataclass
class Kept:
    """An answer that a Keystone keeps: made under a generation, with what the database showed then."""

    generation: int
    shown: int


@dataclass
class Reading:
    """A request on its way: the generation that it began with, and what it has read so far."""

    generation: int
    shown: int | None = None


@dataclass
class Database:
    """Commits in order: written to the log, later readable, and sent to the follower at any time after the log."""

    log: list[bool] = field(default_factory=list)  # whether a commit touches Keystone
    visible: int = 0
    sent: int = 0

    def shown(self) -> int:
        """The number of Keystone's changes that a reader sees."""
        return sum(self.log[: self.visible])

    def place(self, count: int) -> Place:
        return Place(1, 100 * (count + 1))


class Following(RuleBasedStateMachine):
    """One database, one follower, any number of requests, in any order of their steps."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.now = 0.0
        self.history: list[tuple[float, int]] = [(0.0, 0)]  # when a reader began to see how much
        self.looking: tuple[float, Place] | None = None
        self.state: State = coherence.begin(2, 0.0, self.database.place(0))
        self.reading: list[Reading] = []
        self.kept: list[Kept] = []

    @rule(touches=st.booleans())
    def commit(self, touches: bool) -> None:
        self.database.log.append(touches)

    @precondition(lambda self: self.database.visible < len(self.database.log))
    @rule()
    def become_readable(self) -> None:
        self.now += 1
        self.database.visible += 1
        self.history.append((self.now, self.database.shown()))

    @precondition(lambda self: self.database.sent < len(self.database.log))
    @rule(names_first=st.booleans())
    def receive(self, names_first: bool) -> None:
        """The events of a commit: the table map lies before its end."""
        touches = self.database.log[self.database.sent]
        self.database.sent += 1
        end = self.database.place(self.database.sent)
        if names_first:
            middle = Place(end.file, end.offset - 50)
            self.state = coherence.read(self.state, middle, touched=touches)
            self.state = coherence.read(self.state, end, touched=False)
        else:
            self.state = coherence.read(self.state, end, touched=touches)

    @precondition(lambda self: self.looking is None)
    @rule()
    def begin_look(self) -> None:
        """The server answers for some moment after the question."""
        self.now += 1
        self.looking = self.now, self.database.place(self.database.visible)

    @precondition(lambda self: self.looking is not None)
    @rule()
    def end_look(self) -> None:
        assert self.looking is not None
        asked_at, place = self.looking
        self.looking = None
        self.state = coherence.looked(self.state, asked_at, place)

    @precondition(lambda self: not self.state.changing)
    @rule()
    def begin_request(self) -> None:
        self.reading.append(Reading(self.state.generation))

    @precondition(lambda self: self.reading)
    @rule()
    def read_database(self) -> None:
        for request in self.reading:
            if request.shown is None:
                request.shown = self.database.shown()

    @precondition(lambda self: self.reading)
    @rule()
    def end_request(self) -> None:
        request = self.reading.pop(0)
        if request.shown is not None and request.generation == self.state.generation:
            self.kept.append(Kept(request.generation, request.shown))

    @precondition(lambda self: self.looking is None)
    @rule()
    def look(self) -> None:
        self.begin_look()
        self.end_look()

    @precondition(lambda self: not self.state.changing)
    @rule()
    def request(self) -> None:
        """A whole one between two other steps."""
        self.kept.append(Kept(self.state.generation, self.database.shown()))

    @invariant()
    def nothing_kept_is_older_than_the_proof(self) -> None:
        proven = max(shown for at, shown in self.history if at <= self.state.proven_at)
        for kept in self.kept:
            if kept.generation == self.state.generation:
                assert kept.shown >= proven, (kept, self.state, self.history)

    @invariant()
    def generations_never_come_again(self) -> None:
        assert all(kept.generation <= self.state.generation for kept in self.kept)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=200, stateful_step_count=30)


START = coherence.begin(10, 1.0, Place(1, 300))


def test_a_change_that_can_be_read_already_is_one_step() -> None:
    state = coherence.looked(START, 2.0, Place(1, 500))
    assert coherence.read(state, Place(1, 400), touched=True).generation == 12


def test_a_change_on_its_way_is_odd_until_a_look_has_passed_it() -> None:
    state = coherence.read(START, Place(1, 400), touched=True)
    assert (state.generation, state.changing) == (11, True)
    assert coherence.looked(state, 2.0, Place(1, 300)).changing
    settled = coherence.looked(state, 3.0, Place(1, 450))
    assert (settled.generation, settled.changing) == (12, False)


def test_what_is_not_keystones_proves_and_changes_nothing() -> None:
    state = coherence.read(START, Place(1, 400), touched=False)
    state = coherence.looked(state, 5.0, Place(1, 400))
    assert (state.generation, state.proven_at) == (10, 5.0)


def test_a_look_proves_only_when_the_stream_has_come_so_far() -> None:
    state = coherence.looked(START, 5.0, Place(1, 400))
    assert state.proven_at == 1.0
    # A later look does not move the goal away.
    state = coherence.looked(state, 6.0, Place(1, 900))
    assert coherence.read(state, Place(1, 400), touched=False).proven_at == 5.0


def test_a_new_file_is_behind_the_old_one() -> None:
    state = coherence.read(START, Place(2, 4), touched=False)
    assert coherence.looked(state, 5.0, Place(1, 999)).proven_at == 5.0


def test_a_log_that_goes_back_is_another_log() -> None:
    with pytest.raises(coherence.RewoundError):
        coherence.looked(START, 2.0, Place(1, 200))
    with pytest.raises(coherence.RewoundError):
        coherence.read(START, Place(1, 200), touched=False)


@pytest.mark.parametrize(
    ("kind", "schema", "statement", "expected"),
    [
        (Kind.TABLE_MAP, "keystone", "", True),
        (Kind.TABLE_MAP, "isthmus_identity", "", False),
        (Kind.TABLE_MAP, "isthmus_network", "", False),
        (Kind.TABLE_MAP, "keystone_copy", "", False),
        (Kind.QUERY, "", "COMMIT", False),
        (Kind.QUERY, "", " begin ", False),
        (Kind.QUERY, "", "ALTER TABLE keystone.user ADD c INT", True),
        (Kind.QUERY, "", "UPDATE user SET enabled=0", True),
        (Kind.UPDATE_ROWS_V1, "", "", False),
        (Kind.XID, "", "", False),
        (Kind.HEARTBEAT, "", "", False),
        (38, "", "", True),  # XA_PREPARE_LOG_EVENT
        (200, "", "", True),
    ],
)
def test_which_events_touch(kind: int, schema: str, statement: str, expected: bool) -> None:
    assert coherence.touches(kind, schema=schema, statement=statement) is expected


def test_places_are_read_from_what_the_server_says() -> None:
    assert coherence.place("binlog.000012", 4) == Place(12, 4)
    assert coherence.place("a.b.1000001", 4) > coherence.place("a.b.999999", 2**31)
    with pytest.raises(ValueError, match="binary log"):
        coherence.place("binlog", 4)
