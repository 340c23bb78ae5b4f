"""Pokes: nothing that was said is lost in meaning, and a burst makes few requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from engine_world import wait_for
from hypothesis import given
from hypothesis import strategies as st

from isthmus.engine import calling, poking
from isthmus.engine.poking import Content, Poker


class Peer:
    """Takes pokes; `down` refuses them, `gate` cleared makes them wait."""

    def __init__(self) -> None:
        self.heard: list[Content] = []
        self.refused = 0
        self.down = False
        self.gate = threading.Event()
        self.gate.set()

    def post(self, name: str, path: str, body: Any, timeout: float) -> None:
        self.gate.wait(5)
        if self.down:
            self.refused += 1
            raise calling.CallError("connection refused", where=name)
        self.heard.append(Content.model_validate(body))


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def poker(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poker]:
    monkeypatch.setattr(poking, "PAUSES_SECONDS", (0.02,))
    poker = Poker("lyon", peer, 1.0)  # type: ignore[arg-type]
    poker.start()
    yield poker
    poker.stop()


def test_a_poke_is_delivered_at_once(peer: Peer, poker: Poker) -> None:
    poker.say(Content(ports={"n": {"p": 1.0}}))
    wait_for(lambda: peer.heard)
    assert peer.heard[0].ports == {"n": {"p": 1.0}}


def test_a_burst_makes_few_pokes(peer: Peer, poker: Poker) -> None:
    peer.gate.clear()
    for number in range(100):
        poker.say(Content(ports={"n": {f"p{number}": float(number)}}))
    peer.gate.set()
    wait_for(lambda: sum(len(each.ports.get("n", {})) for each in peer.heard) == 100)
    assert len(peer.heard) <= 3


def test_what_was_not_delivered_is_said_again_as_the_name_of_the_network(
    peer: Peer, poker: Poker
) -> None:
    peer.down = True
    poker.say(Content(ports={"n": {"p": 1.0}}, declarations=True))
    wait_for(lambda: peer.refused >= 2)
    peer.down = False
    wait_for(lambda: peer.heard)
    assert peer.heard == [Content(whole=frozenset({"n"}), declarations=True)]


def test_a_stopped_poker_ends_though_its_peer_is_down(peer: Peer, poker: Poker) -> None:
    peer.down = True
    poker.say(Content(whole=frozenset({"n"})))
    poker.stop()
    poker.join(5)
    assert not poker.is_alive()


names = st.sampled_from(["a", "b", "c"])
contents = st.builds(
    Content,
    ports=st.dictionaries(names, st.dictionaries(names, st.floats(0, 9), min_size=1), max_size=2),
    whole=st.frozensets(names, max_size=2),
    declarations=st.booleans(),
)


def covers(said: Content, content: Content) -> bool:
    """Whether whoever hears `said` looks at everything that `content` names."""
    ports = all(
        network in said.whole or set(found) <= set(said.ports.get(network, ()))
        for network, found in content.ports.items()
    )
    return ports and content.whole <= said.whole and said.declarations >= content.declarations


@given(st.lists(contents, max_size=6), st.booleans())
def test_joining_and_shrinking_lose_nothing(listed: list[Content], shrunk: bool) -> None:
    said = Content()
    for each in listed:
        said = said.joined(each)
    if shrunk:
        said = said.shrunk()
        assert not said.ports
    assert all(covers(said, each) for each in listed)
    assert Content.model_validate(said.document()) == said


@given(contents, contents)
def test_a_port_keeps_the_time_of_its_first_change(first: Content, second: Content) -> None:
    joined = first.joined(second)
    for network, found in joined.ports.items():
        for port, at in found.items():
            times = [c.ports.get(network, {}).get(port) for c in (first, second)]
            assert at == min(each for each in times if each is not None)
