"""What the Neutron of one site holds for one stretched network, as values.

It exists so that every decision (the reconciler, clashes, the expected forwarding) is a function
over the same few values, whoever looked. It asks nobody: `isthmus.network.neutrons` fills it. It is
not the declaration: that says what should be, a view says what is.

An object is ours by its mark, never by its name: a network and its subnet by the tags `isthmus` and
`isthmus-network=<id of the declaration>` (until these are set by its description), a remote port by
the device owner `isthmus:remote`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

REMOTE_OWNER = "isthmus:remote"
TAG = "isthmus"
STALE_PREFIX = "isthmus-stale="
"""Tag on a network: the site behind it has not been seen for longer than the policy allows."""


def network_tag(network_id: str) -> str:
    """The tag (and the first description) of what belongs to the declaration with this id."""
    return f"isthmus-network={network_id}"


def marks(network_id: str) -> tuple[str, str]:
    """The tags of a network and a subnet that were made for the declaration with this id."""
    return TAG, network_tag(network_id)


def _marked(network_id: str, tags: frozenset[str], description: str) -> bool:
    # Tags need a second request. Until it is done, the description is the mark, so that a crash
    # between the two leaves nothing behind that would be taken for somebody else's.
    return set(marks(network_id)) <= tags or description == network_tag(network_id)


def stale_tag(site: str) -> str:
    return STALE_PREFIX + site


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Origin:
    """Which real port a remote port stands for: the key of everything that is reconciled."""

    site: str
    port_id: str

    def __str__(self) -> str:
        return f"{self.site}/{self.port_id}"

    @classmethod
    def parse(cls, device_id: str) -> Origin | None:
        """From a device id `<site>/<port id>`; None when it has not that form."""
        site, slash, port_id = device_id.partition("/")
        return cls(site=site, port_id=port_id) if site and slash and port_id else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddressPair:
    """An address that a port may use beside its own (Neutron's allowed address pairs)."""

    ip: str
    mac: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Port:
    """A port as Neutron shows it. MAC in lower case with colons, addresses in canonical form."""

    id: str
    network_id: str
    mac: str
    ips: tuple[str, ...]
    """Fixed addresses, sorted as text."""
    vtep_ip: str | None = None
    """Where packets for it go: the tunnel address of its host; None while it is not bound."""
    remote_vtep: str | None = None
    """Set on a port that lives in another Neutron."""
    status: str = "DOWN"
    device_owner: str = ""
    device_id: str = ""
    name: str = ""
    security_groups: frozenset[str] = frozenset()
    """Ids; names are in the view's `security_groups`."""
    address_pairs: frozenset[AddressPair] = frozenset()
    host: str = ""
    revision: int = 0

    @property
    def ours(self) -> bool:
        return self.device_owner == REMOTE_OWNER

    @property
    def origin(self) -> Origin | None:
        """The real port that this remote port stands for; None for any other port."""
        return Origin.parse(self.device_id) if self.ours else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network as Neutron shows it to an administrator."""

    id: str
    name: str
    project_id: str
    vni: int | None
    mtu: int
    tags: frozenset[str] = frozenset()
    description: str = ""

    def belongs_to(self, network_id: str) -> bool:
        """Whether its marks say that it was made for the declaration with this id."""
        return _marked(network_id, self.tags, self.description)

    def tagged(self, network_id: str) -> bool:
        return set(marks(network_id)) <= self.tags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subnet:
    """A subnet (IPv4). `pools` are (first, last) addresses, sorted."""

    id: str
    network_id: str
    project_id: str
    name: str
    cidr: str
    pools: tuple[tuple[str, str], ...] = ()
    gateway: str | None = None
    dhcp: bool = False
    tags: frozenset[str] = frozenset()
    description: str = ""

    def belongs_to(self, network_id: str) -> bool:
        return _marked(network_id, self.tags, self.description)

    def tagged(self, network_id: str) -> bool:
        return set(marks(network_id)) <= self.tags


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecurityGroup:
    id: str
    name: str
    project_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quota:
    """Ports of the project: `limit` is -1 when there is none."""

    limit: int
    used: int

    @property
    def free(self) -> int | None:
        return None if self.limit < 0 else max(self.limit - self.used, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteView:
    """One look at one site for one declaration.

    When `error` is set, nothing else but `site` and `seen_at` may be believed: the site was not
    seen. `seen_at` is the last good look in seconds since 1970 by the looking engine's clock (when
    there was none yet: the start of that engine, so that a restart never makes a silence older).
    """

    site: str
    seen_at: float
    error: str | None = None
    network: Network | None = None
    """Ours, by its mark, project and VNI; None when this site holds none."""
    subnets: tuple[Subnet, ...] = ()
    """All subnets on that network, ours or not."""
    ports: tuple[Port, ...] = ()
    """All ports on that network; those not in `only` as an earlier look saw them, if at all."""
    security_groups: tuple[SecurityGroup, ...] = ()
    """Those of the project and those that the ports use."""
    same_vni: tuple[Network, ...] = ()
    """Other networks of this site with the declared VNI."""
    other_subnets: tuple[Subnet, ...] = ()
    """IPv4 subnets of the project on its other networks."""
    quota: Quota | None = None
    only: frozenset[str] | None = None
    """Ids of the real ports (here, or behind remote ports here) that were asked for; None when the
    look was at all of them. Of any other port this view knows only what an earlier look saw."""

    @property
    def good(self) -> bool:
        return self.error is None

    def subnet(self, network_id: str) -> Subnet | None:
        """Our subnet on our network, for the declaration with this id."""
        ours = [each for each in self.subnets if each.belongs_to(network_id)]
        return min(ours, key=lambda each: each.id) if ours else None

    def looked_at(self, port_id: str) -> bool:
        """Whether this view can say that the real port with this id is gone."""
        return self.good and (self.only is None or port_id in self.only)

    def remotes(self) -> tuple[Port, ...]:
        """Our remote ports here."""
        return tuple(port for port in self.ports if port.ours)

    def locals(self) -> tuple[Port, ...]:
        """The ports that are not ours: what people of this site made."""
        return tuple(port for port in self.ports if not port.ours)

    def group_name(self, group_id: str) -> str:
        """The name of a security group; its id when this view does not hold it."""
        names = {each.id: each.name for each in self.security_groups}
        return names.get(group_id, group_id)


def silent(site: str, seen_at: float, error: str) -> SiteView:
    """The view of a site that could not be looked at; `seen_at` is the last good look."""
    return SiteView(site=site, seen_at=seen_at, error=error)


def overlaid(view: SiteView, asked: Collection[str], ports: Iterable[Port]) -> SiteView:
    """`view` with a newer look at the real ports `asked` laid over it, and narrowed to them.

    `ports` are all that were found of these real ports, or of the remote ports that stand for them.
    """
    fresh = tuple(ports)
    kept = tuple(port for port in view.ports if _real_id(port) not in asked)
    return dataclasses.replace(view, ports=(*kept, *fresh), only=frozenset(asked))


def _real_id(port: Port) -> str:
    return port.origin.port_id if port.origin else port.id
