"""The invariant of key rotation, attacked: partitions, crashes, lost messages, late replicas, clocks.

The world is the real protocol over a model of what surrounds it: one stored document (Galera's
certification gives it one order), a replica for each node that may lag and go back, disks that change
at once or not at all, acknowledgements that arrive late, twice or never, conductors and nodes whose
clocks differ, and operators who say anything at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from isthmus import errors
from isthmus.identity.keys import following, generations, rotating
from isthmus.identity.keys.generations import Ack, Kind, Phase, State, What, layout
from isthmus.identity.keys.settings import Settings

NODES = ("lyon", "madrid", "paris")
SKEW = 4
RULES = Settings(
    expiration=10, allow_expired_window=20, clock_skew=SKEW, max_active_keys=5, interval=15
)
SPREAD = 0.5

nodes = st.sampled_from(NODES)


@dataclass(frozen=True)
class Disk:
    """A repository (index -> generation) with its mark."""

    keys: dict[int, int]
    revision: int = 0
    fenced: bool = False

    @property
    def digest(self) -> str:
        return repr(sorted(self.keys.items()))


@dataclass(frozen=True)
class Token:
    generation: int
    issuer: str
    expires: float
    """By the clock of the issuer."""


class World(RuleBasedStateMachine):
    """See the module. Time is the true time; `offset` what a node's clock adds to it."""

    kind = Kind.TOKEN

    @initialize(offsets=st.lists(st.integers(0, SKEW), min_size=3, max_size=3))
    def begin(self, offsets: list[int]) -> None:
        self.now = 1000.0
        self.offset = dict(zip(NODES, offsets, strict=True))
        self.disks = {node: Disk({0: 2, 1: 1}) for node in NODES}
        self.acks = {n: Ack(node=n, revision=0, digest=self.disks[n].digest, at=0) for n in NODES}
        self.flying: list[Ack] = []
        self.tokens: list[Token] = []
        self.log = [State(kind=self.kind)]
        self.view = dict.fromkeys(NODES, 0)
        adopted = rotating.adopt(self.state, self.acks, NODES, (0, 1), self.now, RULES)
        assert adopted is not None
        self.store(adopted)

    @property
    def state(self) -> State:
        return self.log[-1]

    @property
    def replacing(self) -> bool:
        return self.state.wanted is not None and self.state.wanted.what is What.REPLACE

    def store(self, change: rotating.Change) -> None:
        before, after = self.state, change.state
        assert after.revision == before.revision + 1
        keys = layout(after.generations)
        if not after.digest:
            after = replace(after, digest=repr(sorted(keys.items())))
        assert after.digest == repr(sorted(keys.items())), "a change of the repository went unsaid"
        assert len(set(keys.values())) <= RULES.max_active_keys
        assert generations.load(generations.dump(after)) == after
        was_replacing = self.replacing
        self.log.append(after)
        if self.replacing:
            self.tokens = []
        elif was_replacing:
            self.all_old_keys_are_gone()

    def all_old_keys_are_gone(self) -> None:
        primary = self.state.primary
        assert primary is not None
        for node in self.state.active:
            assert set(self.disks[node].keys.values()) == {primary.number}, node

    @rule(node=nodes)
    def conduct(self, node: str) -> None:
        """The writer may be anywhere, and judges by its own clock."""
        change = self.next(self.now + self.offset[node], RULES)
        if change is not None:
            self.store(change)

    def next(self, at: float, limits: Settings) -> rotating.Change | None:
        return rotating.step(self.state, self.acks, NODES, at, limits, SPREAD)

    @rule(node=nodes, steps=st.integers(1, 4))
    def replicate(self, node: str, steps: int) -> None:
        self.view[node] = min(self.view[node] + steps, len(self.log) - 1)

    @rule(node=nodes, steps=st.integers(1, 3))
    def replica_is_followed_by_one_that_lags(self, node: str, steps: int) -> None:
        self.view[node] = max(0, self.view[node] - steps)

    @rule(node=nodes, acknowledges=st.booleans(), torn=st.booleans())
    def follow(self, node: str, acknowledges: bool, torn: bool) -> None:
        """One round of a node; it may be killed after the change and before the acknowledgement."""
        seen, disk = self.log[self.view[node]], self.disks[node]
        installed = following.Installed(
            digest=disk.digest, revision=disk.revision, fenced=disk.fenced
        )
        act = following.decide(seen, node, installed)
        if act is not following.Act.NOTHING:
            new = layout(seen.generations) if act is following.Act.INSTALL else disk.keys
            fenced = node in seen.fences
            self.disks[node] = Disk(new, revision=seen.revision, fenced=fenced)
            if torn and act is following.Act.INSTALL:
                self.read_while_it_changed(node, disk.keys, new)
        if acknowledges:
            revision = max(seen.revision, self.disks[node].revision)
            digest = self.disks[node].digest
            self.flying.append(Ack(node=node, revision=revision, digest=digest, at=self.now))

    def read_while_it_changed(self, node: str, old: dict[int, int], new: dict[int, int]) -> None:
        """Keystone listed the old directory and opens its files in the old or in the new one."""
        if node in self.state.fences or self.replacing:
            return
        sure = {key for index, key in old.items() if new.get(index) == key}
        for token in self.valid_at(node):
            assert token.generation in sure, (node, old, new, token)
        if not self.disks[node].fenced:
            self.made(node, new[max(old.keys() & new.keys())])

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 50), kept=st.booleans(), arrives=st.booleans())
    def message(self, which: int, kept: bool, arrives: bool) -> None:
        at = which % len(self.flying)
        ack = self.flying[at]
        if not kept:
            del self.flying[at]
        if arrives and ack.revision >= self.acks[ack.node].revision:
            self.acks[ack.node] = ack

    @rule(seconds=st.sampled_from([1, 2, 5, 9, 15, 40]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(node=nodes, what=st.sampled_from(["rotate", "fence", "keep", "unfence", "replace"]))
    def operator(self, node: str, what: str) -> None:
        state, at = self.state, self.now + self.offset[node]
        try:
            match what:
                case "rotate":
                    change = rotating.ask_rotation(state, "admin", at)
                case "fence" | "keep":
                    change = rotating.fence(state, node, "admin", at, "silent", keep=what == "keep")
                case "unfence":
                    change = rotating.unfence(state, node, "admin")
                case _:
                    change = rotating.ask_replacement(state, "admin", at, "leaked")
        except errors.IsthmusError:
            return
        self.store(change)

    @rule(node=nodes)
    def issue(self, node: str) -> None:
        """A login. That a fenced site does not know of its fence yet is no excuse: it is not counted,
        as the invariant says."""
        disk = self.disks[node]
        if not disk.fenced and node not in self.state.fences and not self.replacing:
            self.made(node, disk.keys[max(disk.keys)])

    def made(self, node: str, generation: int) -> None:
        expires = self.now + self.offset[node] + RULES.expiration
        self.tokens.append(Token(generation, node, expires))

    def valid_at(self, node: str) -> list[Token]:
        clock = self.now + self.offset[node]
        return [t for t in self.tokens if clock <= t.expires + RULES.allow_expired_window]

    @invariant()
    def a_token_of_an_unfenced_site_validates_at_every_unfenced_site(self) -> None:
        if not hasattr(self, "log") or self.replacing:
            return
        for node in self.state.active:
            keys = set(self.disks[node].keys.values())
            for token in self.valid_at(node):
                assert token.generation in keys, (node, keys, token)
        self.tokens = [t for t in self.tokens if any(t in self.valid_at(n) for n in NODES)]

    @invariant()
    def one_key_signs_and_at_least_one_node_is_not_fenced(self) -> None:
        if hasattr(self, "log"):
            phases = [each.phase for each in self.state.live]
            assert phases.count(Phase.PRIMARY) == 1
            assert phases.count(Phase.STAGED) <= 1
            assert self.state.active

    def teardown(self) -> None:
        """Once everything is heard again and time passes, nothing is left to do: no deadlock, and all
        whose fence is not kept are back."""
        if not hasattr(self, "log"):
            return
        quiet = replace(RULES, interval=0.0)
        for _ in range(60 + len(self.tokens)):
            self.now += 10
            change = self.next(self.now, quiet)
            if change is not None:
                self.store(change)
            for node in NODES:
                self.view[node] = len(self.log) - 1
                self.follow(node, acknowledges=True, torn=False)
                self.acks[node] = self.flying[-1]
            self.a_token_of_an_unfenced_site_validates_at_every_unfenced_site()
        assert self.state.wanted is None, self.state
        assert all(fence.keep for fence in self.state.fences.values())
        assert not self.state.missing(self.acks)
        assert {each.phase for each in self.state.live} <= {Phase.PRIMARY, Phase.STAGED}


class Vault(World):
    """The same for credentials, which never expire: whoever conducts encrypts them anew, one at a time,
    when their key is due."""

    kind = Kind.CREDENTIAL

    def next(self, at: float, limits: Settings) -> rotating.Change | None:
        due = rotating.due(self.state, at, limits)
        change = rotating.step(self.state, self.acks, NODES, at, limits, SPREAD, due)
        if change is not None or not due:
            return change
        primary = self.state.primary
        assert primary is not None
        old = next((i for i, t in enumerate(self.tokens) if t.generation != primary.number), None)
        if old is not None:
            self.tokens[old] = replace(self.tokens[old], generation=primary.number)
        used = {token.generation for token in self.tokens}
        return rotating.step(self.state, self.acks, NODES, at, limits, SPREAD, used)

    def valid_at(self, node: str) -> list[Token]:
        return self.tokens


World.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Vault.TestCase.settings = settings(World.TestCase.settings, max_examples=40)
TestInvariant = World.TestCase
TestCredentials = Vault.TestCase


def no_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "missing", lambda self, acks: ())


def keys_go_when_tokens_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "lifetime", property(lambda self: self.expiration))


def the_skew_counts_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    lifetime = RULES.expiration + RULES.allow_expired_window
    monkeypatch.setattr(Settings, "lifetime", property(lambda self: lifetime))


def nodes_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = following.decide
    monkeypatch.setattr(
        following, "decide", lambda s, n, installed: decide(s, n, replace(installed, revision=0))
    )


def staged_moves_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystone's own way: index 0 is empty between two rotations."""
    placed = layout

    def moving(found: tuple[generations.Generation, ...]) -> dict[int, int]:
        keys = placed(found)
        staged = any(each.phase is Phase.STAGED for each in found)
        return keys if staged else {index: key for index, key in keys.items() if index}

    monkeypatch.setitem(globals(), "layout", moving)


def fences_lift_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    def lifted(state: State, acks: object) -> rotating.Change | None:
        if not state.fences or state.staged is not None:
            return None
        after = replace(state, fences={}, revision=state.revision + 1)
        return rotating.Change(state=after, event="lifted", by="nobody")

    monkeypatch.setattr(rotating, "_rejoin", lifted)


@pytest.mark.parametrize("fault", [no_barrier, keys_go_when_tokens_expire])
def test_random_runs_break_a_protocol_without_its_first_two_rules(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    searching = settings(
        World.TestCase.settings,
        max_examples=1000,
        phases=[hypothesis.Phase.generate],
        derandomize=True,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(World, settings=searching)


class Scripted:
    """A world that is led through a story, and looks at the invariant after every step."""

    def __init__(self, *offsets: int) -> None:
        self.world = World()
        self.world.begin(list(offsets or (0, 0, 0)))

    def check(self) -> None:
        self.world.a_token_of_an_unfenced_site_validates_at_every_unfenced_site()

    def heard(self, *names: str, torn: bool = False) -> None:
        """These nodes see the newest document, and their acknowledgements arrive."""
        for name in names:
            self.world.view[name] = len(self.world.log) - 1
            self.world.follow(name, acknowledges=True, torn=torn)
            self.world.acks[name] = self.world.flying[-1]
            self.check()

    def conduct(self, name: str = "paris", until: str = "") -> None:
        """Until there is nothing to do, or the newest key has this phase."""
        for _ in range(10):
            if until and self.world.state.generations[-1].phase == until:
                return
            self.world.conduct(name)
            self.check()

    def rotate(self, *names: str) -> None:
        self.world.operator("paris", "rotate")
        for _ in range(4):
            self.conduct()
            self.heard(*names)

    def issue(self, name: str) -> None:
        self.world.issue(name)
        self.check()


def a_clock_that_is_ahead_issues_and_later_conducts() -> None:
    story = Scripted(SKEW, 0, 0)
    story.world.operator("paris", "rotate")
    story.conduct(until=Phase.PRIMARY)
    story.issue("lyon")
    story.heard("lyon", "madrid", "paris")
    story.conduct()
    story.world.now += RULES.expiration + RULES.allow_expired_window - SKEW
    story.conduct("lyon")
    story.heard("madrid")


def a_replica_goes_back() -> None:
    story = Scripted()
    story.rotate(*NODES)
    story.rotate(*NODES)
    story.issue("paris")
    story.world.view["madrid"] = 1
    story.world.follow("madrid", acknowledges=True, torn=False)
    story.check()


def keystone_reads_while_a_key_is_promoted() -> None:
    story = Scripted()
    story.world.operator("paris", "rotate")
    story.conduct(until=Phase.PRIMARY)
    story.heard("paris")
    story.issue("paris")
    story.heard("madrid", torn=True)


def a_silent_site_is_fenced_and_misses_two_rotations() -> None:
    story = Scripted()
    story.rotate(*NODES)
    story.world.operator("paris", "rotate")
    story.conduct()
    story.heard("lyon", "paris")
    story.world.operator("madrid", "fence")
    assert "madrid" in story.world.state.fences
    story.conduct(until=Phase.PRIMARY)
    story.heard("lyon", "paris")
    story.issue("paris")
    story.conduct()
    story.heard(*NODES)
    story.conduct()
    assert not story.world.state.fences


@pytest.mark.parametrize(
    ("story", "fault"),
    [
        (a_clock_that_is_ahead_issues_and_later_conducts, the_skew_counts_not_at_all),
        (a_replica_goes_back, nodes_go_back),
        (keystone_reads_while_a_key_is_promoted, staged_moves_away),
        (a_silent_site_is_fenced_and_misses_two_rotations, fences_lift_unheard),
    ],
)
def test_a_story_breaks_the_protocol_without_a_rule_and_not_with_it(
    story: Callable[[], None],
    fault: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story()
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        story()
