"""The agent's configuration file: read strictly, because a wrong one would show only in a disaster.

Every unknown, missing or misshapen field is named with its path. The file and the password files
must not be readable by others.
"""

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from isthmus import errors
from isthmus.identity import replication, writer
from isthmus.identity.keys.generations import Kind as KeyKind
from isthmus.identity.keys.settings import Settings

_T = TypeVar("_T")


class Kind(StrEnum):
    """What a database is: a Galera node that may take the writes, one of a cluster that follows, or an asynchronous replica."""

    WRITER = "writer"
    MEMBER = "member"
    REPLICA = "replica"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A database user."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database answers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Database:
    """One identity database of this site; `home` is the writer site that a replica belongs to, `node` the
    name that a Galera node gives itself."""

    name: str
    kind: Kind
    address: Address
    account: Account
    node: str
    home: str | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to judge and act, in seconds (`repoints_per_hour`: a number)."""

    lag_limit_seconds: float = 5.0
    freeze_after_seconds: float = 5.0
    repoint_after_seconds: float = 5.0
    home_after_seconds: float = 30.0
    heartbeat_seconds: float = 0.5
    writer_silent_seconds: float = 10.0
    repoints_per_hour: int = 12

    @property
    def replica(self) -> replication.Limits:
        return replication.Limits(
            lag_limit_seconds=self.lag_limit_seconds,
            freeze_after_seconds=self.freeze_after_seconds,
            repoint_after_seconds=self.repoint_after_seconds,
            home_after_seconds=self.home_after_seconds,
            repoints_per_hour=self.repoints_per_hour,
        )

    @property
    def writer(self) -> writer.Limits:
        return writer.Limits(
            lag_limit_seconds=self.lag_limit_seconds,
            silent_after_seconds=self.writer_silent_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A database that is reached through the load balancer, and as whom."""

    address: Address
    account: Account


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys that are rotated: by which private key this node reads them, which nodes get them (site
    -> base64 of its X25519 public key; equal in all sites), where acknowledgements are written, and
    the settings of each kind."""

    private_key_file: Path
    nodes: Mapping[str, str]
    writer: Listener
    kinds: Mapping[KeyKind, Settings]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All of the file. `masters` are in the order of the file."""

    site: str
    listen: tuple[Address, ...]
    writer_preference: tuple[str, ...]
    databases: tuple[Database, ...]
    masters: Mapping[str, Address]
    replication: Account
    key_repositories: Mapping[str, Path]
    queue: Path | None
    generation_file: Path | None
    policy: Policy
    keys: Keys | None = None
    configuration_files: Mapping[str, Path] = field(default_factory=dict)
    """keystone.conf (under `keystone`) and the files of services that check tokens, of which some options are told."""

    def master_at(self, address: Address) -> str | None:
        """The writer site whose database answers at `address`."""
        return next((name for name, known in self.masters.items() if known == address), None)


def load(path: Path) -> Config:
    """Read and check the file; raises `errors.ConfigurationError` that names the field."""
    text = _private(path)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(path, f"it is not YAML (line {mark.line + 1})" if mark else "it is not YAML")
    try:
        return _config(_Node(path=path, where="", value=document))
    except _WrongError as error:
        _refuse(path, str(error))


def _refuse(path: Path, cause: str, remedy: str | None = None) -> NoReturn:
    raise errors.ConfigurationError(
        "the agent cannot use its configuration",
        where=str(path),
        cause=cause,
        unchanged="nothing was started or changed",
        next_command=remedy or f"correct {path} and start the agent again",
    ) from None


def _private(path: Path) -> str:
    """The text of a file that only its owner can read."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            _refuse(
                path,
                f"its mode is {stat.S_IMODE(mode):04o}: others can read or change it",
                f"chmod 0600 {path}",
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _refuse(path, str(getattr(error, "strerror", None) or "it is not UTF-8 text"))


class _WrongError(Exception):
    """A field is not what it must be; becomes a ConfigurationError in `load`."""


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A value of the document and the path that leads to it."""

    path: Path
    where: str
    value: Any

    def wrong(self, expected: str) -> NoReturn:
        found = "nothing" if self.value is None else type(self.value).__name__
        raise _WrongError(f"{self.where or 'the document'} must be {expected}, found {found}")

    def mapping(self) -> dict[str, "_Node"]:
        if not isinstance(self.value, dict) or not all(isinstance(k, str) for k in self.value):
            self.wrong("a mapping")
        dot = f"{self.where}." if self.where else ""
        return {k: _Node(path=self.path, where=f"{dot}{k}", value=v) for k, v in self.value.items()}

    def items(self) -> list["_Node"]:
        if not isinstance(self.value, list):
            self.wrong("a list")
        return [
            _Node(path=self.path, where=f"{self.where}[{i}]", value=v)
            for i, v in enumerate(self.value)
        ]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.wrong("a text")
        return self.value

    def number(self, *, least: float = 0.0) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.wrong("a number")
        if self.value <= least:
            raise _WrongError(f"{self.where} must be more than {least:g}")
        return float(self.value)

    def whole(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value <= 0:
            self.wrong("a whole number above 0")
        return self.value

    def fields(self, required: str, optional: str = "") -> dict[str, "_Node"]:
        """The mapping's fields, after refusing unknown and missing ones by name."""
        found = self.mapping()
        known = {*required.split(), *optional.split()}
        place = f"{self.where}." if self.where else ""
        if unknown := sorted(found.keys() - known):
            names = ", ".join(place + name for name in unknown)
            raise _WrongError(f"unknown: {names} (known here: {', '.join(sorted(known))})")
        if missing := sorted(set(required.split()) - found.keys()):
            raise _WrongError(f"missing: {', '.join(place + name for name in missing)}")
        return found


def _config(root: _Node) -> Config:
    required = "site listen writer_preference databases"
    optional = (
        "masters replication key_repositories queue generation_file policy keys configuration_files"
    )
    top = root.fields(required, optional)
    config = Config(
        site=top["site"].text(),
        listen=tuple(_listen(node) for node in top["listen"].items()),
        writer_preference=tuple(n.text() for n in top["writer_preference"].items()),
        databases=tuple(_database(node, top["site"].text()) for node in top["databases"].items()),
        masters=_optional(top, "masters", _masters) or {},
        replication=_optional(top, "replication", _account) or Account(user="", password=""),
        key_repositories=_optional(top, "key_repositories", _paths) or {},
        queue=_optional(top, "queue", lambda node: Path(node.text())),
        generation_file=_optional(top, "generation_file", lambda node: Path(node.text())),
        policy=_optional(top, "policy", _policy) or Policy(),
        keys=_optional(top, "keys", _keys),
        configuration_files=_optional(top, "configuration_files", _paths) or {},
    )
    _consistent(config)
    return config


def _optional(found: dict[str, _Node], name: str, read: Callable[[_Node], _T]) -> _T | None:
    node = found.get(name)
    return None if node is None or node.value is None else read(node)


def _listen(node: _Node) -> Address:
    host, _, port = node.text().rpartition(":")
    if not host or not port.isdigit():
        node.wrong("ADDRESS:PORT")
    return Address(host=host.strip("[]"), port=int(port))


def _database(node: _Node, site: str) -> Database:
    found = node.fields("name kind host port user password_file", "home node")
    kind = found["kind"].text()
    if kind not in list(Kind):
        raise _WrongError(f"{found['kind'].where} must be one of {', '.join(Kind)}")
    return Database(
        name=found["name"].text(),
        kind=Kind(kind),
        address=Address(host=found["host"].text(), port=found["port"].whole()),
        account=_account_of(found),
        node=_optional(found, "node", _Node.text) or site,
        home=_optional(found, "home", _Node.text),
    )


def _account(node: _Node) -> Account:
    found = node.fields("user password_file")
    return _account_of(found)


def _account_of(found: dict[str, _Node]) -> Account:
    password = _private(Path(found["password_file"].text())).rstrip("\n")
    return Account(user=found["user"].text(), password=password)


def _masters(node: _Node) -> dict[str, Address]:
    return {name: _address(child) for name, child in node.mapping().items()}


def _address(node: _Node) -> Address:
    found = node.fields("host port")
    return Address(host=found["host"].text(), port=found["port"].whole())


def _paths(node: _Node) -> dict[str, Path]:
    return {name: Path(child.text()) for name, child in node.mapping().items()}


def _policy(node: _Node) -> Policy:
    found = node.fields("", " ".join(f.name for f in fields(Policy)))
    numbers: dict[str, Any] = {
        name: child.whole() if name == "repoints_per_hour" else child.number()
        for name, child in found.items()
    }
    return Policy(**numbers)


def _keys(node: _Node) -> Keys:
    found = node.fields("private_key_file nodes writer kinds")
    return Keys(
        private_key_file=Path(found["private_key_file"].text()),
        nodes={name: child.text() for name, child in found["nodes"].mapping().items()},
        writer=_listener(found["writer"]),
        kinds=dict(_key_kind(name, child) for name, child in found["kinds"].mapping().items()),
    )


def _listener(node: _Node) -> Listener:
    found = node.fields("host port user password_file")
    address = Address(host=found["host"].text(), port=found["port"].whole())
    return Listener(address=address, account=_account_of(found))


def _key_kind(name: str, node: _Node) -> tuple[KeyKind, Settings]:
    if name not in list(KeyKind):
        raise _WrongError(f"{node.where} is none of {', '.join(KeyKind)}")
    found = node.fields(
        "expiration allow_expired_window clock_skew", "max_active_keys interval jitter"
    )
    numbers: dict[str, Any] = {
        field: child.whole() if field == "max_active_keys" else child.number(least=-1e-9)
        for field, child in found.items()
    }
    settings = Settings(**numbers)
    if refusal := settings.refusal():
        raise _WrongError(f"{node.where}: {refusal}")
    return KeyKind(name), settings


def _consistent_keys(config: Config, keys: Keys) -> None:
    if config.site not in keys.nodes:
        raise _WrongError(f"keys.nodes does not name {config.site}, which is this site")
    if not keys.kinds:
        raise _WrongError("keys.kinds must not be empty")
    paths = [config.key_repositories.get(kind) for kind in keys.kinds]
    for kind, path in zip(keys.kinds, paths, strict=True):
        if path is None:
            raise _WrongError(f"key_repositories does not say where the {kind} keys are")
    if len(set(paths)) != len(paths):
        raise _WrongError(
            "keys.kinds: two kinds have one key repository; name the one with the longer lifetimes"
        )


def _consistent(config: Config) -> None:
    """Refuse what is well-formed field by field and yet cannot work."""
    if not config.listen or not config.databases:
        raise _WrongError("listen and databases must not be empty")
    names = [database.name for database in config.databases]
    if len(set(names)) != len(names):
        raise _WrongError("databases: two have the same name")
    nodes = [each.node for each in config.databases if each.kind is not Kind.REPLICA]
    if len(set(nodes)) != len(nodes):
        raise _WrongError("databases: two are the same node; give each its wsrep_node_name in node")
    if config.keys is not None:
        _consistent_keys(config, config.keys)
    if config.generation_file is not None and not config.replication.user:
        raise _WrongError("generation_file needs replication, the account that may read the log")
    for database in config.databases:
        _consistent_database(config, database)


def _consistent_database(config: Config, database: Database) -> None:
    if database.kind is Kind.WRITER and database.node not in config.writer_preference:
        raise _WrongError(
            f"writer_preference does not name {database.node}, which is the writer {database.name}"
        )
    if database.kind is not Kind.REPLICA:
        return
    if not config.masters or not config.replication.user:
        raise _WrongError(f"masters and replication are needed by the replica {database.name}")
    if database.home is not None and database.home not in config.masters:
        raise _WrongError(f"home of {database.name} is {database.home}, which is not in masters")
