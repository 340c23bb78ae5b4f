"""What VRRP inside a network function needs, rule by rule, and what is shown of addresses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus.network.addresses import showing, vrrp
from isthmus.network.addresses.declarations import Check, Kind, Probe, ServiceAddress
from isthmus.network.addresses.findings import Code
from isthmus.network.addresses.showing import Told
from isthmus.network.addresses.vrrp import AddPair, JoinGroup, Reserve, SiteLook

VIP = "10.0.0.5"
ADDRESS = ServiceAddress(
    id="11111111-2222-3333-4444-555555555555",
    name="vip",
    address=VIP,
    kind=Kind.VRRP,
    network="backup",
    targets={"paris": ("10.0.0.11",), "lyon": ("10.0.0.140",)},
)
RULE = {
    "direction": "ingress",
    "ethertype": "IPv4",
    "protocol": "112",
    "remote_group_id": "g1",
    "security_group_id": "g1",
    "remote_ip_prefix": None,
}
GROUPS = {"g1": {"id": "g1", "security_group_rules": [RULE]}}


def port(**more: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "device_owner": "compute:nova",
        "device_id": "vm",
        "binding:host_id": "compute1",
        "fixed_ips": [{"ip_address": "10.0.0.11", "subnet_id": "s1"}],
        "allowed_address_pairs": [{"ip_address": VIP}],
        "security_groups": ["g1"],
        **more,
    }


def reservation(**more: Any) -> dict[str, Any]:
    fixed = {"fixed_ips": [{"ip_address": VIP, "subnet_id": "s1"}]}
    owner = {"device_owner": "isthmus:reservation", "device_id": ADDRESS.id, "binding:host_id": ""}
    return port(id="r1", **{**fixed, **owner, **more})


def look(*ports: dict[str, Any], groups: Any = None) -> SiteLook:
    return SiteLook(
        site="paris",
        network={"id": "n1"},
        subnet_id="s1",
        ports=ports,
        groups=GROUPS if groups is None else groups,
    )


def codes(found: SiteLook) -> list[Code]:
    return [each.code for each in vrrp.judged(ADDRESS, found)]


def test_a_site_that_is_right_needs_nothing() -> None:
    assert vrrp.plan(ADDRESS, look(port(), reservation())) == vrrp.Plan()


def test_a_new_address_is_reserved_and_its_members_get_pair_and_group() -> None:
    bare = port(allowed_address_pairs=[{"ip_address": "10.0.0.9"}], security_groups=["g0"])
    plan = vrrp.plan(ADDRESS, look(bare))
    assert plan.actions == (
        Reserve(network_id="n1", subnet_id="s1"),
        AddPair(port_id="p1", pairs=({"ip_address": "10.0.0.9"},)),
        JoinGroup(port_id="p1", groups=("g0",)),
    )
    assert codes(look(bare)) == [Code.NOT_RESERVED, Code.PAIR_MISSING, Code.VRRP_BLOCKED]


def test_the_address_as_a_fixed_address_of_any_port_is_an_error_and_nothing_is_reserved() -> None:
    for owner in ("compute:nova", "isthmus:remote"):
        trap = port(id="p9", device_owner=owner, fixed_ips=[{"ip_address": VIP}])
        plan = vrrp.plan(ADDRESS, look(port(), trap))
        assert plan.actions == ()
        assert [each.code for each in plan.findings] == [Code.ADDRESS_TAKEN]
        assert "p9" in plan.findings[0].summary


def test_a_member_that_has_the_address_as_a_fixed_one_gets_no_pair_that_neutron_would_refuse() -> (
    None
):
    both = [{"ip_address": "10.0.0.11"}, {"ip_address": VIP}]
    trap = port(fixed_ips=both, allowed_address_pairs=[])
    assert codes(look(trap)) == [Code.ADDRESS_TAKEN]


def test_a_reservation_that_somebody_bound_to_a_host_is_an_error() -> None:
    assert Code.ADDRESS_TAKEN in codes(look(port(), reservation(**{"binding:host_id": "h"})))


def test_a_remote_port_is_no_member() -> None:
    remote = port(device_owner="isthmus:remote")
    assert codes(look(remote, reservation())) == [Code.TARGET_MISSING]


def test_a_port_without_port_security_needs_neither_pair_nor_group() -> None:
    free = port(port_security_enabled=False, allowed_address_pairs=[], security_groups=[])
    assert codes(look(free, reservation())) == []


def test_vrrp_from_anywhere_or_any_protocol_from_anywhere_will_do() -> None:
    rules = (
        {"direction": "ingress", "ethertype": "IPv4", "protocol": "vrrp"},
        {"direction": "ingress", "ethertype": "IPv4", "protocol": None},
        {"direction": "ingress", "protocol": "112", "remote_ip_prefix": "10.0.0.0/24"},
    )
    for rule in rules:
        groups = {"g1": {"security_group_rules": [rule]}}
        assert codes(look(port(), reservation(), groups=groups)) == []


def test_rules_for_others_do_not_let_vrrp_in() -> None:
    rules = (
        {**RULE, "remote_group_id": "g2"},
        {**RULE, "direction": "egress"},
        {**RULE, "ethertype": "IPv6"},
        {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"},
        {"direction": "ingress", "protocol": None, "remote_ip_prefix": "10.9.0.0/24"},
    )
    for rule in rules:
        groups = {"g1": {"security_group_rules": [rule]}}
        assert codes(look(port(), reservation(), groups=groups)) == [Code.VRRP_BLOCKED]


def test_a_site_without_the_network_is_told() -> None:
    missing = SiteLook(site="paris", network=None)
    assert codes(missing) == [Code.NETWORK_MISSING]


# -- what is shown -----------------------------------------------------------------------------

MOVED = replace(ADDRESS, kind=Kind.MOVED, check=Check(probe=Probe.TCP, port=80))


def told(site: str, **more: Any) -> Told:
    values: dict[str, Any] = {"owner": "paris/h1", "remaining": 0.8, "epoch": 3}
    if site != "madrid":
        values |= {"place": f"{site}/h1", "ready": True, "health": "healthy", "phase": "idle"}
    return Told(site=site, **{**values, **more})


def shown(*words: Told) -> dict[str, Any]:
    return showing.document(MOVED, {each.site: each for each in words})


def test_the_holder_is_whom_a_majority_names_and_the_lease_what_a_majority_promises() -> None:
    lost = told("lyon", owner=None, remaining=0.0)
    found = shown(lost, told("madrid", remaining=0.5), told("paris"))
    assert (found["holder"], found["lease_seconds_left"]) == ("paris/h1", 0.5)
    assert found["outcome"] == "OK"
    assert found["findings"] == []


def test_without_a_majority_of_voters_the_finding_names_those_that_are_silent() -> None:
    silent = {"owner": None, "error": "no answer within 2 s", "place": None}
    found = shown(told("paris", owner=None), told("lyon", **silent), told("madrid", **silent))
    first = found["findings"][0]
    assert (first["code"], first["outcome"]) == ("no-majority", "ERROR")
    assert "lyon, madrid" in first["cause"]
    assert found["outcome"] == "ERROR"


def test_a_silent_witness_is_a_warning() -> None:
    found = shown(told("paris"), told("lyon"), told("madrid", owner=None, error="refused"))
    assert [each["code"] for each in found["findings"]] == ["voter-silent"]
    assert found["holder"] == "paris/h1"
    assert found["outcome"] == "WARN"


def test_nobody_holding_it_says_what_each_site_waits_for() -> None:
    free = {"owner": None, "remaining": 0.0}
    paris = told("paris", **free, health="unhealthy", reason="refused", decision="unhealthy")
    found = shown(
        paris, told("lyon", **free, decision="moved by hand only"), told("madrid", **free)
    )
    by_code = {each["code"]: each for each in found["findings"]}
    assert "lyon: moved by hand only" in by_code["not-held"]["cause"]
    assert by_code["target-unhealthy"]["site"] == "paris"
    assert by_code["one-site-able"]["outcome"] == "INFO"
