"""The stages of the program, on sites that do everything at once: what is found and what is told."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bench import following, scale
from bench.following import Portion
from bench.metering import Reading
from bench.results import Result, document, section
from bench.scale import QUICK, Measuring, Size
from bench.scaling import Network

from isthmus.errors import IsthmusError

FACTS: Any = {
    "cores": 2, "processor": "x", "memory_mib": 1, "kernel": "6", "python": "3", "load": 0.1, "commit": "c",
}  # fmt: skip
SMALL = Size(single=100, sites=4, each=5, most=40, budget=5.0, window=1.0)


class Instant:
    """In place of `Scaled`: whatever is asked for is done at once, or never."""

    def __init__(self, count: int, *, most: int = 10_000) -> None:
        self.sites = [f"p{n:02d}" for n in range(1, count + 1)]
        self.site = SimpleNamespace(name="paris")
        self.lab = SimpleNamespace(home=SimpleNamespace(lab=None))
        self.most = most
        self.made = 0
        self.told: list[str] = []
        self.removed = 0
        self._portions: list[Portion] = []
        self._guests: set[str] = set()

    def start(self) -> None:
        self.told.append("start")

    def remove_leftovers(self, budget: float) -> None:
        """There are none."""

    @contextlib.contextmanager
    def network(self, cidr: str, peers: list[str], budget: float) -> Iterator[Network]:
        self.made, self._guests = 0, set()
        try:
            yield Network(document={"name": "n", "id": "i", "vni": 1, "sites": ["paris", *peers]})
        finally:
            self.removed += 1

    def guest(self, network: Network, host: str) -> None:
        self._guests.add(host)

    def hold(self, network: Network, ports: int) -> float:
        at, wanted = time.time(), min(ports * len(network.peers), self.most)
        if wanted != self.made:
            self._portions.append(
                Portion(ended=at + 0.01, actions=abs(wanted - self.made), seconds=0.01)
            )
        self.made = wanted
        return at

    def plant(self, network: Network, ports: int) -> int:
        before, wanted = self.made, min(ports * len(network.peers), self.most)
        self.made = wanted
        return wanted - before

    def uproot(self, network: Network, ports: int) -> None:
        self.told.append("uproot")
        self.made = ports * len(network.peers)

    def poke(self, network: Network) -> None:
        self.told.append("poke")

    def summary(self, network: Network) -> dict[str, Any]:
        return {"converged": True, "remote_ports": self.made}

    def portions(self, network: Network, since: float) -> list[Portion]:
        return [each for each in self._portions if each.ended >= since]

    def flows(self, host: str) -> int:
        return self.made if host in self._guests else 0

    lasting = flows

    def untrue(self, network: Network, host: str) -> int:
        return 0

    def round(self, network: Network, seconds: float) -> dict[str, Any]:
        return {"converged": True, "seconds": 0.5}

    def tell(self, word: str, **given: Any) -> Any:
        self.told.append(word)
        if word == "churn":
            return {"touched": {"p01": ["a", "b"]}, "refused": []}
        return {"requests": {"v2.0": len(self.told)}, "bytes": 1 << 20}


@pytest.fixture(autouse=True)
def counters(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Reading:
        return Reading(at=time.monotonic(), cpu={"paris/bench-engine": time.monotonic()}, wan={})

    idle = Reading(at=1.0, cpu={"paris/bench-engine": 0.5, "lyon/engine": 0.1}, wan={})
    monkeypatch.setattr(scale.metering, "read", read)
    monkeypatch.setattr(scale.metering, "idle", lambda *_: idle)
    monkeypatch.setattr(scale.processes, "running", lambda _: {})
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)


def run(scaled: Instant, size: Size) -> Measuring:
    measuring = Measuring(Result(name="scale", about=""), size, size.budget)
    measuring.run(scaled)  # type: ignore[arg-type]
    return measuring


def test_a_full_run_has_every_figure_and_every_table():
    scaled = Instant(4)
    measuring = run(scaled, SMALL)
    names = {name.removeprefix("scale.") for name in measuring.result.figures}
    assert names >= {
        "full_reconcile.1_sites", "full_reconcile.4_sites", "withdrawal.1_sites", "agent_install_per_entry",
        "agent_cpu_per_entry", "churn", "round.4_sites_x_10_ports", "lost_entries_repaired", "engine_cpu.no_stretched_network",
    }  # fmt: skip
    assert len(measuring.found.tables()) == 5
    assert [each for each in measuring.result.notes if "20 of the 40" not in each] == []
    assert scaled.told.count("uproot") == 1
    assert scaled.removed == 2


def test_a_run_that_plants_nothing_ends_with_a_withdrawal():
    measuring = run(Instant(10), dataclasses.replace(QUICK, most=0))
    names = set(measuring.result.figures)
    assert "scale.withdrawal.10_sites" in names
    assert "scale.lost_entries_repaired" not in names


def test_what_is_found_can_be_written_down():
    measuring = run(Instant(4), SMALL)
    measuring.result.tables = measuring.found.tables()
    assert "Full reconcile" in section(measuring.result, machine=FACTS, command="c", date="d")
    assert document([measuring.result], machine=FACTS, command="c", date="d")["figures"]


def test_a_reconcile_that_takes_too_long_is_told_with_what_was_reached():
    short = Size(single=100, sites=4, each=5, most=0, budget=1.0, window=1.0)
    measuring = run(Instant(4, most=10), short)
    assert any("not finished in 1 s" in note for note in measuring.result.notes)
    assert measuring.found.reconciles[0][1] == 10


def test_what_was_not_repaired_in_time_is_told_and_taken_out_again():
    slow = Size(single=0, sites=4, each=5, most=400, budget=1.5, window=1.0)
    scaled = Instant(4, most=60)
    measuring = run(scaled, slow)
    assert any("too few to repair 40 entries" in note for note in measuring.result.notes)
    assert scaled.told.count("uproot") == 1


def test_what_was_found_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch):
    scaled = Instant(4)

    def refused(*_: Any) -> Any:
        raise IsthmusError("no")

    monkeypatch.setattr(scaled, "round", refused)
    measuring = Measuring(Result(name="scale", about=""), SMALL, SMALL.budget)
    with pytest.raises(IsthmusError):
        measuring.run(scaled)  # type: ignore[arg-type]
    assert measuring.found.tables()
    assert scaled.removed == 1
