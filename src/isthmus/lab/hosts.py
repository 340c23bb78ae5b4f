"""The compute hosts' network: a namespace per host, a LAN per site, and the provider network `external`.

A host hangs with its interface `uplink` on the bridge `lan` of its site's namespace, which routes for it: so what its tunnels
send to another site passes the site's WAN links, their faults and their counters. The address of a host is not set here:
the user-space switch takes it to the bridge that holds the uplink (`components/ovs`).

The provider network is a bridge in the namespace `isthmus-wan`: it is the outside world, which no fault of a site cuts off,
but a host whose switch is dead is gone from it. The namespace `isthmus-observer` looks at it from there.
"""

from isthmus.lab import kernel
from isthmus.lab.environment import Environment, HostSpec, SiteSpec
from isthmus.lab.names import OBSERVER, WAN

LAN = "lan"
UPLINK = "uplink"
EXTERNAL = (
    "external"  # the bridge of the provider network, and the interface that leads a host to it
)
OBSERVER_INTERFACE = "eth0"


def lan_port(host: HostSpec) -> str:
    """The interface of the site that leads to the host."""
    return f"lan-{host.name}"


def create(environment: Environment) -> None:
    """Make what the environment's hosts need and what is not there yet. The namespaces exist."""
    for site in environment.sites:
        if site.hosts:
            _lan(site)
    if environment.external is not None:
        _external(environment)


def _lan(site: SiteSpec) -> None:
    if not kernel.has_interface(site.namespace, LAN):
        kernel.batch(site.namespace, [f"link add {LAN} type bridge", f"link set {LAN} up"])
    kernel.forward(site.namespace)
    lines = []
    for host in site.host_specs:
        port = lan_port(host)
        if kernel.veth(site.namespace, port, host.namespace, UPLINK):
            kernel.plain_frames(site.namespace, port)
            kernel.plain_frames(host.namespace, UPLINK)
            kernel.switch_port(host.namespace, UPLINK)
        lines += [
            f"link set {port} master {LAN} up",
            f"route replace {host.address}/32 dev {LAN} src {site.front}",
        ]
        kernel.batch(host.namespace, [f"link set {UPLINK} up"])
    kernel.batch(site.namespace, lines)


def _external(environment: Environment) -> None:
    if not kernel.has_interface(WAN, EXTERNAL):
        kernel.batch(WAN, [f"link add {EXTERNAL} type bridge", f"link set {EXTERNAL} up"])
    _join(OBSERVER, OBSERVER_INTERFACE, "observer")
    prefix = environment.external.prefixlen if environment.external else 0
    address = f"{environment.observer_address}/{prefix}"
    kernel.batch(OBSERVER, [f"addr replace {address} dev {OBSERVER_INTERFACE}"])
    for site in environment.sites:
        for host in site.host_specs:
            if _join(host.namespace, EXTERNAL, f"x{site.number}-{host.number}"):
                kernel.switch_port(host.namespace, EXTERNAL)


def _join(namespace: str, interface: str, port: str) -> bool:
    """Hang an interface of a namespace on the provider network; False if it was there already."""
    if fresh := kernel.veth(WAN, port, namespace, interface):
        kernel.plain_frames(WAN, port)
        kernel.plain_frames(namespace, interface)
    kernel.batch(WAN, [f"link set {port} master {EXTERNAL} up"])
    kernel.batch(namespace, [f"link set {interface} up"])
    return fresh
