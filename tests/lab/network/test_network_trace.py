"""What is broken on purpose is named: by place, cause and remedy. And whatever verifies leaves nothing behind."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import network_truth
import pytest
from network_lab import NetworkLab
from running_lab import Lab

from isthmus.lab import guests, kernel, waiting
from isthmus.lab.components import base
from isthmus.lab.components.host import SWITCH, TUNNEL
from isthmus.lab.guests import Guest
from isthmus.lab.running import run
from isthmus.network.tracing import asking

pytestmark = pytest.mark.lab

# Both Neutrons, both hosts and the underlay: 3 s on idle cores; a silent site costs its time limits.
TRACE_SECONDS = 70.0
# Four ports made and gone, agents that look every two seconds, twelve pairs: 15 s on idle cores.
VERIFY_SECONDS = 120.0
# After an interrupt only the removal is left.
CLEAN_DEADLINE = 30.0


@dataclass
class Pair:
    """A stretched network with a guest in each site, on the first host."""

    lab: NetworkLab
    name: str
    vni: int
    paris: Guest
    lyon: Guest

    def trace(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and document of a trace from Paris to Lyon."""
        words = ("network", "trace", self.name, self.paris.name, self.lyon.name, "-f", "json")
        done = self.lab.command(*words, *options, timeout=TRACE_SECONDS)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def flows(self, host: str, *words: str) -> None:
        """Change flows of a host's tunnel bridge behind the back of its agent."""
        socket = self.lab.home.unit_directory(f"paris/{host}-{SWITCH}") / f"{TUNNEL}.mgmt"
        verb, *rest = words
        run(["ovs-ofctl", "-O", "OpenFlow13", verb, f"unix:{socket}", *rest])

    def true(self) -> None:
        network_truth.until_true(self.lab, self.vni)

    def remains(self) -> str | None:
        """Something that a verification has left behind, in the words of Neutrons, hosts and kernel."""
        for site in ("paris", "lyon"):
            ports = self.lab.neutron(site).get("/ports", device_owner=asking.PROBE_OWNER)["ports"]
            if ports:
                return f"ports of {site}: {[port['name'] for port in ports]}"
            for host in self.lab.environment.site(site).host_specs:
                socket = self.lab.home.unit_directory(f"{site}/{host.name}-{SWITCH}") / "db.sock"
                listed = run(["ovs-vsctl", f"--db=unix:{socket}", "list-ports", "br-int"]).stdout
                if "probe" in listed:
                    return f"{site}/{host.name} has {listed.split()}"
        found = [name for name in run(["ls", "/run/netns"]).stdout.split() if "probe" in name]
        return f"namespaces {found}" if found else None


@pytest.fixture(scope="module")
def network(network_up: NetworkLab) -> Iterator[Pair]:
    lab, name = network_up, f"traced-{uuid.uuid4().hex[:6]}"
    lab.mend()
    sites = ("--site", "paris", "--site", "lyon")
    words = ("network", "create", name, "--cidr", "10.73.0.0/24", *sites, "--wait", "-f", "json")
    made = lab.command(*words, timeout=120)
    assert made.returncode == 0, made.stderr
    pair = [
        guests.add(lab.home, site=site, host="compute1", network=name, name=f"t{name[-6:]}-{site}")
        for site in ("paris", "lyon")
    ]
    yield Pair(lab=lab, name=name, vni=json.loads(made.stdout)["vni"], paris=pair[0], lyon=pair[1])
    Lab.mend(lab)
    lab.tidy()
    gone = lab.command("network", "delete", name, "--wait", timeout=150)
    assert gone.returncode == 0, gone.stdout + gone.stderr


@pytest.fixture
def pair(network: Pair) -> Iterator[Pair]:
    """The two guests, reaching each other before and after each test, with every host holding the truth."""
    Lab.mend(network.lab)
    network.lab.reaches(network.paris, network.lyon.ip, deadline=network_truth.TRUE_DEADLINE)
    yield network
    Lab.mend(network.lab)
    network.true()


def test_a_trace_of_a_whole_network_finds_nothing_and_shows_both_ways(pair: Pair) -> None:
    pair.true()
    code, found = pair.trace()
    assert (code, found["root"], found["faults"]) == (0, None, [])
    assert {hop["outcome"] for hop in (*found["there"], *found["back"])} == {"INFO"}
    ways = [hop["text"] for hop in (*found["there"], *found["back"]) if hop["part"] == "way"]
    assert len(ways) == 2
    assert all("1500 bytes pass" in way for way in ways)


def test_an_entry_that_is_missing_is_named_with_its_host(pair: Pair) -> None:
    # A frozen agent does not notice, and cannot be told by the audit before the trace has looked.
    pair.lab.freeze("paris/compute1-l2")
    pair.flows("compute1", "del-flows", f"table=20,dl_dst={pair.lyon.mac}")
    pair.flows("compute1", "del-flows", "table=22")
    code, found = pair.trace()
    assert code == 2
    assert found["root"]["code"] in ("fdb-entry-missing", "flood-entry-missing")
    assert found["root"]["place"] == "paris/compute1"
    assert pair.lyon.name in found["root"]["summary"]
    assert f"isthmus network sync {pair.name}" in found["root"]["remedy"]


def test_a_dead_agent_of_neutron_is_a_warning_until_an_entry_is_missing(pair: Pair) -> None:
    assert pair.lab.kill("paris/compute1-l2") > 0
    code, found = pair.trace()
    assert (code, found["root"]["code"], found["root"]["place"]) == (
        1,
        "agent-dead",
        "paris/compute1",
    )
    assert " reaches " in found["summary"]
    pair.flows("compute1", "del-flows", f"table=20,dl_dst={pair.lyon.mac}")
    pair.flows("compute1", "del-flows", "table=22")
    code, found = pair.trace()
    assert (code, found["root"]["place"]) == (2, "paris/compute1")
    assert found["root"]["remedy"] == "start neutron-openvswitch-agent on paris/compute1"


def test_a_narrow_link_is_named_with_what_passes(pair: Pair) -> None:
    site = pair.lab.paris
    _, large = _large_ping(pair)
    assert large, "packets of the declared MTU pass before"
    kernel.batch(site.namespace, ["link set wan-lyon mtu 1400"])
    try:
        small, large = _large_ping(pair)
        assert small
        assert not large
        code, found = pair.trace()
    finally:
        kernel.batch(site.namespace, ["link set wan-lyon mtu 1500"])
    assert (code, found["root"]["code"]) == (2, "mtu-hole")
    assert "packets above 1350 bytes vanish" in found["root"]["summary"]
    assert f"isthmus network set {pair.name} --mtu 1350" in found["root"]["remedy"]


def _large_ping(pair: Pair) -> tuple[bool, bool]:
    """Whether small packets, and packets of the declared MTU, arrive."""
    sizes = (56, pair.paris.mtu - 28)
    words = [["ping", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", str(n)] for n in sizes]
    done = [guests.execute(pair.paris, [*each, pair.lyon.ip]).code == 0 for each in words]
    return done[0], done[1]


def test_a_security_group_that_blocks_is_named_and_the_remedy_opens_it(pair: Pair) -> None:
    neutron, path = pair.lab.neutron("lyon"), f"/ports/{pair.lyon.port}"
    before = neutron.get(path)["port"]["security_groups"]
    body = {"security_group": {"name": f"closed-{uuid.uuid4().hex[:6]}"}}
    closed = neutron.post("/security-groups", body)["security_group"]["id"]
    try:
        neutron.put(path, {"port": {"security_groups": [closed]}})
        code, found = pair.trace()
        assert (code, found["root"]["code"], found["root"]["place"]) == (
            2,
            "security-group-blocks",
            "lyon",
        )
        program, *words = shlex.split(found["root"]["remedy"])
        done = pair.lab.command("--os-cloud", "lyon", *words, program=program)
        assert done.returncode == 0, done.stderr
        assert pair.trace()[0] == 0
        pair.lab.reaches(pair.paris, pair.lyon.ip)
    finally:
        neutron.put(path, {"port": {"security_groups": before}})
        neutron.delete(f"/security-groups/{closed}")


def test_a_site_that_cannot_be_asked_is_named_and_its_port_still_found(pair: Pair) -> None:
    pair.lab.cut("paris-lyon")
    code, found = pair.trace("--ask", "paris")
    assert (code, found["root"]["code"], found["root"]["place"]) == (2, "site-silent", "lyon")
    assert found["b"]["port_id"] == pair.lyon.port


def test_a_port_that_is_not_there_is_refused_in_words(pair: Pair) -> None:
    done = pair.lab.command("network", "trace", pair.name, pair.paris.name, "nobody")
    assert done.returncode == 64
    assert "there is no port 'nobody' on this network" in done.stderr


def test_a_verification_reaches_every_pair_and_leaves_nothing_behind(pair: Pair) -> None:
    began = time.monotonic()
    words = ("network", "verify", pair.name, "-f", "json")
    done = pair.lab.command(*words, timeout=VERIFY_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < VERIFY_SECONDS / 2
    report = json.loads(done.stdout)
    assert len(report["probes"]) == 4
    assert len(report["pairs"]) == 12
    assert {each["mark"] for each in report["pairs"]} <= {"reached", "lossy"}
    assert all(each["whole"] and not each["beyond"] for each in report["pairs"])
    assert {(each["source"], each["target"]) for each in report["matrix"]} == {
        (a, b) for a in ("paris", "lyon") for b in ("paris", "lyon")
    }
    assert pair.remains() is None


def test_a_verification_that_is_interrupted_removes_its_probes_first(pair: Pair) -> None:
    process = subprocess.Popen(
        [base.script("isthmus"), "network", "verify", pair.name, "--quick"],
        env=pair.lab.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hearing,
    )
    assert process.stderr is not None
    assert "2 probes" in process.stderr.readline()
    assert pair.remains() is not None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=CLEAN_DEADLINE)
    assert process.returncode == 130, told
    assert "the probes are removed" in told
    assert pair.remains() is None


def _hearing() -> None:
    """A shell that runs this in the background has Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_host_that_is_dead_makes_the_verification_fail_and_is_named(pair: Pair) -> None:
    assert pair.lab.kill("lyon/compute2") > 0
    words = ("network", "verify", pair.name, "-f", "json")
    done = pair.lab.command(*words, timeout=VERIFY_SECONDS)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert any("lyon/compute2" in problem for problem in report["problems"])
    assert len(report["pairs"]) == 6
    assert all(each["mark"] in ("reached", "lossy") for each in report["pairs"])
    pair.lab.resume("lyon/compute2")
    waiting.until(pair.remains, deadline=CLEAN_DEADLINE, what="something is left", where="lab")
