"""Every file of a deployment, made by the renderers that the lab uses. Pure: values in, texts out.

Which files and settings a site gets follows from its topology: `topologies` says it, nothing here asks for a topology's name.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping

from isthmus.identity import balancing, config, firewall, topologies
from isthmus.identity.config import Provider
from isthmus.identity.places import NODE, Deployment, Place
from isthmus.identity.topologies import Cluster, Layout, Member, Writing


class Kind(enum.StrEnum):
    """What a file configures; it decides how two of its kind are compared."""

    KEYSTONE = "keystone"
    PUBLIC_KEY = "public key"
    AUTHTOKEN = "authtoken"
    NODE = "galera node"
    FOLLOWER = "galera node that follows"
    """A node of a cluster that, as a whole, is an asynchronous replica."""
    REPLICA = "replica"
    ARBITRATOR = "arbitrator"
    HAPROXY = "haproxy"
    FIREWALL = "firewall"


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """One rendered file. `path` is relative; its first part is the site, or one of `topologies.RESERVED`."""

    path: str
    kind: Kind
    text: str = dataclasses.field(repr=False)
    secret: bool

    @property
    def site(self) -> str:
        return self.path.partition("/")[0]

    @property
    def mode(self) -> int:
        """Files with a secret are their owner's alone."""
        return 0o600 if self.secret else 0o640


PUBLIC_KEYS = "keystone/jws-keys/public"
"""Where a site's files have the public keys; nothing else may be there."""


def files(deployment: Deployment, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """All files, site by site in the order of the sites file, then those of no site."""
    clusters = topologies.clusters(deployment)
    found = [
        each
        for layout in topologies.layouts(deployment)
        for each in _site(deployment, clusters, layout, secrets)
    ]
    if deployment.arbitrator:
        found += _outside(deployment, clusters[0], deployment.arbitrator)
    if deployment.login:
        found.append(_login(deployment, deployment.login))
    return tuple(found)


def _site(
    deployment: Deployment,
    clusters: tuple[Cluster, ...],
    layout: Layout,
    secrets: Mapping[str, str],
) -> Iterator[File]:
    place = layout.place
    name = place.site.name
    if layout.own_keystone:
        yield from _keystone(deployment, place, secrets)
    for service in deployment.services:
        section = config.authtoken(
            front=place.front,
            region=place.site.region,
            public=place.www,
            user=service,
            password=secrets[service],
            memcached=place.memcached,
        )
        yield File(
            path=f"{name}/authtoken/{service}.conf",
            kind=Kind.AUTHTOKEN,
            text=config.ini({"keystone_authtoken": section}),
            secret=True,
        )
    yield from _databases(deployment, clusters, place, secrets)
    yield File(
        path=f"{name}/haproxy/haproxy.cfg",
        kind=Kind.HAPROXY,
        text=_balancer(deployment, layout),
        secret=False,
    )
    yield File(
        path=f"{name}/firewall.txt",
        kind=Kind.FIREWALL,
        text=firewall.of_site(deployment, layout),
        secret=False,
    )


def _keystone(deployment: Deployment, place: Place, secrets: Mapping[str, str]) -> Iterator[File]:
    name, paths = place.site.name, deployment.paths
    jws = deployment.provider is Provider.JWS
    text = config.keystone(
        site=name,
        database_password=secrets["keystone-database"],
        front=place.front,
        memcached=place.memcached,
        token_keys=paths["token_keys"],
        credential_keys=paths["credential_keys"],
        queue=paths["queue"],
        log_file=paths["keystone_log"],
        jws_keys=(paths["jws_public_keys"], paths["jws_private_keys"]) if jws else None,
    )
    yield File(path=f"{name}/keystone/keystone.conf", kind=Kind.KEYSTONE, text=text, secret=True)
    if not jws:
        return
    for key in (key for each in deployment.places for key in each.jws_public_keys):
        path = f"{name}/{PUBLIC_KEYS}/{key.name}.pem"
        yield File(path=path, kind=Kind.PUBLIC_KEY, text=key.pem, secret=False)


def _databases(
    deployment: Deployment,
    clusters: tuple[Cluster, ...],
    place: Place,
    secrets: Mapping[str, str],
) -> Iterator[File]:
    nodes = [
        (cluster, member)
        for cluster in clusters
        for member in cluster.members
        if member.place is place
    ]
    for cluster, member in nodes:
        yield _node(deployment, cluster, member, secrets)
    replicas = {} if nodes else place.databases
    for index, (name, address) in enumerate(replicas.items()):
        text = config.mariadb_replica(
            address=address,
            server_id=config.replica_server_id(place.number, index),
            directory=f"{deployment.paths['databases']}/{name}",
            sizing=deployment.sizing,
        )
        path = f"{place.site.name}/mariadb/{name}.cnf"
        yield File(path=path, kind=Kind.REPLICA, text=text, secret=False)
    for cluster in clusters:
        address_of_vote = cluster.arbitrators.get(place.site.name)
        if address_of_vote:
            yield _arbitrator(place.site.name, cluster, address_of_vote, place.number)


def _node(
    deployment: Deployment, cluster: Cluster, member: Member, secrets: Mapping[str, str]
) -> File:
    place = member.place
    text = config.mariadb_writer(
        site=member.node,
        segment=place.number,
        address=member.address,
        cluster=cluster.addresses,
        sst_password=secrets["state-transfer"],
        directory=f"{deployment.paths['databases']}/{member.name}",
        sizing=deployment.sizing,
        group=cluster.group,
        own_domain=None
        if member.name == NODE
        else config.replica_server_id(place.number, member.index),
        follows=cluster.follows,
    )
    return File(
        path=f"{place.site.name}/mariadb/{member.name}.cnf",
        kind=Kind.FOLLOWER if cluster.follows else Kind.NODE,
        text=text,
        secret=True,
    )


def _arbitrator(folder: str, cluster: Cluster, address: str, segment: int) -> File:
    options = config.arbitrator(
        address=address,
        segment=segment,
        nodes=[member.address for member in cluster.members],
        group=cluster.group,
    )
    return File(
        path=f"{folder}/garbd/garb.cnf",
        kind=Kind.ARBITRATOR,
        text="".join(f"{key} = {value}\n" for key, value in options.items()),
        secret=False,
    )


def _outside(deployment: Deployment, cluster: Cluster, address: str) -> list[File]:
    """The files of a vote that stands in none of the sites."""
    notes = firewall.of_arbitrator(cluster, address)
    return [
        # Segment 0 is nobody's: sites count from 1.
        _arbitrator("arbitrator", cluster, address, 0),
        File(path="arbitrator/firewall.txt", kind=Kind.FIREWALL, text=notes, secret=False),
    ]


_CHOICES = {
    # By whether nodes are told apart by their names.
    (Writing.ELECTED, False): balancing.ELECTED,
    (Writing.ELECTED, True): balancing.ELECTED_BY_NAME,
    (Writing.OWN, False): balancing.OWN,
}


def _balancer(deployment: Deployment, layout: Layout) -> str:
    place = layout.place
    binds = [place.front, *place.public]
    if place.keystone is None:
        return balancing.guest(
            binds=binds,
            keystones={each.site.name: each.front for each in layout.keystones},
            glance_address=place.glance,
            stats_socket=deployment.paths["haproxy_socket"],
            network_address=place.neutron,
        )
    named = any(member.name != NODE for member in layout.writers)
    return balancing.site(
        binds=binds,
        front=place.front,
        keystone_address=place.keystone,
        glance_address=place.glance,
        peers={
            other.site.name: (other.keystone, other.front)
            for other in layout.keystones
            if other is not place and other.keystone
        },
        local_databases=layout.readers,
        writers={each.node: (each.address, each.place.front) for each in layout.writers},
        stats_socket=deployment.paths["haproxy_socket"],
        network_address=place.neutron,
        remote_databases=layout.remote_readers,
        choice=_CHOICES[layout.writing, named],
    )


def _login(deployment: Deployment, bind: str) -> File:
    text = balancing.login(
        bind=bind,
        sites={each.site.name: each.www for each in deployment.places if each.keystone},
        stats_socket=deployment.paths["haproxy_socket"],
    )
    return File(path="login/haproxy/haproxy.cfg", kind=Kind.HAPROXY, text=text, secret=False)
