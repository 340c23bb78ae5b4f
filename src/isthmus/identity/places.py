"""What is declared about every site beyond the sites file, as values: addresses, databases, votes, public keys.

`deployment` reads them, `topologies` says what they add up to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus.identity.config import Provider
from isthmus.sites.inventory import Role, Site, Topology

NODE = "identity-db"
"""What HAProxy and the agent call the database of a site that has one Galera node; the node itself is named like the site."""
REPLICA = "replica-"
"""An asynchronous replica is called after the writer site that it follows when all is well."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicKey:
    """The public half of a key that a Keystone of a site signs tokens with. `name` tells it from every other."""

    name: str
    pem: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """The addresses of one site."""

    site: Site
    number: int
    """The site's place in the sites file, from 1."""
    front: str
    public: tuple[str, ...]
    """Further addresses of the public front; clients are sent to the first, or to `front`."""
    keystone: str | None
    """None where another site's Keystone is used (centralized)."""
    glance: str
    neutron: str | None
    memcached: str
    databases: Mapping[str, str]
    """Name -> address, in the order in which they are read."""
    arbitrator: str | None
    cluster: str | None = None
    """The label of the Galera cluster that the site's nodes are in (multi-cluster)."""
    jws_public_keys: tuple[PublicKey, ...] = ()

    @property
    def www(self) -> str:
        """Where clients are sent to log in."""
        return self.public[0] if self.public else self.front

    @property
    def writes(self) -> bool:
        """Whether nodes that may take writes stand in this site."""
        return self.site.role is Role.WRITER


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """Everything but the secrets, checked against the sites file and the topology."""

    source: str
    topology: Topology
    provider: Provider
    places: tuple[Place, ...]
    services: tuple[str, ...]
    paths: Mapping[str, str]
    sizing: Mapping[str, str | int]
    login: str | None
    """Where the one login URL listens; None where there is none."""
    arbitrator: str | None = None
    """A vote in none of the sites, in the cluster that takes the writes."""

    @property
    def writers(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.writes)
