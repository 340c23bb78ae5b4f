"""The engine's configuration file: read strictly, because a wrong one would show only in a disaster.

Every unknown, missing or misshapen field is named with its path. The file and the files of secrets
that it names must not be readable by others. It asks nobody anything: whether an address answers is
found out by whoever uses it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pydantic
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, SecretBytes, SecretStr

from isthmus import errors
from isthmus.sites import inventory, signing

HIGHEST_VNI = (1 << 24) - 1


class Address(pydantic.BaseModel, frozen=True):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _address(value: Any) -> Any:
    if isinstance(value, Address):
        return value
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("should look like ADDRESS:PORT")
    return Address(host=host.strip("[]"), port=int(port))


def _url(value: str) -> str:
    if fault := inventory.url_fault(value):
        raise ValueError(f"the URL {fault}")
    return value.rstrip("/")


def _site_name(value: str) -> str:
    if not inventory.NAME.fullmatch(value):
        raise ValueError("should be lower-case letters, digits and hyphens, with a letter first")
    return value


def _private_line(value: Any) -> str:
    """What stands in a file that only its owner can read."""
    return private_text(Path(str(value))).strip()


def _secret(value: Any) -> bytes:
    try:
        return signing.load_secret(Path(str(value)))
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from error


Endpoint = Annotated[Address, BeforeValidator(_address)]
Url = Annotated[str, AfterValidator(_url)]
SiteName = Annotated[str, AfterValidator(_site_name)]
FileText = Annotated[SecretStr, BeforeValidator(_private_line)]
"""A secret, given as the path of the file that holds it."""
Seconds = Annotated[float, Field(gt=0, le=86400)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_by_name=True)


class Database(_Section):
    """The listeners of the declarations: the local database to read, the writer to write."""

    reader: Endpoint
    writer: Endpoint
    user: str
    password: FileText = Field(alias="password_file")


class Identity(_Section):
    """How the engine logs in at its own site."""

    auth_url: Url
    username: str
    password: FileText = Field(alias="password_file")
    project_name: str = "service"
    user_domain_id: str = "default"
    project_domain_id: str = "default"


class Messaging(_Section):
    """The message bus of this site's Neutron."""

    url: FileText = Field(alias="url_file")


def _vni_range(value: tuple[int, int]) -> tuple[int, int]:
    first, last = value
    if not 0 < first <= last <= HIGHEST_VNI:
        raise ValueError(f"should be two numbers, the lower first, from 1 to {HIGHEST_VNI}")
    return value


class Networks(_Section):
    """What is equal in all sites for every stretched network."""

    vni_range: Annotated[tuple[int, int], AfterValidator(_vni_range)]
    """First and last VNI that stretched networks may have; reserved in every site."""
    physical_network: str = "external"
    tunnel_overhead: Annotated[int, Field(ge=0, le=500)] = 50
    """Bytes that a tunnel adds: 50 for VXLAN over IPv4 (RFC 7348)."""
    underlay_mtu: Annotated[int, Field(ge=576, le=65535)] = 1500


class Ceph(_Section):
    """The Ceph cluster behind this site's volumes, as the snapshot driver `rbd` reaches it."""

    conf: Path = Path("/etc/ceph/ceph.conf")
    user: str = "cinder"
    pool: str = "volumes"
    keyring: Path | None = None


class Recovery(_Section):
    """What a site needs to protect groups, or to take them in when their own site is lost."""

    database_url: FileText = Field(alias="database_url_file")
    """SQLAlchemy URL of the schema `isthmus_recovery` in this site's own database."""
    store_region: SiteName
    """The region whose Swift is the remote store; not the site that is protected."""
    store_container: str = "isthmus-recovery"
    signing_key_file: Path
    """Ed25519 private key (PEM) with which this site signs manifests and epochs."""
    trusted_keys: Annotated[Mapping[SiteName, str], Field(min_length=1)]
    """Public signing key (base64) of each site whose documents are believed, the own one included."""
    sealing_key_file: Path | None = None
    """X25519 private key (PEM) with which this site reads user data; None: it cannot."""
    sealed_to: Mapping[SiteName, str] = {}
    """Public sealing key (base64) of each site that may read user data of groups protected here."""
    ceph: Ceph | None = None
    backup_container: str | None = None
    """Where Cinder puts backups of volumes; None: where its own configuration says."""
    restores_at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """Volumes of one operation that are restored at the same time; whose server boots first comes
    first. As many as the cores of cinder-backup's hosts: more are not faster, and all are late."""
    hook_scripts: Path | None = None
    """The directory of hooks that run on the controller; None: there are none."""
    four_eyes: bool = True
    """Whether who asked for an operation may not approve it as well."""
    stale_members_seconds: Seconds = 30.0
    """How often it is looked whether other sites took over groups of this one; two requests to the
    remote store for each group."""


class Timing(_Section):
    """When to look and how long to wait, in seconds."""

    reconcile_seconds: Seconds = 30.0
    """How often everything is compared though nothing was heard. Each engine adds a random part."""
    audit_seconds: Seconds = 15.0
    """How often the hosts are asked what they hold: this bounds how long a lost cast is felt."""
    declarations_seconds: Seconds = 3.0
    """How often the declarations are read; reading is one small query to the local database."""
    peer_timeout_seconds: Seconds = 5.0
    lease_seconds: Seconds = 1.0
    renew_seconds: Seconds = 0.25


class Config(_Section):
    """All of the file."""

    site: SiteName
    listen: Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    peers: Mapping[SiteName, Url] = {}
    database: Database
    identity: Identity
    messaging: Messaging | None = None
    secret: Annotated[SecretBytes, BeforeValidator(_secret)] = Field(alias="secret_file")
    hosts: Mapping[str, Url] = {}
    networks: Networks
    recovery: Recovery | None = None
    timing: Timing = Timing()
    state: Path

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Config:
        """Refuse what is well-formed field by field and yet cannot work."""
        if self.site in self.peers:
            raise ValueError(f"peers names {self.site}, which is this site itself")
        if self.timing.renew_seconds * 2 > self.timing.lease_seconds:
            raise ValueError("timing: lease_seconds should be at least twice renew_seconds")
        return self

    @property
    def sites(self) -> tuple[str, ...]:
        """This site and its peers, sorted."""
        return tuple(sorted({self.site, *self.peers}))


def load(path: Path) -> Config:
    """Read and check the file; raises `errors.ConfigurationError` that names the field."""
    try:
        document = yaml.safe_load(private_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(path, f"it is not YAML (line {mark.line + 1})" if mark else "it is not YAML")
    except ValueError as error:
        _refuse(path, str(error))
    if not isinstance(document, dict):
        _refuse(path, "it should hold a mapping")
    try:
        return Config.model_validate(document)
    except pydantic.ValidationError as error:
        _refuse(path, "; ".join(_worded(fault) for fault in error.errors()))


def private_text(path: Path) -> str:
    """The text of a file that only its owner can read; raises ValueError with the remedy."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ValueError(
                f"{path}: its mode is {mode:04o}: others can read or change it (chmod 0600 {path})"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def _worded(fault: Any) -> str:
    """One fault without the value that was found, which may be a secret."""
    place = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "missing":
            return f"missing: {place}"
        case "extra_forbidden":
            return f"unknown: {place}"
        case _:
            text = str(fault["msg"]).removeprefix("Value error, ")
            return f"{place}: {text}" if place else text


def _refuse(path: Path, cause: str) -> NoReturn:
    raise errors.ConfigurationError(
        "the engine cannot use its configuration",
        where=str(path),
        cause=cause,
        unchanged="nothing was started or changed",
        next_command=f"correct {path} and start the engine again",
    ) from None
