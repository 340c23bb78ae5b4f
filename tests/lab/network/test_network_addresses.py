"""Service addresses between two real clouds: they move, they survive, and never have two owners."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from network_lab import NetworkLab
from running_lab import Lab

from isthmus.lab import guests, observing, waiting
from isthmus.lab.guests import Guest
from isthmus.lab.names import OBSERVER
from isthmus.lab.observing import Observer
from isthmus.network.addresses import fence

pytestmark = pytest.mark.lab

ADDRESS = "192.0.2.50"
TARGETS = {"paris": "10.61.0.11", "lyon": "10.61.0.140"}

# Neutron makes a port in half a second, its agent wires it in two, on cores that are busy it takes a multiple.
READY_DEADLINE = 60.0
# A lease of 1 s has to run out, then votes, gateway and announcements: 1.2 s on an idle machine.
TAKEOVER_DEADLINE = 8.0
# What a move may take to be answered, not what its gap is: a command starts in a second on busy cores.
MOVE_DEADLINE = 20.0


@dataclass
class Addressed:
    """The lab with one service address over two guests."""

    lab: NetworkLab
    id: str
    targets: dict[str, Guest]

    def mac(self, site: str, host: str = "compute1") -> str:
        return fence.mac(self.id, site, host)

    def site_of(self, mac: str) -> str:
        known = {self.mac(s, h): s for s in TARGETS for h in ("compute1", "compute2")}
        return known[mac]

    def show(self, ask: str = "") -> dict[str, Any]:
        words = [
            "network",
            "address",
            "show",
            "vip",
            "-f",
            "json",
            *(["--ask", ask] if ask else []),
        ]
        done = self.lab.command(*words)
        assert done.returncode in (0, 1, 2), done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def move(self, site: str) -> None:
        done = self.lab.command("network", "address", "move", "vip", "--to", site)
        assert done.returncode == 0, done.stderr

    def answered_from(self, observer: Observer, site: str, deadline: float) -> float:
        """Wait until the address is answered by a gateway of `site`; returns the seconds."""

        def other() -> str | None:
            now = observer.current
            if now is not None and self.site_of(now) == site:
                return None
            return f"answered by {self.site_of(now)}" if now else "nobody answers"

        return waiting.until(
            other, deadline=deadline, what=f"{ADDRESS} is not answered", where=site, interval=0.02
        )

    def at(self, site: str) -> None:
        """Have it in `site`, with both sites ready to take it, before a test begins."""

        def unready() -> str | None:
            found = self.show()
            words = [f"{e['site']}: {e['reason']}" for e in found["sites"] if not e["ready"]]
            ill = [
                f"{e['site']}: {e['reason']}" for e in found["sites"] if e["health"] != "healthy"
            ]
            silent = [f"voter {e['site']}: {e['error']}" for e in found["voters"] if e["error"]]
            if words or ill or silent or not found["holder"]:
                return "; ".join([*words, *ill, *silent, f"holder {found['holder']}"])
            return None

        waiting.until(
            unready, deadline=READY_DEADLINE, what="the address is not ready", where="lab"
        )
        if not self.show()["holder"].startswith(f"{site}/"):
            self.move(site)


@pytest.fixture(scope="module")
def addressed(network_up: NetworkLab) -> Iterator[Addressed]:
    """One address, moved by Isthmus over a guest in each site; the gateways' hosts are compute1."""
    lab = network_up
    lab.mend()
    name = f"backend-{uuid.uuid4().hex[:6]}"
    targets = {}
    for site, ip in TARGETS.items():
        lab.new_network(site, cidr="10.61.0.0/24", name=name)
        targets[site] = lab.guest(site, "compute2", name, ip=ip)
    words = [f"--target={site}={ip}" for site, ip in TARGETS.items()]
    timing = ["--check=icmp", "--check-interval=0.2", "--check-timeout=0.3", "--fall=3"]
    done = lab.command(
        *("network", "address", "create", ADDRESS, "--kind", "moved", "--network", name),
        *("--name", "vip", *words, *timing, "-f", "json"),
    )
    assert done.returncode == 0, done.stderr
    try:
        yield Addressed(lab=lab, id=json.loads(done.stdout)["id"], targets=targets)
    finally:
        Lab.mend(lab)
        gone = lab.command("network", "address", "delete", "vip", "--wait", timeout=90)
        assert gone.returncode == 0, gone.stderr
        lab.tidy()


@pytest.fixture
def vip(addressed: Addressed) -> Addressed:
    """The address, held in Paris, with everything whole."""
    Lab.mend(addressed.lab)
    addressed.at("paris")
    return addressed


@pytest.fixture
def observer(vip: Addressed) -> Iterator[Observer]:
    with Observer(OBSERVER, ADDRESS) as found:
        vip.answered_from(found, "paris", TAKEOVER_DEADLINE)
        yield found


def never_two(vip: Addressed, observer: Observer, *turns: str) -> None:
    """The address was answered by these sites in this order, and by no two in turns."""
    seen = [vip.site_of(mac) for mac, _, _ in observing.owners(observer.answers)]
    assert seen == list(turns)


def test_a_planned_move_is_answered_from_the_other_site_after_a_gap_of_less_than_half_a_second(
    vip: Addressed, observer: Observer
) -> None:
    began = time.time()
    vip.move("lyon")
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    time.sleep(0.3)  # a few more answers, so that a second owner would be seen
    # The aim of 0.1 s is measured by `bench`; here the cores run six programs' tests.
    assert observing.gaps(observer.answers, began, time.time())[0][1] < 0.5
    never_two(vip, observer, "paris", "lyon")


def test_the_history_says_who_moved_it_when_and_why(vip: Addressed) -> None:
    vip.move("lyon")

    def unwritten() -> str | None:
        done = vip.lab.command("network", "address", "history", "vip", "-f", "json")
        last = json.loads(done.stdout)[0]
        wanted = ("handover", "paris/compute1", "lyon/compute1", "admin")
        found = (last["Kind"], last["From"], last["To"], last["By"])
        return None if found == wanted else f"the last event is {found}"

    waiting.until(unwritten, deadline=10.0, what="the move is not in the history", where="lab")


def test_when_the_owners_host_dies_the_other_site_answers(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill("paris/compute1")
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    time.sleep(0.3)
    never_two(vip, observer, "paris", "lyon")


def test_when_the_owners_engine_is_killed_the_kernel_stops_answering_before_the_other_site_begins(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill("paris/engine")
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    time.sleep(0.3)
    never_two(vip, observer, "paris", "lyon")


@pytest.mark.parametrize("unit", ["paris/engine", "paris/compute1-agent"])
def test_when_a_program_of_the_owner_is_frozen_and_wakes_it_does_not_answer_again(
    vip: Addressed, observer: Observer, unit: str
) -> None:
    vip.lab.freeze(unit)
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    vip.lab.resume(unit)
    # What waited in the sockets of the frozen program is done now; nothing of it may be heard.
    time.sleep(2.0)
    never_two(vip, observer, "paris", "lyon")


def test_an_owner_that_is_cut_off_loses_the_address_before_the_other_site_takes_it(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.cut("paris")
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    time.sleep(0.5)
    vip.lab.heal()
    time.sleep(1.0)  # the healed site hears of the new owner, and must not disturb it
    never_two(vip, observer, "paris", "lyon")


def test_without_the_witness_two_voters_still_move_it(vip: Addressed, observer: Observer) -> None:
    vip.lab.kill("madrid/engine")
    vip.move("lyon")
    vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    vip.lab.kill("lyon/compute1")
    vip.answered_from(observer, "paris", TAKEOVER_DEADLINE)
    never_two(vip, observer, "paris", "lyon", "paris")


def test_without_a_majority_nobody_answers_and_the_finding_says_why(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill("madrid/engine")
    vip.lab.cut("paris-lyon")
    silent_since = time.time() + 1.5  # a lease, and what a busy machine adds
    waiting.until(
        lambda: None if time.time() > silent_since + 2.0 else "the address is watched",
        deadline=10.0,
        what="no time passes",
        where="here",
    )
    assert not observer.answered_since(silent_since)
    findings = vip.show("paris")["findings"]
    assert "no-majority" in [each["code"] for each in findings]
    vip.lab.heal()
    waiting.until(
        lambda: None if observer.current else "nobody answers",
        deadline=TAKEOVER_DEADLINE,
        what="the address does not come back with the majority",
        where="lab",
    )


def test_an_unhealthy_target_sends_the_address_to_a_healthy_one(
    vip: Addressed, observer: Observer
) -> None:
    target = vip.targets["paris"].namespace
    link = ["ip", "-n", target, "link", "set", guests.INTERFACE]
    began = time.time()
    subprocess.run([*link, "down"], check=True)
    try:
        vip.answered_from(observer, "lyon", TAKEOVER_DEADLINE)
    finally:
        subprocess.run([*link, "up"], check=True)
    assert time.time() - began < TAKEOVER_DEADLINE
    never_two(vip, observer, "paris", "lyon")
