"""Compute hosts and guests of the lab: they connect as in a real cloud, break as in a real cloud, and only where they should."""

import subprocess
import time

import pytest
from network_lab import NetworkLab

from isthmus.lab import guests, inside, network
from isthmus.lab.names import OBSERVER
from isthmus.lab.pinging import Pinging

pytestmark = pytest.mark.lab

# Ten megabytes between two user-space switches take a third of a second on idle cores.
TRANSFER_SECONDS = 30.0
_MEBI = 1 << 20
# What the kernel says when nobody answers, as far as it can know.
UNREACHED = "timed out|unreachable|No route"


def test_every_component_is_used_as_its_clients_use_it(network_lab: NetworkLab) -> None:
    for unit in network_lab.units.values():
        assert unit.component.test(unit.context)


def test_guests_of_one_site_reach_each_other_within_a_host_and_between_hosts(
    network_lab: NetworkLab,
) -> None:
    made = network_lab.new_network("paris")
    first = network_lab.guest("paris", "compute1", made["id"])
    for host in ("compute1", "compute2"):
        other = network_lab.guest("paris", host, made["id"])
        network_lab.reaches(first, other.ip)
        network_lab.reaches(other, first.ip)


def test_data_passes_between_hosts_and_not_only_pings(network_lab: NetworkLab) -> None:
    made = network_lab.new_network("paris")
    sender = network_lab.guest("paris", "compute1", made["id"])
    receiver = network_lab.guest("paris", "compute2", made["id"])
    network_lab.reaches(sender, receiver.ip)
    counting = guests.spawn(receiver, ["sh", "-c", "socat -u TCP-LISTEN:7000 STDOUT | wc -c"])
    try:
        # A retry every tenth of a second until the listener is there.
        target = f"TCP:{receiver.ip}:7000,retry=100,interval=0.1"
        sending = f"head -c {10 * _MEBI} /dev/zero | socat -u STDIN {target}"
        sent = guests.execute(sender, ["sh", "-c", sending], timeout=TRANSFER_SECONDS)
        assert sent.code == 0, sent.stderr
        received, _ = counting.communicate(timeout=TRANSFER_SECONDS)
    finally:
        counting.kill()
    assert received.strip() == str(10 * _MEBI)


def test_the_default_security_group_lets_nothing_in_from_outside_the_group(
    network_lab: NetworkLab,
) -> None:
    made = network_lab.new_network("lyon")
    closed = network_lab.guest("lyon", "compute1", made["id"], groups=[])
    other = network_lab.guest("lyon", "compute2", made["id"])
    network_lab.never_reaches(other, closed.ip)


def test_networks_of_the_same_name_and_range_in_two_clouds_are_strangers(
    network_lab: NetworkLab,
) -> None:
    for site in ("paris", "lyon"):
        network_lab.new_network(site, name="same")
    ours = network_lab.guest("paris", "compute1", "same", ip="10.60.0.11")
    theirs = network_lab.guest("lyon", "compute1", "same", ip="10.60.0.12")
    network_lab.never_reaches(ours, theirs.ip)


def test_hosts_reach_hosts_of_the_other_site_over_the_wan_alone(network_lab: NetworkLab) -> None:
    here = network_lab.paris.host("compute1")
    there = network_lab.lyon.host("compute2")
    before = _tunnelled(network_lab)
    _send_to_tunnel_port(here.namespace, there.address)
    assert _tunnelled(network_lab) > before
    with Pinging(here.namespace, there.address, period=0.1) as pinging:
        time.sleep(1.0)
        network_lab.cut("paris-lyon")
        cut_at = time.time()
        time.sleep(2.0)
    assert pinging.answers.answered
    assert pinging.answers.lost_after(cut_at) > 5


def test_the_provider_network_joins_the_hosts_of_both_sites_whatever_their_links_do(
    network_lab: NetworkLab,
) -> None:
    found = []
    for site, first in (("paris", "192.0.2.20"), ("lyon", "192.0.2.30")):
        made = network_lab.new_network(
            site,
            cidr="192.0.2.0/24",
            **{"provider:network_type": "flat", "provider:physical_network": "external"},
        )
        found.append(network_lab.guest(site, "compute1", made["id"], ip=first))
    network_lab.cut("paris")
    network_lab.cut("lyon")
    for guest in found:
        network_lab.reaches(guest, network_lab.environment.observer_address)
    network_lab.reaches(found[0], found[1].ip)


def test_a_host_without_its_agent_goes_on_switching(network_lab: NetworkLab) -> None:
    made = network_lab.new_network("paris")
    first = network_lab.guest("paris", "compute1", made["id"])
    other = network_lab.guest("paris", "compute2", made["id"])
    network_lab.reaches(first, other.ip)
    with Pinging(first.namespace, other.ip, period=0.1) as pinging:
        assert network_lab.kill("paris/compute1-l2") > 0
        network_lab.resume("paris/compute1-l2")
    # A restarted agent lays its flows over those that it finds: a packet or two may fall between.
    assert pinging.answers.longest_gap() < 1.0


def test_a_dead_host_is_silent_everywhere_and_returns_with_its_guests(
    network_lab: NetworkLab,
) -> None:
    made = network_lab.new_network("paris")
    first = network_lab.guest("paris", "compute1", made["id"])
    other = network_lab.guest("paris", "compute2", made["id"])
    network_lab.reaches(first, other.ip)
    host = network_lab.paris.host("compute2")
    assert network_lab.kill("paris/compute2") > 0
    network_lab.never_reaches(first, other.ip)
    with pytest.raises(OSError, match=UNREACHED):
        inside.connect(network_lab.paris.namespace, host.address, 8992, timeout=1.0)
    network_lab.resume("paris/compute2")
    network_lab.reaches(first, other.ip)


def test_a_frozen_host_is_silent_and_goes_on_where_it_was(network_lab: NetworkLab) -> None:
    made = network_lab.new_network("paris")
    first = network_lab.guest("paris", "compute1", made["id"])
    other = network_lab.guest("paris", "compute2", made["id"])
    network_lab.reaches(first, other.ip)
    network_lab.freeze("paris/compute2")
    network_lab.never_reaches(first, other.ip)
    network_lab.resume("paris/compute2")
    network_lab.reaches(first, other.ip)


def test_adding_and_removing_a_guest_twice_changes_nothing(network_lab: NetworkLab) -> None:
    made = network_lab.new_network("paris", name="twice")
    words = ("lab", "guest", "add", "again", "--site", "paris", "--host", "compute1")
    with network_lab.unlocked():
        said = [network_lab.command(*words, "--network", "twice") for _ in range(2)]
        assert [done.returncode for done in said] == [0, 0], said[-1].stderr
        assert said[0].stdout == said[1].stdout
        listed = network_lab.command("lab", "guest", "list", "-f", "value", "-c", "Name")
        assert listed.stdout.split() == ["again"]
        inner = network_lab.command("lab", "guest", "exec", "again", "--", "ip", "-br", "addr")
        assert guests.find(network_lab.home, "again").ip in inner.stdout
        gone = [network_lab.command("lab", "guest", "remove", "again") for _ in range(2)]
    assert [done.returncode for done in gone] == [0, 0], gone[-1].stderr
    assert "no such guest" in gone[1].stdout
    ports = network_lab.neutron("paris").get("/ports", network_id=made["id"])["ports"]
    assert ports == []
    assert guests.namespaces() == []


def test_a_guest_on_a_host_that_is_not_there_is_refused_with_those_that_are(
    network_lab: NetworkLab,
) -> None:
    words = ("lab", "guest", "add", "lost", "--site", "lyon", "--network", "any")
    with network_lab.unlocked():
        done = network_lab.command(*words, "--host", "compute9")
    assert done.returncode == 64
    assert "its hosts are compute1, compute2" in done.stderr


def test_the_message_bus_of_a_site_never_crosses_the_wan(network_lab: NetworkLab) -> None:
    counted = network.traffic(network_lab.environment)
    assert {t.bytes for t in counted if t.kind == "messaging"} == {0}


def test_the_observer_sees_no_site_of_the_cloud(network_lab: NetworkLab) -> None:
    for site in network_lab.sites:
        with pytest.raises(OSError, match=UNREACHED):
            inside.connect(OBSERVER, site.front, 5000, timeout=0.5)


def _tunnelled(lab: NetworkLab) -> int:
    counted = network.traffic(lab.environment)
    return sum(t.packets for t in counted if (t.link, t.kind) == ("paris-lyon", "tunnel"))


def _send_to_tunnel_port(namespace: str, address: str) -> None:
    send = f"echo . | socat -u STDIN UDP-SENDTO:{address}:4789"
    subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", send], check=True, timeout=10)
