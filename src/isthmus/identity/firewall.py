"""Notes for the people who look after firewalls: what must get into a site from others, and what must not. Pure.

Nothing reads them. Everything else may stay closed between sites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.identity import config, topologies
from isthmus.identity.places import Deployment, Place
from isthmus.identity.topologies import Cluster, Layout

_GALERA = [4567, 4568, 4444]
_HEAD = (
    "# Incoming TCP of {} from other sites: source -> destination port, why.",
    "# Keystones and databases send from addresses of their sites; widen a source where NAT changes it.",
)


def of_site(deployment: Deployment, layout: Layout) -> str:
    """The notes of one site."""
    place = layout.place
    clusters = topologies.clusters(deployment)
    lines = [line.format(place.site.name) for line in _HEAD]
    if place.keystone:
        lines += _keystone(deployment, place, place.keystone)
    for cluster in clusters:
        lines += _nodes(deployment, place, cluster)
    for cluster in clusters:
        if address := cluster.arbitrators.get(place.site.name):
            lines += _vote(cluster, address)
    return "\n".join([*lines, *_denied(place, clusters), ""])


def of_arbitrator(cluster: Cluster, address: str) -> str:
    """The notes of a vote that stands in none of the sites."""
    return "\n".join([_HEAD[0].format("the arbitrator"), *_vote(cluster, address), ""])


def _keystone(deployment: Deployment, place: Place, address: str) -> list[str]:
    others = [other for other in deployment.places if other is not place]
    peers = sorted({other.front for other in others if other.keystone})
    guests = sorted({other.front for other in others if not other.keystone})
    return [
        *_allow(peers, address, [config.IDENTITY_PORT], "its Keystone, when the own one is dead"),
        *_allow(
            peers,
            place.front,
            [config.HEALTH_PORT, config.AGENT_PORT],
            "health of the front, agent",
        ),
        *_allow(
            guests,
            place.front,
            [config.IDENTITY_PORT, config.HEALTH_PORT],
            "identity of a site without a Keystone, health of the front",
        ),
    ]


def _nodes(deployment: Deployment, place: Place, cluster: Cluster) -> Iterator[str]:
    """What the nodes of this site are asked by other sites."""
    others = [other for other in deployment.places if other is not place]
    fronts = {other.front for other in others if other.keystone}
    if cluster.follows:
        # Only sites of this cluster read here when none of their own databases answers.
        fronts = {member.place.front for member in cluster.members if member.place is not place}
        streams = set()
    else:
        members = {member.address for member in cluster.members}
        streams = {
            address
            for other in others
            for address in other.databases.values()
            if address not in members
        }
    elsewhere = [
        address
        for address in cluster.addresses
        if address not in (*place.databases.values(), place.arbitrator)
    ]
    reads = "reads, when no local database answers"
    why = reads if cluster.follows else "writes; reads only when no local database answers"
    for member in cluster.members:
        if member.place is not place:
            continue
        yield from _allow(
            elsewhere,
            member.address,
            _GALERA,
            "group communication, incremental and full state transfer",
        )
        yield from _allow(
            sorted({*streams, *fronts}),
            member.address,
            [config.REPLICATION_PORT],
            "replication streams, health checks",
        )
        yield from _allow(sorted(fronts), member.address, [3306], why)


def _vote(cluster: Cluster, address: str) -> list[str]:
    nodes = [
        member.address
        for member in cluster.members
        if cluster.arbitrators.get(member.place.site.name) != address
    ]
    return _allow(nodes, address, [4567], "group communication")


def _denied(place: Place, clusters: Sequence[Cluster]) -> Iterator[str]:
    yield "# Never from another site:"
    host, _, port = place.memcached.rpartition(":")
    yield (
        f"deny any -> {host} {port}"
        "  # memcached has no authentication; who reaches it decides which tokens are valid"
    )
    if place.keystone:
        yield (
            f"deny any -> {place.front} {config.READER_PORT},{config.WRITER_PORT}"
            "  # the site's own database listeners"
        )
    nodes = {member.address for cluster in clusters for member in cluster.members}
    for address in place.databases.values():
        if address not in nodes:
            yield (
                f"deny any -> {address} 3306,{config.REPLICATION_PORT}  # a replica is read in its site only"
            )


def _allow(sources: Sequence[str], target: str, ports: Sequence[int], why: str) -> list[str]:
    listed = ",".join(str(port) for port in ports)
    return [f"allow {source} -> {target} {listed}  # {why}" for source in sources]
