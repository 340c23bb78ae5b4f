"""What an agent says about its site: the document of ``GET /status``, checked and typed.

It exists because the document comes from another site, and is input like any other: a field that is
missing or has the wrong shape becomes an InputError that names the field, never a crash further on.
Fields that are not known are ignored, since sites are upgraded one after the other. It is pure: who
fetches the document is :mod:`isthmus.sites.probe`, what it means :mod:`isthmus.identity.status`.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from isthmus import errors

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that could forge lines or colours on the terminal of whoever reads them."""

LONGEST_TEXT = 500
"""A sentence, not a book: longer texts of another site are cut."""

T = TypeVar("T")

DIGEST = re.compile(r"[0-9a-f]{64}")


class Kind(enum.StrEnum):
    """How an identity database takes part in replication."""

    WRITER = "writer"
    REPLICA = "replica"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Galera's view from one node."""

    status: str
    size: int
    members: tuple[str, ...]
    state: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Database:
    """One identity database of the site, as its agent sees it."""

    name: str
    kind: Kind
    serving: bool
    """Whether the load balancer should send reads to it."""
    verdict: str
    reason: str
    writer: bool
    """Whether writes of all sites go to it now."""
    position: str | None
    """GTID position, such as 100-100-512."""
    lag_seconds: float | None
    master: str | None
    """The site it replicates from now."""
    home: str | None
    """The site it should replicate from."""
    observed_age_seconds: float
    """How old the observation was when the agent answered."""
    cluster: Cluster | None
    last_event: str | None
    variables: Mapping[str, str] | None = None
    """How the server is set (`isthmus.identity.published`); None: the agent does not know, or does not tell yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyRepository:
    """A Fernet key repository: a digest over all its keys tells whether two sites hold the same."""

    digest: str
    keys: int
    primary: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queue:
    """Writes that wait for the writer."""

    pending: int
    oldest_age_seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unreadable:
    """The agent could not read this part of its site."""

    error: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Follower:
    """How an agent keeps one repository as all sites are to have it."""

    fenced: str | None
    """Why this site is fenced."""
    trouble: str | None
    """Why the repository is not as it should be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeySettings:
    """How long tokens of one kind live and how often their keys change, in seconds, as an agent was told."""

    expiration: float
    allow_expired_window: float
    clock_skew: float
    max_active_keys: int
    interval: float
    jitter: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentStatus:
    """All that an agent says about its site."""

    site: str
    version: str
    started_at: str
    databases: tuple[Database, ...]
    keys: Mapping[str, KeyRepository | Unreadable]
    """By the repository's name: token, credential."""
    queue: Queue | Unreadable
    time: datetime.datetime | None = None
    """The agent's clock when it answered."""
    packages: Mapping[str, str] | None = None
    """Releases of the distributions beside the agent. None, as below: the agent is too old to tell."""
    settings: Mapping[str, Mapping[str, str] | Unreadable] | None = None
    """Options of configuration files by name of the service, then by `section.key`."""
    followers: Mapping[str, Follower] = dataclasses.field(default_factory=dict)
    """By the repository's name."""
    key_settings: Mapping[str, KeySettings] | None = None
    """By the repository's name."""
    coherence: Mapping[str, str | None] | None = None
    """By database: why its changes are not followed; None in it: they are."""

    @property
    def rotated(self) -> frozenset[str]:
        """Names of the repositories that the agents themselves keep equal."""
        return frozenset(self.followers)


def parse(document: object, *, site: str) -> AgentStatus:
    """Check and type the document. `site` is the site that was asked.

    Raises InputError when a field is missing or has the wrong shape, or when another site answers.
    """
    root = _Field("", document)
    name = root["site"].text()
    if name != site:
        raise errors.InputError(f"the agent answers for site {name!r}, not for {site!r}")
    agent = root["agent"]
    return AgentStatus(
        site=name,
        version=agent["version"].text(),
        started_at=agent["started_at"].text(),
        databases=tuple(_database(each) for each in root["databases"].items()),
        keys={each: _repository(value) for each, value in root["keys"].fields().items()},
        queue=_queue(root["queue"]),
        time=_optional(root, "time", _Field.moment),
        packages=_optional(agent, "packages", _Field.texts),
        settings=_optional(root, "settings", _settings),
        followers=_optional(root, "key_rotation", _followers) or {},
        key_settings=_optional(root, "key_settings", _key_settings),
        coherence=_optional(root, "coherence", _coherence),
    )


def _database(field: _Field) -> Database:
    cluster = field["cluster"]
    return Database(
        name=field["name"].text(),
        kind=field["kind"].choice(Kind),
        serving=field["serving"].boolean(),
        verdict=field["verdict"].text(),
        reason=field["reason"].text(),
        writer=field["writer"].boolean(),
        position=field["position"].text_or_none(),
        lag_seconds=field["lag_seconds"].seconds_or_none(),
        master=field["master"].text_or_none(),
        home=field["home"].text_or_none(),
        observed_age_seconds=field["observed_age_seconds"].seconds(),
        cluster=None if cluster.value is None else _cluster(cluster),
        last_event=field["last_event"].text_or_none(),
        variables=_optional(field, "variables", _Field.texts),
    )


def _cluster(field: _Field) -> Cluster:
    return Cluster(
        status=field["status"].text(),
        size=field["size"].count(),
        members=tuple(each.text() for each in field["members"].items()),
        state=field["state"].text(),
    )


def _repository(field: _Field) -> KeyRepository | Unreadable:
    if "error" in field.fields():
        return Unreadable(error=field["error"].text())
    digest = field["digest"].text()
    if not DIGEST.fullmatch(digest):
        field["digest"].refuse("a SHA-256 in hexadecimal")
    return KeyRepository(
        digest=digest, keys=field["keys"].count(), primary=field["primary"].count()
    )


def _followers(field: _Field) -> dict[str, Follower]:
    return {
        name: Follower(
            fenced=_optional(each, "fenced", _Field.text),
            trouble=_optional(each, "trouble", _Field.text),
        )
        for name, each in field.fields().items()
    }


def _settings(field: _Field) -> dict[str, Mapping[str, str] | Unreadable]:
    found: dict[str, Mapping[str, str] | Unreadable] = {}
    for name, each in field.fields().items():
        error = _optional(each, "error", _Field.text)
        found[name] = each["options"].texts() if error is None else Unreadable(error=error)
    return found


def _key_settings(field: _Field) -> dict[str, KeySettings]:
    return {
        name: KeySettings(
            expiration=each["expiration"].seconds(),
            allow_expired_window=each["allow_expired_window"].seconds(),
            clock_skew=each["clock_skew"].seconds(),
            max_active_keys=each["max_active_keys"].count(),
            interval=each["interval"].seconds(),
            jitter=each["jitter"].seconds(),
        )
        for name, each in field.fields().items()
    }


def _coherence(field: _Field) -> dict[str, str | None]:
    return {
        name: None if each["followed"].boolean() else each["error"].text_or_none() or "not followed"
        for name, each in field.fields().items()
    }


def _optional(field: _Field, name: str, read: Callable[[_Field], T]) -> T | None:
    """A field that older agents do not have."""
    found = field.fields().get(name)
    return None if found is None or found.value is None else read(found)


def _queue(field: _Field) -> Queue | Unreadable:
    if "error" in field.fields():
        return Unreadable(error=field["error"].text())
    age = field["oldest_age_seconds"].seconds_or_none()
    return Queue(pending=field["pending"].count(), oldest_age_seconds=age)


@dataclasses.dataclass(frozen=True)
class _Field:
    """A value in the document together with the path that leads to it."""

    path: str
    value: Any

    def refuse(self, expected: str) -> Any:
        where = self.path or "the document"
        raise errors.InputError(f"the agent's answer is wrong: {where} should be {expected}")

    def fields(self) -> dict[str, _Field]:
        if not isinstance(self.value, dict):
            self.refuse("an object")
        prefix = f"{self.path}." if self.path else ""
        return {_clean(name): _Field(_clean(prefix + name), v) for name, v in self.value.items()}

    def __getitem__(self, name: str) -> _Field:
        fields = self.fields()
        if name not in fields:
            prefix = f"{self.path}." if self.path else ""
            _Field(prefix + name, None).refuse("there")
        return fields[name]

    def items(self) -> list[_Field]:
        if not isinstance(self.value, list):
            self.refuse("a list")
        return [_Field(f"{self.path}[{n}]", each) for n, each in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.refuse("text")
        return _clean(self.value)

    def text_or_none(self) -> str | None:
        return None if self.value is None else self.text()

    def texts(self) -> dict[str, str]:
        return {name: each.text() for name, each in self.fields().items()}

    def moment(self) -> datetime.datetime:
        try:
            found = datetime.datetime.fromisoformat(self.text())
        except ValueError:
            self.refuse("a time (ISO 8601)")
            raise
        return found if found.tzinfo else self.refuse("a time with its zone")

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.refuse("true or false")
        return bool(self.value)

    def count(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            self.refuse("a number of things")
        return int(self.value)

    def seconds(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.refuse("seconds")
        if not math.isfinite(self.value):
            self.refuse("a finite number of seconds")
        # Clocks of two hosts differ a little: a heartbeat from the future is not negative lag.
        return max(float(self.value), 0.0)

    def seconds_or_none(self) -> float | None:
        return None if self.value is None else self.seconds()

    def choice(self, accepted: type[Kind]) -> Kind:
        try:
            return accepted(self.text())
        except ValueError:
            self.refuse("one of: " + ", ".join(accepted))
            raise


def _clean(text: str) -> str:
    return CONTROL.sub(" ", text)[:LONGEST_TEXT]
