"""The agent of a compute host against a real Open vSwitch: what it tells, and what it leaves."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import host_switch
import pytest

from conditions import wait_for

pytestmark = pytest.mark.functional

# The agent looks for what is over every two seconds; the tools need a fraction of one.
TIDIED = 10.0


@pytest.fixture(scope="module")
def host() -> Iterator[host_switch.Host]:
    with host_switch.running() as found:
        # Neutron's agent would wire the ports; here the bridge simply learns.
        found.openflow("br-int", "add-flow", "priority=0,actions=normal")
        found.start()
        yield found


@pytest.fixture(autouse=True)
def _clean(host: host_switch.Host) -> Iterator[None]:
    yield
    if host.process is None:
        host.start()
    wait_for("no probe is left", lambda: not leftovers(host), TIDIED)


def leftovers(host: host_switch.Host) -> list[str]:
    for name in host.call("GET", "/probes").json()["probes"]:
        host.call("DELETE", f"/probes/{name}")
    return host.traces()


def probe(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "port_id": f"f{number}aaaaaa-0000-4000-8000-000000000000",
        "mac": f"fa:16:3e:00:00:0{number}",
        "ip": f"10.7.0.{number}",
        "prefix": 24,
        "mtu": 1451,
        **changes,
    }


def plugged(host: host_switch.Host, number: int, **changes: Any) -> dict[str, Any]:
    answer = host.call("POST", "/probes", probe(number, **changes))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_probes_ping_each_other_through_the_bridge(host: host_switch.Host) -> None:
    near, far = plugged(host, 1), plugged(host, 2)
    order = {"targets": [far["ip"], "10.7.0.9"], "count": 3, "interval": 0.1}
    results = host.call("POST", f"/probes/{near['id']}/ping", order).json()["results"]
    assert results[far["ip"]]["received"] == 3
    assert 0 < results[far["ip"]]["min_ms"] <= results[far["ip"]]["max_ms"]
    assert (results["10.7.0.9"]["sent"], results["10.7.0.9"]["received"]) == (3, 0)


def test_packets_that_must_not_be_cut_are_as_large_as_was_asked_for(
    host: host_switch.Host,
) -> None:
    near, far = plugged(host, 1), plugged(host, 2)
    for size, received in ((1451, 2), (1452, 0)):
        order = {"targets": [far["ip"]], "count": 2, "interval": 0.1, "size": size, "df": True}
        results = host.call("POST", f"/probes/{near['id']}/ping", order).json()["results"]
        assert results[far["ip"]]["received"] == received


def test_a_probe_is_told_as_a_port_that_carries_its_id(host: host_switch.Host) -> None:
    found = plugged(host, 1)
    facts = host.call("GET", "/ports").json()["ports"][found["port_id"]]
    assert facts["interface"] == found["interface"]
    assert facts["probe"] == found["id"]
    assert facts["mac"] == "fa:16:3e:00:00:01"


def test_asking_twice_makes_one_probe_and_another_address_makes_another(
    host: host_switch.Host,
) -> None:
    first, again = plugged(host, 1), plugged(host, 1)
    assert again["id"] == first["id"]
    assert again["expires_at"] >= first["expires_at"]
    moved = plugged(host, 1, ip="10.7.0.7")
    assert moved["ip"] == "10.7.0.7"
    assert list(host.call("GET", "/probes").json()["probes"]) == [first["id"]]


def test_a_probe_that_nobody_removes_goes_by_itself(host: host_switch.Host) -> None:
    plugged(host, 1, seconds=1)
    assert host.traces()
    wait_for("the probe has gone", lambda: not host.traces(), TIDIED)


def test_a_killed_agent_removes_at_its_next_start_what_it_left(host: host_switch.Host) -> None:
    plugged(host, 1)
    host.end(signal.SIGKILL)
    assert host.traces()
    host.start()
    wait_for("the probe has gone", lambda: not host.traces(), TIDIED)


def test_an_agent_that_is_asked_to_end_leaves_nothing(host: host_switch.Host) -> None:
    plugged(host, 1)
    assert host.end(signal.SIGTERM) == 0
    assert host.traces() == []


def test_a_probe_that_cannot_be_plugged_leaves_nothing(host: host_switch.Host) -> None:
    answer = host.call("POST", "/probes", probe(1, mac="01:00:5e:00:00:01"))  # A multicast address.
    assert answer.status_code == 503
    assert "Cannot assign requested address" in answer.json()["error"]["cause"]
    assert host.traces() == []


def test_what_lies_in_the_way_of_a_probe_is_cleared(host: host_switch.Host) -> None:
    host_switch.command("ip", "netns", "add", "isthmus-probe-f1aaaaaa")
    found = plugged(host, 1)
    order = {"targets": [found["ip"]], "count": 1}
    results = host.call("POST", f"/probes/{found['id']}/ping", order).json()["results"]
    assert results[found["ip"]]["received"] == 1


def test_a_switch_that_was_restarted_is_asked_again_without_a_word(host: host_switch.Host) -> None:
    assert host.call("GET", "/fdb").status_code == 200
    host.kill_datapath()
    answer = host.call("GET", "/fdb")
    assert answer.status_code == 503
    assert answer.json()["error"]["cause"]
    host.start_datapath()
    wait_for("the FDB is told again", lambda: host.call("GET", "/fdb").status_code == 200, 10)
    host.openflow("br-int", "add-flow", "priority=0,actions=normal")


def test_the_fdb_of_one_network_is_told_alone(host: host_switch.Host) -> None:
    host.vsctl(
        "--may-exist", "add-port", "br-tun", "vxlan-1", "--", "set", "Interface", "vxlan-1",
        "type=vxlan", "options:remote_ip=10.99.2.31", "options:local_ip=10.99.1.31",
        "ofport_request=7",
    )  # fmt: skip
    for vlan, vni in ((1, 4001), (2, 4002)):
        host.openflow("br-tun", "add-flow", f"table=4,tun_id={vni},actions=push_vlan:0x8100,"
                      f"set_field:{0x1000 + vlan}->vlan_vid,goto_table:10")  # fmt: skip
        host.openflow("br-tun", "add-flow", f"table=22,dl_vlan={vlan},actions=strip_vlan,"
                      f"set_field:{vni}->tun_id,output:7")  # fmt: skip
    whole = host.call("GET", "/fdb").json()
    assert set(whole["networks"]) == {"4001", "4002"}
    assert whole["vtep"] == "10.99.1.31"
    one = host.call("GET", "/fdb?vni=4002").json()
    assert list(one["networks"]) == ["4002"]
    assert one["networks"]["4002"]["flood"] == ["10.99.2.31"]


def test_the_agent_is_small_and_quick(host: host_switch.Host) -> None:
    assert host.process is not None
    began = time.monotonic()
    for _ in range(5):
        assert host.call("GET", "/ports").status_code == 200
    # Two commands of Open vSwitch for each; a second is what an audit of many hosts can bear.
    assert (time.monotonic() - began) / 5 < 1.0
