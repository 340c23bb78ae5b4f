"""What is known of two ports and of everything between them, as values.

It exists so that a verdict is a function: the same facts give the same words, whoever gathered
them. Unknown is not bad: a host that did not answer has an `error`, and what it would have said is
judged as unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus.network.views import Network, Origin, Port


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packet:
    """What is asked about: the first packet of a connection. `port`: the destination's."""

    protocol: str = "icmp"
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.protocol.upper()} {self.port}" if self.port else self.protocol.upper()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of a security group, for IPv4, as Neutron's API shows it.

    `first` and `last`: ports, or type and code of ICMP. At most one of `remote_group` (id),
    `prefix` and `address_group` (id) narrows who is meant.
    """

    id: str
    ingress: bool
    protocol: str | None = None
    first: int | None = None
    last: int | None = None
    remote_group: str | None = None
    prefix: str | None = None
    address_group: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A security group of one site."""

    id: str
    name: str
    rules: tuple[Rule, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """One of the two ports, in the site where it is real. `filtered`: port security is on."""

    site: str
    port: Port
    admin_up: bool = True
    filtered: bool = True
    groups: tuple[Group, ...] = ()

    @property
    def ip(self) -> str:
        return self.port.ips[0] if self.port.ips else ""

    @property
    def label(self) -> str:
        """How people call it."""
        return f"{self.port.name or self.port.id[:8]} ({self.site})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """What the Neutron of one site holds of the network; `error`: it could not be asked."""

    name: str
    error: str | None = None
    network: Network | None = None
    ports: tuple[Port, ...] = ()
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Security groups by id -> name."""

    def remote(self, site: str, port_id: str) -> Port | None:
        """The port that stands here for a real port of another site."""
        origin = Origin(site=site, port_id=port_id)
        return next((port for port in self.ports if port.origin == origin), None)

    def members(self, group: str) -> frozenset[str]:
        """The addresses that a rule with this remote group means in this site."""
        inside = (port for port in self.ports if group in port.security_groups)
        return frozenset(ip for port in inside for ip in port.ips)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plug:
    """The interface that claims to be a port. `local_vlan` 4095: Neutron's agent shut it."""

    interface: str
    local_vlan: int | None
    mtu: int | None = None
    link_up: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """What one host holds for the network. `error`: its agent did not answer.

    `arrives_in`: the local VLAN of packets that come with the network's VNI. `alive`: what Neutron
    says of its own agent there; `connected`: whether that agent controls the switch now.
    """

    site: str
    name: str
    error: str | None = None
    vtep: str | None = None
    unicast: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    learned: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    flood: frozenset[str] = frozenset()
    arp: Mapping[str, str] = dataclasses.field(default_factory=dict)
    arrives_in: int | None = None
    tunnels: frozenset[str] = frozenset()
    plugs: Mapping[str, Plug] = dataclasses.field(default_factory=dict)
    alive: bool | None = None
    connected: bool | None = None

    @property
    def place(self) -> str:
        return f"{self.site}/{self.name}"

    @property
    def deaf(self) -> bool:
        """Whether Neutron's agent there does not work: nothing new reaches the switch."""
        return self.connected is False or self.alive is False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """What packets between two tunnel ends met. Sizes in bytes of whole packets of the underlay.

    `reached` None: not tried. `largest`: the largest packet that arrived, as far as it was tried.
    """

    reached: bool | None = None
    largest: int | None = None
    milliseconds: float | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All of it. `ways` by (from, to) VTEP; `hosts` by (site, host); `overhead` of a tunnel."""

    network: str
    vni: int
    mtu: int
    a: End
    b: End
    sites: Mapping[str, Site]
    hosts: Mapping[tuple[str, str], Host]
    ways: Mapping[tuple[str, str], Way] = dataclasses.field(default_factory=dict)
    packet: Packet = dataclasses.field(default_factory=Packet)
    overhead: int = 50

    def host(self, end: End) -> Host:
        """The host of a port; one without answers if nobody asked it."""
        key = (end.site, end.port.host)
        unknown = Host(site=end.site, name=end.port.host or "?", error="nobody asked this host")
        return self.hosts.get(key, unknown)
