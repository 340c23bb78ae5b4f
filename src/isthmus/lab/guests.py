"""Guests: network namespaces that stand for virtual machines, plugged into a host's switch as Neutron ports.

A guest is to Neutron what a virtual machine is: a port that is bound to a host, and an interface on that host's integration
bridge that carries the port's id. What is inside is the machine's own Linux, with one interface.

What is known of a guest lies in one file each below the lab's directory; it goes with `isthmus lab down`, like its namespace.
`add` and `remove` may be repeated: they look at what is there first.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from isthmus.lab import errors, home, kernel, names, network, neutrons, waiting
from isthmus.lab.components import host as hosting
from isthmus.lab.environment import Environment, HostSpec
from isthmus.lab.home import Home
from isthmus.lab.running import Completed, run

INTERFACE = "eth0"

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,30}$")

# The agent looks at its switch once a second and asks the server twice; busy cores need a multiple.
ACTIVE_DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest: where it runs, the Neutron port and network that it has there, its addresses."""

    name: str
    site: str
    host: str
    network: str  # the network's name
    port: str  # the port's id
    mac: str
    ip: str
    prefix: int
    mtu: int
    gateway: str | None

    @property
    def namespace(self) -> str:
        return f"{names.GUEST}{self.name}"

    @property
    def tap(self) -> str:
        """The guest's interface on the host, named as Nova names them."""
        return f"tap{self.port[:11]}"


def folder(place: Home) -> Path:
    """Where guests are noted."""
    return place.lab / "guests"


def listed(place: Home) -> list[Guest]:
    """All guests, by name."""
    return [Guest(**json.loads(path.read_text())) for path in sorted(folder(place).glob("*.json"))]


def find(place: Home, name: str) -> Guest:
    """The guest called `name`; raises `errors.BadRequest` that names those there are."""
    guests = {guest.name: guest for guest in listed(place)}
    if name not in guests:
        raise errors.BadRequest(
            what=f"there is no guest {name!r}",
            where=str(folder(place)),
            cause=f"the guests are {', '.join(guests) or 'none'}",
        )
    return guests[name]


def add(
    place: Home,
    *,
    site: str,
    host: str,
    network: str,
    name: str,
    ip: str | None = None,
    security_groups: Sequence[str] | None = None,
    wait: bool = True,
) -> Guest:
    """Make a guest on a host of a site, with a port on `network` (name or id), and wait until its port is active.

    `ip` asks for an address, `security_groups` (names or ids) replaces the project's default group. A guest that exists at
    the same place is plugged again if need be and returned. Raises `IsthmusError`.
    """
    environment = home.require_record(place).environment
    where = environment.site(site).host(host)
    if not _NAME.match(name):
        raise errors.BadRequest(
            what=f"a guest cannot be called {name!r}",
            where="guest add",
            cause="1 to 31 characters a-z, 0-9 and -, first a letter",
        )
    guest = _existing(place, name, site, host, network)
    if guest is None:
        neutron = neutrons.at(place, environment, site)
        guest = _ported(neutron, site, host, network, name, ip, security_groups)
        home.replace(folder(place) / f"{name}.json", json.dumps(asdict(guest)), mode=0o600)
    _plug(place, where, guest)
    if wait:
        active(place, guest)
    return guest


def active(place: Home, guest: Guest) -> None:
    """Wait until Neutron calls the guest's port active: its host's agent has wired it."""
    neutron = neutrons.at(place, home.require_record(place).environment, guest.site)

    def inactive() -> str | None:
        status = neutron.get(f"/ports/{guest.port}")["port"]["status"]
        return None if status == "ACTIVE" else f"Neutron calls the port {status}"

    waiting.until(
        inactive,
        deadline=ACTIVE_DEADLINE,
        what=f"guest {guest.name} is not connected",
        where=f"{guest.site}/{guest.host}",
        interval=0.25,
    )


def remove(place: Home, name: str) -> bool:
    """Unplug a guest and delete its port; False if there is no such guest."""
    path = folder(place) / f"{name}.json"
    if not path.is_file():
        return False
    guest = find(place, name)
    environment = home.require_record(place).environment
    host = environment.site(guest.site).host(guest.host)
    # A dead switch has no port to take away; the interface goes with the namespace.
    _vsctl(place, host, "--if-exists", "del-port", hosting.INTEGRATION, guest.tap, check=False)
    network.remove([guest.namespace])
    neutrons.at(place, environment, guest.site).delete(f"/ports/{guest.port}")
    path.unlink()
    return True


def execute(guest: Guest, argv: Sequence[str], *, timeout: float = 30.0) -> Completed:
    """Run a command in a guest to its end, without judging its exit code."""
    return run(argv, namespace=guest.namespace, timeout=timeout, check=False)


def spawn(guest: Guest, argv: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command in a guest with its output on a pipe; whoever starts it ends it."""
    return subprocess.Popen(
        ["ip", "netns", "exec", guest.namespace, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ping(guest: Guest, address: str, *, count: int = 3, wait: float = 1.0) -> int:
    """How many of `count` pings to `address` (5 a second) are answered, each within `wait` seconds."""
    argv = ["ping", "-n", "-q", "-c", str(count), "-i", "0.2", "-W", f"{wait:g}", address]
    done = execute(guest, argv, timeout=count * 0.2 + wait + 20.0)
    found = re.search(r"(\d+) received", done.stdout)
    return int(found.group(1)) if found else 0


def _existing(place: Home, name: str, site: str, host: str, network_name: str) -> Guest | None:
    guest = next((guest for guest in listed(place) if guest.name == name), None)
    if guest is None or (guest.site, guest.host, guest.network) == (site, host, network_name):
        return guest
    raise errors.BadRequest(
        what=f"there is already a guest {name!r}",
        where=f"{guest.site}/{guest.host} on {guest.network}",
        cause="names of guests are the lab's. First: isthmus lab guest remove " + name,
    )


def _ported(
    neutron: "neutrons.Neutron",
    site: str,
    host: str,
    network_name: str,
    name: str,
    ip: str | None,
    security_groups: Sequence[str] | None,
) -> Guest:
    """Make the port, bound to the host, and read what the guest has to know."""
    found = neutron.find("network", network_name)
    body = {
        "network_id": found["id"],
        "name": name,
        "device_owner": "compute:isthmus",
        "device_id": name,
        "binding:host_id": host,
    }
    if ip is not None:
        body["fixed_ips"] = [{"ip_address": ip}]
    if security_groups is not None:
        groups = [neutron.find("security-group", group)["id"] for group in security_groups]
        body["security_groups"] = groups
    port = neutron.post("/ports", {"port": body})["port"]
    if port["binding:vif_type"] == "binding_failed" or not port["fixed_ips"]:
        neutron.delete(f"/ports/{port['id']}")
        raise errors.NotReady(
            what=f"Neutron does not bind the port of guest {name}",
            where=f"{site}/{host}",
            cause=f"binding {port['binding:vif_type']}, addresses {port['fixed_ips']}",
        )
    address = port["fixed_ips"][0]
    subnet = neutron.get(f"/subnets/{address['subnet_id']}")["subnet"]
    return Guest(
        name=name,
        site=site,
        host=host,
        network=network_name,
        port=port["id"],
        mac=port["mac_address"],
        ip=address["ip_address"],
        prefix=int(subnet["cidr"].rpartition("/")[2]),
        mtu=found["mtu"],
        gateway=subnet["gateway_ip"],
    )


def _plug(place: Home, host: HostSpec, guest: Guest) -> None:
    if guest.namespace not in network.present():
        run(["ip", "netns", "add", guest.namespace])
    if kernel.veth(host.namespace, guest.tap, guest.namespace, INTERFACE):
        kernel.plain_frames(host.namespace, guest.tap)
        kernel.switch_port(host.namespace, guest.tap)
        kernel.plain_frames(guest.namespace, INTERFACE)
    kernel.batch(
        guest.namespace,
        [
            "link set lo up",
            f"link set {INTERFACE} address {guest.mac} mtu {guest.mtu}",
            f"addr replace {guest.ip}/{guest.prefix} dev {INTERFACE}",
            f"link set {INTERFACE} up",
            *([f"route replace default via {guest.gateway}"] if guest.gateway else []),
        ],
    )
    kernel.batch(host.namespace, [f"link set {guest.tap} up mtu {guest.mtu}"])
    ids = {"iface-id": guest.port, "iface-status": "active", "attached-mac": f'"{guest.mac}"'}
    _vsctl(
        place,
        host,
        *("--may-exist", "add-port", hosting.INTEGRATION, guest.tap),
        *("--", "set", "Interface", guest.tap, *(f"external_ids:{k}={v}" for k, v in ids.items())),
    )


def _vsctl(place: Home, host: HostSpec, *words: str, check: bool = True) -> None:
    socket = place.unit_directory(f"{host.site}/{host.name}-{hosting.SWITCH}") / "db.sock"
    run(
        ["ovs-vsctl", f"--db=unix:{socket}", "--timeout=20", "--no-wait", *words],
        namespace=host.namespace,
        check=check,
    )


def namespaces() -> list[str]:
    """Namespaces of guests on this machine."""
    return sorted(name for name in network.present() if name.startswith(names.GUEST))


def environment_of(place: Home) -> Environment:
    """The environment of the lab that is up; raises `errors.NoLab`."""
    return home.require_record(place).environment
