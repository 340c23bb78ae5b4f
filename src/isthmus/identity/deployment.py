"""What has to be known to render the configuration of every site, beyond the sites file: addresses, paths, sizes.

Loading is strict, as with the sites file: an unknown or missing field, or an address that is none, is an error with its path in the
document. The file holds no secrets; those are in a file of their own, see `secrets`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from isthmus import errors
from isthmus.identity import config
from isthmus.sites.inventory import Inventory, Role, Site, Topology

NODE = "identity-db"
"""What HAProxy and the agent call a writer site's database."""
REPLICA = "replica-"
"""A replica is called after the writer site that it follows when all is well."""

SERVICES = ("glance", "neutron", "nova", "placement", "cinder")
"""Services that get a snippet unless the file names others."""

_SECRET = re.compile(r"""(?:(?![$#;"'\\])[!-~])+""")
"""oslo.config puts other options in for a $, MariaDB ends a value at a #."""

_PATHS = {
    "token_keys": "/etc/keystone/fernet-keys",
    "credential_keys": "/etc/keystone/credential-keys",
    "queue": "/var/lib/keystone/isthmus/queue.sqlite",
    "keystone_log": "/var/log/keystone/keystone.log",
    "databases": "/var/lib/isthmus",
    "haproxy_socket": "/run/haproxy/admin.sock",
}

_SIZING: dict[str, str | int] = {"max_connections": 500, "innodb_buffer_pool_size": "512M"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """The addresses of one site."""

    site: Site
    number: int
    """The site's place in the sites file, from 1."""
    front: str
    public: tuple[str, ...]
    """Further addresses of the public front; clients are sent to the first, or to `front`."""
    keystone: str
    glance: str
    neutron: str | None
    memcached: str
    databases: Mapping[str, str]
    arbitrator: str | None

    @property
    def www(self) -> str:
        """Where clients are sent to log in."""
        return self.public[0] if self.public else self.front


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """Everything but the secrets, checked against the sites file and the topology."""

    source: str
    places: tuple[Place, ...]
    services: tuple[str, ...]
    paths: Mapping[str, str]
    sizing: Mapping[str, str | int]
    login: str | None
    """Where the one login URL listens; None where there is none."""

    @property
    def writers(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.site.role is Role.WRITER)

    @property
    def cluster(self) -> tuple[str, ...]:
        """Addresses of all members: the writer sites' nodes, then the arbitrator."""
        nodes = [place.databases[NODE] for place in self.writers]
        return (*nodes, *(place.arbitrator for place in self.places if place.arbitrator))


def refuse_topology(topology: str, inventory: Inventory) -> None:
    """Raise for a topology that cannot be rendered, or that the sites file does not have."""
    if topology != Topology.STAR:
        raise errors.UsageError(
            f"the topology {topology} cannot be rendered",
            cause="this release renders: star",
            unchanged="nothing was written",
        )
    if inventory.topology is not Topology.STAR:
        raise errors.ConfigurationError(
            "the sites file has another topology",
            where=inventory.source,
            cause=f"it says {inventory.topology}, asked for is star",
            unchanged="nothing was written",
        )


def parse(text: str, *, source: str, inventory: Inventory) -> Deployment:
    """Read a deployment file for a star. Raises ConfigurationError with the path of what is wrong."""
    reader = _Reader(source)
    root = reader.mapping(
        _yaml(text, reader), "", ["sites"], ["services", "paths", "sizing", "login"]
    )
    declared = reader.mapping(root["sites"], "sites", [site.name for site in inventory.sites], [])
    places = tuple(
        _place(reader, site, number, declared[site.name])
        for number, site in enumerate(inventory.sites, start=1)
    )
    found = Deployment(
        source=source,
        places=places,
        services=tuple(reader.texts(root.get("services", list(SERVICES)), "services")),
        paths={**_PATHS, **_paths(reader, root.get("paths", {}))},
        sizing={**_SIZING, **_sizing(reader, root.get("sizing", {}))},
        login=reader.address(root["login"], "login") if "login" in root else None,
    )
    _check_star(reader, found)
    return found


def secrets(text: str, *, source: str, needed: Sequence[str]) -> dict[str, str]:
    """Read the secrets: one mapping of names to texts. Their values never reach a message.

    Raises ConfigurationError that names what is missing.
    """
    reader = _Reader(source)
    document = _yaml(text, reader)
    if not isinstance(document, dict) or not all(
        isinstance(name, str) and isinstance(value, str) and value
        for name, value in document.items()
    ):
        reader.refuse("", "expected a mapping of names to texts (in quotes)")
    missing = [name for name in needed if name not in document]
    if missing:
        reader.refuse("", f"missing: {', '.join(missing)}")
    bad = [name for name in needed if not _SECRET.fullmatch(document[name])]
    if bad:
        reader.refuse(
            bad[0],
            "use visible ASCII without blanks and without $ # ; \" ' \\, which configuration files read otherwise",
        )
    return {name: document[name] for name in needed}


def needed_secrets(deployment: Deployment) -> tuple[str, ...]:
    """The names of the secrets that the files need."""
    return ("keystone-database", "state-transfer", *deployment.services)


def _place(reader: _Reader, site: Site, number: int, node: Any) -> Place:
    path = f"sites.{site.name}"
    required = ["front", "keystone", "glance", "memcached", "databases"]
    fields = reader.mapping(node, path, required, ["public", "neutron", "arbitrator"])
    databases = fields["databases"]
    if not isinstance(databases, dict) or not databases:
        reader.refuse(f"{path}.databases", "expected a mapping of names to addresses")
    return Place(
        site=site,
        number=number,
        front=reader.address(fields["front"], f"{path}.front"),
        public=tuple(
            reader.address(each, f"{path}.public")
            for each in reader.texts(fields.get("public", []), f"{path}.public")
        ),
        keystone=reader.address(fields["keystone"], f"{path}.keystone"),
        glance=reader.address(fields["glance"], f"{path}.glance"),
        neutron=reader.address(fields["neutron"], f"{path}.neutron")
        if "neutron" in fields
        else None,
        memcached=reader.endpoint(fields["memcached"], f"{path}.memcached"),
        databases={
            str(name): reader.address(value, f"{path}.databases.{name}")
            for name, value in databases.items()
        },
        arbitrator=reader.address(fields["arbitrator"], f"{path}.arbitrator")
        if "arbitrator" in fields
        else None,
    )


def _check_star(reader: _Reader, found: Deployment) -> None:
    """What makes a star: two writer sites, the third vote in neither, replicas of writer sites elsewhere."""
    writers = [place.site.name for place in found.writers]
    if len(writers) != 2:
        reader.refuse("sites", f"a star has two writer sites, not {len(writers)}")
    voters = [place for place in found.places if place.arbitrator]
    if len(voters) != 1:
        reader.refuse("sites", f"a star has one arbitrator, not {len(voters)}")
    if voters[0].site.role is Role.WRITER:
        reader.refuse(
            f"sites.{voters[0].site.name}.arbitrator",
            "a third vote in a writer site is lost with it, and with it the majority",
        )
    for place in found.places:
        path = f"sites.{place.site.name}.databases"
        if place.site.role is Role.WRITER:
            if list(place.databases) != [NODE]:
                reader.refuse(path, f"a writer site has one database, named {NODE}")
            continue
        for name in place.databases:
            if name.removeprefix(REPLICA) not in writers or not name.startswith(REPLICA):
                known = ", ".join(REPLICA + writer for writer in writers)
                reader.refuse(f"{path}.{name}", f"a replica site's databases are among: {known}")
    addresses: dict[str, str] = {}
    for place in found.places:
        for name, address in place.databases.items():
            here = f"sites.{place.site.name}.databases.{name}"
            if address in addresses:
                reader.refuse(here, f"{address} is also {addresses[address]}")
            addresses[address] = here


def _paths(reader: _Reader, node: Any) -> dict[str, str]:
    fields = reader.mapping(node, "paths", [], list(_PATHS))
    for name, value in fields.items():
        if not isinstance(value, str) or not value.startswith("/") or value.split() != [value]:
            reader.refuse(f"paths.{name}", "expected an absolute path without blanks")
    return fields


def _sizing(reader: _Reader, node: Any) -> dict[str, str | int]:
    if not isinstance(node, dict):
        reader.refuse("sizing", "expected a mapping of MariaDB variables")
    own = set(config.mariadb_keys())
    for name, value in node.items():
        if name in own:
            reader.refuse(f"sizing.{name}", "is rendered and is no matter of size")
        if isinstance(value, bool) or not isinstance(value, str | int) or "\n" in str(value):
            reader.refuse(f"sizing.{name}", "expected a number or a text (ON and OFF in quotes)")
    return dict(node)


def _yaml(text: str, reader: _Reader) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # The parser's own words may quote the document, which may be the one with the secrets.
        mark = error.problem_mark or error.context_mark
        reader.refuse("", f"it is not YAML (line {mark.line + 1})" if mark else "it is not YAML")
    except yaml.YAMLError:
        reader.refuse("", "it is not YAML")


class _Reader:
    """Takes values out of a document, and says where one is wrong."""

    def __init__(self, source: str) -> None:
        self._source = source

    def refuse(self, path: str, cause: str) -> NoReturn:
        raise errors.ConfigurationError(
            "the declaration is wrong",
            where=f"{self._source}, {path}" if path else self._source,
            cause=cause,
            unchanged="nothing was written",
        )

    def mapping(
        self, node: Any, path: str, required: Sequence[str], optional: Sequence[str]
    ) -> dict[str, Any]:
        known = [*required, *optional]
        if not isinstance(node, dict):
            self.refuse(path, f"expected a mapping with: {', '.join(known)}")
        for name in node:
            if name not in known:
                self.refuse(path, f"{name!r} is not one of: {', '.join(known)}")
        for name in required:
            if name not in node:
                self.refuse(path, f"{name!r} is missing")
        return dict(node)

    def texts(self, node: Any, path: str) -> list[str]:
        if not isinstance(node, list) or not all(
            isinstance(each, str) and each and each.split() == [each] for each in node
        ):
            self.refuse(path, "expected a list of words")
        return list(node)

    def address(self, node: Any, path: str) -> str:
        try:
            return str(ipaddress.IPv4Address(node if isinstance(node, str) else ""))
        except ValueError:
            self.refuse(path, "expected an IPv4 address")

    def endpoint(self, node: Any, path: str) -> str:
        host, _, port = str(node).rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            self.refuse(path, "expected address:port")
        return f"{self.address(host, path)}:{port}"
