"""Templates: databases made once per machine and copied for every lab.

Schema migrations take most of a cold start. A template holds a bootstrapped identity data directory (Galera position
included, so that the second node and the replicas join without a state transfer), a data directory with the schemas of
Glance and, where an environment has them, Neutron, Placement, Nova and Cinder, and the secrets that are baked into both. It
is made for one set of sites and one set of package versions; another combination gets another template. Mode 0700: it holds
password hashes and secrets.
"""

import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.running import run

_FORMAT = 2
SECRETS = (
    *("keystone", "glance-database", "replication", "agent", "sst", "admin", "glance", "demo"),
    # What an environment with networks has besides: accounts, databases, the message bus, the word that engines and hosts share.
    *("neutron", "neutron-database", "isthmus", "engine-database", "messaging", "engines"),
    # What an environment with computing has besides.
    *("nova", "nova-database", "cinder", "cinder-database", "placement", "placement-database"),
    *("swift", "swift-hash", "recovery-database", "recovery-keys"),
    # Who may approve what others ask for.
    "approver",
)

# What lies beside the templates and is made once per machine as well: the guest's image, the sites' Ceph.
OTHERS = frozenset({"ceph", "guest-image"})

# The component whose presence makes an environment one with networks.
NETWORK = "neutron"

# The same for computing.
COMPUTE = "nova"

_SEEDS = (
    "seed_identity.py",
    "template_build.py",
    "components/mariadb.py",
    "../identity/schema.py",
    "../identity/config.py",
)

# What the databases of an environment with networks are made from besides; those that are there.
_NETWORK_SEEDS = ("template_network.py", "../network/schema.py", "../plugins/neutron/db")

_COMPUTE_SEEDS = ("template_compute.py", "components/service_config.py", "../store")
_COMPUTE_PACKAGES = ("nova", "cinder", "openstack-placement", "swift")


@dataclass(frozen=True, kw_only=True)
class Template:
    """A finished template: where it is, and the GTID position of its identity data (`domain-server-sequence`)."""

    path: Path
    gtid: str

    @property
    def identity(self) -> Path:
        return self.path / "identity"

    @property
    def local(self) -> Path:
        return self.path / "local"

    def secret(self, name: str) -> str:
        """One of `SECRETS`."""
        return str(json.loads((self.path / "secrets.json").read_text())[name])


def all_secrets(path: Path) -> list[str]:
    """The values of all secrets of the template at `path`."""
    return [str(value) for value in json.loads((path / "secrets.json").read_text()).values()]


def load(path: Path) -> Template | None:
    """The template at `path`, or None if there is none."""
    try:
        return Template(path=path, gtid=json.loads((path / "template.json").read_text())["gtid"])
    except FileNotFoundError:
        return None


def computing(environment: Environment) -> list[SiteSpec]:
    """The sites in which servers run."""
    return [site for site in environment.sites if COMPUTE in site.components]


def key(environment: Environment) -> str:
    """Names the template that fits: changes with the environment, the packages and the programs that make it."""
    folder = Path(str(importlib.resources.files("isthmus.lab")))
    parts = [
        str(_FORMAT),
        *(f"{site.name} {site.role} {site.front} {site.management}" for site in environment.sites),
        _mariadb_version(),
        *(importlib.metadata.version(name) for name in ("keystone", "glance")),
        *((folder / name).read_text() for name in _SEEDS),
    ]
    if networked := [site.name for site in environment.sites if NETWORK in site.components]:
        parts += [*networked, importlib.metadata.version("neutron")]
        parts += _texts(folder, _NETWORK_SEEDS)
    if served := [site.name for site in computing(environment)]:
        parts += [*served, *(importlib.metadata.version(name) for name in _COMPUTE_PACKAGES)]
        parts += _texts(folder, _COMPUTE_SEEDS)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _mariadb_version() -> str:
    return run(["mariadbd", "--version"]).stdout


def _texts(folder: Path, names: Sequence[str]) -> list[str]:
    """The Python sources at or below these places of a folder, in a fixed order."""
    found: list[Path] = []
    for name in names:
        path = folder / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [source.read_text() for source in found]


def new_secrets() -> dict[str, str]:
    """Fresh random passwords, 32 characters that need no quoting anywhere."""
    return {name: secrets.token_hex(16) for name in SECRETS}
