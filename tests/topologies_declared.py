"""Declarations of every topology, small and made up, with public keys that belong to real pairs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.identity import deployment, places, rendering
from isthmus.identity.config import Provider
from isthmus.sites import inventory
from isthmus.sites.inventory import Role, Topology

SECRETS = {
    "keystone-database": "s3cret/db:one",
    "state-transfer": "s3cret-two",
    "glance": "s3cret-three",
    "nova": "s3cret-four",
}
NAMES = ("paris", "lyon", "nantes", "madrid", "lisbon", "porto", "rome")


@functools.cache
def public_key(name: str) -> str:
    """A site's public key. Made from its name, so that it is the same in every run."""
    number = int.from_bytes(name.encode(), "big") + 1
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A topology and the sites of it. `clusters`: label -> (sites, nodes in each), the first takes the writes."""

    topology: Topology
    provider: Provider
    sites: tuple[str, ...]
    clusters: Mapping[str, tuple[tuple[str, ...], int]] = dataclasses.field(default_factory=dict)
    nodes: int = 1
    votes: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    """Sites with an arbitrator; the site "" is none."""

    @property
    def sites_text(self) -> str:
        return sites_text(self)

    @property
    def deployment_text(self) -> str:
        return deployment_text(self)


def address(shape: Shape, site: str, host: int) -> str:
    return f"10.{shape.sites.index(site) + 1}.0.{host}"


def sites_text(shape: Shape) -> str:
    roles = [{"name": name, "role": str(role(shape, name))} for name in shape.sites]
    return yaml.safe_dump({"topology": str(shape.topology), "sites": roles})


def role(shape: Shape, site: str) -> Role:
    match shape.topology:
        case Topology.CLUSTER:
            return Role.WRITER
        case Topology.MULTI_CLUSTER:
            first = next(iter(shape.clusters.values()))[0]
            return Role.WRITER if site in first else Role.REPLICA
        case Topology.CENTRALIZED:
            return Role.WRITER if site == shape.sites[0] else Role.REPLICA
        case _:
            return Role.WRITER if site in shape.sites[:2] else Role.REPLICA


def deployment_text(shape: Shape) -> str:
    document = {
        "login": "198.51.100.10",
        "services": ["glance", "nova"],
        "sites": {name: site(shape, name) for name in shape.sites},
    }
    if shape.votes.get(""):
        document["arbitrator"] = "10.250.0.10"
    return yaml.safe_dump(document)


def site(shape: Shape, name: str) -> dict[str, object]:
    found: dict[str, object] = {
        "front": address(shape, name, 1),
        "glance": address(shape, name, 3),
        "memcached": f"{address(shape, name, 4)}:11211",
    }
    names = databases(shape, name)
    if names:
        found["keystone"] = address(shape, name, 2)
        found["jws_public_keys"] = [public_key(name)]
        found["databases"] = {each: address(shape, name, 11 + n) for n, each in enumerate(names)}
    if shape.votes.get(name):
        found["arbitrator"] = address(shape, name, 10)
    for label, (members, _) in shape.clusters.items():
        if name in members:
            found["cluster"] = label
    return found


def databases(shape: Shape, name: str) -> list[str]:
    match shape.topology:
        case Topology.CLUSTER:
            return ["identity-db"]
        case Topology.MULTI_CLUSTER:
            count = next(n for members, n in shape.clusters.values() if name in members)
            return [f"{name}-{number}" for number in range(1, count + 1)]
        case Topology.CENTRALIZED if name == shape.sites[0]:
            return [f"{name}-{number}" for number in range(1, shape.nodes + 1)]
        case Topology.CENTRALIZED:
            return []
    if role(shape, name) is Role.WRITER:
        return ["identity-db"]
    return [f"replica-{writer}" for writer in shape.sites[:2]]


def parsed(shape: Shape, text: str | None = None, sites: str | None = None) -> places.Deployment:
    """The declaration, or another text of it."""
    known = inventory.parse(sites or sites_text(shape), source="sites.yaml")
    return deployment.parse(
        text or deployment_text(shape),
        source="deployment.yaml",
        inventory=known,
        provider=shape.provider,
    )


def rendered(shape: Shape) -> tuple[rendering.File, ...]:
    return rendering.files(parsed(shape), SECRETS)


STAR = Shape(
    topology=Topology.STAR,
    provider=Provider.JWS,
    sites=("paris", "lyon", "madrid"),
    votes={"madrid": True},
)
CLUSTER = Shape(
    topology=Topology.CLUSTER, provider=Provider.FERNET, sites=("paris", "lyon"), votes={"": True}
)
MULTI = Shape(
    topology=Topology.MULTI_CLUSTER,
    provider=Provider.JWS,
    sites=("paris", "madrid", "lisbon", "porto"),
    clusters={"north": (("paris",), 3), "south": (("madrid", "lisbon", "porto"), 1)},
)
CENTRAL = Shape(
    topology=Topology.CENTRALIZED,
    provider=Provider.FERNET,
    sites=("paris", "lyon", "madrid"),
    nodes=3,
)
ALL = (STAR, CLUSTER, MULTI, CENTRAL)
