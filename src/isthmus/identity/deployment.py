"""What has to be known to render the configuration of every site, beyond the sites file: addresses, paths, sizes.

Loading is strict, as with the sites file: an unknown or missing field, or an address that is none, is an error with its path in the
document. The file holds no secrets; those are in a file of their own, see `secrets`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from isthmus import errors
from isthmus.identity import config, topologies
from isthmus.identity.config import Provider
from isthmus.identity.places import Deployment, Place, PublicKey
from isthmus.sites.inventory import NAME, Inventory, Site, Topology

SERVICES = ("glance", "neutron", "nova", "placement", "cinder")
"""Services that get a snippet unless the file names others."""

_SECRET = re.compile(r"""(?:(?![$#;"'\\])[!-~])+""")
"""oslo.config puts other options in for a $, MariaDB ends a value at a #."""

_PATHS = {
    "token_keys": "/etc/keystone/fernet-keys",
    "credential_keys": "/etc/keystone/credential-keys",
    "jws_public_keys": "/etc/keystone/jws-keys/public",
    "jws_private_keys": "/etc/keystone/jws-keys/private",
    "queue": "/var/lib/keystone/isthmus/queue.sqlite",
    "keystone_log": "/var/log/keystone/keystone.log",
    "databases": "/var/lib/isthmus",
    "haproxy_socket": "/run/haproxy/admin.sock",
}

_SIZING: dict[str, str | int] = {"max_connections": 500, "innodb_buffer_pool_size": "512M"}


def refuse_topology(topology: str, inventory: Inventory) -> None:
    """Raise for a topology that cannot be rendered, or that the sites file does not have."""
    if topology == Topology.FEDERATED:
        raise errors.UsageError(
            f"the topology {topology} cannot be rendered",
            cause="federated sites share no identity data, so that there is nothing to render for all of them; "
            "rendered are: star, cluster, multi-cluster, centralized",
            unchanged="nothing was written",
        )
    if inventory.topology != topology:
        raise errors.ConfigurationError(
            "the sites file has another topology",
            where=inventory.source,
            cause=f"it says {inventory.topology}, asked for is {topology}",
            unchanged="nothing was written",
        )


def parse(
    text: str, *, source: str, inventory: Inventory, provider: Provider = Provider.FERNET
) -> Deployment:
    """Read a deployment file for the inventory's topology. Raises ConfigurationError with the path of what is wrong."""
    refuse_topology(inventory.topology, inventory)
    reader = _Reader(source)
    optional = ["services", "paths", "sizing", "login", "arbitrator"]
    root = reader.mapping(_yaml(text, reader), "", ["sites"], optional)
    declared = reader.mapping(root["sites"], "sites", [site.name for site in inventory.sites], [])
    places = tuple(
        _place(reader, site, number, declared[site.name])
        for number, site in enumerate(inventory.sites, start=1)
    )
    found = Deployment(
        source=source,
        topology=inventory.topology,
        provider=provider,
        places=places,
        services=tuple(reader.texts(root.get("services", list(SERVICES)), "services")),
        paths={**_PATHS, **_paths(reader, root.get("paths", {}))},
        sizing={**_SIZING, **_sizing(reader, root.get("sizing", {}))},
        login=reader.address_or_none(root, "login", ""),
        arbitrator=reader.address_or_none(root, "arbitrator", ""),
    )
    if refusal := topologies.refusal(found):
        reader.refuse(*refusal)
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
    optional = [
        "public",
        "keystone",
        "neutron",
        "databases",
        "arbitrator",
        "cluster",
        "jws_public_keys",
    ]
    fields = reader.mapping(node, path, ["front", "glance", "memcached"], optional)
    databases = fields.get("databases", {})
    if not isinstance(databases, dict) or ("databases" in fields and not databases):
        reader.refuse(f"{path}.databases", "expected a mapping of names to addresses")
    return Place(
        site=site,
        number=number,
        front=reader.address(fields["front"], f"{path}.front"),
        public=tuple(
            reader.address(each, f"{path}.public")
            for each in reader.texts(fields.get("public", []), f"{path}.public")
        ),
        keystone=reader.address_or_none(fields, "keystone", path),
        glance=reader.address(fields["glance"], f"{path}.glance"),
        neutron=reader.address_or_none(fields, "neutron", path),
        memcached=reader.endpoint(fields["memcached"], f"{path}.memcached"),
        databases={
            str(name): reader.address(value, f"{path}.databases.{name}")
            for name, value in databases.items()
        },
        arbitrator=reader.address_or_none(fields, "arbitrator", path),
        cluster=reader.label(fields["cluster"], f"{path}.cluster") if "cluster" in fields else None,
        jws_public_keys=_public_keys(reader, site, fields.get("jws_public_keys", [])),
    )


def _public_keys(reader: _Reader, site: Site, node: Any) -> tuple[PublicKey, ...]:
    """Public keys as PEM; written in one way, so that equal keys are equal texts. What is refused is not repeated."""
    from cryptography import exceptions
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = f"sites.{site.name}.jws_public_keys"
    if not isinstance(node, list) or not all(isinstance(each, str) for each in node):
        reader.refuse(path, "expected a list of public keys (PEM texts)")
    found = []
    for number, text in enumerate(node, start=1):
        if "PRIVATE" in text:
            reader.refuse(
                f"{path}, key {number}",
                "this is a private key, which must not leave its host: replace the pair, and declare the public one",
            )
        try:
            key = serialization.load_pem_public_key(text.encode())
        except (ValueError, exceptions.UnsupportedAlgorithm):
            reader.refuse(f"{path}, key {number}", "expected a public key (PEM)")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            reader.refuse(
                f"{path}, key {number}",
                f"expected a key of the curve P-256, which {config.JWS_ALGORITHM} signs with",
            )
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        digest = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
        pem = key.public_bytes(serialization.Encoding.PEM, form).decode()
        found.append(PublicKey(name=f"{site.name}-{digest[:12]}", pem=pem))
    return tuple(found)


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

    def address_or_none(self, fields: Mapping[str, Any], name: str, path: str) -> str | None:
        if name not in fields:
            return None
        return self.address(fields[name], f"{path}.{name}" if path else name)

    def label(self, node: Any, path: str) -> str:
        if not isinstance(node, str) or not NAME.fullmatch(node):
            self.refuse(
                path, "expected lower-case letters, digits and hyphens, with a letter first"
            )
        return node

    def endpoint(self, node: Any, path: str) -> str:
        host, _, port = str(node).rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            self.refuse(path, "expected address:port")
        return f"{self.address(host, path)}:{port}"
