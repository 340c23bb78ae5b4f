"""The lab's network: a namespace per site, a WAN link per pair of sites, a management network to the host.

A WAN link is two veth pairs that meet in the namespace `isthmus-wan`, on a bridge of their own (or at a relay while the link is
delayed, see `delays`). Faults and counters are nftables rules at the *receiving* end, inside the sites, so they act in
both cases. The management network is a bridge on the host with isolated ports: sites cannot reach each other over it.

Every function is idempotent: it looks at what the kernel has and adds what is missing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import hosts, kernel
from isthmus.lab.environment import LINKS_SUBNET, Environment, Link, SiteSpec
from isthmus.lab.names import BRIDGE, LOGIN, OBSERVER, WAN
from isthmus.lab.running import run

MANAGEMENT = "mgmt"  # the interface of a site on the management network
TABLE = "isthmus"

# Hosts of a site's /24 that components bind to; see docs/lab.
HOSTS = (*range(1, 8), *range(10, 20), 21)

# What the bytes of a link are for, by port. The ports are the lab's own and the same in all sites.
TRAFFIC: Mapping[str, tuple[int, ...]] = {
    "identity": (5000,),
    "image": (9292,),
    "sql": (3306, 3307),
    "replication": (3308, 4444, 4567, 4568),
    "health": (8989, 8990),
    "network": (9696,),
    "engine": (8991,),
    "messaging": (5672,),  # a broker serves its own site: nothing may ever be counted here
    "object": (8080,),  # backups and manifests on their way to the remote store
    "tunnel": (4789,),
}
UDP = frozenset({"tunnel"})  # the kinds that are not TCP
OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What has passed one link since it was made: IP bytes and packets, both directions together."""

    link: str
    kind: str
    bytes: int
    packets: int


@dataclass(frozen=True, kw_only=True)
class LinkEnd:
    """One end of a link: the receiving site, its interface, and whether what arrives is dropped."""

    link: str
    site: str
    interface: str
    dropping: bool


def namespaces(environment: Environment) -> list[str]:
    """Every namespace that the environment needs."""
    return [
        WAN,
        LOGIN,
        *(site.namespace for site in environment.sites),
        *(host.namespace for site in environment.sites for host in site.host_specs),
        *([OBSERVER] if environment.external else []),
    ]


def present() -> set[str]:
    """Names of the network namespaces of this machine."""
    folder = Path("/run/netns")
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def create(environment: Environment) -> None:
    """Make all namespaces, links, addresses, routes, counters of the environment that do not exist yet."""
    existing = present()
    for name in namespaces(environment):
        if name not in existing:
            run(["ip", "netns", "add", name])
        kernel.batch(name, ["link set lo up"])
    _management(environment)
    for number, link in enumerate(environment.links):
        _link(environment, number, link)
    for site in environment.sites:
        _site(environment, site)
    hosts.create(environment)


def remove(names: Iterable[str]) -> None:
    """Delete the namespaces `names`; interfaces in them go too."""
    existing = present()
    for name in names:
        if name in existing:
            run(["ip", "netns", "delete", name])


def remove_management() -> None:
    """Delete the management bridge and its ports from the host.

    To be done before the namespaces go: the kernel takes those apart later, and a port that is still there would stop the
    next `up`.
    """
    if kernel.has_interface(None, BRIDGE):
        listed = run(["ip", "-json", "link", "show", "master", BRIDGE]).stdout
        for port in json.loads(listed or "[]"):
            run(["ip", "link", "delete", port["ifname"]], check=False)
        run(["ip", "link", "delete", BRIDGE])


def link_ports(environment: Environment, link: Link) -> tuple[str, str, str]:
    """Names in the WAN namespace for one link: its bridge, the port towards `a`, the port towards `b`."""
    number = environment.links.index(link)
    return f"l{number}", f"l{number}a", f"l{number}b"


def wan_interface(peer: str) -> str:
    """The interface of a site that leads to `peer`."""
    return f"wan-{peer}"


def cut(link: Link, *, receivers: Iterable[SiteSpec]) -> None:
    """Drop silently what arrives over `link` at `receivers` (one of them: the link is half open)."""
    for site in receivers:
        _drop(site.namespace, link.peer(site.name).name)


def heal(link: Link) -> None:
    """Let both directions of `link` pass again."""
    for site in (link.a, link.b):
        kernel.nft(
            site.namespace, [f"flush chain netdev {TABLE} fault_{link.peer(site.name).name}"]
        )


def cut_management(site: SiteSpec) -> None:
    """Make the site silent on the management network, as a dead machine is."""
    _drop(site.namespace, MANAGEMENT)


def heal_management(site: SiteSpec) -> None:
    """Let the management network of the site pass again."""
    kernel.nft(site.namespace, [f"flush chain netdev {TABLE} fault_{MANAGEMENT}"])


def silent_sites(environment: Environment) -> list[str]:
    """Sites that do not speak on the management network (`cut_management`)."""
    return [s.name for s in environment.sites if MANAGEMENT in _dropping(s.namespace)]


def link_ends(environment: Environment) -> list[LinkEnd]:
    """The state of both ends of every link, read from the kernel."""
    ends = []
    for site in environment.sites:
        dropping = _dropping(site.namespace)
        for link in environment.links:
            if link.joins(site.name):
                peer = link.peer(site.name).name
                ends.append(
                    LinkEnd(
                        link=link.name,
                        site=site.name,
                        interface=wan_interface(peer),
                        dropping=peer in dropping,
                    )
                )
    return ends


def traffic(environment: Environment) -> list[Traffic]:
    """The counters of every link by kind of traffic, both directions added."""
    sums: dict[tuple[str, str], list[int]] = {}
    for site in environment.sites:
        for counter in kernel.nft_listed(site.namespace, "counters", "counter"):
            peer, _, kind = str(counter["name"]).partition("_")
            link = environment.link(f"{site.name}-{peer}").name
            total = sums.setdefault((link, kind), [0, 0])
            total[0] += counter["bytes"]
            total[1] += counter["packets"]
    return [
        Traffic(link=link, kind=kind, bytes=octets, packets=packets)
        for (link, kind), (octets, packets) in sorted(sums.items())
    ]


def _management(environment: Environment) -> None:
    if not kernel.has_interface(None, BRIDGE):
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    prefix = environment.management.prefixlen
    kernel.batch(
        None,
        [f"addr replace {environment.host_address}/{prefix} dev {BRIDGE}", f"link set {BRIDGE} up"],
    )
    for site in environment.sites:
        _management_port(
            site.namespace, f"ism{site.number}", f"{site.management}/{prefix}", isolated=True
        )
    # The login front must reach the sites, so its port is the one that is not isolated.
    _management_port(LOGIN, "ismlogin", f"{environment.login_address}/{prefix}", isolated=False)


def _management_port(namespace: str, port: str, address: str, *, isolated: bool) -> None:
    if not kernel.has_interface(namespace, MANAGEMENT):
        run(
            [
                "ip",
                "link",
                "add",
                port,
                "type",
                "veth",
                "peer",
                "name",
                MANAGEMENT,
                "netns",
                namespace,
            ]
        )
    run(["ip", "link", "set", port, "master", BRIDGE, "up"])
    run(["bridge", "link", "set", "dev", port, "isolated", "on" if isolated else "off"])
    kernel.batch(
        namespace, [f"addr replace {address} dev {MANAGEMENT}", f"link set {MANAGEMENT} up"]
    )


def _link(environment: Environment, number: int, link: Link) -> None:
    bridge, *ports = link_ports(environment, link)
    base = environment.wan.network_address + (LINKS_SUBNET << 8) + 4 * number
    ends = [
        (
            site,
            link.peer(site.name),
            port,
            str(base + 1 + i),
            str(base + 2 - i),
            f"02:99:{number >> 8:02x}:{number & 255:02x}:00",
        )
        for i, (site, port) in enumerate(zip((link.a, link.b), ports, strict=True))
    ]
    if not kernel.has_interface(WAN, bridge):
        kernel.batch(WAN, [f"link add {bridge} type bridge", f"link set {bridge} up"])
    for i, (site, peer, port, own, other, mac) in enumerate(ends):
        name = wan_interface(peer.name)
        if not kernel.has_interface(site.namespace, name):
            run(
                f"ip -n {WAN} link add {port} type veth peer name {name}"
                f" address {mac}:{i:02x} netns {site.namespace}".split()
            )
            kernel.batch(WAN, [f"link set {port} master {bridge} up"])
        kernel.batch(
            site.namespace,
            [
                f"addr replace {own}/30 dev {name}",
                f"link set {name} up",
                # A fixed neighbour keeps a half-open link half open: no address resolution has to pass.
                f"neigh replace {other} lladdr {mac}:{1 - i:02x} dev {name} nud permanent",
            ],
        )


def _site(environment: Environment, site: SiteSpec) -> None:
    lines = [f"addr replace {site.address(host)}/32 dev lo" for host in HOSTS]
    for number, link in enumerate(environment.links):
        if link.joins(site.name):
            peer = link.peer(site.name)
            base = environment.wan.network_address + (LINKS_SUBNET << 8) + 4 * number
            via = base + (2 if site is link.a else 1)
            lines.append(
                f"route replace {peer.subnet} via {via} dev {wan_interface(peer.name)} src {site.front}"
            )
    kernel.batch(site.namespace, lines)
    _counters(environment, site)


def _counters(environment: Environment, site: SiteSpec) -> None:
    peers = [link.peer(site.name).name for link in environment.links if link.joins(site.name)]
    known = {chain["name"] for chain in kernel.nft_listed(site.namespace, "chains", "chain")}
    lines = [f"add table netdev {TABLE}"]
    for name in [*peers, MANAGEMENT]:
        if f"fault_{name}" in known:
            continue
        device = name if name == MANAGEMENT else wan_interface(name)
        hook = f'type filter hook ingress device "{device}" priority'
        lines.append(f"add chain netdev {TABLE} fault_{name} {{ {hook} -10; policy accept; }}")
        if name != MANAGEMENT:
            lines += _count_lines(name, hook)
    kernel.nft(site.namespace, lines)


def _count_lines(peer: str, hook: str) -> list[str]:
    lines = [f"add chain netdev {TABLE} count_{peer} {{ {hook} 0; policy accept; }}"]
    lines += [f"add counter netdev {TABLE} {peer}_{kind}" for kind in (*TRAFFIC, OTHER)]
    for kind, ports in TRAFFIC.items():
        listed = ", ".join(map(str, ports))
        protocol = "udp" if kind in UDP else "tcp"
        # A tunnel's port is its destination; the source is different for every flow.
        sides = ("dport",) if kind in UDP else ("dport", "sport")
        lines += [
            f"add rule netdev {TABLE} count_{peer} {protocol} {side} {{ {listed} }} counter name {peer}_{kind} return"
            for side in sides
        ]
    lines.append(f"add rule netdev {TABLE} count_{peer} counter name {peer}_{OTHER}")
    return lines


def _drop(namespace: str, name: str) -> None:
    if name not in _dropping(namespace):
        kernel.nft(namespace, [f"add rule netdev {TABLE} fault_{name} drop"])


def _dropping(namespace: str) -> set[str]:
    """Peers (or the management network) whose packets the namespace drops on arrival."""
    listed = json.loads(
        run(["nft", "-j", "list", "table", "netdev", TABLE], namespace=namespace).stdout
    )
    chains = {item["rule"]["chain"] for item in listed["nftables"] if "rule" in item}
    return {chain.removeprefix("fault_") for chain in chains if chain.startswith("fault_")}
