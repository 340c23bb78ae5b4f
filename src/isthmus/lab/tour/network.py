"""The network chapter: one L2 network over two Neutrons, through a dead host and a cut link, and an address that moves.

Everything that the product does is asked of its command line, as an operator would; the lab adds guests, pings and faults.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.lab import faults, guests, neutrons, waiting
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.guests import Guest
from isthmus.lab.home import Home
from isthmus.lab.names import OBSERVER
from isthmus.lab.pinging import Pinging
from isthmus.lab.running import run
from isthmus.lab.tour import commanding
from isthmus.lab.tour.steps import Tour, expect
from isthmus.lab.units import Unit

NETWORK = "tour-stretched"
CIDR = "10.50.0.0/24"
ADDRESS = "192.0.2.50"
CLOSED = "tour-closed"  # a security group that lets nothing in

# The first remote port of a network brings tunnels into being on every host; two busy cores take a multiple of a second.
REACH_DEADLINE = 60.0


@dataclass(kw_only=True)
class Chapter:
    """The tour's state: the lab, and the guests that earlier steps left for later ones."""

    tour: Tour
    home: Home
    units: Mapping[str, Unit]
    environment: Environment
    guests: dict[str, Guest] = field(default_factory=dict)

    @property
    def paris(self) -> SiteSpec:
        return self.environment.writers[0]

    @property
    def lyon(self) -> SiteSpec:
        return self.environment.writers[1]

    @property
    def link(self) -> str:
        """The link between the two sites with a Neutron."""
        return f"{self.paris.name}-{self.lyon.name}"

    def isthmus(self, *words: str) -> Any:
        """Run `isthmus WORDS` with JSON output as the lab's administrator and return what it printed."""
        return commanding.isthmus(
            self.home, self.environment, *words, remedy="isthmus network list"
        )

    def guest(self, name: str, site: SiteSpec, *, groups: list[str] | None = None) -> Guest:
        """A guest of the tour on the first host of a site."""
        self.guests[name] = guests.add(
            self.home,
            site=site.name,
            host=site.host_specs[0].name,
            network=NETWORK,
            name=f"tour-{name}",
            security_groups=groups,
        )
        return self.guests[name]


def take(tour: Tour, home: Home, units: Mapping[str, Unit], environment: Environment) -> None:
    """All steps of the chapter, in order, on a lab that is up. What a failed step leaves stays, to be looked at."""
    chapter = Chapter(tour=tour, home=home, units=units, environment=environment)
    step = tour.step
    paris, lyon = chapter.paris.name.title(), chapter.lyon.name.title()
    step("stretch a network", lambda: _stretch(chapter))
    step(f"ping from {lyon} to {paris}", lambda: _reach(chapter))
    step("a security group, by remote group", lambda: _group(chapter))
    step("kill a host", lambda: _kill_host(chapter))
    step(f"cut {paris} from {lyon}, and heal", lambda: _cut(chapter))
    step("move a service address", lambda: _move(chapter))
    step("take it all away", lambda: _clean(chapter))


def _stretch(chapter: Chapter) -> str:
    _clear(chapter)
    sites = [f"--site={site.name}" for site in (chapter.paris, chapter.lyon)]
    began = time.monotonic()
    made = chapter.isthmus(
        "network", "create", NETWORK, "--cidr", CIDR, *sites, "--wait", "-f", "json"
    )
    seconds = time.monotonic() - began
    chapter.tour.figure("network_create_s", seconds, "s")
    return f"{NETWORK} with VNI {made['vni']} in {len(sites)} Neutrons after {seconds:.1f} s"


def _reach(chapter: Chapter) -> str:
    near = chapter.guest("lyon", chapter.lyon)
    far = chapter.guest("paris", chapter.paris)
    active = time.monotonic()
    reached = waiting.until(
        lambda: None if guests.ping(near, far.ip, count=1, wait=0.3) else "no answer yet",
        deadline=REACH_DEADLINE,
        what=f"{near.name} does not reach {far.name}",
        where=f"{chapter.lyon.name} to {chapter.paris.name}",
        interval=0.02,
    )
    chapter.tour.figure("remote_port_reach_s", reached, "s")
    answered = guests.ping(near, far.ip, count=10)
    expect(
        answered == 10,
        "ten of ten pings answered",
        where=near.name,
        seen=f"{answered} after {time.monotonic() - active:.1f} s",
    )
    return f"{near.ip} reaches {far.ip} {reached:.2f} s after its port is active; 10 of 10 pings answered"


def _group(chapter: Chapter) -> str:
    """A closed guest is not reached; a rule that names a group lets in its members of the other site."""
    groups = {}
    for site in (chapter.paris, chapter.lyon):
        neutron = neutrons.at(chapter.home, chapter.environment, site.name)
        groups[site.name] = _closed_group(neutron)
    closed = chapter.guest("closed", chapter.paris, groups=[CLOSED])
    near = chapter.guests["lyon"]
    before = guests.ping(near, closed.ip, count=3, wait=0.3)
    expect(
        before == 0,
        "no answer from a guest that lets nothing in",
        where=near.name,
        seen=f"{before} of 3",
    )
    neutron = neutrons.at(chapter.home, chapter.environment, chapter.paris.name)
    default = neutron.get(f"/ports/{chapter.guests['paris'].port}")["port"]["security_groups"][0]
    rule = {
        "security_group_id": groups[chapter.paris.name],
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": "icmp",
        "remote_group_id": default,
    }
    neutron.post("/security-group-rules", {"security_group_rule": rule})
    took = waiting.until(
        lambda: None if guests.ping(near, closed.ip, count=1, wait=0.5) else "no answer yet",
        deadline=REACH_DEADLINE,
        what="the rule does not let the other site's member in",
        where=closed.name,
    )
    return f"0 of 3 without a rule; {took:.1f} s after a rule for the default group of {chapter.paris.name} {near.name} gets in"


def _closed_group(neutron: neutrons.Neutron) -> str:
    """The id of the tour's security group, without a rule for what comes in."""
    made = neutron.post("/security-groups", {"security_group": {"name": CLOSED}})
    return str(made["security_group"]["id"])


def _kill_host(chapter: Chapter) -> str:
    near, far = chapter.guests["lyon"], chapter.guests["paris"]
    idle = f"{chapter.paris.name}/{chapter.paris.host_specs[1].name}"
    with Pinging(near.namespace, far.ip) as pinging:
        hit = faults.kill(chapter.home, chapter.units, idle)
        faults.resume(chapter.home, chapter.units, idle, chapter.tour.progress)
    answers = pinging.answers
    expect(
        not answers.lost,
        "no ping is lost while a host dies that carries none of the guests",
        where=near.name,
        seen=f"{len(answers.lost)} of {len(answers.answered) + len(answers.lost)} lost",
    )
    return f"{hit} processes of {idle} killed and started again; {len(answers.answered)} pings, none lost"


def _cut(chapter: Chapter) -> str:
    near, far = chapter.guests["lyon"], chapter.guests["paris"]
    with Pinging(near.namespace, far.ip) as pinging:
        faults.cut(chapter.environment, chapter.link)
        waiting.until(
            lambda: "answers" if guests.ping(near, far.ip, count=1, wait=0.3) else None,
            deadline=10.0,
            what="the cut link still passes packets",
            where=chapter.link,
        )
        neutron = neutrons.at(chapter.home, chapter.environment, chapter.lyon.name)
        kept = len(_remote_ports(neutron))
        faults.heal(chapter.home, chapter.environment, chapter.link)
        healed = time.time()
        waiting.until(
            lambda: None if guests.ping(near, far.ip, count=5) == 5 else "pings are lost",
            deadline=REACH_DEADLINE,
            what="the healed link does not pass packets",
            where=chapter.link,
        )
    # Those that were under way when the link was healed count as lost by the cut.
    lost = pinging.answers.lost_after(healed + 0.2)
    chapter.tour.figure("packets_lost_after_heal", lost, "packets")
    expect(
        kept > 0, "the remote ports are kept while the site cannot be seen", where="lyon", seen="0"
    )
    return f"{kept} remote ports kept in {chapter.lyon.name.title()}; after the heal {lost} packets lost"


def _remote_ports(neutron: neutrons.Neutron) -> list[dict[str, Any]]:
    ports: list[dict[str, Any]] = neutron.get("/ports", device_owner="isthmus:remote")["ports"]
    return ports


def _move(chapter: Chapter) -> str:
    targets = [
        f"--target={site.name}={chapter.guests[name].ip}"
        for name, site in (("paris", chapter.paris), ("lyon", chapter.lyon))
    ]
    options = ["--kind", "moved", "--network", NETWORK, "--check", "icmp"]
    prefer = ["--prefer", chapter.paris.name]
    chapter.isthmus(
        "network", "address", "create", ADDRESS, *options, *targets, *prefer, "-f", "json"
    )
    waiting.until(
        lambda: None if _observed() else "no answer yet",
        deadline=REACH_DEADLINE,
        what=f"{ADDRESS} is not reached",
        where="the provider network",
    )
    with Pinging(OBSERVER, ADDRESS, period=0.01) as pinging:
        waiting.until(
            lambda: None if _observed() else "no answer",
            deadline=10.0,
            what=f"{ADDRESS} is not reached",
            where="the provider network",
        )
        chapter.isthmus(
            "network", "address", "move", ADDRESS, "--to", chapter.lyon.name, "--wait", "-f", "json"
        )
    gap = 1000 * pinging.answers.longest_gap()
    chapter.tour.figure("address_move_gap_ms", gap, "ms")
    return f"{ADDRESS} moves to {chapter.lyon.name.title()}; an observer misses it for {gap:.0f} ms"


def _observed() -> bool:
    """Whether the address answers a ping from the provider network."""
    argv = ["ping", "-n", "-q", "-c", "1", "-W", "1", ADDRESS]
    return run(argv, namespace=OBSERVER, timeout=15.0, check=False).code == 0


def _clean(chapter: Chapter) -> str:
    _clear(chapter)
    left = 0
    for site in (chapter.paris, chapter.lyon):
        neutron = neutrons.at(chapter.home, chapter.environment, site.name)
        left += len(_remote_ports(neutron)) + len(
            neutron.get("/networks", name=NETWORK)["networks"]
        )
    expect(left == 0, "nothing is left in either Neutron", where=NETWORK, seen=f"{left} objects")
    return "guests, address, network and remote ports are gone from both Neutrons"


def _clear(chapter: Chapter) -> None:
    """Take away what a tour makes, also one that ended in the middle."""
    addresses = chapter.isthmus("network", "address", "list", "-f", "json")
    if any(row["Address"] == ADDRESS for row in addresses):
        chapter.isthmus("network", "address", "delete", ADDRESS)
    for guest in guests.listed(chapter.home):
        if guest.network == NETWORK:
            guests.remove(chapter.home, guest.name)
    if any(row["Name"] == NETWORK for row in chapter.isthmus("network", "list", "-f", "json")):
        chapter.isthmus("network", "delete", NETWORK, "--wait")
    for site in (chapter.paris, chapter.lyon):
        _drop_group(neutrons.at(chapter.home, chapter.environment, site.name))


def _drop_group(neutron: neutrons.Neutron) -> None:
    for group in neutron.get("/security-groups", name=CLOSED)["security_groups"]:
        neutron.delete(f"/security-groups/{group['id']}")
