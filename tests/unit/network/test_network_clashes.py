"""Clashes name both owners and a remedy."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from network_model import PROJECT, declaration

from isthmus.network import clashes, views
from isthmus.network.findings import Code, Finding
from isthmus.network.views import Network, Port, Quota, SiteView, Subnet
from isthmus.outcomes import Outcome

BACKUP = declaration(sites=("paris", "lyon", "nice"))


def view(site: str, *ports: Port, **values: Any) -> SiteView:
    network = Network(
        id=f"{site}-net", name="backup", project_id=PROJECT, vni=4000, mtu=1450,
        tags=frozenset(views.marks(BACKUP.id)),
    )  # fmt: skip
    return SiteView(**{"site": site, "seen_at": 1.0, "network": network, "ports": ports, **values})


def port(port_id: str, number: int, site: int = 1, **values: Any) -> Port:
    plain = {
        "id": port_id,
        "network_id": "net",
        "mac": f"fa:16:3e:{site:02x}:00:{number:02x}",
        "ips": (f"10.50.0.{number}",),
        "vtep_ip": f"10.99.{site}.31",
        "name": f"vm-{port_id}",
        "host": f"host{site}",
    }
    return Port(**{**plain, **values})


def subnet(site: str, **values: Any) -> Subnet:
    plain = {
        "id": f"{site}-subnet",
        "network_id": f"{site}-net",
        "project_id": PROJECT,
        "name": "backup",
        "cidr": BACKUP.cidr,
        "pools": BACKUP.pools[site],
        "tags": frozenset(views.marks(BACKUP.id)),
    }
    return Subnet(**{**plain, **values})


def found(own: SiteView, *peers: SiteView) -> dict[Code, Finding]:
    findings = clashes.find(BACKUP, own, {each.site: each for each in peers})
    for each in findings:
        assert each.remedy
        assert len(each.owners) >= 2
    assert clashes.find(BACKUP, own, {each.site: each for each in reversed(peers)}) == findings
    return {each.code: each for each in findings}


def test_nothing_clashes_where_nothing_is_shared() -> None:
    assert not found(
        view("paris", port("a", 1, 1), subnets=(subnet("paris"),)),
        view("lyon", port("b", 70, 2), subnets=(subnet("lyon"),)),
    )


def test_an_address_of_a_port_that_is_not_even_bound_is_found() -> None:
    finding = found(
        view("paris", port("a", 1, 1, vtep_ip=None)), view("lyon", port("b", 1, 2, vtep_ip=None))
    )[Code.IP_CLASH]
    assert finding.owners == ("lyon: port vm-b (b)", "paris: port vm-a (a)")
    assert "10.50.0.1" in finding.summary


def test_a_mac_of_two_sites_is_found() -> None:
    mac = "fa:16:3e:aa:00:01"
    finding = found(
        view("paris"),
        view("lyon", port("b", 1, 2, mac=mac)),
        view("nice", port("c", 2, 3, mac=mac)),
    )[Code.MAC_CLASH]
    assert finding.owners == ("lyon: port vm-b (b)", "nice: port vm-c (c)")


def test_what_stands_here_for_a_silent_site_still_owns_its_address() -> None:
    standing = port(
        "r", 1, 3, device_owner=views.REMOTE_OWNER, device_id="nice/c", remote_vtep="10.99.3.31"
    )
    silent = views.silent("nice", 1.0, "no answer")
    finding = found(view("paris", standing), view("lyon", port("b", 1, 2)), silent)[Code.IP_CLASH]
    assert {each.split(":")[0] for each in finding.owners} == {"lyon", "nice"}


def test_a_remote_port_of_a_site_that_is_seen_is_no_second_owner() -> None:
    standing = port(
        "r", 1, 2, device_owner=views.REMOTE_OWNER, device_id="lyon/b", remote_vtep="10.99.2.31"
    )
    assert not found(view("paris", standing), view("lyon", port("b", 1, 2)))


def test_a_vni_that_another_network_has() -> None:
    other = Network(id="n9", name="theirs", project_id="x", vni=4000, mtu=1450)
    finding = found(view("paris", network=None, same_vni=(other,)))[Code.VNI_CLASH]
    assert finding.outcome is Outcome.ERROR
    assert "theirs (n9)" in finding.owners[1]
    assert BACKUP.id in finding.owners[0]


def test_overlaps_with_other_subnets_of_the_project_are_warnings() -> None:
    other = subnet("paris", id="s9", network_id="n9", cidr="10.50.0.128/25", tags=frozenset())
    finding = found(view("paris", subnets=(subnet("paris"),), other_subnets=(other,)))
    assert finding[Code.CIDR_OVERLAP].outcome is Outcome.WARN


def test_pools_that_overlap_across_sites() -> None:
    greedy = subnet("lyon", pools=(("10.50.0.60", "10.50.0.127"),))
    finding = found(view("paris", subnets=(subnet("paris"),)), view("lyon", subnets=(greedy,)))[
        Code.POOLS_OVERLAP
    ]
    assert finding.owners == ("paris: 10.50.0.1-10.50.0.63", "lyon: 10.50.0.60-10.50.0.127")


def test_a_subnet_with_another_cidr_cannot_be_changed() -> None:
    own = view("paris", subnets=(subnet("paris", cidr="10.51.0.0/24", pools=()),))
    assert Code.CIDR_DIFFERS in found(own)


@pytest.mark.parametrize(
    ("here", "there", "clash"),
    [
        (["01:00:01"], ["02:00:01"], False),
        (["01:00:01"], ["01:00:02"], True),
        (["11:00:01", "22:00:01", "33:00:01"], ["44:00:01", "55:00:01", "66:00:01"], True),
        (["11:00:01", "22:00:01", "33:00:01"], ["02:00:01", "02:00:02"], False),
    ],
)
def test_sites_that_draw_macs_from_one_range(
    here: list[str], there: list[str], clash: bool
) -> None:
    own = view("paris", *(port(m, n, 1, mac=f"fa:16:3e:{m}") for n, m in enumerate(here, 1)))
    peer = view("lyon", *(port(m, n, 2, mac=f"fa:16:3e:{m}") for n, m in enumerate(there, 70)))
    assert (Code.SAME_BASE_MAC in found(own, peer)) is clash


@pytest.mark.parametrize(
    ("used", "creates", "outcome"),
    [(0, 50, None), (0, 96, Outcome.WARN), (60, 41, Outcome.ERROR), (100, 0, Outcome.WARN)],
)
def test_quota_advice(used: int, creates: int, outcome: Outcome | None) -> None:
    own = view("paris", quota=Quota(limit=100, used=used))
    told = [each.outcome for each in clashes.quota(BACKUP, own, creates)]
    assert told == ([outcome] if outcome else [])


def test_no_quota_no_advice() -> None:
    own = view("paris", quota=Quota(limit=-1, used=5))
    assert not list(clashes.quota(BACKUP, own, 10**6))
    assert not list(clashes.quota(BACKUP, dataclasses.replace(own, quota=None), 10**6))
