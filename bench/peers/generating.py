"""Sites and ports from a seed: the same seed makes the same ids, addresses and MACs, however many sites there are beside.

Pure. A site's ports depend on the seed, on its name and on what was asked of it before, on nothing else.
"""

import ipaddress
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.network import views

Row = dict[str, Any]
_MAC_STEP = 40503  # odd, so that all 65536 numbers come before one comes again


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a simulated site is: its number (1 to 190, part of its MACs), and the tunnel addresses of its hosts."""

    name: str
    number: int
    vteps: Sequence[str]


@dataclass(kw_only=True)
class Stretch:
    """One site's part of a stretched network."""

    declaration: Mapping[str, Any]
    network: Row
    subnet: Row
    ports: dict[str, Row] = field(default_factory=dict)
    made: int = 0
    """How many ports there ever were: addresses and MACs come in this order."""


class Site:
    """One simulated site: what its Neutron holds."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.parts: dict[str, Stretch] = {}
        self.groups: dict[str, Row] = {}
        self._random = random.Random(f"{seed}/{place.name}")  # noqa: S311
        self._first_mac = self._random.randrange(1 << 16)

    @property
    def name(self) -> str:
        return self.place.name

    def hold(self, declaration: Mapping[str, Any], count: int) -> None:
        """Have `count` ports on the declared network, older ones first."""
        part = self.parts.get(declaration["id"]) or self._begin(declaration)
        for port_id in list(part.ports)[count:]:
            del part.ports[port_id]
        while len(part.ports) < count:
            self._boot(part)

    def forget(self, network_id: str) -> None:
        """Hold nothing of a network any more."""
        self.parts.pop(network_id, None)

    def churn(self, network_id: str, count: int) -> list[str]:
        """Change `count` ports: some moved to another host, the others replaced by new ones. Returns the ids concerned."""
        part = self.parts[network_id]
        chosen = self._random.sample(sorted(part.ports), min(count, len(part.ports)))
        touched = []
        for port_id in chosen:
            row = part.ports[port_id]
            if len(self.place.vteps) > 1 and self._random.random() < 0.5:
                self._bind(row, self.place.vteps.index(row["vtep_ip"]) + 1)
                row["revision_number"] += 1
                touched.append(port_id)
            else:
                del part.ports[port_id]
                touched += [port_id, self._boot(part)]
        return touched

    def _begin(self, declaration: Mapping[str, Any]) -> Stretch:
        project = declaration["project_id"]
        if not any(each["project_id"] == project for each in self.groups.values()):
            for name in ("default", "web", "db"):
                row = {"id": self._id(), "name": name, "project_id": project}
                self.groups[row["id"]] = row
        tags = list(views.marks(declaration["id"]))
        network = {
            "id": self._id(),
            "name": declaration["name"],
            "project_id": project,
            "provider:network_type": "vxlan",
            "provider:segmentation_id": declaration["vni"],
            "mtu": declaration["mtu"],
            "tags": tags,
            "description": views.network_tag(declaration["id"]),
        }
        pools = declaration["pools"][self.name]
        subnet = {
            "id": self._id(),
            "network_id": network["id"],
            "project_id": project,
            "name": declaration["name"],
            "cidr": declaration["cidr"],
            "ip_version": 4,
            "allocation_pools": [{"start": first, "end": last} for first, last in pools],
            "gateway_ip": declaration.get("gateways", {}).get(self.name),
            "enable_dhcp": declaration.get("dhcp") == "per-site",
            "tags": tags,
            "description": network["description"],
        }
        part = Stretch(declaration=declaration, network=network, subnet=subnet)
        self.parts[declaration["id"]] = part
        return part

    def _boot(self, part: Stretch) -> str:
        """A new port, bound to one of the hosts; its id."""
        number, port_id = part.made, self._id()
        part.made += 1
        low = (self._first_mac + number * _MAC_STEP) % (1 << 16)
        # Two networks may use a MAC twice, as in any Neutron.
        mac = f"fa:16:3e:{0x40 + self.place.number:02x}:{low >> 8:02x}:{low & 0xFF:02x}"
        row = {
            "id": port_id,
            "network_id": part.network["id"],
            "project_id": part.network["project_id"],
            "mac_address": mac,
            "fixed_ips": [{"subnet_id": part.subnet["id"], "ip_address": _address(part, number)}],
            "remote_vtep": None,
            "status": "ACTIVE",
            "device_owner": "compute:nova",
            "device_id": self._id(),
            "name": f"{self.name}-vm{number}",
            "security_groups": [self._default(part)],
            "allowed_address_pairs": [],
            "revision_number": 4,
        }
        self._bind(row, self._random.randrange(len(self.place.vteps)))
        part.ports[port_id] = row
        return port_id

    def _bind(self, row: Row, host: int) -> None:
        host %= len(self.place.vteps)
        row["vtep_ip"] = self.place.vteps[host]
        row["binding:host_id"] = f"compute{host + 1}"

    def _default(self, part: Stretch) -> str:
        project = part.network["project_id"]
        return next(
            key
            for key, each in self.groups.items()
            if each["name"] == "default" and each["project_id"] == project
        )

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _address(part: Stretch, number: int) -> str:
    """The address number `number` of the site's pools; they begin again at their end."""
    spans = [
        (int(ipaddress.ip_address(each["start"])), int(ipaddress.ip_address(each["end"])))
        for each in part.subnet["allocation_pools"]
    ]
    number %= sum(last - first + 1 for first, last in spans)
    for first, last in spans:
        if number <= last - first:
            return str(ipaddress.ip_address(first + number))
        number -= last - first + 1
    raise AssertionError("the number is smaller than all pools together")


class Cloud:
    """All simulated sites. Not for several threads.

    `mirrored`: whether each site also holds remote ports for the ports of all others, as sites do that keep a network
    together. It costs an engine that looks at all of them the product of sites and ports.
    """

    def __init__(self, seed: int, places: Sequence[Place]) -> None:
        self.seed = seed
        self.sites = {place.name: Site(place, seed) for place in places}
        self.mirrored = True
        self.version = 0
        """Changes with everything that a list could show."""

    def hold(self, declaration: Mapping[str, Any], ports: int) -> None:
        """Have `ports` ports in each simulated site of the declaration."""
        self.version += 1
        for site in self._of(declaration):
            site.hold(declaration, ports)

    def mirror(self, wanted: bool) -> None:
        self.version += 1
        self.mirrored = wanted

    def forget(self, network_id: str) -> None:
        self.version += 1
        for site in self.sites.values():
            site.forget(network_id)

    def churn(self, network_id: str, count: int) -> dict[str, list[str]]:
        """Change `count` ports, spread over the sites; the ids concerned by site."""
        self.version += 1
        sites = [site for site in self.sites.values() if network_id in site.parts]
        touched = {}
        for at, site in enumerate(sites):
            if share := count // len(sites) + (at < count % len(sites)):
                touched[site.name] = site.churn(network_id, share)
        return touched

    def expected(self, network_id: str) -> dict[str, str]:
        """Tunnel addresses by MAC: what every host of another site is to know in the end."""
        return {
            row["mac_address"]: row["vtep_ip"]
            for site in self.sites.values()
            if network_id in site.parts
            for row in site.parts[network_id].ports.values()
        }

    def ports(self, network_id: str) -> list[Row]:
        """The ports of all sites on a network, as their remote ports elsewhere are to be."""
        return [
            {
                "device_id": row["device_id"],
                "name": row["name"],
                "mac": row["mac_address"],
                "ip": row["fixed_ips"][0]["ip_address"],
                "vtep": row["remote_vtep"],
            }
            for origin in self.sites
            for row in self.mirrors(network_id, origin)
        ]

    def mirrors(self, network_id: str, origin: str) -> Iterator[Row]:
        """What every other site holds for the ports of `origin`; `id` and `network_id` are not those of any site yet."""
        part = self.sites[origin].parts.get(network_id)
        for row in part.ports.values() if part else ():
            yield {
                **row,
                "remote_vtep": row["vtep_ip"],
                "device_owner": views.REMOTE_OWNER,
                "device_id": f"{origin}/{row['id']}",
                "binding:host_id": f"remote-vtep-{row['vtep_ip']}",
                "security_groups": [],
            }

    def _of(self, declaration: Mapping[str, Any]) -> list[Site]:
        return [self.sites[name] for name in declaration["sites"] if name in self.sites]
