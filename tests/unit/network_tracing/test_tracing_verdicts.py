"""Every fault, alone, is named by the verdict with its place and its remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import tracing_facts as ground
from hypothesis import given
from hypothesis import strategies as st

from isthmus.network.tracing import verdicts
from isthmus.network.tracing.facts import Facts, Packet, Plug, Way
from isthmus.network.tracing.faults import Code
from isthmus.outcomes import Outcome

Break = Callable[[Facts], Facts]
FAR = ground.VTEPS["lyon"]
NOBODY = "10.99.9.9"


def way(facts: Facts, **changes: object) -> Facts:
    ways = {key: dataclasses.replace(each, **changes) for key, each in facts.ways.items()}
    return dataclasses.replace(facts, ways=ways)


def plug(facts: Facts, **changes: object) -> Facts:
    held = dict(facts.hosts["lyon", "compute1"].plugs)
    (identity,) = held
    return ground.with_host(
        facts, "lyon", plugs={identity: dataclasses.replace(held[identity], **changes)}
    )


def test_nothing_wrong_is_said_in_one_sentence() -> None:
    found = verdicts.trace(ground.healthy())
    assert found.summary == "web (paris) reaches db (lyon) with ICMP"
    assert found.outcome is Outcome.INFO
    assert found.root is None
    assert [hop.part for hop in found.there] == [
        "port", "groups", "remote port", "ARP", "FDB", "tunnel", "way", "arrival", "groups",
        "port",
    ]  # fmt: skip


BROKEN: list[tuple[Code, str, str, Break]] = [
    (Code.SITE_SILENT, "lyon", "isthmus site show lyon",
     lambda f: ground.with_site(f, "lyon", error="no answer", network=None, ports=())),
    (Code.NETWORK_MISSING, "lyon", "network sync",
     lambda f: ground.with_site(f, "lyon", network=None)),
    (Code.VNI_DIFFERS, "lyon", "delete the network in lyon",
     lambda f: ground.with_site(f, "lyon", network=dataclasses.replace(f.sites["lyon"].network, vni=4002))),  # type: ignore[type-var]
    (Code.PORT_DISABLED, "lyon/compute1", "--enable", lambda f: ground.with_end(f, "b", admin_up=False)),
    (Code.PORT_UNBOUND, "lyon", "binding_host_id",
     lambda f: ground.with_port(f, "b", host="", vtep_ip=None, status="DOWN")),
    (Code.NO_ADDRESS, "lyon/compute1", "--fixed-ip", lambda f: ground.with_port(f, "b", ips=())),
    (Code.PORT_NOT_PLUGGED, "lyon/compute1", "port show", lambda f: ground.with_host(f, "lyon", plugs={})),
    (Code.PORT_DOWN, "lyon/compute1", "port show", lambda f: ground.with_port(f, "b", status="DOWN")),
    (Code.PORT_DOWN, "lyon/compute1", "port show", lambda f: plug(f, local_vlan=4095)),
    (Code.REMOTE_PORT_MISSING, "paris", "network sync", lambda f: ground.with_remote(f, "paris", gone=True)),
    (Code.REMOTE_PORT_MISSING, "lyon", "network sync", lambda f: ground.with_remote(f, "lyon", gone=True)),
    (Code.REMOTE_PORT_DIFFERS, "paris", "network sync",
     lambda f: ground.with_remote(f, "paris", remote_vtep="10.99.2.32")),
    (Code.REMOTE_PORT_DOWN, "paris", "network sync", lambda f: ground.with_remote(f, "paris", status="DOWN")),
    (Code.ENTRY_MISSING, "paris/compute1", "network sync",
     lambda f: ground.with_host(f, "paris", unicast={}, flood=frozenset())),
    (Code.ENTRY_MISSING, "lyon/compute1", "network sync",
     lambda f: ground.with_host(f, "lyon", unicast={}, flood=frozenset())),
    (Code.ENTRY_WRONG, "paris/compute1", "network sync",
     lambda f: ground.with_host(f, "paris", unicast={ground.MACS["lyon"]: frozenset({NOBODY})})),
    (Code.ARP_WRONG, "paris/compute1", "network sync",
     lambda f: ground.with_host(f, "paris", arp={ground.IPS["lyon"]: "fa:16:3e:00:00:00"})),
    (Code.FLOOD_MISSING, "paris/compute1", "network sync",
     lambda f: ground.with_host(f, "paris", arp={}, flood=frozenset())),
    (Code.TUNNEL_MISSING, "paris/compute1", "network sync",
     lambda f: ground.with_host(f, "paris", tunnels=frozenset())),
    (Code.VNI_NOT_RECEIVED, "lyon/compute1", "restart neutron-openvswitch-agent on lyon/compute1",
     lambda f: ground.with_host(f, "lyon", arrives_in=None)),
    (Code.UNDERLAY_DOWN, "paris/compute1", "UDP port 4789",
     lambda f: way(f, reached=False, largest=None)),
    (Code.MTU_HOLE, "paris/compute1", "--mtu 1350", lambda f: way(f, largest=1400)),
    (Code.GROUP_BLOCKS, "lyon", "security group rule create --ingress --protocol icmp",
     lambda f: ground.with_end(f, "b", groups=(dataclasses.replace(ground.group("lyon"), rules=()),))),
    (Code.GROUP_BLOCKS, "paris", "security group rule create --egress",
     lambda f: ground.with_end(f, "a", groups=(dataclasses.replace(ground.group("paris"), rules=()),))),
    (Code.GROUP_BLOCKS, "lyon", "network sync",
     lambda f: ground.with_remote(f, "lyon", security_groups=frozenset())),
    (Code.GROUP_BLOCKS, "lyon", "--security-group", lambda f: ground.with_end(f, "b", groups=())),
]  # fmt: skip


@pytest.mark.parametrize(("code", "place", "remedy", "broken"), BROKEN)
def test_one_fault_alone_is_the_verdict(code: Code, place: str, remedy: str, broken: Break) -> None:
    found = verdicts.trace(broken(ground.healthy()))
    assert found.root is not None
    assert (found.root.code, found.root.place) == (code, place)
    assert found.root.outcome is Outcome.ERROR
    assert remedy in found.root.remedy
    assert found.root.summary in found.summary


DEGRADED: list[tuple[Code, str, Break]] = [
    (Code.ENTRY_MISSING, "paris/compute1", lambda f: ground.with_host(f, "paris", unicast={})),
    (Code.ARP_MISSING, "paris/compute1", lambda f: ground.with_host(f, "paris", arp={})),
    (Code.AGENT_DEAD, "lyon/compute1", lambda f: ground.with_host(f, "lyon", connected=False)),
    (Code.AGENT_DEAD, "lyon/compute1", lambda f: ground.with_host(f, "lyon", alive=False)),
    (Code.HOST_SILENT, "lyon/compute1", lambda f: ground.with_host(f, "lyon", error="no answer", plugs={})),
    (Code.MTU_DIFFERS, "lyon/compute1", lambda f: plug(f, mtu=1500)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "place", "broken"), DEGRADED)
def test_what_still_works_is_a_warning(code: Code, place: str, broken: Break) -> None:
    found = verdicts.trace(broken(ground.healthy()))
    assert found.root is not None
    assert (found.root.code, found.root.place, found.outcome) == (code, place, Outcome.WARN)
    assert "does not reach" not in found.summary


def test_a_dead_agent_is_the_cause_of_the_entry_that_is_missing() -> None:
    facts = ground.with_host(
        ground.healthy(), "paris", unicast={}, flood=frozenset(), connected=False
    )
    root = verdicts.trace(facts).root
    assert root is not None
    assert root.code is Code.ENTRY_MISSING
    assert root.cause == "Neutron's agent on paris/compute1 has lost the switch"
    assert root.remedy == "start neutron-openvswitch-agent on paris/compute1"


def test_what_follows_from_a_missing_remote_port_is_no_fault_of_its_own() -> None:
    facts = ground.with_host(
        ground.with_remote(ground.healthy(), "paris", gone=True),
        "paris", unicast={}, flood=frozenset(), arp={}, tunnels=frozenset(),
    )  # fmt: skip
    found = verdicts.trace(facts)
    assert [each.code for each in found.faults] == [Code.REMOTE_PORT_MISSING]
    assert all("no remote port is ACTIVE" in hop.text for hop in found.there if hop.part == "FDB")


def test_a_port_of_another_protocol_is_judged_by_its_rules() -> None:
    facts = dataclasses.replace(ground.healthy(), packet=Packet(protocol="tcp", port=80))
    rules = ground.group("lyon").rules[:1]
    facts = ground.with_end(
        facts, "b", groups=(dataclasses.replace(ground.group("lyon"), rules=rules),)
    )
    root = verdicts.trace(facts).root
    assert root is not None
    assert "drop TCP 80 from web (paris)" in root.summary
    assert "--protocol tcp --dst-port 80 --remote-ip 10.7.0.10/32" in root.remedy


def test_two_guests_on_one_host_need_no_tunnel() -> None:
    facts = ground.healthy()
    near = dataclasses.replace(ground.real("paris"), id=ground.IDS["lyon"], mac="fa:16:3e:01:00:0b")
    plugs = {
        **facts.hosts["paris", "compute1"].plugs,
        near.id: Plug(interface="tap2", local_vlan=1),
    }
    facts = ground.with_host(facts, "paris", plugs=plugs)
    facts = ground.with_end(facts, "b", site="paris", port=near, groups=facts.a.groups)
    found = verdicts.trace(facts)
    assert found.root is None
    assert "switch" in [hop.part for hop in found.there]
    assert "FDB" not in [hop.part for hop in found.there]


def test_an_underlay_that_was_not_tried_is_not_called_good() -> None:
    facts = dataclasses.replace(ground.healthy(), ways={})
    assert "not all is known" in verdicts.trace(facts).summary


@given(st.lists(st.sampled_from([each[3] for each in BROKEN]), min_size=1, max_size=5))
def test_breaking_more_never_makes_the_verdict_good(breaks: list[Break]) -> None:
    facts = ground.healthy()
    for each in breaks:
        try:
            facts = each(facts)
        except (TypeError, ValueError):
            continue  # What is to be broken is gone already.
    found = verdicts.trace(facts)
    assert found.outcome is Outcome.ERROR
    assert found.root == found.faults[0]


@given(st.sampled_from(BROKEN), st.booleans())
def test_the_other_way_round_the_same_things_are_wrong(
    broken: tuple[Code, str, str, Break], reachable: bool
) -> None:
    facts = broken[3](ground.healthy())
    turned = dataclasses.replace(facts, a=facts.b, b=facts.a)
    codes = {each.code for each in verdicts.trace(turned).faults}
    if broken[0] is not Code.GROUP_BLOCKS:  # Rules have a direction.
        assert broken[0] in codes


def test_a_way_without_an_answer_tells_what_ping_said() -> None:
    facts = dataclasses.replace(
        ground.healthy(),
        ways={
            key: Way(reached=False, error="Network is unreachable") for key in ground.healthy().ways
        },
    )
    root = verdicts.trace(facts).root
    assert root is not None
    assert root.cause == "Network is unreachable"
