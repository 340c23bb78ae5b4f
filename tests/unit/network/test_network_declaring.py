"""Declarations: what is chosen, what is refused, what never moves."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import itertools
import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from isthmus import errors
from isthmus.network.declarations import (
    Changes,
    DeclarationError,
    Dhcp,
    Gateway,
    Request,
    Settings,
    StretchedNetwork,
)
from isthmus.network.declaring import attach, change, declare, detach, withdraw
from isthmus.network.partition import Policy

CLOUD = Settings(vni_range=(4000, 4002), sites=("paris", "lyon", "nice", "brest", "rome"))


def request(**values: Any) -> Request:
    plain = {
        "name": "backup",
        "project_id": "vnf",
        "cidr": "10.50.0.0/24",
        "sites": ("paris", "lyon"),
    }
    return Request(**{**plain, **values})


def declared(*existing: StretchedNetwork, **values: Any) -> StretchedNetwork:
    return declare(request(**values), existing, CLOUD, identity=f"id-{len(existing)}")


def refused(*existing: StretchedNetwork, **values: Any) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        declared(*existing, **values)
    error = caught.value
    assert error.cause
    assert error.unchanged == "nothing was declared"
    assert error.where == f"field {error.field}"
    return error


def test_what_is_left_open_is_chosen() -> None:
    network = declared()
    assert (network.vni, network.mtu, network.slots, network.revision) == (4000, 1450, 4, 1)
    assert network.pools == {
        "paris": (("10.50.0.1", "10.50.0.63"),),
        "lyon": (("10.50.0.64", "10.50.0.127"),),
    }
    assert (network.gateway, network.gateways, network.dhcp) == (Gateway.NONE, {}, Dhcp.NONE)
    assert network.partition is Policy.KEEP


def test_the_id_is_a_new_uuid_each_time() -> None:
    one, other = declare(request(), [], CLOUD), declare(request(), [], CLOUD)
    assert len(one.id) == 36
    assert one.id != other.id


def test_gateways_are_distinct_and_in_no_pool() -> None:
    network = declared(gateway=Gateway.PER_SITE)
    assert network.gateways == {"paris": "10.50.0.1", "lyon": "10.50.0.64"}
    assert network.pools["paris"] == (("10.50.0.2", "10.50.0.63"),)


def test_a_given_gateway_cuts_the_pool_of_the_slot_it_is_in() -> None:
    network = declared(
        gateway=Gateway.PER_SITE, gateways={"paris": "10.50.0.5", "lyon": "10.50.0.6"}
    )
    assert network.pools["paris"] == (("10.50.0.1", "10.50.0.4"), ("10.50.0.7", "10.50.0.63"))


def test_given_pools_are_taken_and_others_get_what_is_left() -> None:
    network = declared(
        pools={"paris": (("10.50.0.10", "10.50.0.20"), ("10.50.0.30", "10.50.0.40"))}
    )
    assert network.pools["paris"] == (("10.50.0.10", "10.50.0.20"), ("10.50.0.30", "10.50.0.40"))
    assert network.pools["lyon"] == (("10.50.0.64", "10.50.0.127"),)


def test_the_lowest_free_vni_is_taken_and_a_deleted_network_still_holds_its_own() -> None:
    first = declared()
    second = declared(withdraw(first), name="other")
    assert second.vni == 4001
    third = declared(first, second, name="third", vni=4002)
    error = refused(first, second, third, name="fourth")
    assert error.field == "vni"


@pytest.mark.parametrize(
    ("values", "field", "word"),
    [
        ({"name": ""}, "name", "no name"),
        ({"name": "a/b"}, "name", "no name"),
        ({"name": "x" * 64}, "name", "no name"),
        ({"project_id": ""}, "project_id", "no project"),
        ({"project_id": "a b"}, "project_id", "no project"),
        ({"cidr": "10.50.0.1/24"}, "cidr", "host bits"),
        ({"cidr": "nonsense"}, "cidr", "nonsense"),
        ({"cidr": "fd00::/64"}, "cidr", "IPv6 is not offered"),
        ({"cidr": "10.0.0.0/30"}, "cidr", "prefix"),
        ({"cidr": "10.0.0.0/7"}, "cidr", "host bits|prefix"),
        ({"sites": ()}, "sites", "at least one"),
        ({"sites": ("paris", "paris")}, "sites", "twice"),
        ({"sites": ("paris", "berlin")}, "sites", "berlin"),
        ({"vni": 3999}, "vni", "4000 to 4002"),
        ({"mtu": 1451}, "mtu", "1450"),
        ({"mtu": 575}, "mtu", "576"),
        (
            {"partition": Policy.PURGE, "partition_after_seconds": 5.0},
            "partition_after_seconds",
            "5 s",
        ),
        ({"partition_after_seconds": float("nan")}, "partition_after_seconds", "nan"),
        ({"gateways": {"paris": "10.50.0.1"}}, "gateways", "per-site"),
        (
            {"gateway": Gateway.PER_SITE, "gateways": {"nice": "10.50.0.1"}},
            "gateways",
            "nice is not among",
        ),
        (
            {"gateway": Gateway.PER_SITE, "gateways": {"paris": "10.50.0.0"}},
            "gateways",
            "not inside",
        ),
        (
            {"gateway": Gateway.PER_SITE, "gateways": {"paris": "10.50.0.9", "lyon": "10.50.0.9"}},
            "gateways",
            "overlaps the gateway of paris",
        ),
        ({"pools": {"nice": (("10.50.0.1", "10.50.0.2"),)}}, "pools", "nice is not among"),
        ({"pools": {"paris": ()}}, "pools", "empty"),
        ({"pools": {"paris": (("10.50.0.9", "10.50.0.2"),)}}, "pools", "behind"),
        ({"pools": {"paris": (("x", "10.50.0.2"),)}}, "pools", "pool of paris: 'x'"),
        ({"pools": {"paris": (("10.51.0.1", "10.51.0.2"),)}}, "pools", "not inside"),
        (
            {
                "pools": {
                    "paris": (("10.50.0.1", "10.50.0.9"),),
                    "lyon": (("10.50.0.9", "10.50.0.20"),),
                }
            },
            "pools",
            "overlaps the pool of paris",
        ),
        ({"pools": {"paris": (("10.50.0.1", "10.50.0.254"),)}}, "pools", "give the site a pool"),
    ],
)
def test_a_refusal_names_the_field_and_the_cause(
    values: dict[str, Any], field: str, word: str
) -> None:
    error = refused(**values)
    assert error.field == field
    assert any(each in str(error.cause) for each in word.split("|"))


def test_a_name_that_exists_is_refused_with_its_owner() -> None:
    first = declared()
    error = refused(first)
    assert error.field == "name"
    assert first.id in str(error.cause)
    assert "being deleted" in str(refused(withdraw(first)).cause)


def test_a_vni_that_exists_is_refused_with_its_owner() -> None:
    assert "backup" in str(refused(declared(), name="other", vni=4000).cause)


def test_a_third_site_moves_nobody_and_a_detached_one_makes_room() -> None:
    network = declared()
    wider = attach(network, "nice", CLOUD)
    assert wider.revision == 2
    assert {site: wider.pools[site] for site in network.pools} == network.pools
    assert wider.pools["nice"] == (("10.50.0.128", "10.50.0.191"),)
    full = attach(wider, "brest", CLOUD)
    with pytest.raises(DeclarationError, match="rome"):
        attach(full, "rome", CLOUD)
    again = attach(detach(full, "lyon"), "rome", CLOUD)
    assert again.pools["rome"] == network.pools["lyon"]


def test_a_site_is_attached_with_its_own_pool_and_gateway() -> None:
    network = declared(gateway=Gateway.PER_SITE)
    wider = attach(
        network, "nice", CLOUD, pool=(("10.50.0.200", "10.50.0.210"),), gateway="10.50.0.254"
    )
    assert wider.gateways["nice"] == "10.50.0.254"
    chosen = attach(network, "nice", CLOUD, pool=(("10.50.0.200", "10.50.0.210"),))
    assert chosen.gateways["nice"] == "10.50.0.128"


@pytest.mark.parametrize(
    ("site", "values", "field"),
    [
        ("paris", {}, "sites"),
        ("berlin", {}, "sites"),
        ("nice", {"pool": (("10.50.0.1", "10.50.0.1"),)}, "pools"),
        ("nice", {"gateway": "10.50.0.250"}, "gateways"),
    ],
)
def test_what_cannot_be_attached(site: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        attach(declared(), site, CLOUD, **values)
    assert caught.value.field == field
    assert "left as they were" in str(caught.value.unchanged)


def test_what_cannot_be_detached() -> None:
    network = declared()
    with pytest.raises(DeclarationError, match="not attached"):
        detach(network, "nice")
    with pytest.raises(DeclarationError, match="delete the network"):
        detach(detach(network, "lyon"), "paris")


def test_changes_raise_the_revision_only_when_something_differs() -> None:
    network = declared()
    assert change(network, Changes(), [network], CLOUD) is network
    assert change(network, Changes(mtu=1450), [network], CLOUD) is network
    changed = change(network, Changes(name="new", mtu=1400, dhcp=Dhcp.PER_SITE), [network], CLOUD)
    assert (changed.revision, changed.name, changed.mtu) == (2, "new", 1400)
    with pytest.raises(DeclarationError):
        change(network, Changes(mtu=9000), [network], CLOUD)
    other = declared(network, name="other")
    with pytest.raises(DeclarationError):
        change(network, Changes(name="other"), [network, other], CLOUD)


def test_a_network_that_was_declared_under_a_larger_mtu_can_still_be_renamed() -> None:
    network = dataclasses.replace(declared(), mtu=8950)
    assert change(network, Changes(name="new"), [network], CLOUD).mtu == 8950


def test_a_network_being_deleted_is_left_alone() -> None:
    end = withdraw(declared())
    assert end.deleting
    assert withdraw(end) is end
    for attempt in (
        lambda: change(end, Changes(mtu=1400), [end], CLOUD),
        lambda: attach(end, "nice", CLOUD),
        lambda: detach(end, "lyon"),
    ):
        with pytest.raises(DeclarationError, match="being deleted"):
            attempt()


def test_a_document_of_a_newer_release_is_read_and_a_broken_one_is_named() -> None:
    network = declared(gateway=Gateway.PER_SITE)
    document = json.loads(json.dumps(network.to_document()))
    assert StretchedNetwork.from_document({**document, "colour": "red"}) == network
    for broken in (
        {**document, "vni": "many"},
        {**document, "sites": "paris"},
        {**document, "pools": []},
        {k: v for k, v in document.items() if k != "cidr"},
    ):
        with pytest.raises(errors.InputError) as caught:
            StretchedNetwork.from_document(broken)
        assert "backup" in str(caught.value.where)


PREFIXES = st.integers(22, 29)
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(CLOUD.sites)), max_size=8)


@given(
    prefix=PREFIXES,
    sites=st.lists(st.sampled_from(CLOUD.sites), min_size=1, max_size=5, unique=True),
    gateway=st.sampled_from(list(Gateway)),
    slots=st.sampled_from([1, 2, 4, 8, 16]),
    steps=STEPS,
)
def test_pools_are_disjoint_usable_and_never_move(
    prefix: int, sites: list[str], gateway: Gateway, slots: int, steps: list[tuple[bool, str]]
) -> None:
    cloud = dataclasses.replace(CLOUD, slots=slots)
    asked = request(cidr=f"10.50.0.0/{prefix}", sites=tuple(sites), gateway=gateway)
    if prefix >= 28:
        with contextlib.suppress(DeclarationError):
            _holds(declare(asked, [], cloud))
        return
    network = declare(asked, [], cloud)
    for add, site in steps:
        before = network
        try:
            network = attach(network, site, cloud) if add else detach(network, site)
        except DeclarationError:
            continue
        for stays in set(before.sites) & set(network.sites):
            assert network.pools[stays] == before.pools[stays]
            assert network.gateways.get(stays) == before.gateways.get(stays)
    _holds(network)


def _holds(network: StretchedNetwork) -> None:
    hosts = set(ipaddress.ip_network(network.cidr).hosts())
    assert set(network.pools) == set(network.sites)
    taken = [addresses(pool) for pool in network.pools.values()]
    gateways = [ipaddress.ip_address(each) for each in network.gateways.values()]
    assert all(each and each <= hosts for each in taken)
    assert all(not one & other for one, other in itertools.combinations(taken, 2))
    assert len(set(gateways)) == len(gateways)
    assert not set(gateways) & set().union(*taken)
    assert set(gateways) <= hosts
    per_site = network.gateway is Gateway.PER_SITE
    assert set(network.gateways) == (set(network.sites) if per_site else set())


def addresses(pool: tuple[tuple[str, str], ...]) -> set[ipaddress.IPv4Address]:
    return {
        ipaddress.IPv4Address(number)
        for first, last in pool
        for number in range(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last)) + 1)
    }
