"""What comes of a seed."""

import ipaddress

import pytest
from bench.peers.generating import Cloud, Place
from hypothesis import given
from hypothesis import strategies as st

from isthmus.network import declaring
from isthmus.network.declarations import Request, Settings

PLACES = [
    Place(name=f"p{n:02d}", number=n, vteps=(f"10.99.2.{2 * n + 58}", f"10.99.2.{2 * n + 59}"))
    for n in range(1, 7)
]
SITES = ("paris", *(place.name for place in PLACES))
REQUEST = Request(name="wide", project_id="vnf", cidr="10.77.0.0/16", sites=SITES)
DECLARED = declaring.declare(
    REQUEST, (), Settings(vni_range=(4000, 4009), sites=SITES), identity="w"
).to_document()


def cloud(*, seed: int = 3, places: list[Place] | None = None, ports: int = 20) -> Cloud:
    made = Cloud(seed, PLACES if places is None else places)
    made.hold(DECLARED, ports)
    return made


def test_the_same_seed_makes_the_same_ports():
    assert cloud().expected("w") == cloud().expected("w")
    assert cloud().sites["p03"].parts["w"].ports == cloud().sites["p03"].parts["w"].ports


def test_another_seed_makes_others():
    assert not set(cloud(seed=3).expected("w")) & set(cloud(seed=4).expected("w"))


def test_a_site_is_the_same_whatever_others_there_are():
    alone = cloud(places=[PLACES[2]])
    assert alone.sites["p03"].parts["w"].ports == cloud().sites["p03"].parts["w"].ports


def test_every_site_has_groups_of_the_project_and_its_ports_are_in_the_default_one():
    site = cloud().sites["p01"]
    default = next(key for key, row in site.groups.items() if row["name"] == "default")
    assert all(row["security_groups"] == [default] for row in site.parts["w"].ports.values())


@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_whatever_is_held_in_turn_is_as_many_as_were_asked_for(counts: list[int], seed: int):
    made = cloud(seed=seed, ports=0)
    for count in counts:
        before = list(made.sites["p02"].parts["w"].ports)
        made.hold(DECLARED, count)
        after = list(made.sites["p02"].parts["w"].ports)
        assert len(after) == count
        assert after[: len(before)] == before[:count]


@given(changes=st.lists(st.integers(0, 40), max_size=6))
def test_macs_and_addresses_are_unique_and_in_the_pool_of_their_site(changes: list[int]):
    made = cloud()
    for count in changes:
        made.churn("w", count)
    rows = [row for site in made.sites.values() for row in site.parts["w"].ports.values()]
    assert len({row["mac_address"] for row in rows}) == len(rows) == 6 * 20
    assert len({row["fixed_ips"][0]["ip_address"] for row in rows}) == len(rows)
    for name, site in made.sites.items():
        ((first, last),) = DECLARED["pools"][name]
        span = range(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last)) + 1)
        for row in site.parts["w"].ports.values():
            assert int(ipaddress.ip_address(row["fixed_ips"][0]["ip_address"])) in span
            assert row["vtep_ip"] in site.place.vteps


def test_churn_names_what_it_changed_and_nothing_else():
    made = cloud()
    before = {
        row["id"]: dict(row) for s in made.sites.values() for row in s.parts["w"].ports.values()
    }
    touched = {port for ports in made.churn("w", 15).values() for port in ports}
    after = {
        row["id"]: dict(row) for s in made.sites.values() for row in s.parts["w"].ports.values()
    }
    assert {
        key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    } == touched
    assert len(before) == len(after)


def test_what_is_forgotten_is_gone():
    made = cloud()
    made.forget("w")
    assert made.expected("w") == {}
    assert not any(site.parts for site in made.sites.values())


@pytest.mark.parametrize("number", [0, 19])
def test_a_mirror_names_its_origin_and_its_tunnel(number: int):
    made = cloud()
    row = list(made.sites["p04"].parts["w"].ports.values())[number]
    mirror = list(made.mirrors("w", "p04"))[number]
    assert mirror["device_id"] == f"p04/{row['id']}"
    assert mirror["remote_vtep"] == row["vtep_ip"]
    assert mirror["device_owner"] == "isthmus:remote"


def test_ports_are_told_as_the_engine_would_make_them():
    made = cloud()
    rows = {row["device_id"]: row for row in made.ports("w")}
    assert {row["mac"]: row["vtep"] for row in rows.values()} == made.expected("w")
    for mirror in made.mirrors("w", "p04"):
        row = rows[mirror["device_id"]]
        assert (row["name"], row["mac"]) == (mirror["name"], mirror["mac_address"])
        assert row["ip"] == mirror["fixed_ips"][0]["ip_address"]
