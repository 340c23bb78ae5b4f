"""The end of a lab with networks: down leaves nothing of it on the machine. Last, because the lab is gone afterwards."""

import subprocess
from pathlib import Path

import pytest
from network_lab import NetworkLab

from isthmus.lab import guests, network, processes

pytestmark = pytest.mark.lab

# What runs for hosts and brokers, looked for by name and without the product's own eyes.
DAEMONS = ("beam.smp", "epmd", "ovs-vswitchd", "ovsdb-server", "privsep-helper")


def test_down_leaves_no_switch_broker_helper_guest_or_namespace(network_up: NetworkLab) -> None:
    network_up.mend()
    made = network_up.new_network("paris")
    network_up.guest("paris", "compute1", made["id"])
    before = _daemons()
    assert {name for name, _ in before} >= {"beam.smp", "ovs-vswitchd"}
    with network_up.unlocked():
        done = network_up.command("lab", "down")
    assert done.returncode == 0, done.stderr
    assert processes.running(network_up.home.lab) == {}
    assert _daemons() & before == set()
    assert guests.namespaces() == []
    assert network.present().isdisjoint(network.namespaces(network_up.environment))
    assert str(network_up.home.root) not in Path("/proc/mounts").read_text()
    assert not network_up.home.lab.exists()


def _daemons() -> set[tuple[str, int]]:
    """Names and process ids; other things on this machine may run the same programs."""
    listed = subprocess.run(
        ["ps", "-eo", "comm=,pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = set()
    for line in listed.splitlines():
        name, pid, arguments = line.split(maxsplit=2)
        if name in DAEMONS or "privsep-helper" in arguments:
            found.add((name, int(pid)))
    return found
