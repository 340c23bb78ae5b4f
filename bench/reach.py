"""From "the port is ACTIVE in Paris" to the first ping from Lyon, and back to nothing; then data over the same ways.

A guest of Lyon pings the address of a port every 10 ms before the port is there, as does a guest on another host of Paris: what
the first answer of each says is the cost of two clouds beside one. Linux asks for an unknown address once a second; the two
guests ask ten times as often, so that a figure is not the kernel's patience. The peer is OVN interconnect
(`bench/interconnect.py`), on the same machine in the same run.
"""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import interconnect, launching, stretching
from bench.distributions import Spread, percentile, spread
from bench.launching import Options
from bench.results import Cell, Result, Table
from bench.stretching import Stretched
from isthmus.errors import IsthmusError
from isthmus.lab import guests, neutrons, waiting
from isthmus.lab.components.host import SWITCH, TUNNEL
from isthmus.lab.guests import Guest
from isthmus.lab.pinging import Pinging
from isthmus.lab.running import run

TAKES = "about 12 minutes; --quick 4"
PORTS, QUICK = 50, 10
AIM_P50, AIM_P99 = 500.0, 2000.0

_CIDR, _FIRST = "10.74.0.0/24", "10.74.0.{}"
_PERIOD = 0.01
_DEADLINE = 60.0  # an agent polls every second or two; busy cores need a multiple
_MEBI = 64
_PINGS = 200


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One port's moments, seconds since the epoch: what Neutron and hosts said, and the first answers."""

    plugged: float
    active: float
    first_lyon: float
    first_paris: float
    deleted: float
    withdrawn: float


def measure(options: Options) -> Result:
    """Ports one after the other, then the ways between two hosts of one site and of two, then the peer."""
    count = QUICK if options.quick else PORTS
    result = Result(
        name="reach",
        about=f"{count} ports, one after the other: plugged in Paris, pinged every 10 ms from a guest of Lyon and from a guest on "
        "another host of Paris. `withdrawn`: the host in Lyon has no entry for the port any more. ACTIVE is asked for without a "
        "pause, so its moment is late by up to one question.",
    )
    with stretching.prepared("reach") as lab, stretching.stretched(lab, _CIDR) as network:
        lyon = network.guest("lyon", "lyon", "compute1")
        near = network.guest("near", "paris", "compute1")
        for guest in (lyon, near):
            _ask_often(guest)
        ours = _record(result, _samples(result, network, lyon, near, count))
        with _noting(result, "the ways were not measured"):
            _ways(result, network, lyon, near)
    with _noting(result, "OVN interconnect was not measured"):
        _peer(result, count, ours)
    return result


@contextlib.contextmanager
def _noting(result: Result, what: str) -> Iterator[None]:
    """What fails here is a note: what was measured before is not to be lost with it."""
    try:
        yield
    except IsthmusError as error:
        print(error.describe(), file=sys.stderr, flush=True)
        result.notes.append(f"{what}: {error}")


def _samples(
    result: Result, network: Stretched, lyon: Guest, near: Guest, count: int
) -> list[Sample]:
    found: list[Sample] = []
    for number in range(1, count + 1):
        with _noting(result, f"port {number} was not measured"):
            found.append(_sample(network, lyon, near, number, count))
    if not found:
        raise IsthmusError("no port was measured", cause=result.notes[-1])
    return found


def _ask_often(guest: Guest) -> None:
    """Repeat questions for an address (ARP) every 100 ms instead of every second."""
    words = ["sysctl", "-qw", "net.ipv4.neigh.eth0.retrans_time_ms=100"]
    guests.execute(guest, words)


def _sample(network: Stretched, lyon: Guest, near: Guest, number: int, count: int) -> Sample:
    print(f"reach: port {number}/{count}", file=sys.stderr, flush=True)
    neutron, ip = network.neutron("paris"), _FIRST.format(9 + number)
    with (
        Pinging(lyon.namespace, ip, period=_PERIOD) as far,
        Pinging(near.namespace, ip, period=_PERIOD) as local,
    ):
        guest = network.guest(f"p{number}", "paris", "compute2", ip=ip, wait=False)
        plugged = time.time()
        active = _active(neutron, guest)
        _pinged(lyon, ip)
        _pinged(near, ip)
    asked = time.time()
    network.remove(guest)
    deleted = time.time()
    withdrawn = _withdrawn(network, lyon, guest)
    return Sample(
        plugged=plugged,
        active=active,
        first_lyon=min(far.answers.answered.values(), default=asked),
        first_paris=min(local.answers.answered.values(), default=asked),
        deleted=deleted,
        withdrawn=withdrawn,
    )


def _active(neutron: neutrons.Neutron, guest: Guest) -> float:
    """When Neutron was asked and said ACTIVE for the first time."""
    ended = time.monotonic() + _DEADLINE
    while time.monotonic() < ended:
        asked = time.time()
        port = neutron.get(f"/ports/{guest.port}", fields="status")["port"]
        if port["status"] == "ACTIVE":
            return asked
    raise IsthmusError("a port does not become ACTIVE", where=f"{guest.site}/{guest.host}")


def _pinged(guest: Guest, address: str) -> None:
    waiting.until(
        lambda: None if guests.ping(guest, address, count=1) else "no answer",
        deadline=_DEADLINE,
        what=f"{guest.name} does not reach {address}",
        where=f"{guest.site}/{guest.host}",
    )


def _withdrawn(network: Stretched, observer: Guest, gone: Guest) -> float:
    """When the observer's host has no entry for the port any more. What its switch learned by itself (priority 1) does not
    count: it goes by itself."""
    unit = f"{observer.site}/{observer.host}-{SWITCH}"
    socket = network.lab.home.unit_directory(unit) / f"{TUNNEL}.mgmt"
    match = f"table=20,dl_dst={gone.mac}"
    words = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", f"unix:{socket}", match]
    ended = time.monotonic() + _DEADLINE
    while time.monotonic() < ended:
        if "priority=2" not in run(words).stdout:
            return time.time()
    raise IsthmusError("an entry stays", where=unit, cause=f"{gone.mac}, {_DEADLINE:g} s are over")


def _record(result: Result, samples: Sequence[Sample]) -> list[float]:
    """All figures of the ports; returns milliseconds from ACTIVE to the first ping from Lyon."""
    series = {
        "ACTIVE in Paris to first ping from Lyon": [s.first_lyon - s.active for s in samples],
        "ACTIVE in Paris to first ping from Paris": [s.first_paris - s.active for s in samples],
        "plugged to first ping from Lyon": [s.first_lyon - s.plugged for s in samples],
        "plugged to first ping from Paris": [s.first_paris - s.plugged for s in samples],
        "Lyon later than Paris": [s.first_lyon - s.first_paris for s in samples],
        "deleted in Paris to withdrawn in Lyon": [s.withdrawn - s.deleted for s in samples],
    }
    rows: list[list[Cell]] = []
    for name, seconds in series.items():
        found = spread([1000 * value for value in seconds])
        rows.append([name, found.p50, found.p99, found.low, found.high, found.count])
    result.tables.append(
        Table(title="Ports, milliseconds", columns=_COLUMNS, rows=rows),
    )
    ours = [1000 * value for value in series["ACTIVE in Paris to first ping from Lyon"]]
    gone = spread([1000 * value for value in series["deleted in Paris to withdrawn in Lyon"]])
    result.aim("active_to_ping.p50", percentile(ours, 0.5), "ms", at_most=AIM_P50)
    result.aim("active_to_ping.p99", percentile(ours, 0.99), "ms", at_most=AIM_P99)
    result.spread("deleted_to_withdrawn", gone, "ms")
    if min(ours) < 0:
        result.notes.append("below zero: the ping was answered before Neutron said ACTIVE")
    return ours


_COLUMNS = ("what", "p50", "p99", "min", "max", "ports")


def _ways(result: Result, network: Stretched, lyon: Guest, near: Guest) -> None:
    """Latency and throughput from a guest of Paris to a host of the same site and to one of the other."""
    other = network.guest("other", "paris", "compute2")
    rows: list[list[Cell]] = []
    for name, target in (("same site, two hosts", other), ("two sites", lyon)):
        _pinged(near, target.ip)
        low, middle, high = _latency(near, target)
        speed = _throughput(near, target)
        rows.append([name, low, middle, high, speed])
        word = "same" if target is other else "cross"
        result.figure(f"{word}_site.rtt", middle, "ms", min=low, max=high, count=_PINGS)
        result.figure(f"{word}_site.tcp", speed, "Mbit/s", mebibytes=_MEBI)
    latency, speed = (float(rows[1][at] or 0) / float(rows[0][at] or 1) for at in (2, 4))
    rows.append(["two sites / same site", None, latency, None, speed])
    columns = ("way", "RTT min ms", "RTT avg ms", "RTT max ms", f"TCP Mbit/s ({_MEBI} MiB)")
    result.tables.append(Table(title="The same guests, near and far", columns=columns, rows=rows))


def _latency(source: Guest, target: Guest) -> tuple[float, float, float]:
    words = ["ping", "-n", "-q", "-c", str(_PINGS), "-i", "0.02", target.ip]
    text = guests.execute(source, words, timeout=60.0).stdout
    found = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", text)
    if found is None:
        raise IsthmusError("pings are not answered", where=target.name, cause=text.strip()[-200:])
    low, middle, high = (float(each) for each in found.groups())
    return low, middle, high


def _throughput(source: Guest, target: Guest) -> float:
    """Mbit/s of one TCP stream, from the first byte sent to the last one received."""
    receiving = guests.spawn(target, ["sh", "-c", "socat -u TCP-LISTEN:7001 STDOUT | wc -c"])
    address = f"TCP:{target.ip}:7001,retry=100,interval=0.05"
    sending = f"head -c {_MEBI << 20} /dev/zero | socat -u STDIN {address}"
    try:
        began = time.monotonic()
        guests.execute(source, ["sh", "-c", sending], timeout=120.0)
        received, _ = receiving.communicate(timeout=30.0)
        seconds = time.monotonic() - began
    except subprocess.TimeoutExpired as error:
        raise IsthmusError("data do not arrive", where=target.name) from error
    finally:
        receiving.kill()
    if received.strip() != str(_MEBI << 20):
        raise IsthmusError("data are missing", where=target.name, cause=f"{received.strip()} bytes")
    return (_MEBI << 20) * 8 / seconds / 1e6


def _peer(result: Result, count: int, ours: list[float]) -> None:
    """The same of OVN interconnect, if it is installed."""
    if missing := interconnect.missing():
        result.notes.append(f"OVN interconnect was not measured: {', '.join(missing)} not found")
        return
    reached, gone = interconnect.samples(count)
    rows: list[list[Cell]] = []
    for name, values in (("added to first ping", reached), ("removed to last ping", gone)):
        found: Spread = spread(values)
        rows.append([name, found.p50, found.p99, found.low, found.high, found.count])
    result.tables.append(Table(title="OVN interconnect, milliseconds", columns=_COLUMNS, rows=rows))
    result.spread("ovn_ic.added_to_ping", spread(reached), "ms")
    ratio = percentile(ours, 0.5) / percentile(reached, 0.5)
    result.figure("active_to_ping.ovn_ic_ratio", ratio, "")
    result.notes.append(interconnect.ABOUT)


if __name__ == "__main__":
    raise SystemExit(launching.one("reach", measure, takes=TAKES))
