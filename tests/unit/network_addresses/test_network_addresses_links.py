"""What is carried between engines and hosts: the newest only, and no order that could come late."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from isthmus import errors
from isthmus.network.addresses import links, preparing
from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.links import Report
from isthmus.network.addresses.voters import Ask, Release, Word


class Partner:
    """Answers calls, after `delay` seconds of the test's clock, until it is silent."""

    def __init__(self) -> None:
        self.now, self.delay, self.silent = 50.0, 0.0, False
        self.called: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Any] = {}

    def call(self, method: str, name: str, path: str, body: Any, timeout: float) -> Any:
        self.called.append((method, path, body))
        if self.silent:
            raise errors.UnavailableError("no connection", where=name)
        clock = 900.0 + self.now
        self.now += self.delay
        given = {"incarnation": "i", "clock": clock, "refused": "", "addresses": {}}
        return self.answers.get(path, given)


class Heard:
    """Notes what a link tells."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def host_seen(self, host: str, reports: Mapping[str, Report]) -> None:
        self.told.append(("seen", host, dict(reports)))

    def host_silent(self, host: str, error: str) -> None:
        self.told.append(("silent", host))

    def held(self, address: str, claim: str, refused: str) -> None:
        self.told.append(("held", address, claim, refused))

    def dropped(self, address: str, claim: str) -> None:
        self.told.append(("dropped", address, claim))


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def host(partner: Partner, heard: Heard) -> links.Host:
    return links.Host(
        "h1", partner, timeout=0.5, drift=0.01, clock=lambda: partner.now, listener=heard
    )


def test_an_order_names_a_moment_of_the_hosts_clock_that_is_not_after_the_engines(
    host: links.Host, partner: Partner
) -> None:
    partner.delay = 0.1  # the answer with the clock travels for a tenth of a second
    host.work()
    host.hold("a", "c1", 51.0)
    host.work()
    order = next(body for _, path, body in partner.called if path == "/addresses/a/hold")
    # The host read 950.0; the engine had it at 50.1 by its own clock, and may hold until 51.0.
    assert order["moment"] == pytest.approx(950.0 + 0.9 * 0.99 / 1.01)
    assert order["moment"] < 951.0


def test_only_the_newest_order_is_sent_and_a_drop_takes_a_waiting_order_back(
    host: links.Host, partner: Partner, heard: Heard
) -> None:
    host.hold("a", "c1", 51.0)
    host.hold("a", "c1", 52.0)
    host.hold("b", "c2", 51.0)
    host.drop("b", "c2")
    host.work()
    sent = [path for method, path, _ in partner.called if method == "POST"]
    assert sent == ["/addresses/b/drop", "/addresses/a/hold"]
    assert ("dropped", "b", "c2") in heard.told
    assert ("held", "a", "c1", "") in heard.told


def test_a_host_that_does_not_answer_is_told_as_silent_and_confirms_nothing(
    host: links.Host, partner: Partner, heard: Heard
) -> None:
    partner.silent = True
    host.drop("a", "c1")
    with pytest.raises(errors.UnavailableError) as caught:
        host.work()
    host._silent(caught.value)
    assert heard.told == [("silent", "h1")]


def test_an_answer_of_another_shape_is_no_answer(host: links.Host, partner: Partner) -> None:
    partner.answers["/addresses"] = {"clock": "yes"}
    with pytest.raises(errors.InputError):
        host.work()


# -- votes -------------------------------------------------------------------------------------


def ask(epoch: int = 1, round: int = 1) -> Ask:
    return Ask(address="a", claim="c1", owner="paris/h", epoch=epoch, lease=1.0, round=round)


def word(voter: str) -> dict[str, Any]:
    given = Word(
        voter=voter, address="a", claim="c1", round=2, granted=True, highest=1, owner="paris/h",
        remaining=1.0,
    )  # fmt: skip
    return dict(given.__dict__)


def test_votes_carry_the_newest_ask_and_only_the_voters_own_word_counts(partner: Partner) -> None:
    heard: list[Word] = []
    told: list[str] = []
    peer = links.Peer(
        "lyon",
        partner,
        timeout=0.5,
        hear=heard.append,
        standings=dict,
        told=lambda site, standings: told.append(site),
    )
    peer.ask(ask(round=1))
    peer.ask(ask(round=2))
    partner.answers["/v1/votes"] = {"words": [word("madrid"), word("lyon")]}
    peer.work()
    [(_, _, said)] = partner.called
    assert [each["round"] for each in said["asks"]] == [2]
    assert [each.voter for each in heard] == ["lyon"]
    assert told == ["lyon"]
    peer.release(Release(address="a", claim="c1", epoch=1))
    peer.ask(ask(round=3))
    peer.release(Release(address="a", claim="c1", epoch=1))
    partner.answers["/v1/votes"] = {"words": []}
    peer.work()
    said = partner.called[-1][2]
    assert (said["asks"], len(said["releases"])) == ([], 1)


# -- where gateways stand ----------------------------------------------------------------------

WEB = ServiceAddress(
    id="11111111-2222-3333-4444-555555555555",
    name="web",
    address="192.0.2.50",
    kind=Kind.MOVED,
    network="backend",
    targets={"paris": ("10.0.0.11",)},
)
REPORT = Report(health="healthy", health_seconds=1.0, reason="", holds=False, claim="")


def link(*, heard: bool, reports: Mapping[str, Report] | None = None) -> Any:
    return SimpleNamespace(
        heard=SimpleNamespace(lately=lambda *_: heard), reports=dict(reports or {})
    )


def preparer(hosts: dict[str, Any], partner: Partner, error: str | None = None) -> Any:
    engine = SimpleNamespace(
        site="paris",
        hosts=partner,
        store=SimpleNamespace(freshness=SimpleNamespace(error=error)),
    )
    return preparing.Preparer(engine, SimpleNamespace(hosts=hosts))  # type: ignore[arg-type]


def test_a_gateway_stays_on_its_host_and_leaves_it_only_when_that_is_silent(
    partner: Partner,
) -> None:
    hosts = {"h1": link(heard=True), "h2": link(heard=True, reports={WEB.id: REPORT})}
    place = preparing.Place(declared=WEB)
    found = preparer(hosts, partner)
    assert found._host(place) == "h2", "where it stands already"
    place.host = "h2"
    hosts["h2"] = link(heard=False)
    assert found._host(place) == "h1"
    hosts["h1"] = link(heard=False)
    assert found._host(place) == "h2", "nobody answers: it stays"


@pytest.mark.parametrize(
    ("host", "known", "error", "deleted"),
    [
        ("h1", True, None, True),  # it stands on h2 although it belongs to h1
        ("h2", True, None, False),
        (None, True, None, False),  # not known yet where it belongs
        (None, False, None, True),  # declared no more
        (None, False, "not read", False),  # that it is declared no more is not known
    ],
)
def test_a_gateway_that_stands_where_it_should_not_is_taken_away(
    partner: Partner, host: str | None, known: bool, error: str | None, deleted: bool
) -> None:
    hosts = {"h2": link(heard=True, reports={WEB.id: REPORT})}
    found = preparer(hosts, partner, error)
    if known:
        found._places[WEB.id] = preparing.Place(declared=WEB, host=host)
    found._tidy()
    calls = [("DELETE", f"/addresses/{WEB.id}", None)] if deleted else []
    assert partner.called == calls
