"""The reasons for which requests are refused, attacked with arbitrary requests."""

from __future__ import annotations

import dataclasses
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.neutron import acceptance
from isthmus.plugins.neutron.acceptance import Change, Limits, Wanted

ADDRESSES = st.ip_addresses()
NETWORKS = st.builds(
    lambda address, bits: ipaddress.ip_network(
        f"{address}/{min(bits, address.max_prefixlen)}", strict=False
    ),
    ADDRESSES,
    st.integers(0, 128),
)
LIMITS = st.builds(
    Limits,
    allowed=st.lists(NETWORKS, max_size=3).map(tuple),
    overlay_version=st.sampled_from([4, 6]),
)
GOOD = Wanted(device_owner="isthmus:remote", vnic_type="normal", host="", network_types=["vxlan"])
STILL = Change(vtep=None, device_owner=None, host=None, own_host="remote-vtep-10.99.2.31")
HOSTS = st.sampled_from(["", "compute1", STILL.own_host])


@given(ADDRESSES, LIMITS)
def test_an_accepted_vtep_lies_in_the_allow_list_and_is_the_address_of_a_host(
    address: ipaddress.IPv4Address, limits: Limits
) -> None:
    if acceptance.refuse_vtep(str(address), limits) is None:
        assert any(address in network for network in limits.allowed)
        assert address.version == limits.overlay_version
        assert not address.is_multicast
        assert not address.is_loopback
        assert not address.is_unspecified


@given(ADDRESSES.filter(lambda a: not (a.is_multicast or a.is_loopback or a.is_unspecified)))
def test_an_address_is_accepted_where_its_own_network_is_allowed(
    address: ipaddress.IPv4Address,
) -> None:
    limits = Limits(allowed=(ipaddress.ip_network(str(address)),), overlay_version=address.version)
    assert acceptance.refuse_vtep(str(address), limits) is None


def test_a_right_port_is_accepted_and_each_single_fault_is_refused() -> None:
    assert acceptance.refuse_wanted(GOOD) is None
    assert acceptance.refuse_wanted(dataclasses.replace(GOOD, vnic_type="")) is None
    faults = [
        {"device_owner": "network:dhcp"},
        {"device_owner": ""},
        {"vnic_type": "direct"},
        {"host": "compute1"},
        {"network_types": ["vlan", "geneve"]},
        {"network_types": []},
    ]
    for fault in faults:
        assert acceptance.refuse_wanted(dataclasses.replace(GOOD, **fault)) is not None, fault


@given(
    st.builds(
        Change,
        vtep=st.none() | st.sampled_from(["", "10.99.2.32"]),
        device_owner=st.none() | st.sampled_from(["", "isthmus:remote", "compute:nova"]),
        host=st.none() | HOSTS,
        own_host=st.just(STILL.own_host),
    )
)
def test_a_change_is_accepted_only_if_the_port_stays_remote_and_where_its_vtep_is(
    change: Change,
) -> None:
    stays = (
        change.vtep != ""
        and change.device_owner in (None, "isthmus:remote")
        and change.host in (None, change.own_host)
    )
    assert (acceptance.refuse_change(change) is None) == stays


def test_the_same_mac_in_capitals_is_no_change() -> None:
    assert acceptance.refuse_mac("fa:16:3e:00:00:0a", "FA:16:3E:00:00:0A") is None
    assert acceptance.refuse_mac("fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b") is not None
