"""The end of a lab with networks: down leaves nothing of it on the machine. Last, because the lab is gone afterwards."""

import subprocess
from pathlib import Path

import pytest
from network_lab import NetworkLab

from isthmus.lab import guests, network, processes

pytestmark = pytest.mark.lab

# Some of what runs for hosts and brokers.
DAEMONS = {"beam.smp", "epmd", "ovs-vswitchd", "ovsdb-server", "privsep-helper"}


def test_down_leaves_no_switch_broker_helper_guest_or_namespace(network_up: NetworkLab) -> None:
    network_up.mend()
    made = network_up.new_network("paris")
    network_up.guest("paris", "compute1", made["id"])
    ours = _inside(network.namespaces(network_up.environment))
    before = {(name, pid) for name, pid in _living() if pid in ours}
    assert {name for name, _ in before} >= DAEMONS
    with network_up.unlocked():
        done = network_up.command("lab", "down")
    assert done.returncode == 0, done.stderr
    assert processes.running(network_up.home.lab) == {}
    assert _living() & before == set()
    assert guests.namespaces() == []
    assert network.present().isdisjoint(network.namespaces(network_up.environment))
    assert str(network_up.home.root) not in Path("/proc/mounts").read_text()
    assert not network_up.home.lab.exists()


def _living() -> set[tuple[str, int]]:
    """Name and process id of everything that runs on this machine; what is dead and not yet collected by its parent does not."""
    argv = ["ps", "-eo", "pid=,stat=,comm="]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return {(name, int(pid)) for pid, state, name in rows if not state.startswith("Z")}


def _inside(namespaces: list[str]) -> set[int]:
    """Who lives in these namespaces, asked of the kernel and not of the product."""
    found = set()
    for name in namespaces:
        argv = ["ip", "netns", "pids", name]
        listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        found |= set(map(int, listed.split()))
    return found
