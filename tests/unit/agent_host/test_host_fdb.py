"""What a host tells of its FDB, from dumps of a real Open vSwitch 3.1."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent.host import fdb, flows, ovsdb, ports

DUMPS = Path(__file__).with_name("dumps")
VERSIONS = ("10", "13", "14")
NEAR, FAR, TALKER = (f"fa:16:3e:02:00:0{digit}" for digit in "abc")


def dumped(version: str) -> tuple[flows.Flow, ...]:
    return flows.parse((DUMPS / f"br-tun-of{version}.txt").read_text())


@pytest.fixture
def interfaces() -> tuple[ovsdb.Interface, ...]:
    return ovsdb.interfaces((DUMPS / "interfaces.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_protocol_version_tells_the_same_fdb(
    version: str, interfaces: tuple[ovsdb.Interface, ...]
) -> None:
    held = fdb.assemble(dumped(version), interfaces)
    entries = held.networks[4001]
    assert entries.unicast == {NEAR: ["10.99.2.31"], FAR: ["10.99.2.32"]}
    assert entries.flood == ["10.99.2.31", "10.99.2.32"]
    assert entries.arp == {"10.7.0.10": NEAR, "10.7.0.11": FAR}
    assert entries.local_vlan == 1
    assert held.networks[4002] == fdb.Entries(local_vlan=2)
    assert held.local == "10.99.1.31"


def test_what_the_bridge_learned_by_itself_is_told_apart(
    interfaces: tuple[ovsdb.Interface, ...],
) -> None:
    entries = fdb.assemble(dumped("13"), interfaces).networks[4001]
    assert entries.learned == {TALKER: ["10.99.2.32"]}
    assert TALKER not in entries.unicast


def test_an_entry_without_its_tunnel_shows_the_port(
    interfaces: tuple[ovsdb.Interface, ...],
) -> None:
    left = [each for each in interfaces if each.ofport != 3]
    entries = fdb.assemble(dumped("13"), left).networks[4001]
    assert entries.unicast[FAR] == ["port 3"]


def test_an_entry_that_sends_with_another_vni_is_held_against_that_vni(
    interfaces: tuple[ovsdb.Interface, ...],
) -> None:
    wrong = flows.parse(
        " cookie=0x1, table=20, priority=2,dl_vlan=1,dl_dst=fa:16:3e:02:00:0a "
        "actions=pop_vlan,set_field:0xfff->tun_id,output:2"
    )
    held = fdb.assemble((*dumped("13"), *wrong), interfaces)
    assert held.networks[4095].unicast == {NEAR: ["10.99.2.31"]}
    assert held.networks[4095].local_vlan is None


def test_a_host_without_tunnels_says_the_address_it_was_told() -> None:
    held = fdb.assemble((), (), vtep="10.99.1.31")
    assert held.document() == {"vtep": "10.99.1.31", "tunnels": {}, "networks": {}}


def test_ports_tell_their_network_and_state(interfaces: tuple[ovsdb.Interface, ...]) -> None:
    known = ovsdb.ports((DUMPS / "ports.json").read_text())
    document = ports.document(interfaces, known)
    (facts,) = document.values()
    assert list(document) == ["0b1d2c3e-1111-4222-8333-444455556666"]
    assert (facts["interface"], facts["local_vlan"], facts["vni"]) == ("tap1", 1, 4001)
    assert (facts["mtu"], facts["admin_state"]) == (1450, "up")
    assert facts["statistics"]["rx_packets"] >= 0


def test_an_interface_that_could_not_be_made_has_no_number() -> None:
    text = (
        '{"data":[["tap9",-1,"",["map",[]],["map",[]],["set",[]],["set",[]],["set",[]],["set",[]],'
        '["map",[]],"could not open network device tap9"]],"headings":["name","ofport","type",'
        '"options","external_ids","mac_in_use","mtu","admin_state","link_state","statistics","error"]}'
    )
    (interface,) = ovsdb.interfaces(text)
    assert interface.ofport is None
    assert interface.error == "could not open network device tap9"


@given(st.text())
def test_any_text_is_parsed_without_an_error_or_is_no_flow(text: str) -> None:
    flows.parse(text.replace(" actions=", ""))


def test_actions_with_commas_inside_stay_whole() -> None:
    (learning,) = [flow for flow in dumped("13") if flow.table == 10]
    assert learning.actions[0].startswith("learn(table=20,hard_timeout=300")
    assert learning.actions[1] == "output:1"
    assert learning.outputs() == ("1",)


def test_the_flows_of_a_real_agent_of_neutron_are_understood() -> None:
    tunnel = ovsdb.Interface(
        name="vxlan-0a63021f",
        type="vxlan",
        ofport=2,
        options={"remote_ip": "10.99.2.31", "local_ip": "10.99.1.31"},
    )
    held = fdb.assemble(dumped_by_an_agent(), [tunnel])
    mac = "fa:16:3e:02:ae:43"
    assert held.networks == {
        4991: fdb.Entries(
            unicast={mac: ["10.99.2.31"]},
            learned={mac: ["10.99.2.31"]},
            flood=["10.99.2.31"],
            arp={"10.191.0.162": mac},
            local_vlan=1,
        )
    }


def dumped_by_an_agent() -> tuple[flows.Flow, ...]:
    return flows.parse((DUMPS / "br-tun-agent.txt").read_text())
