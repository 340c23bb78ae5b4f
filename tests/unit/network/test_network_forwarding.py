"""What a host should hold, what differs, and casts that repair it."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from isthmus import errors
from isthmus.network.forwarding import (
    FLOODING_ENTRY,
    Cast,
    Difference,
    Fdb,
    NetworkFdb,
    expected,
    missing,
    repair_entries,
)
from isthmus.network.views import REMOTE_OWNER, Port

HERE, NEXT_DOOR, FAR = "10.99.1.31", "10.99.1.32", "10.99.2.31"
VNI = 4000


def port(number: int, vtep: str | None, **values: Any) -> Port:
    plain: dict[str, Any] = {
        "id": f"port-{number}",
        "network_id": "net",
        "mac": f"fa:16:3e:00:00:{number:02x}",
        "ips": (f"10.50.0.{number}",),
        "vtep_ip": vtep,
        "status": "ACTIVE",
    }
    return Port(**{**plain, **values})


def remote(number: int, vtep: str, **values: Any) -> Port:
    return port(number, vtep, remote_vtep=vtep, device_owner=REMOTE_OWNER, **values)


def held_by(vtep: str, *ports: Port) -> NetworkFdb:
    return expected(vtep, {VNI: ports}).networks[VNI]


def test_a_host_holds_what_is_elsewhere_and_nothing_of_its_own() -> None:
    table = held_by(HERE, port(1, HERE), port(2, NEXT_DOOR), remote(3, FAR))
    assert table.unicast == {
        "fa:16:3e:00:00:02": {NEXT_DOOR},
        "fa:16:3e:00:00:03": {FAR},
    }
    assert table.flood == {NEXT_DOOR, FAR}
    assert table.arp == {"10.50.0.2": "fa:16:3e:00:00:02", "10.50.0.3": "fa:16:3e:00:00:03"}


@pytest.mark.parametrize("mine", [[], [port(1, HERE, status="DOWN")], [port(1, NEXT_DOOR)]])
def test_a_host_without_an_active_port_on_the_network_holds_nothing(mine: list[Port]) -> None:
    assert not expected(HERE, {VNI: [*mine, remote(3, FAR)]}).networks


def test_ports_that_are_down_or_nowhere_are_not_told() -> None:
    table = held_by(HERE, port(1, HERE), port(2, NEXT_DOOR, status="DOWN"), port(3, None))
    assert table == NetworkFdb()


def test_a_port_without_an_address_is_only_flooded_to() -> None:
    table = held_by(HERE, port(1, HERE), remote(2, FAR, ips=()))
    assert (table.unicast, table.flood, table.arp) == ({}, {FAR}, {})


def test_ipv6_addresses_are_not_answered_for_but_their_mac_is_known() -> None:
    table = held_by(HERE, port(1, HERE), remote(2, FAR, ips=("fd00::2",)))
    assert (set(table.unicast), table.arp) == ({"fa:16:3e:00:00:02"}, {})


def test_beside_routers_on_several_hosts_nothing_is_called_extra() -> None:
    router = port(9, NEXT_DOOR, device_owner="network:ha_router_replicated_interface")
    should = expected(HERE, {VNI: [port(1, HERE), router]})
    assert should.networks[VNI].unicast == {}
    assert should.networks[VNI].flood == {NEXT_DOOR}
    held = Fdb(vtep=HERE, networks={VNI: NetworkFdb(flood=frozenset({NEXT_DOOR, "10.99.1.33"}))})
    assert not missing(should, held, [VNI])


def test_a_document_of_the_host_agent_is_read() -> None:
    document = {
        "vtep": HERE,
        "tunnels": {},
        "networks": {
            "4000": {
                "unicast": {"fa:16:3e:00:00:03": [FAR]},
                "learned": {},
                "flood": [FAR],
                "arp": {"10.50.0.3": "fa:16:3e:00:00:03"},
                "local_vlan": 1,
            }
        },
    }
    held = Fdb.from_document(document)
    should = expected(HERE, {VNI: [port(1, HERE), remote(3, FAR)]})
    assert missing(should, held, [VNI]) == ()


@pytest.mark.parametrize("document", [{}, {"vtep": "x", "networks": []}, {"networks": {"1": {}}}])
def test_a_broken_document_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError):
        Fdb.from_document(document)


def test_differences_are_sorted_into_missing_wrong_and_extra() -> None:
    should = expected(HERE, {VNI: [port(1, HERE), remote(2, FAR), remote(3, FAR)]})
    held = Fdb(
        vtep=HERE,
        networks={
            VNI: NetworkFdb(
                unicast={
                    "fa:16:3e:00:00:02": frozenset({NEXT_DOOR}),
                    "fa:16:3e:00:00:77": frozenset({NEXT_DOOR}),
                },
                flood=frozenset({NEXT_DOOR}),
                arp={"10.50.0.2": "fa:16:3e:00:00:77", "10.50.0.9": "fa:16:3e:00:00:77"},
            )
        },
    )
    (found,) = missing(should, held, [VNI, 4001])
    assert found.missing.unicast == {"fa:16:3e:00:00:03": {FAR}}
    assert found.missing.flood == {FAR}
    assert found.missing.arp == {"10.50.0.3": "fa:16:3e:00:00:03"}
    assert found.wrong.unicast == {"fa:16:3e:00:00:02": {FAR}}
    assert found.wrong.arp == {"10.50.0.2": "fa:16:3e:00:00:02"}
    assert set(found.extra.unicast) == {"fa:16:3e:00:00:77"}
    assert set(found.extra.arp) == {"10.50.0.9"}
    assert found.extra.flood == {NEXT_DOOR}
    assert found.count == 8
    assert not found.empty
    assert Difference(vni=VNI).empty


def test_a_cast_has_the_form_that_agents_of_neutron_29_understand() -> None:
    should = expected(HERE, {VNI: [port(1, HERE), remote(3, FAR)]})
    (found,) = missing(should, Fdb(vtep=HERE), [VNI])
    (cast,) = repair_entries(found, Fdb(vtep=HERE), host="compute1", network_id="net-id")
    assert cast == Cast(
        topic="q-agent-notifier-l2population-update",
        server="compute1",
        version="1.0",
        method="add_fdb_entries",
        arguments={
            "fdb_entries": {
                "net-id": {
                    "segment_id": VNI,
                    "network_type": "vxlan",
                    "ports": {FAR: [list(FLOODING_ENTRY), ["fa:16:3e:00:00:03", "10.50.0.3"]]},
                }
            }
        },
    )


class Agent:
    """What the stock agent does with casts: l2population_rpc.py and ovs_neutron_agent.py of neutron
    29 (fdb_add_tun, fdb_remove_tun, add_fdb_flow, del_fdb_flow, setup_entry_for_arp_reply)."""

    def __init__(self, held: NetworkFdb, remembered: frozenset[str]) -> None:
        self.unicast = dict(held.unicast)
        self.flood = set(held.flood)
        self.remembered = set(remembered)
        """`tun_ofports` of the agent's map of local VLANs, which may differ from its flows."""
        self.arp = dict(held.arp)
        self.tunnels = self.flood.union(*self.unicast.values())

    def receive(self, cast: Cast) -> None:
        (network,) = cast.arguments["fdb_entries"].values()
        ports = {vtep: entries for vtep, entries in network["ports"].items() if vtep != HERE}
        for vtep, entries in ports.items():
            for entry in entries:
                getattr(self, cast.method)(vtep, *entry)

    def add_fdb_entries(self, vtep: str, mac: str, ip: str) -> None:
        self.tunnels.add(vtep)
        if (mac, ip) == FLOODING_ENTRY:
            self.remembered.add(vtep)
            self.flood = set(self.remembered)
            return
        if ":" not in ip:
            self.arp[ip] = mac
        self.unicast[mac] = frozenset({vtep})

    def remove_fdb_entries(self, vtep: str, mac: str, ip: str) -> None:
        if vtep not in self.tunnels:
            return
        if (mac, ip) == FLOODING_ENTRY:
            if vtep in self.remembered:
                self.remembered.remove(vtep)
                self.flood = set(self.remembered)
            return
        if ":" not in ip:
            self.arp.pop(ip, None)
        self.unicast.pop(mac, None)

    @property
    def table(self) -> NetworkFdb:
        return NetworkFdb(unicast=self.unicast, flood=frozenset(self.flood), arp=self.arp)


VTEPS = st.sampled_from([HERE, NEXT_DOOR, FAR, "10.99.2.32"])
OTHERS = st.sampled_from([NEXT_DOOR, FAR, "10.99.2.32", "10.99.3.31"])
NUMBERS = st.integers(2, 7)
MACS = NUMBERS.map("fa:16:3e:00:00:{:02x}".format)
TABLES = st.builds(
    NetworkFdb,
    unicast=st.dictionaries(MACS, OTHERS.map(lambda each: frozenset({each})), max_size=5),
    flood=st.frozensets(OTHERS),
    arp=st.dictionaries(NUMBERS.map("10.50.0.{}".format), MACS, max_size=5),
)


@given(
    vteps=st.dictionaries(NUMBERS, VTEPS, max_size=6), two=st.sets(NUMBERS), held=TABLES,
    forgotten=st.frozensets(OTHERS), backwards=st.booleans(),
)  # fmt: skip
@settings(max_examples=200)
def test_after_a_repair_in_any_order_the_host_holds_what_it_should(
    vteps: dict[int, str],
    two: set[int],
    held: NetworkFdb,
    forgotten: frozenset[str],
    backwards: bool,
) -> None:
    ports = [port(1, HERE)]
    for number, vtep in vteps.items():
        ips = (
            (f"10.50.0.{number}", f"10.50.1.{number}") if number in two else (f"10.50.0.{number}",)
        )
        ports.append(port(number, vtep, ips=ips))
    should = expected(HERE, {VNI: ports})
    now = Fdb(vtep=HERE, networks={VNI: held})
    # What an agent neither remembers nor is told anything about it leaves as it is.
    remembered = held.flood - forgotten if should.networks[VNI].flood else held.flood
    agent = Agent(held, remembered)
    for found in missing(should, now, [VNI]):
        casts = list(repair_entries(found, now, host="compute1", network_id="net"))
        for cast in casts[::-1] if backwards else casts:
            agent.receive(cast)
    assert missing(should, Fdb(vtep=HERE, networks={VNI: agent.table}), [VNI]) == _beyond(
        held, should
    )


def _beyond(held: NetworkFdb, should: Fdb) -> tuple[Difference, ...]:
    """Without a single tunnel the agent takes no removal; only then may addresses stay."""
    if held.flood or held.unicast:
        return ()
    left = {ip: mac for ip, mac in held.arp.items() if ip not in should.networks[VNI].arp}
    return (Difference(vni=VNI, extra=NetworkFdb(arp=left)),) if left else ()


@given(held=TABLES)
def test_what_is_as_it_should_be_needs_no_cast(held: NetworkFdb) -> None:
    same = Fdb(vtep=HERE, networks={VNI: held})
    assert missing(dataclasses.replace(same), same, [VNI]) == ()
