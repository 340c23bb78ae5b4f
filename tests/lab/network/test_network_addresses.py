"""Service addresses between two real clouds: they move, they survive, and never have two owners."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from network_lab import NetworkLab
from running_lab import Lab

from isthmus.identity.config import ENGINE_PORT
from isthmus.lab import guests, observing, waiting
from isthmus.lab.guests import Guest
from isthmus.lab.names import OBSERVER
from isthmus.lab.observing import Observer
from isthmus.network.addresses import fence

pytestmark = pytest.mark.lab

ADDRESS = "192.0.2.50"
TARGETS = {"paris": "10.61.0.11", "lyon": "10.61.0.140"}

# Neutron makes a port in half a second, its agent wires it in two; a host that was dead starts its switch and agent before.
READY_DEADLINE = 90.0
# A lease of 1 s has to run out, then votes, gateway and announcements: 1.4 s on an idle machine.
TAKEOVER_DEADLINE = 8.0
# Long enough for a second owner to be seen: it would announce itself at once and answer a ping every 10 ms.
WATCHED = 0.5


@dataclass
class Addressed:
    """The lab with one service address over a guest in each site; `owner` and `other` are set before each test."""

    lab: NetworkLab
    name: str
    targets: dict[str, Guest]
    id: str = ""
    owner: str = ""
    host: str = ""

    @property
    def other(self) -> str:
        return next(site for site in TARGETS if site != self.owner)

    def site_of(self, mac: str) -> str:
        hosts = ("compute1", "compute2")
        return {fence.mac(self.id, s, h): s for s in TARGETS for h in hosts}[mac]

    def call(self, method: str, path: str, body: Any = None, *, ask: str = "paris") -> Any:
        """Ask the engine of a site as a person's tool does."""
        site = self.lab.environment.site(ask)
        url = f"http://{site.management}:{ENGINE_PORT}/v1/addresses{path}"
        headers = {"X-Auth-Token": self.lab.admin}
        answer = requests.request(method, url, json=body, headers=headers, timeout=20)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def show(self, ask: str = "paris") -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/{self.name}", ask=ask)["address"]
        return found

    def move(self, site: str, *, ask: str = "paris") -> None:
        self.call("POST", f"/{self.name}/move", {"to": site}, ask=ask)

    def prepare(self) -> None:
        """Wait until it is held and both sites are able to hold it."""
        waiting.until(
            self._unready,
            deadline=READY_DEADLINE,
            what="the address is not ready",
            where="lab",
            interval=0.2,
        )

    def _unready(self) -> str | None:
        found = self.show()
        slow = [e for e in found["sites"] if not e["ready"] or e["health"] != "healthy"]
        silent = [f"voter {e['site']}: {e['error']}" for e in found["voters"] if e["error"]]
        if slow or silent or not found["holder"]:
            words = [f"{e['site']}: {e['reason'] or e['error']}" for e in slow]
            return "; ".join([*words, *silent, f"holder {found['holder']}"])
        self.owner, _, self.host = found["holder"].partition("/")
        return None

    def answered_from(self, observer: Observer, site: str) -> None:
        """Wait until the address is answered by a gateway of `site`."""

        def missing() -> str | None:
            now = observer.current
            if now is not None and self.site_of(now) == site:
                return None
            return f"answered by {self.site_of(now)}" if now else "nobody answers"

        waiting.until(
            missing,
            deadline=TAKEOVER_DEADLINE,
            what=f"{ADDRESS} is not answered",
            where=site,
            interval=0.02,
        )

    def never_two(self, observer: Observer, *turns: str) -> None:
        """The address was answered by these sites in this order, and by no two in turns."""
        time.sleep(WATCHED)
        seen = [self.site_of(mac) for mac, _, _ in observing.owners(observer.answers)]
        assert seen == list(turns)


@pytest.fixture(scope="module")
def addressed(network_up: NetworkLab) -> Iterator[Addressed]:
    """One address that Isthmus moves, with a health check, and no preference for a site."""
    lab = network_up
    lab.mend()
    name = f"vip-{uuid.uuid4().hex[:6]}"
    targets = {}
    for site, ip in TARGETS.items():
        lab.new_network(site, cidr="10.61.0.0/24", name=name)
        targets[site] = lab.guest(site, "compute2", name, ip=ip)
    found = Addressed(lab=lab, name=name, targets=targets)
    body = {
        "address": ADDRESS,
        "kind": "moved",
        "network": name,
        "name": name,
        "targets": {site: [ip] for site, ip in TARGETS.items()},
        "check": "icmp",
        "check_interval": 0.2,
        "check_timeout": 0.3,
    }
    found.id = found.call("POST", "", body)["address"]["id"]
    try:
        yield found
    finally:
        Lab.mend(lab)
        found.call("DELETE", f"/{name}")
        waiting.until(
            lambda: f"{listed}" if (listed := found.call("GET", "")["addresses"]) else None,
            deadline=READY_DEADLINE,
            what="the address is still there",
            where="lab",
        )
        lab.tidy()


@pytest.fixture
def vip(addressed: Addressed) -> Addressed:
    """The address, held by a site, with everything whole."""
    Lab.mend(addressed.lab)
    addressed.prepare()
    return addressed


@pytest.fixture
def observer(vip: Addressed) -> Iterator[Observer]:
    """A third host that pings the address every 10 ms."""
    with Observer(OBSERVER, ADDRESS) as found:
        vip.answered_from(found, vip.owner)
        yield found


def test_a_planned_move_is_answered_from_the_other_site_after_a_short_gap(
    vip: Addressed, observer: Observer
) -> None:
    began = time.time()
    vip.move(vip.other)
    vip.answered_from(observer, vip.other)
    vip.never_two(observer, vip.owner, vip.other)
    # The aim of 0.1 s is for `bench`; here the cores may run other tests as well.
    assert observing.gaps(observer.answers, began, time.time())[0][1] < 0.5


def test_the_history_says_who_moved_it_when_and_why(vip: Addressed) -> None:
    vip.move(vip.other)

    def unwritten() -> str | None:
        last = vip.call("GET", f"/{vip.name}/history", ask=vip.owner)["events"][0]
        found = (last["kind"], last["from"], last["to"].partition("/")[0], last["by"])
        wanted = ("handover", f"{vip.owner}/{vip.host}", vip.other, "admin")
        return None if found == wanted else f"the last event is {found}"

    # Written over the WAN, and read in the other site when its database has it.
    waiting.until(unwritten, deadline=10.0, what="the move is not in the history", where="lab")


def test_the_command_line_shows_what_the_voters_say(vip: Addressed) -> None:
    shown = vip.lab.command("network", "address", "show", ADDRESS)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"madrid: {vip.owner}/{vip.host} for 0." in shown.stdout


@pytest.mark.parametrize("program", ["engine", "agent"])
def test_when_a_program_of_the_owner_is_frozen_and_wakes_it_does_not_answer_again(
    vip: Addressed, observer: Observer, program: str
) -> None:
    unit = f"{vip.owner}/{program if program == 'engine' else f'{vip.host}-agent'}"
    vip.lab.freeze(unit)
    vip.answered_from(observer, vip.other)
    vip.lab.resume(unit)
    # What waited in the sockets of the frozen program is done now; nothing of it may be heard.
    time.sleep(1.5)
    vip.never_two(observer, vip.owner, vip.other)


def test_an_owner_that_is_cut_off_loses_the_address_before_the_other_site_takes_it(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.cut(vip.owner)
    vip.answered_from(observer, vip.other)
    vip.never_two(observer, vip.owner, vip.other)
    vip.lab.heal()
    time.sleep(1.0)  # the healed site hears of the new owner, and must not disturb it
    vip.never_two(observer, vip.owner, vip.other)


def test_an_unhealthy_target_sends_the_address_to_a_healthy_one(
    vip: Addressed, observer: Observer
) -> None:
    link = ["ip", "-n", vip.targets[vip.owner].namespace, "link", "set", guests.INTERFACE]
    subprocess.run([*link, "down"], check=True)
    try:
        vip.answered_from(observer, vip.other)
    finally:
        subprocess.run([*link, "up"], check=True)
    vip.never_two(observer, vip.owner, vip.other)


def test_without_the_witness_two_voters_still_move_it(vip: Addressed, observer: Observer) -> None:
    vip.lab.kill("madrid/engine")
    vip.move(vip.other)
    vip.answered_from(observer, vip.other)
    vip.never_two(observer, vip.owner, vip.other)


def test_without_a_majority_nobody_answers_and_the_finding_says_why(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill("madrid/engine")
    vip.lab.cut("paris-lyon")
    silent_since = time.time() + 1.5  # a lease, and what a busy machine adds
    time.sleep(4.0)
    assert not observer.answered_since(silent_since)
    findings = vip.show(vip.owner)["findings"]
    assert "no-majority" in [each["code"] for each in findings]
    vip.lab.heal()
    waiting.until(
        lambda: None if observer.current else "nobody answers",
        deadline=TAKEOVER_DEADLINE,
        what="the address does not come back with the majority",
        where="lab",
    )


def test_when_the_owners_engine_is_killed_the_kernel_stops_answering_before_the_other_site_begins(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill(f"{vip.owner}/engine")
    vip.answered_from(observer, vip.other)
    vip.never_two(observer, vip.owner, vip.other)


def test_when_the_owners_host_dies_the_other_site_answers(
    vip: Addressed, observer: Observer
) -> None:
    vip.lab.kill(f"{vip.owner}/{vip.host}")
    vip.answered_from(observer, vip.other)
    vip.never_two(observer, vip.owner, vip.other)
