"""OVN interconnect, the peer: two availability zones of OVN, joined by `ovn-ic` over a transit switch, in namespaces of its own.

OVN 23.03 (Debian 12) carries only router ports over a transit switch, no ports of guests: so what is added here is a router
with a port on the transit switch in the first zone, and what pings it is a guest behind a router of the second. The chain is the
one that matters: northbound database, interconnection database, the other zone's databases, flows on its host. Packages:
ovn-central, ovn-host, ovn-ic, ovn-ic-db.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import launching
from bench.distributions import spread
from bench.launching import Options
from bench.results import Result
from isthmus.errors import IsthmusError
from isthmus.lab import waiting
from isthmus.lab.pinging import Pinging
from isthmus.lab.running import run

ABOUT = (
    "OVN interconnect adds a router port to its transit switch (23.03 knows no guests there); "
    "counted from the end of the command that adds it"
)
TAKES = "about 4 minutes; --quick 1"
PORTS, QUICK = 50, 10
PROGRAMS = ("ovn-ic", "ovn-ic-nbctl", "ovn-nbctl", "ovn-northd", "ovn-controller", "ovsdb-tool")

_ZONES = (1, 2)
_READY = 60.0
_AFTER = 0.5  # seconds of pings after a removal
_PERIOD = 0.01


def missing() -> list[str]:
    """Programs of OVN that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def measure(options: Options) -> Result:
    """The peer alone; it needs no lab. `bench.reach` measures it beside ours."""
    if absent := missing():
        raise IsthmusError("OVN interconnect is not installed", cause=", ".join(absent))
    reached, gone = samples(QUICK if options.quick else PORTS)
    result = Result(name="interconnect", about=ABOUT)
    result.spread("added_to_ping", spread(reached), "ms")
    result.spread("removed_to_last_ping", spread(gone), "ms")
    return result


def samples(count: int) -> tuple[list[float], list[float]]:
    """Milliseconds until a new port is reached from the other zone, and until a removed one is not."""
    reached, gone = [], []
    with _running() as folder:
        for number in range(1, count + 1):
            print(f"reach: OVN port {number}/{count}", file=sys.stderr, flush=True)
            first, last = _sample(folder, number)
            reached.append(first)
            gone.append(last)
    return reached, gone


def _sample(folder: Path, number: int) -> tuple[float, float]:
    address = f"169.254.101.{number}"
    with Pinging(_guest(2), address, period=_PERIOD) as pinging:
        time.sleep(0.3)  # The other zone asks for an address that is not there, as ours does.
        _add(folder, number, address)
        added = time.time()
        waiting.until(
            lambda: None if _ping(address) else "no answer",
            deadline=_READY,
            what=f"{address} is not reached",
            where="OVN",
            interval=0.05,
        )
        removing = time.time()
        _nbctl(folder, 1, "lsp-del", f"t{number}", "--", "lr-del", f"r{number}")
        time.sleep(_AFTER)
    answers = pinging.answers.answered.values()
    return 1000 * (min(answers) - added), 1000 * (max(answers) - removing)


def _add(folder: Path, number: int, address: str) -> None:
    router, port, switch_port = f"r{number}", f"p{number}", f"t{number}"
    mac = f"aa:aa:aa:bb:00:{number:02x}"
    commands = [
        ["lr-add", router],
        ["lrp-add", router, port, mac, f"{address}/16"],
        ["lsp-add", "ts", switch_port],
        ["lsp-set-type", switch_port, "router"],
        ["lsp-set-addresses", switch_port, "router"],
        ["lsp-set-options", switch_port, f"router-port={port}"],
        ["lrp-set-gateway-chassis", port, "zone1"],
        ["lr-route-add", router, "10.80.2.0/24", "169.254.100.2"],
    ]
    _nbctl(folder, 1, *_joined(commands))


def _joined(commands: list[list[str]]) -> list[str]:
    """Several commands as one transaction."""
    return [word for command in commands for word in ("--", *command)][1:]


def _ping(address: str) -> bool:
    words = ["ping", "-n", "-q", "-c", "1", "-W", "0.2", address]
    return run(words, namespace=_guest(2), check=False).code == 0


# --- two zones


def _zone(number: int) -> str:
    return f"bench-az{number}"


def _guest(number: int) -> str:
    return f"bench-vm{number}"


@contextlib.contextmanager
def _running() -> Iterator[Path]:
    """Two zones, joined; nothing of them is left afterwards."""
    _remove_namespaces()  # of a run that was killed
    folder = Path(tempfile.mkdtemp(prefix="bench-ovn-"))
    try:
        _global(folder)
        for number in _ZONES:
            _start(folder, number)
        run(["ovn-ic-nbctl", f"--db=unix:{folder}/icnb.sock", "ts-add", "ts"])
        waiting.until(
            lambda: _without_switch(folder), deadline=_READY, what="no transit switch", where="OVN"
        )
        for number in _ZONES:
            _populate(folder, number)
        waiting.until(
            lambda: None if _ping("10.80.1.10") else "no answer",
            deadline=_READY,
            what="the zones are not joined",
            where="OVN",
        )
        yield folder
    finally:
        _stop(folder)


def _global(folder: Path) -> None:
    """The databases that the zones share, and the cable between their hosts."""
    for name in ("nb", "sb"):
        _database(folder, f"ic{name}", f"ovn-ic-{name}.ovsschema")
    run(["ip", "link", "add", "bench-u1", "type", "veth", "peer", "name", "bench-u2"])


def _database(folder: Path, name: str, schema: str) -> None:
    path = Path(shutil.which("ovn-ic") or "").resolve().parents[1] / "share" / "ovn" / schema
    run(["ovsdb-tool", "create", str(folder / f"{name}.db"), str(path)])
    _daemon(folder, name, "ovsdb-server", str(folder / f"{name}.db"), socket=True)


def _daemon(
    folder: Path, name: str, program: str, *words: str, namespace: str = "", socket: bool = False
) -> None:
    """Start a daemon of Open vSwitch or OVN that finds its own folder; its pid file is how it is ended."""
    own = [f"--pidfile={folder}/{name}.pid", f"--log-file={folder}/{name}.log"]
    if program != "ovn-controller":  # It takes no such option.
        own.append(f"--unixctl={folder}/{name}.ctl")
    if socket:
        own.append(f"--remote=punix:{folder}/{name}.sock")
    environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVN_RUNDIR": str(folder)}
    run(
        [program, *words, *own, "--detach", "--no-chdir"],
        env=environment,
        namespace=namespace or None,
    )


def _start(folder: Path, number: int) -> None:
    """One zone: a host with its switch, and the zone's control plane."""
    zone, switch = _zone(number), folder / f"az{number}"
    switch.mkdir()
    run(["ip", "netns", "add", zone])
    run(["ip", "link", "set", f"bench-u{number}", "netns", zone, "name", "uplink"])
    run(["ip", "-n", zone, "link", "set", "uplink", "up"])
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    run(["ovsdb-tool", "create", str(switch / "switch.db"), schema])
    _daemon(switch, "switch", "ovsdb-server", f"{switch}/switch.db", namespace=zone, socket=True)
    _vsctl(folder, number, "--no-wait", "init")
    _daemon(switch, "vswitchd", "ovs-vswitchd", f"unix:{switch}/switch.sock", namespace=zone)
    _underlay(folder, number)
    for name in ("nb", "sb"):
        _database(switch, name, f"ovn-{name}.ovsschema")
    both = [f"--ovnnb-db=unix:{switch}/nb.sock", f"--ovnsb-db=unix:{switch}/sb.sock"]
    _daemon(switch, "northd", "ovn-northd", *both)
    _nbctl(folder, number, "set", "NB_Global", ".", f"name=az{number}",
           "options:ic-route-adv=true", "options:ic-route-learn=true")  # fmt: skip
    _vsctl(folder, number, "set", "Open_vSwitch", ".", *(
        f"external_ids:{key}={value}"
        for key, value in {
            "system-id": f"zone{number}", "hostname": f"zone{number}",
            "ovn-remote": f"unix:{switch}/sb.sock", "ovn-encap-type": "geneve",
            "ovn-encap-ip": f"10.77.1.{number}", "ovn-bridge-datapath-type": "netdev",
            "ovn-is-interconn": "true",
        }.items()
    ))  # fmt: skip
    _daemon(switch, "controller", "ovn-controller", f"unix:{switch}/switch.sock", namespace=zone)
    shared = [f"--ic-nb-db=unix:{folder}/icnb.sock", f"--ic-sb-db=unix:{folder}/icsb.sock"]
    _daemon(switch, "ic", "ovn-ic", *both, *shared)


def _underlay(folder: Path, number: int) -> None:
    """The tunnel's end lies on a bridge of the user-space switch, or its packets vanish."""
    zone = _zone(number)
    _vsctl(folder, number, "add-br", "br-phy", "--", "set", "Bridge", "br-phy",
           "datapath_type=netdev", "fail_mode=standalone", "--", "add-port", "br-phy", "uplink")  # fmt: skip
    run(["ip", "-n", zone, "address", "add", f"10.77.1.{number}/24", "dev", "br-phy"])
    run(["ip", "-n", zone, "link", "set", "br-phy", "up"])
    for interface in ("br-phy", "uplink"):
        run(["ethtool", "-K", interface, "tx", "off"], namespace=zone)


def _without_switch(folder: Path) -> str | None:
    for number in _ZONES:
        if "(ts)" not in _nbctl(folder, number, "ls-list"):
            return f"zone {number} has none"
    return None


def _populate(folder: Path, number: int) -> None:
    """A router with a guest behind it, connected to the transit switch."""
    mac, guest_mac = f"aa:aa:aa:aa:0{number}", f"02:00:00:00:0{number}:10"
    commands = [
        ["lr-add", "lr"],
        ["lrp-add", "lr", "lr-ls", f"{mac}:01", f"10.80.{number}.1/24"],
        ["ls-add", "ls"],
        ["lsp-add", "ls", "ls-lr"],
        ["lsp-set-type", "ls-lr", "router"],
        ["lsp-set-addresses", "ls-lr", "router"],
        ["lsp-set-options", "ls-lr", "router-port=lr-ls"],
        ["lsp-add", "ls", "guest"],
        ["lsp-set-addresses", "guest", f"{guest_mac} 10.80.{number}.10"],
        ["lrp-add", "lr", "lr-ts", f"{mac}:02", f"169.254.100.{number}/16"],
        ["lsp-add", "ts", f"ts-lr{number}"],
        ["lsp-set-type", f"ts-lr{number}", "router"],
        ["lsp-set-addresses", f"ts-lr{number}", "router"],
        ["lsp-set-options", f"ts-lr{number}", "router-port=lr-ts"],
        ["lrp-set-gateway-chassis", "lr-ts", f"zone{number}"],
    ]
    _nbctl(folder, number, *_joined(commands))
    _plug(folder, number, guest_mac)


def _plug(folder: Path, number: int, mac: str) -> None:
    guest, zone = _guest(number), _zone(number)
    run(["ip", "netns", "add", guest])
    run(["ip", "link", "add", "name", "eth0", "netns", guest, "type", "veth",
         "peer", "name", "guest", "netns", zone])  # fmt: skip
    run(["ethtool", "-K", "eth0", "tx", "off"], namespace=guest)
    for words in (
        f"link set eth0 address {mac} mtu 1400 up",
        f"address add 10.80.{number}.10/24 dev eth0",
        f"route add default via 10.80.{number}.1",
    ):
        run(["ip", "-n", guest, *words.split()])
    run(["ip", "-n", zone, "link", "set", "guest", "up"])
    _vsctl(folder, number, "add-port", "br-int", "guest", "--", "set", "Interface", "guest",
           "external_ids:iface-id=guest")  # fmt: skip


def _nbctl(folder: Path, number: int, *words: str) -> str:
    return run(["ovn-nbctl", f"--db=unix:{folder}/az{number}/nb.sock", *words]).stdout


def _vsctl(folder: Path, number: int, *words: str) -> str:
    return run(["ovs-vsctl", f"--db=unix:{folder}/az{number}/switch.sock", *words]).stdout


def _stop(folder: Path) -> None:
    """End what runs, by its pid files; then the namespaces and the files."""
    for path in folder.rglob("*.pid"):
        with contextlib.suppress(ValueError, ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)
    _remove_namespaces()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_namespaces() -> None:
    for number in _ZONES:
        run(["ip", "netns", "delete", _guest(number)], check=False)
        run(["ip", "netns", "delete", _zone(number)], check=False)
    run(["ip", "link", "delete", "bench-u1"], check=False)


if __name__ == "__main__":
    raise SystemExit(launching.one("interconnect", measure, takes=TAKES))
