"""One network in two real clouds: it is kept through everything that can happen to the engines and what they stand on.

Every test ends with the invariant: what every host's switch holds is what the Neutrons say.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import network_truth
import pytest
import yaml
from network_lab import NetworkLab
from running_lab import Lab

from isthmus.identity.config import ENGINE_PORT
from isthmus.lab import calling, guests, inside, waiting
from isthmus.lab.components.base import script
from isthmus.lab.guests import Guest

pytestmark = pytest.mark.lab

# Poke, one look, one port made: below a second on idle cores. Neutron on busy ones takes five.
REMOTE_DEADLINE = 15.0
# The engine of the other site is heard every second; then both compare everything.
HEALED_DEADLINE = 25.0
# A killed engine starts in 3 s, hears its peers and begins with a round.
RESTARTED_DEADLINE = 30.0
# The last message of a dead broker's connection is given up after seconds; agents connect again within ten.
BROKER_DEADLINE = 60.0


@dataclass
class Stretched:
    """A stretched network with a guest in each site, on hosts of the same name."""

    lab: NetworkLab
    document: dict[str, Any]
    paris: Guest
    lyon: Guest
    made: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def vni(self) -> int:
        return int(self.document["vni"])

    def guest(self, site: str, host: str = "compute2", *, wait: bool = True) -> Guest:
        """One more guest, taken away after the test."""
        guest = guests.add(
            self.lab.home,
            site=site,
            host=host,
            network=self.name,
            name=f"more-{uuid.uuid4().hex[:6]}",
            wait=wait,
        )
        self.made.append(guest.name)
        return guest

    def show(self, ask: str = "paris") -> dict[str, Any]:
        done = self.lab.command("network", "show", self.name, "-f", "json", "--ask", ask)
        assert done.returncode in (0, 1, 2), done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def findings(self, ask: str) -> set[str]:
        return {each["code"] for each in self.show(ask)["findings"]}

    def origins(self, site: str) -> list[str]:
        return self.lab.origins(self.name, site)

    def stands_for(self, site: str, *real: Guest, deadline: float = REMOTE_DEADLINE) -> float:
        return self.lab.stands_for(self.name, site, *real, deadline=deadline)

    def joined(self, deadline: float = HEALED_DEADLINE) -> None:
        """The two guests reach each other, and every host holds the truth."""
        self.lab.reaches(self.paris, self.lyon.ip, deadline=deadline)
        self.lab.reaches(self.lyon, self.paris.ip, deadline=deadline)
        self.true()

    def true(self) -> None:
        network_truth.until_true(self.lab, self.vni)


@pytest.fixture(scope="module")
def network(network_up: NetworkLab) -> Iterator[Stretched]:
    lab = network_up
    lab.mend()
    name = f"stretched-{uuid.uuid4().hex[:6]}"
    done = lab.command(
        *("network", "create", name, "--cidr", "10.71.0.0/24", "--site", "paris", "--site", "lyon"),
        *("--wait", "-f", "json"),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    try:
        pair = {
            site: guests.add(
                lab.home, site=site, host="compute1", network=name, name=f"{site}-{name[-6:]}"
            )
            for site in ("paris", "lyon")
        }
        yield Stretched(lab=lab, document=json.loads(done.stdout), **pair)
    finally:
        Lab.mend(lab)
        lab.tidy()
        gone = lab.command("network", "delete", name, "--wait", timeout=150)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    for site in ("paris", "lyon"):
        assert not lab.neutron(site).get("/networks", name=name)["networks"]


@pytest.fixture
def stretched(network: Stretched) -> Iterator[Stretched]:
    """The network with its two guests, everything whole; whatever the test does, it is so again after it."""
    yield network
    Lab.mend(network.lab)
    for name in network.made:
        guests.remove(network.lab.home, name)
    network.made.clear()
    network.stands_for("paris", network.lyon, deadline=HEALED_DEADLINE)
    network.stands_for("lyon", network.paris, deadline=HEALED_DEADLINE)
    network.joined()


def test_guests_of_two_clouds_reach_each_other_on_one_network(stretched: Stretched) -> None:
    ids = {s: stretched.lab.neutron(s).find("network", stretched.name) for s in ("paris", "lyon")}
    assert {each["provider:segmentation_id"] for each in ids.values()} == {stretched.vni}
    assert stretched.paris.host == stretched.lyon.host, "hosts of the same name in both sites"
    stretched.joined()
    assert stretched.lab.command("network", "show", stretched.name).returncode == 0


def test_a_port_is_known_in_the_other_site_at_once_and_gone_at_once(stretched: Stretched) -> None:
    guest = stretched.guest("paris", wait=False)
    stretched.stands_for("lyon", stretched.paris, guest)
    stretched.lab.reaches(stretched.lyon, guest.ip)
    guests.remove(stretched.lab.home, guest.name)
    stretched.stands_for("lyon", stretched.paris)


def test_a_network_that_is_deleted_leaves_nothing_and_frees_its_vni(stretched: Stretched) -> None:
    lab, name = stretched.lab, f"short-{uuid.uuid4().hex[:6]}"
    words = ["--cidr", "10.72.0.0/24", "--site", "paris", "--site", "lyon", "-f", "json"]
    made = lab.command("network", "create", name, *words, "--wait", timeout=120)
    assert made.returncode == 0, made.stderr
    gone = lab.command("network", "delete", name, "--wait", timeout=120)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    for site in ("paris", "lyon"):
        assert not lab.neutron(site).get("/networks", name=name)["networks"]
    again = lab.command("network", "create", name, *words)
    assert json.loads(again.stdout)["vni"] == json.loads(made.stdout)["vni"]
    assert lab.command("network", "delete", name).returncode == 0


def test_an_engine_that_is_killed_in_the_middle_begins_again_where_it_was(
    stretched: Stretched,
) -> None:
    lab = stretched.lab
    guest = stretched.guest("paris", wait=False)
    # The poke is on its way, the remote port half made.
    lab.kill("lyon/engine")
    guests.remove(lab.home, guest.name)
    other = stretched.guest("paris", "compute1", wait=False)
    lab.resume("lyon/engine")
    stretched.stands_for("lyon", stretched.paris, other, deadline=RESTARTED_DEADLINE)


def test_two_engines_of_one_site_do_no_harm_to_each_other(
    stretched: Stretched, tmp_path: Path
) -> None:
    lab = stretched.lab
    directory = lab.units["lyon/engine"].context.directory
    settings = yaml.safe_load((directory / "engine.yaml").read_text())
    settings |= {"listen": ["127.0.0.1:18991"], "state": str(tmp_path / "state")}
    file = tmp_path / "engine.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(settings))
    namespace = lab.environment.site("lyon").namespace
    argv = ["ip", "netns", "exec", namespace, script("isthmus-engine"), "--config", str(file)]
    log = (tmp_path / "log").open("w")
    second = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        waiting.until(
            lambda: inside.missing(namespace, "127.0.0.1", 18991, "/healthcheck"),
            deadline=RESTARTED_DEADLINE,
            what="the second engine does not answer",
            where="lyon",
        )
        more = [stretched.guest("paris", wait=False) for _ in range(3)]
        stretched.stands_for("lyon", stretched.paris, *more)
        for guest in more:
            guests.remove(lab.home, guest.name)
        stretched.stands_for("lyon", stretched.paris)
        done = lab.command("network", "sync", stretched.name, "-f", "json")
        assert done.returncode == 0, done.stdout
    finally:
        second.kill()
        second.wait()
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_forwarding_that_a_dying_broker_took_with_it_is_sent_again(stretched: Stretched) -> None:
    lab = stretched.lab
    before = _repairs(stretched)
    witness = stretched.guest("lyon", "compute2")
    # The broker dies, and with it the agent's queue; the agent is too slow to make a new one before the message comes.
    lab.freeze("lyon/compute1-l2")
    lab.kill("lyon/rabbitmq")
    lab.resume("lyon/rabbitmq")
    guest = stretched.guest("paris", wait=False)
    stretched.stands_for("lyon", stretched.paris, guest, deadline=BROKER_DEADLINE)
    # Neutron has a port before its message is out, and sends none before its own connection is back: an agent that went on
    # now would lose nothing. What another host holds has been sent.
    lab.reaches(witness, guest.ip, deadline=BROKER_DEADLINE)
    assert network_truth.untrue(lab, stretched.vni) is not None, (
        "nothing was lost, so nothing is proven"
    )
    lab.resume("lyon/compute1-l2")
    lab.reaches(stretched.lyon, guest.ip, deadline=BROKER_DEADLINE)
    stretched.true()
    assert _repairs(stretched) > before


def test_a_cut_link_takes_no_port_away_and_what_happened_meanwhile_arrives_when_it_heals(
    stretched: Stretched,
) -> None:
    lab = stretched.lab
    lab.cut("paris-lyon")
    made = stretched.guest("paris")
    waiting.until(
        lambda: None if "site-silent" in stretched.findings("lyon") else "no finding yet",
        deadline=HEALED_DEADLINE + 15.0,  # the next round, and its wait for the silent site
        what="nobody says that paris is silent",
        where="lyon",
    )
    assert stretched.origins("lyon") == [f"paris/{stretched.paris.port}"], "kept"
    lab.heal()
    stretched.stands_for("lyon", stretched.paris, made, deadline=HEALED_DEADLINE)
    lab.reaches(stretched.lyon, made.ip)


def test_a_site_that_is_declared_lost_loses_its_ports_at_once_and_gets_them_back(
    stretched: Stretched,
) -> None:
    lab = stretched.lab
    lab.cut("lyon")
    began = time.monotonic()
    lost = lab.command("site", "lost", "lyon", "--yes")
    try:
        assert lost.returncode == 0, lost.stderr
        stretched.stands_for("paris")
        assert time.monotonic() - began < 2 * REMOTE_DEADLINE
        assert "site-lost" in stretched.findings("paris")
        lab.heal()
        # Healing alone brings nothing back: an operator said that the site is gone.
        assert stretched.origins("paris") == []
    finally:
        lab.heal()
        returned = lab.command("site", "returned", "lyon", "--ask", "paris")
    assert returned.returncode == 0, returned.stderr
    stretched.stands_for("paris", stretched.lyon, deadline=HEALED_DEADLINE)


def test_an_engine_whose_rights_are_revoked_says_so_and_takes_nothing_away(
    stretched: Stretched,
) -> None:
    lab = stretched.lab
    client, user = calling.at(lab.paris), _user(lab, "isthmus")
    path = f"/projects/{lab.project('service')}/users/{user}/roles/{lab.role('admin')}"
    assert client.identity("DELETE", path, token=lab.admin).status == 204
    lab.caught_up()
    try:
        # Neutron believes the old token for some minutes; an engine that starts gets one without the role.
        lab.kill("lyon/engine")
        lab.resume("lyon/engine")
        guest = stretched.guest("paris", wait=False)
        waiting.until(
            lambda: _trouble(stretched),
            deadline=RESTARTED_DEADLINE,
            what="lost rights are no finding",
            where="lyon",
        )
        assert stretched.origins("lyon") == [f"paris/{stretched.paris.port}"]
    finally:
        assert client.identity("PUT", path, token=lab.admin).status == 204
        lab.caught_up()
    lab.kill("lyon/engine")
    lab.resume("lyon/engine")
    stretched.stands_for("lyon", stretched.paris, guest, deadline=RESTARTED_DEADLINE)


def _trouble(stretched: Stretched) -> str | None:
    """None when the engine of Lyon says that it may not do its work."""
    parts = {each["site"]: each for each in stretched.show("lyon")["site_states"]}
    said = json.dumps(parts["lyon"])
    told = any(word in said for word in ("REFUSED", "refused", "403", "own-silent"))
    return None if told else f"lyon says {said[:500]}"


def _repairs(stretched: Stretched) -> int:
    """How many messages the engine of Lyon has sent again."""
    url = f"http://{stretched.lab.lyon.management}:{ENGINE_PORT}/status"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return sum(json.load(answer)["audit"]["repairs"].values())


def _user(lab: NetworkLab, name: str) -> str:
    statement = "SELECT user_id FROM keystone.local_user WHERE name = %s"
    return str(lab.sql("paris/identity-db", statement, name)[0]["user_id"])


def test_restarts_of_neutrons_own_parts_lose_no_forwarding(stretched: Stretched) -> None:
    lab, units = stretched.lab, ("lyon/compute1-l2", "lyon/neutron-rpc")
    for unit in units:
        lab.kill(unit)
    guest = stretched.guest("paris", wait=False)
    stretched.stands_for("lyon", stretched.paris, guest)
    # An agent is ready when its server knows it, so the server comes first.
    for unit in reversed(units):
        lab.resume(unit)
    lab.reaches(stretched.lyon, guest.ip, deadline=BROKER_DEADLINE)
    stretched.true()
