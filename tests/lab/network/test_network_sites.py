"""A whole site with networks dies and comes back; the other one does not notice."""

import pytest
from network_lab import NetworkLab

from isthmus.lab.pinging import Pinging

pytestmark = pytest.mark.lab


def test_declarations_are_in_every_site_and_neutrons_tables_in_their_own(
    network_lab: NetworkLab,
) -> None:
    own = {"information_schema", "mysql", "performance_schema", "sys"}
    for unit in network_lab.identity_databases():
        found = {row["Database"] for row in network_lab.sql(unit, "SHOW DATABASES")} - own
        assert found == {"keystone", "isthmus_identity", "isthmus_network"}, unit
    for site in ("paris", "lyon"):
        tables = network_lab.sql(f"{site}/local-db", "SHOW TABLES FROM neutron")
        assert tables
        assert network_lab.sql(f"{site}/local-db", "SHOW ALL SLAVES STATUS") == []


def test_a_site_that_was_killed_comes_back_with_its_hosts_and_guests(
    network_lab: NetworkLab,
) -> None:
    pairs = {}
    for site in ("paris", "lyon"):
        made = network_lab.new_network(site)
        first = network_lab.guest(site, "compute1", made["id"])
        other = network_lab.guest(site, "compute2", made["id"])
        network_lab.reaches(first, other.ip)
        pairs[site] = (first, other)
    ours, theirs = pairs["lyon"]
    with Pinging(ours.namespace, theirs.ip, period=0.1) as pinging:
        assert network_lab.kill("paris") > 0
        network_lab.never_reaches(pairs["paris"][0], pairs["paris"][1].ip)
        network_lab.resume("paris")
    # Starting a site again keeps all cores busy; a guest of the other site that is served by the same cores waits for them.
    assert pinging.answers.longest_gap() < 3.0
    network_lab.healthy()
    network_lab.reaches(pairs["paris"][0], pairs["paris"][1].ip)
    newcomer = network_lab.guest("paris", "compute2", pairs["paris"][0].network)
    network_lab.reaches(newcomer, pairs["paris"][0].ip)
