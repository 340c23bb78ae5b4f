"""One network over three clouds: what holds for two holds for any number. The last module, because it brings up another lab."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import network_truth
import pytest
from network_lab import NetworkLab

from isthmus.lab import guests, waiting
from isthmus.lab.guests import Guest

pytestmark = pytest.mark.lab

SITES = ("paris", "lyon", "madrid")
# An engine that starts anew hears its peers and looks at all of them before it acts; three clouds share two cores.
REMOTE_DEADLINE = 40.0


@dataclass
class Wide:
    """A stretched network over all sites, with one guest in each."""

    lab: NetworkLab
    name: str
    vni: int
    guests: dict[str, Guest]

    def stand_for(self, site: str, *others: str) -> None:
        """Wait until the site has one remote port for the guest of each of `others`, and no more."""
        real = [self.guests[other] for other in others]
        self.lab.stands_for(self.name, site, *real, deadline=REMOTE_DEADLINE)

    def whole(self) -> None:
        """Everybody reaches everybody, and every host holds what the Neutrons say."""
        for site in SITES:
            self.stand_for(site, *(other for other in SITES if other != site))
        for one in self.guests.values():
            for other in self.guests.values():
                self.lab.reaches(one, other.ip, deadline=REMOTE_DEADLINE)
        network_truth.until_true(self.lab, self.vni)


@pytest.fixture(scope="module")
def network(wide_up: NetworkLab) -> Iterator[Wide]:
    lab, name = wide_up, f"wide-{uuid.uuid4().hex[:6]}"
    lab.mend()
    sites = [word for site in SITES for word in ("--site", site)]
    words = ["network", "create", name, "--cidr", "10.75.0.0/24", *sites, "--wait", "-f", "json"]
    made = lab.command(*words, timeout=120)
    assert made.returncode == 0, made.stderr
    document: dict[str, Any] = json.loads(made.stdout)
    try:
        pair = {
            site: guests.add(lab.home, site=site, host="compute1", network=name, name=f"in-{site}")
            for site in SITES
        }
        yield Wide(lab=lab, name=name, vni=int(document["vni"]), guests=pair)
    finally:
        lab.mend()
        gone = lab.command("network", "delete", name, "--wait", timeout=150)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    for site in SITES:
        assert not lab.neutron(site).get("/networks", name=name)["networks"], site


def test_guests_of_three_clouds_reach_each_other(network: Wide) -> None:
    network.whole()


def test_two_sites_go_on_without_the_third_and_take_it_back(network: Wide) -> None:
    lab = network.lab
    lab.cut("madrid")
    lost = lab.command("site", "lost", "madrid", "--yes")
    try:
        assert lost.returncode == 0, lost.stderr
        network.stand_for("paris", "lyon")
        network.stand_for("lyon", "paris")
        lab.reaches(network.guests["paris"], network.guests["lyon"].ip)
        # The lost site has not heard of it: its own view stays as it was.
        network.stand_for("madrid", "paris", "lyon")
    finally:
        lab.heal()
        returned = lab.command("site", "returned", "madrid")
    assert returned.returncode == 0, returned.stderr
    network.whole()


def test_a_link_between_two_of_three_sites_takes_nothing_from_anybody(network: Wide) -> None:
    lab = network.lab
    lab.cut("paris-lyon")
    lab.reaches(network.guests["madrid"], network.guests["paris"].ip)
    lab.reaches(network.guests["madrid"], network.guests["lyon"].ip)
    lab.never_reaches(network.guests["paris"], network.guests["lyon"].ip)
    for site in SITES:
        network.stand_for(site, *(other for other in SITES if other != site))
    lab.heal()
    network.whole()


def test_a_site_that_is_detached_leaves_the_other_two_joined(network: Wide) -> None:
    lab = network.lab
    guests.remove(lab.home, network.guests["madrid"].name)
    detached = lab.command("network", "detach", "site", network.name, "madrid", timeout=120)
    assert detached.returncode == 0, detached.stderr
    network.stand_for("paris", "lyon")
    network.stand_for("lyon", "paris")
    attached = lab.command("network", "attach", "site", network.name, "madrid", timeout=120)
    assert attached.returncode == 0, attached.stderr
    waiting.until(
        lambda: (
            None
            if lab.neutron("madrid").get("/networks", name=network.name)["networks"]
            else "no network yet"
        ),
        deadline=REMOTE_DEADLINE,
        what="the network does not return",
        where="madrid",
    )
    network.guests["madrid"] = guests.add(
        lab.home, site="madrid", host="compute1", network=network.name, name="in-madrid"
    )
    network.whole()
