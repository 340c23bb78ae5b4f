"""Environments: which sites, which components in each, and the addresses that follow. Values only, no I/O but reading.

An environment is a YAML file; the packaged ones are named (`identity`), any other is given by its path. Addresses are
derived from the order of the sites, so that an environment file never lists one.
"""

import importlib.resources
import ipaddress
import itertools
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from isthmus.lab import errors

# An interface of a site is called `wan-<peer>` or `lan-<host>` and the kernel allows 15 characters.
_NAME = re.compile(r"^[a-z][a-z0-9]{1,10}$")

LINKS_SUBNET = 200  # third octet of the links' own addresses, beyond any site's number
MOST_SITES = 85  # 85 sites have 3,570 links of four addresses each, which end below x.y.255.255

# Namespaces of the lab itself are called like this, and units that belong to no site.
RESERVED = ("guest", "login", "mgmt", "observer", "outside", "template", "try", "wan")

# The name that a provider network has in every Neutron.
PHYSICAL_NETWORK = "external"

# What runs on every compute host, each a unit `<site>/<host>-<part>`.
HOST_PARTS = ("ovs", "l2", "agent")

# What runs there besides when the site has Nova.
COMPUTE_PARTS = ("libvirt", "taps", "compute")

_FIRST_HOST = 31  # the address of a site's first compute host
MOST_HOSTS = 9


class Role(StrEnum):
    """What a site is to the identity database (star topology)."""

    WRITER = "writer"
    REPLICA = "replica"


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """A compute host of a site: its name (two sites may have hosts of the same name), its number from 1, its address."""

    site: str
    name: str
    number: int
    address: str

    @property
    def namespace(self) -> str:
        return f"isthmus-{self.site}-{self.name}"


@dataclass(frozen=True, kw_only=True)
class SiteSpec:
    """One site of an environment: its name (also its region), its number from 1, its role, its components and hosts."""

    name: str
    number: int
    role: Role
    components: tuple[str, ...]
    wan: ipaddress.IPv4Network
    management_net: ipaddress.IPv4Network
    hosts: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        return f"isthmus-{self.name}"

    def address(self, host: int) -> str:
        """Address `host` of the site's own /24, which peers reach over the WAN."""
        return str(self.wan.network_address + (self.number << 8) + host)

    @property
    def host_specs(self) -> tuple[HostSpec, ...]:
        """The compute hosts of the site."""
        return tuple(
            HostSpec(site=self.name, name=name, number=i, address=self.address(_FIRST_HOST - 1 + i))
            for i, name in enumerate(self.hosts, start=1)
        )

    @property
    def every_component(self) -> tuple[str, ...]:
        """The site's components and those of its hosts, `<host>-<part>`."""
        every = (*HOST_PARTS, *(COMPUTE_PARTS if "nova" in self.components else ()))
        parts = [f"{host}-{part}" for part in every for host in self.hosts]
        return (*self.components, *parts)

    def host(self, name: str) -> HostSpec:
        """The host called `name`; raises `errors.BadRequest` that names the hosts there are."""
        for host in self.host_specs:
            if host.name == name:
                return host
        raise errors.BadRequest(
            what=f"there is no host {name!r}",
            where=f"site {self.name}",
            cause=f"its hosts are {', '.join(self.hosts) or 'none'}",
        )

    @property
    def front(self) -> str:
        """The address where the site's services answer."""
        return self.address(1)

    @property
    def subnet(self) -> str:
        return f"{self.address(0)}/24"

    @property
    def management(self) -> str:
        """The address that the host reaches; its traffic is not counted as WAN."""
        return str(self.management_net.network_address + self.number)


@dataclass(frozen=True, kw_only=True)
class Link:
    """The WAN between two sites, `a` before `b` in the order of the environment."""

    a: SiteSpec
    b: SiteSpec

    @property
    def name(self) -> str:
        return f"{self.a.name}-{self.b.name}"

    def joins(self, site: str) -> bool:
        return site in (self.a.name, self.b.name)

    def peer(self, site: str) -> SiteSpec:
        return self.b if site == self.a.name else self.a


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A named set of sites, fully joined pair by pair."""

    name: str
    description: str
    sites: tuple[SiteSpec, ...]
    wan: ipaddress.IPv4Network
    management: ipaddress.IPv4Network
    external: ipaddress.IPv4Network | None = None

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(Link(a=a, b=b) for i, a in enumerate(self.sites) for b in self.sites[i + 1 :])

    @property
    def writers(self) -> tuple[SiteSpec, ...]:
        return tuple(site for site in self.sites if site.role is Role.WRITER)

    @property
    def replicas(self) -> tuple[SiteSpec, ...]:
        return tuple(site for site in self.sites if site.role is Role.REPLICA)

    @property
    def host_address(self) -> str:
        """The host's own address on the management network."""
        return str(self.management.network_address + 254)

    @property
    def login_address(self) -> str:
        """Where the one login URL for all sites answers."""
        return str(self.management.network_address + 100)

    @property
    def observer_address(self) -> str:
        """Where the observer of the provider network is."""
        if self.external is None:
            raise errors.BadRequest(
                what="there is no provider network",
                where=f"environment {self.name}",
                cause="it has no network.external",
            )
        return str(self.external.network_address + 250)

    def site(self, name: str) -> SiteSpec:
        """The site called `name`; raises `errors.BadRequest` that names the sites there are."""
        for site in self.sites:
            if site.name == name:
                return site
        known = ", ".join(site.name for site in self.sites)
        raise errors.BadRequest(
            what=f"there is no site {name!r}",
            where=f"environment {self.name}",
            cause=f"its sites are {known}",
        )

    def link(self, name: str) -> Link:
        """The link `a-b` (either order)."""
        ends = set(name.split("-"))
        for link in self.links:
            if {link.a.name, link.b.name} == ends:
                return link
        known = ", ".join(link.name for link in self.links)
        raise errors.BadRequest(
            what=f"there is no link {name!r}",
            where=f"environment {self.name}",
            cause=f"its links are {known}",
        )


def packaged() -> list[str]:
    """Names of the environments that come with the product."""
    folder = importlib.resources.files("isthmus.lab") / "environments"
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def load(name_or_path: str) -> tuple[str, Environment]:
    """Read an environment by packaged name or by path: its text and what it says.

    Raises `errors.BadEnvironment` with the field that is wrong.
    """
    if name_or_path in packaged():
        folder = importlib.resources.files("isthmus.lab") / "environments"
        text = (folder / f"{name_or_path}.yaml").read_text()
        return text, parse(text, source=f"environment {name_or_path}")
    path = Path(name_or_path)
    if not path.is_file():
        raise errors.BadEnvironment(
            source=name_or_path,
            cause=f"no packaged environment and no file; packaged: {', '.join(packaged())}",
        )
    text = path.read_text()
    return text, parse(text, source=str(path))


def parse(text: str, *, source: str) -> Environment:
    """Build an `Environment` from YAML text."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise errors.BadEnvironment(source=source, cause=f"not YAML: {error}") from error
    fields = _mapping(document, {"name", "description", "network", "sites"}, source, "the document")
    wan, management, external = _networks(fields["network"], source)
    entries = fields["sites"]
    if not isinstance(entries, list) or not entries:
        raise errors.BadEnvironment(
            source=source, cause="sites must be a list with at least one site"
        )
    if len(entries) > MOST_SITES:
        raise errors.BadEnvironment(
            source=source, cause=f"{len(entries)} sites; the address plan holds {MOST_SITES}"
        )
    sites = tuple(
        _site(entry, i, wan, management, source) for i, entry in enumerate(entries, start=1)
    )
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise errors.BadEnvironment(source=source, cause=f"site {name!r} is listed twice")
    if not any(site.role is Role.WRITER for site in sites):
        raise errors.BadEnvironment(
            source=source, cause="no site has role writer; the identity database needs one"
        )
    return Environment(
        name=str(fields["name"]),
        description=str(fields["description"]),
        sites=sites,
        wan=wan,
        management=management,
        external=external,
    )


def _networks(
    entry: Any, source: str
) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Network, ipaddress.IPv4Network | None]:
    fields = _mapping(entry, {"wan", "management"}, source, "network", optional={"external"})
    named = {
        f"network.{name}": _network(value, 16 if name == "wan" else 24, source, f"network.{name}")
        for name, value in sorted(fields.items(), reverse=True)
    }
    for (a, one), (b, other) in itertools.combinations(named.items(), 2):
        if one.overlaps(other):
            raise errors.BadEnvironment(source=source, cause=f"{a} {one} and {b} {other} overlap")
    return named["network.wan"], named["network.management"], named.get("network.external")


def _mapping(
    value: Any,
    wanted: set[str],
    source: str,
    where: str,
    *,
    optional: AbstractSet[str] = frozenset(),
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise errors.BadEnvironment(source=source, cause=f"{where} must be a mapping")
    if missing := wanted - value.keys():
        raise errors.BadEnvironment(
            source=source, cause=f"{where} lacks {', '.join(sorted(missing))}"
        )
    if unknown := value.keys() - wanted - optional:
        raise errors.BadEnvironment(
            source=source,
            cause=f"{where} has unknown {', '.join(sorted(map(str, unknown)))}; known: {', '.join(sorted(wanted | optional))}",
        )
    return value


def _network(value: Any, prefix: int, source: str, where: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise errors.BadEnvironment(source=source, cause=f"{where}: {error}") from error
    if network.prefixlen != prefix or not network.is_private:
        raise errors.BadEnvironment(
            source=source, cause=f"{where} must be a private /{prefix}, not {network}"
        )
    return network


def _site(
    entry: Any,
    number: int,
    wan: ipaddress.IPv4Network,
    management: ipaddress.IPv4Network,
    source: str,
) -> SiteSpec:
    where = f"site {number}"
    fields = _mapping(entry, {"name", "role", "components"}, source, where, optional={"hosts"})
    name = fields["name"]
    if not isinstance(name, str) or not _NAME.match(name):
        raise errors.BadEnvironment(
            source=source,
            cause=f"{where}: name {name!r} must be 2 to 11 characters a-z, 0-9, first a letter",
        )
    if name in RESERVED:
        raise errors.BadEnvironment(
            source=source, cause=f"site {name}: the name is the lab's own ({', '.join(RESERVED)})"
        )
    if fields["role"] not in list(Role):
        raise errors.BadEnvironment(
            source=source,
            cause=f"site {name}: role {fields['role']!r} is not one of {', '.join(Role)}",
        )
    components = fields["components"]
    if not isinstance(components, list) or not all(isinstance(c, str) for c in components):
        raise errors.BadEnvironment(
            source=source, cause=f"site {name}: components must be a list of names"
        )
    return SiteSpec(
        name=name,
        number=number,
        role=Role(fields["role"]),
        components=tuple(components),
        wan=wan,
        management_net=management,
        hosts=_hosts(fields.get("hosts", []), name, source),
    )


def _hosts(entries: Any, site: str, source: str) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(
        isinstance(name, str) and _NAME.match(name) for name in entries
    ):
        raise errors.BadEnvironment(
            source=source,
            cause=f"site {site}: hosts must be a list of names of 2 to 11 characters a-z, 0-9, first a letter",
        )
    if len(entries) > MOST_HOSTS:
        raise errors.BadEnvironment(
            source=source,
            cause=f"site {site}: {len(entries)} hosts; a site has addresses for {MOST_HOSTS}",
        )
    if len(set(entries)) < len(entries):
        raise errors.BadEnvironment(source=source, cause=f"site {site}: a host is listed twice")
    return tuple(entries)
