"""Every file of a deployment in star mode, made by the renderers that the lab uses. Pure: values in, texts out."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping

from isthmus.identity import balancing, config
from isthmus.identity.deployment import NODE, REPLICA, Deployment, Place
from isthmus.sites.inventory import Role


class Kind(enum.StrEnum):
    """What a file configures; it decides how two of its kind are compared."""

    KEYSTONE = "keystone"
    AUTHTOKEN = "authtoken"
    NODE = "galera node"
    REPLICA = "replica"
    ARBITRATOR = "arbitrator"
    HAPROXY = "haproxy"
    FIREWALL = "firewall"


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """One rendered file. `path` is relative; its first part is the site, or `login`."""

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


def star(deployment: Deployment, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """All files, site by site in the order of the sites file."""
    files = [each for place in deployment.places for each in _site(deployment, place, secrets)]
    if deployment.login:
        files.append(_login(deployment, deployment.login))
    return tuple(files)


def _site(deployment: Deployment, place: Place, secrets: Mapping[str, str]) -> Iterator[File]:
    name = place.site.name
    yield File(
        path=f"{name}/keystone/keystone.conf",
        kind=Kind.KEYSTONE,
        text=_keystone(deployment, place, secrets),
        secret=True,
    )
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
    yield from _databases(deployment, place, secrets)
    yield File(
        path=f"{name}/haproxy/haproxy.cfg",
        kind=Kind.HAPROXY,
        text=_balancer(deployment, place),
        secret=False,
    )
    yield File(
        path=f"{name}/firewall.txt",
        kind=Kind.FIREWALL,
        text=_firewall(deployment, place),
        secret=False,
    )


def _keystone(deployment: Deployment, place: Place, secrets: Mapping[str, str]) -> str:
    return config.keystone(
        site=place.site.name,
        database_password=secrets["keystone-database"],
        front=place.front,
        memcached=place.memcached,
        token_keys=deployment.paths["token_keys"],
        credential_keys=deployment.paths["credential_keys"],
        queue=deployment.paths["queue"],
        log_file=deployment.paths["keystone_log"],
    )


def _databases(deployment: Deployment, place: Place, secrets: Mapping[str, str]) -> Iterator[File]:
    for index, (name, address) in enumerate(place.databases.items()):
        directory = f"{deployment.paths['databases']}/{name}"
        if name == NODE:
            text = config.mariadb_writer(
                site=place.site.name,
                segment=place.number,
                address=address,
                cluster=deployment.cluster,
                sst_password=secrets["state-transfer"],
                directory=directory,
                sizing=deployment.sizing,
            )
        else:
            text = config.mariadb_replica(
                address=address,
                server_id=config.replica_server_id(place.number, index),
                directory=directory,
                sizing=deployment.sizing,
            )
        yield File(
            path=f"{place.site.name}/mariadb/{name}.cnf",
            kind=Kind.NODE if name == NODE else Kind.REPLICA,
            text=text,
            secret=name == NODE,
        )
    if place.arbitrator:
        nodes = [writer.databases[NODE] for writer in deployment.writers]
        options = config.arbitrator(address=place.arbitrator, segment=place.number, nodes=nodes)
        yield File(
            path=f"{place.site.name}/garbd/garb.cnf",
            kind=Kind.ARBITRATOR,
            text="".join(f"{key} = {value}\n" for key, value in options.items()),
            secret=False,
        )


def _balancer(deployment: Deployment, place: Place) -> str:
    return balancing.site(
        binds=[place.front, *place.public],
        front=place.front,
        keystone_address=place.keystone,
        glance_address=place.glance,
        peers={
            other.site.name: (other.keystone, other.front)
            for other in deployment.places
            if other is not place
        },
        local_databases=place.databases,
        writers={
            writer.site.name: (writer.databases[NODE], writer.front)
            for writer in deployment.writers
        },
        stats_socket=deployment.paths["haproxy_socket"],
        network_address=place.neutron,
    )


def _login(deployment: Deployment, bind: str) -> File:
    text = balancing.login(
        bind=bind,
        sites={place.site.name: place.www for place in deployment.places},
        stats_socket=deployment.paths["haproxy_socket"],
    )
    return File(path="login/haproxy/haproxy.cfg", kind=Kind.HAPROXY, text=text, secret=False)


def _firewall(deployment: Deployment, place: Place) -> str:
    """What must get in from other sites, and what must not. Everything else may stay closed between sites."""
    others = [other for other in deployment.places if other is not place]
    fronts = sorted({other.front for other in others})
    lines = [
        f"# Incoming TCP of {place.site.name} from other sites: source -> destination port, why.",
        "# Keystones and databases send from addresses of their sites; widen a source where NAT changes it.",
    ]
    lines += _allow(
        fronts, place.keystone, [config.IDENTITY_PORT], "its Keystone, when the own one is dead"
    )
    lines += _allow(
        fronts, place.front, [config.HEALTH_PORT, config.AGENT_PORT], "health of the front, agent"
    )
    members = {each.databases[NODE]: each for each in deployment.writers}
    galera = [4567, 4568, 4444]
    for address in place.databases.values():
        if address not in members:
            continue
        nodes = [each for each in deployment.cluster if each != address]
        lines += _allow(
            nodes, address, galera, "group communication, incremental and full state transfer"
        )
        replicas = [each for other in others for n, each in other.databases.items() if n != NODE]
        agents = [other.front for other in others if other.site.role is Role.REPLICA]
        sources = sorted({*replicas, *agents, *fronts})
        lines += _allow(
            sources, address, [config.REPLICATION_PORT], "replication streams, health checks"
        )
        lines += _allow(
            fronts, address, [3306], "writes; reads only when no local database answers"
        )
    if place.arbitrator:
        lines += _allow(list(members), place.arbitrator, [4567], "group communication")
    lines += [
        "# Never from another site:",
        f"deny any -> {place.memcached.rpartition(':')[0]} {place.memcached.rpartition(':')[2]}"
        "  # memcached has no authentication; who reaches it decides which tokens are valid",
        f"deny any -> {place.front} {config.READER_PORT},{config.WRITER_PORT}"
        "  # the site's own database listeners",
    ]
    for name, address in place.databases.items():
        if name.startswith(REPLICA):
            lines.append(
                f"deny any -> {address} 3306,{config.REPLICATION_PORT}  # a replica is read in its site only"
            )
    return "\n".join([*lines, ""])


def _allow(sources: list[str], target: str, ports: list[int], why: str) -> list[str]:
    listed = ",".join(str(port) for port in ports)
    return [f"allow {source} -> {target} {listed}  # {why}" for source in sources]
