"""What each topology makes of a declaration: which Galera clusters there are, and what each site runs, reads and writes.

Pure functions over the declaration. The topologies are those of the requirements (section on identity, "Candidate solution
analysis"):

- star: one cluster over the two writer sites and a third vote; asynchronous replicas everywhere else;
- cluster: one cluster with a node in every site, each of which writes through its own node;
- multi-cluster: several clusters, of which one takes the writes and the others follow it asynchronously;
- centralized: one Keystone with its databases in one site; the others ask it.

Federation is none of them: its sites share no identity data, so that there is nothing to render for all of them.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

from isthmus.identity import config
from isthmus.identity.places import NODE, REPLICA, Deployment, Place
from isthmus.sites.inventory import Topology

# GTID domains and server ids of clusters that follow; below it are those of nodes and replicas (1000 + 10 x site + database).
_FOLLOWING_CLUSTERS = 1_000_000

_ELSEWHERE = "no site"
"""Where a vote is counted that is in none of the sites; a name of a site has no blank."""

RESERVED = ("login", "arbitrator")
"""Folders that are no site's."""


class Writing(enum.StrEnum):
    """To which node a site's writes go."""

    ELECTED = "the one node that its agent calls the writer"
    OWN = "the site's own node; another's only when that is out of step"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A Galera node. `name`: as its site's HAProxy and agent call it; `node`: its wsrep_node_name, unique in the deployment."""

    name: str
    node: str
    address: str
    index: int
    """The place among the site's databases, from 0."""
    place: Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """One Galera cluster. `arbitrators`: where a vote without data stands -> its address."""

    group: config.Group
    members: tuple[Member, ...]
    arbitrators: Mapping[str, str]
    follows: bool
    """Whether it is, as a whole, an asynchronous replica of the cluster that takes the writes."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All members, the arbitrators last."""
        return (*(member.address for member in self.members), *self.arbitrators.values())

    @property
    def votes(self) -> Counter[str]:
        """Site -> votes that are lost with it."""
        return Counter([*(member.place.site.name for member in self.members), *self.arbitrators])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What one site uses. Each mapping is in the order in which it is tried."""

    place: Place
    keystones: tuple[Place, ...]
    """Whose Keystones answer the site's front: the first, and the others when it is dead."""
    readers: Mapping[str, str]
    """The site's own databases: name -> address. Empty where the site has no Keystone."""
    remote_readers: Mapping[str, str]
    """Others' databases, for when none of its own answers."""
    writers: tuple[Member, ...]
    """Nodes that may take the site's writes. Empty where the site has no Keystone."""
    writing: Writing

    @property
    def own_keystone(self) -> bool:
        return self.place.keystone is not None


def clusters(deployment: Deployment) -> tuple[Cluster, ...]:
    """The Galera clusters; the first one takes the writes."""
    if deployment.topology is not Topology.MULTI_CLUSTER:
        return (_cluster(deployment, config.Group(), deployment.writers, follows=False),)
    labels = dict.fromkeys(place.cluster for place in deployment.places if place.cluster)
    writing = next(place.cluster for place in deployment.writers if place.cluster)
    following = [label for label in labels if label != writing]
    numbers = {label: _FOLLOWING_CLUSTERS + n for n, label in enumerate(following, start=1)}
    return tuple(
        _cluster(
            deployment,
            config.Group(
                name=f"{config.CLUSTER_NAME}-{label}",
                number=numbers.get(label, config.CLUSTER_GTID_DOMAIN),
            ),
            [place for place in deployment.places if place.cluster == label],
            follows=label in numbers,
        )
        for label in [writing, *following]
    )


def _cluster(
    deployment: Deployment,
    group: config.Group,
    places: tuple[Place, ...] | list[Place],
    *,
    follows: bool,
) -> Cluster:
    # In a star the vote stands in a site that has no node.
    voting = deployment.places if deployment.topology is Topology.STAR else places
    arbitrators = {place.site.name: place.arbitrator for place in voting if place.arbitrator}
    if deployment.arbitrator and not follows:
        arbitrators[_ELSEWHERE] = deployment.arbitrator
    return Cluster(
        group=group,
        members=tuple(member for place in places for member in _members(place)),
        arbitrators=arbitrators,
        follows=follows,
    )


def _members(place: Place) -> Iterator[Member]:
    for index, (name, address) in enumerate(place.databases.items()):
        node = place.site.name if name == NODE else name
        yield Member(name=name, node=node, address=address, index=index, place=place)


def layouts(deployment: Deployment) -> tuple[Layout, ...]:
    """What each site uses, in the order of the sites file."""
    return tuple(_layout(deployment, place) for place in deployment.places)


def _layout(deployment: Deployment, place: Place) -> Layout:
    having = [each for each in deployment.places if each.keystone is not None]
    keystones = sorted(having, key=lambda each: each is not place)
    own = deployment.topology is Topology.CLUSTER
    writers = clusters(deployment)[0].members
    if own:
        writers = tuple(sorted(writers, key=lambda each: each.place is not place))
    if place.keystone is None:
        return Layout(
            place=place,
            keystones=tuple(keystones),
            readers={},
            remote_readers={},
            writers=(),
            writing=Writing.ELECTED,
        )
    return Layout(
        place=place,
        keystones=tuple(keystones),
        readers=place.databases,
        remote_readers=_remote(deployment, place),
        writers=writers,
        writing=Writing.OWN if own else Writing.ELECTED,
    )


def _remote(deployment: Deployment, place: Place) -> dict[str, str]:
    """Nodes of other sites: those of the site's own cluster first, then those that take the writes."""
    found = clusters(deployment)
    own = [each for each in found if place in [member.place for member in each.members]]
    return {
        member.node: member.address
        for cluster in [*own, found[0]]
        for member in cluster.members
        if member.place is not place
    }


def refusal(deployment: Deployment) -> tuple[str, str] | None:
    """Why the declaration cannot work: where in it, and the cause; None if it can."""
    checks = {
        Topology.STAR: _star,
        Topology.CLUSTER: _everywhere,
        Topology.MULTI_CLUSTER: _multi,
        Topology.CENTRALIZED: _central,
    }
    # What is found first is the cause of what comes after, which may not even be asked.
    first = next(itertools.chain(_names(deployment), checks[deployment.topology](deployment)), None)
    later = itertools.chain.from_iterable(
        check(deployment) for check in (_majorities, _addresses, _keys)
    )
    return first or next(later, None)


Refusals = Iterator[tuple[str, str]]


def _names(deployment: Deployment) -> Refusals:
    for place in deployment.places:
        name = place.site.name
        if name in RESERVED:
            yield f"sites.{name}", "no site can be called so: the folder holds files of no site"
        if place.cluster and deployment.topology is not Topology.MULTI_CLUSTER:
            yield (
                f"sites.{name}.cluster",
                "only the sites of a multi-cluster are in several clusters",
            )
        if deployment.topology is not Topology.CENTRALIZED:
            if place.keystone is None:
                yield f"sites.{name}", "'keystone' is missing"
            if not place.databases:
                yield f"sites.{name}", "'databases' is missing"


def _star(deployment: Deployment) -> Refusals:
    """Two writer sites, the third vote in neither, replicas of writer sites elsewhere."""
    writers = [place.site.name for place in deployment.writers]
    if len(writers) != 2:
        yield "sites", f"a star has two writer sites, not {len(writers)}"
    if deployment.arbitrator:
        yield "arbitrator", "a star's third vote is in one of its replica sites"
    voters = [place for place in deployment.places if place.arbitrator]
    if len(voters) != 1:
        yield "sites", f"a star has one arbitrator, not {len(voters)}"
    for place in voters:
        if place.writes:
            yield (
                f"sites.{place.site.name}.arbitrator",
                "a third vote in a writer site is lost with it, and with it the majority",
            )
    for place in deployment.places:
        path = f"sites.{place.site.name}.databases"
        if place.writes:
            if list(place.databases) != [NODE]:
                yield path, f"a writer site has one database, named {NODE}"
            continue
        for name in place.databases:
            if name.removeprefix(REPLICA) not in writers or not name.startswith(REPLICA):
                known = ", ".join(REPLICA + writer for writer in writers)
                yield f"{path}.{name}", f"a replica site's databases are among: {known}"


def _everywhere(deployment: Deployment) -> Refusals:
    """A cluster over all sites: one node in each, all of them take writes."""
    if len(deployment.places) < 2:
        yield "sites", "a cluster over all sites has two sites or more"
    for place in deployment.places:
        path = f"sites.{place.site.name}"
        if not place.writes:
            yield (
                path,
                "in a cluster over all sites each is a writer site; the sites file says replica",
            )
        if list(place.databases) != [NODE]:
            yield f"{path}.databases", f"a site of a cluster has one database, named {NODE}"


def _multi(deployment: Deployment) -> Refusals:
    """Several clusters; all sites of one take writes, those of the others take none."""
    for place in deployment.places:
        if place.cluster is None:
            yield (
                f"sites.{place.site.name}",
                "'cluster' is missing: a label, equal for the sites of one cluster",
            )
        yield from _numbered(place)
    labels = list(dict.fromkeys(place.cluster for place in deployment.places))
    if len(labels) < 2:
        yield "sites", f"a multi-cluster has two clusters or more, not {len(labels)}"
    for label in labels:
        roles = {place.site.role for place in deployment.places if place.cluster == label}
        if len(roles) > 1:
            yield (
                "sites",
                f"the sites of the cluster {label!r} have different roles in the sites file",
            )
    writing = {place.cluster for place in deployment.writers}
    if len(writing) != 1:
        yield "sites", f"one cluster takes the writes (its sites are writers), not {len(writing)}"


def _central(deployment: Deployment) -> Refusals:
    """One site has a Keystone and databases, the others neither."""
    if len(deployment.writers) != 1:
        yield (
            "sites",
            f"one site has the central Keystone (its role is writer), not {len(deployment.writers)}",
        )
    for place in deployment.places:
        path = f"sites.{place.site.name}"
        if place.writes:
            if place.keystone is None:
                yield path, "'keystone' is missing"
            if not place.databases:
                yield path, "'databases' is missing"
            yield from _numbered(place)
        elif place.keystone or place.databases or place.arbitrator or place.jws_public_keys:
            yield (
                path,
                "only the site with the central Keystone has keystone, databases, an arbitrator or keys",
            )
    if deployment.arbitrator:
        yield "arbitrator", "the votes of a centralized Keystone's databases are all in its site"


def _numbered(place: Place) -> Refusals:
    name = place.site.name
    for number, database in enumerate(place.databases, start=1):
        if database != f"{name}-{number}":
            yield (
                f"sites.{name}.databases.{database}",
                f"the nodes of this site are named {name}-1, {name}-2 and so on",
            )
            return


def _majorities(deployment: Deployment) -> Refusals:
    """Votes that cannot be halved, and no site whose loss takes the majority along, if there is another."""
    for cluster in clusters(deployment):
        votes, total = cluster.votes, cluster.votes.total()
        where = ", ".join(f"{name} {count}" for name, count in votes.items())
        if total % 2 == 0:
            yield (
                "sites",
                f"{cluster.group.name} has {total} votes ({where}), which one cut can halve, and then nobody writes: "
                "take or add one vote (a node, or an arbitrator)",
            )
        sites = {member.place.site.name for member in cluster.members}
        for name, count in votes.items():
            if len(sites) > 1 and name != _ELSEWHERE and 2 * (total - count) <= total:
                yield (
                    f"sites.{name}",
                    f"{count} of the {total} votes of {cluster.group.name} are lost with this site, and with them the majority: "
                    "put the arbitrator elsewhere ('arbitrator' beside 'sites' if no site is left)",
                )


def _addresses(deployment: Deployment) -> Refusals:
    """Databases, votes and fronts listen on equal ports, so that each needs an address of its own."""
    seen: dict[str, str] = {}
    for path, address in _listeners(deployment):
        if address in seen:
            yield path, f"{address} is also {seen[address]}"
        seen[address] = path


def _listeners(deployment: Deployment) -> Iterator[tuple[str, str]]:
    if deployment.arbitrator:
        yield "arbitrator", deployment.arbitrator
    for place in deployment.places:
        path = f"sites.{place.site.name}"
        yield f"{path}.front", place.front
        for address in place.public:
            yield f"{path}.public", address
        for name, address in place.databases.items():
            yield f"{path}.databases.{name}", address
        if place.arbitrator:
            yield f"{path}.arbitrator", place.arbitrator


def _keys(deployment: Deployment) -> Refusals:
    """With JWS each Keystone signs with a key of its own, whose public half all others need."""
    owners: dict[str, str] = {}
    for place in deployment.places:
        path = f"sites.{place.site.name}"
        if (
            deployment.provider is config.Provider.JWS
            and place.keystone
            and not place.jws_public_keys
        ):
            yield (
                path,
                "'jws_public_keys' is missing: nobody could check the tokens that this site issues (keystone-manage "
                "create_jws_keypair makes a pair on the site's Keystone host, where the private key stays)",
            )
        for key in place.jws_public_keys:
            if key.pem in owners:
                yield (
                    f"{path}.jws_public_keys",
                    f"a key is also {owners[key.pem]}: a private key that two have has left its node",
                )
            owners[key.pem] = path
