"""The sites file: which sites there are, what each is for, and how each is reached.

It exists so that every command knows the same sites, in the lab and in real clouds alike. It holds
no credentials: those stay in ``clouds.yaml``, to which a site points by the name of a cloud. It
asks nobody anything: :mod:`isthmus.sites.probe` does.

Loading is strict, because a typing error in this file would otherwise become a wrong verdict about
a cloud: unknown fields, duplicates and bad names are errors that say file, line, field and what
would have been accepted.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from isthmus import errors

EXAMPLE = """\
topology: star
sites:
  - {name: paris, role: writer}
  - {name: madrid, role: replica, cloud: madrid, agent: "http://198.51.100.3:8990"}
"""
"""The smallest useful sites file; shown when there is none."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""Names become Galera node names, directories and labels of metrics: DNS labels fit all."""


Chosen = TypeVar("Chosen", bound=enum.StrEnum)


class Role(enum.StrEnum):
    """What a site is in the replication of the identity databases."""

    WRITER = "writer"
    REPLICA = "replica"


class Topology(enum.StrEnum):
    """How the identity databases of the sites are joined (requirements, section on identity)."""

    STAR = "star"
    CLUSTER = "cluster"
    MULTI_CLUSTER = "multi-cluster"
    CENTRALIZED = "centralized"
    FEDERATED = "federated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """One OpenStack region and how to reach it."""

    name: str
    role: Role
    region: str
    """The name of the region in the catalog; named like the site if the file does not say."""
    cloud: str
    """The entry of clouds.yaml to reach it by; named like the site if the file does not say."""
    agent: str | None = None
    """Base URL of the site's agent, without a trailing slash; None where no agent runs."""
    engine: str | None = None
    """Base URL of the site's engine, without a trailing slash; None where no engine runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """All sites, in the order of the file. Names and regions are unique."""

    source: str
    """The file that was read, for messages."""
    topology: Topology
    sites: tuple[Site, ...]
    login_url: str | None = None
    """The identity URL that any site answers, None where there is none."""

    @property
    def writers(self) -> tuple[Site, ...]:
        """The writer sites."""
        return tuple(site for site in self.sites if site.role is Role.WRITER)

    def site(self, name: str) -> Site:
        """Return the site of that name.

        Raises UsageError that lists the sites that exist.
        """
        for site in self.sites:
            if site.name == name:
                return site
        known = ", ".join(site.name for site in self.sites)
        raise errors.UsageError(
            f"there is no site {name!r}",
            where=self.source,
            cause=f"the sites file has: {known}",
            next_command="isthmus site list",
        )


def candidates(option: str | None, environment: Mapping[str, str]) -> list[Path]:
    """Where the sites file may be, best first.

    A file that was named (by option, else by $ISTHMUS_SITES) is the only candidate: falling back to
    another file would show other sites than the ones that were asked for.
    """
    named = option or environment.get("ISTHMUS_SITES")
    if named:
        return [Path(named).expanduser()]
    home = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return [
        Path("sites.yaml"),
        Path(home).expanduser() / "isthmus" / "sites.yaml",
        Path("/etc/isthmus/sites.yaml"),
    ]


def load(option: str | None = None, environment: Mapping[str, str] | None = None) -> Inventory:
    """Read the first sites file there is.

    `option` is the value of ``--sites``. Raises ConfigurationError when there is none, when it
    cannot be read, or when it is wrong.
    """
    places = candidates(option, os.environ if environment is None else environment)
    for path in places:
        try:
            return parse(path.read_text(encoding="utf-8"), source=str(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise errors.ConfigurationError(
                "cannot read the sites file", where=str(path), cause=cause
            ) from error
    raise _nowhere(places)


def _nowhere(places: Sequence[Path]) -> errors.ConfigurationError:
    looked = ", ".join(str(path) for path in places)
    example = "\n".join(f"  {line}" for line in EXAMPLE.splitlines())
    return errors.ConfigurationError(
        "no site is configured",
        where=looked,
        cause="no such file" if len(places) == 1 else "none of these files exists",
        unchanged="nothing was asked of any site",
        next_command="isthmus lab up      (real sites on this machine; see isthmus lab env)\n"
        f"or write a sites file beside your clouds.yaml:\n{example}",
    )


def parse(text: str, *, source: str) -> Inventory:
    """Read the text of a sites file. Raises ConfigurationError with file, line, field and cause."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        _Place(source, line).refuse("the sites file is not YAML", error.problem or "cannot be read")
    except yaml.YAMLError as error:
        _Place(source, None).refuse("the sites file is not YAML", " ".join(str(error).split()))
    if root is None:
        _Place(source, None).refuse("the sites file is empty", "it should hold a mapping")
    return _Reader(yaml, source).inventory(root)


def url_fault(text: str) -> str | None:
    """Why this is not the URL of a service, or None if it is one."""
    try:
        url = urllib.parse.urlsplit(text)
        valid_port = url.port != 0
    except ValueError:
        return "is not a URL"
    if url.scheme not in ("http", "https") or not url.hostname or not valid_port:
        return "should look like http://address:port"
    if url.username or url.password:
        return "holds credentials, which belong in clouds.yaml"
    return None


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in the file something stands."""

    source: str
    line: int | None
    path: str = ""

    def refuse(self, what: str, cause: str) -> NoReturn:
        line = f", line {self.line}" if self.line else ""
        field = f", {self.path}" if self.path else ""
        raise errors.ConfigurationError(
            what,
            where=f"{self.source}{line}{field}",
            cause=cause,
            unchanged="nothing was asked of any site",
            next_command=f"correct {self.source}, then: isthmus site list",
        )


class _Reader:
    """Turns composed YAML nodes (which know their lines) into values."""

    def __init__(self, yaml: Any, source: str) -> None:
        self._yaml = yaml
        self._source = source

    def inventory(self, root: Any) -> Inventory:
        fields = self._mapping(root, "", required=["sites"], optional=["topology", "login_url"])
        topology = Topology.STAR
        if "topology" in fields:
            topology = self._choice(fields["topology"], "field 'topology'", Topology)
        login = None
        if "login_url" in fields:
            login = self._url(fields["login_url"], "field 'login_url'")
        return Inventory(
            source=self._source,
            topology=topology,
            login_url=login,
            sites=self._sites(fields["sites"]),
        )

    def _sites(self, node: Any) -> tuple[Site, ...]:
        place = self._place(node, "field 'sites'")
        if not isinstance(node, self._yaml.SequenceNode):
            place.refuse("the sites file is wrong", "'sites' should be a list of sites")
        if not node.value:
            place.refuse("the sites file is wrong", "'sites' should hold at least one site")
        sites = tuple(self._site(each, f"site {n}") for n, each in enumerate(node.value, start=1))
        self._unique(node.value, sites, "name", lambda site: site.name)
        self._unique(node.value, sites, "region", lambda site: site.region)
        return sites

    def _site(self, node: Any, path: str) -> Site:
        fields = self._mapping(
            node, path, required=["name", "role"], optional=["region", "cloud", "agent", "engine"]
        )
        name = self._name(fields["name"], f"{path}, field 'name'")
        path = f"site {name!r}"
        return Site(
            name=name,
            role=self._choice(fields["role"], f"{path}, field 'role'", Role),
            region=self._text_or(name, fields, "region", path),
            cloud=self._text_or(name, fields, "cloud", path),
            agent=self._url_or_none(fields, "agent", path),
            engine=self._url_or_none(fields, "engine", path),
        )

    def _unique(
        self, nodes: Any, sites: tuple[Site, ...], field: str, value: Callable[[Site], str]
    ) -> None:
        seen: dict[str, int] = {}
        for node, site in zip(nodes, sites, strict=True):
            line = node.start_mark.line + 1
            if value(site) in seen:
                self._place(node, f"site {site.name!r}, field {field!r}").refuse(
                    "the sites file names something twice",
                    f"the {field} {value(site)!r} is already in line {seen[value(site)]}",
                )
            seen[value(site)] = line

    def _mapping(
        self, node: Any, path: str, *, required: list[str], optional: list[str]
    ) -> dict[str, Any]:
        place = self._place(node, path)
        if not isinstance(node, self._yaml.MappingNode):
            fields = ", ".join(required + optional)
            place.refuse("the sites file is wrong", f"expected a mapping with the fields: {fields}")
        found: dict[str, Any] = {}
        for key, value in node.value:
            here = self._place(key, path)
            name = str(key.value)
            if name not in required + optional:
                known = ", ".join(required + optional)
                here.refuse(
                    "the sites file has an unknown field", f"{name!r} is not one of: {known}"
                )
            if name in found:
                here.refuse("the sites file names something twice", f"field {name!r} stands twice")
            found[name] = value
        for name in required:
            if name not in found:
                place.refuse("the sites file lacks a field", f"{name!r} is missing")
        return found

    def _text(self, node: Any, path: str) -> str:
        # A bare number or `yes` is refused rather than guessed at: YAML reads `no` as a boolean.
        if getattr(node, "tag", "") != "tag:yaml.org,2002:str" or not node.value.strip():
            self._place(node, path).refuse(
                "the sites file is wrong", "expected some text (in quotes)"
            )
        return str(node.value)

    def _text_or(self, default: str, fields: Mapping[str, Any], field: str, path: str) -> str:
        if field not in fields:
            return default
        return self._text(fields[field], f"{path}, field {field!r}")

    def _name(self, node: Any, path: str) -> str:
        text = self._text(node, path)
        if not NAME.fullmatch(text):
            self._place(node, path).refuse(
                "the sites file has a bad name",
                f"{text!r} should be lower-case letters, digits and hyphens, with a letter first, "
                "at most 63",
            )
        return text

    def _choice(self, node: Any, path: str, accepted: type[Chosen]) -> Chosen:
        text = self._text(node, path)
        try:
            return accepted(text)
        except ValueError:
            known = ", ".join(accepted)
            self._place(node, path).refuse(
                "the sites file has a bad value", f"{text!r} is not one of: {known}"
            )

    def _url_or_none(self, fields: Mapping[str, Any], field: str, path: str) -> str | None:
        if field not in fields:
            return None
        return self._url(fields[field], f"{path}, field {field!r}")

    def _url(self, node: Any, path: str) -> str:
        text = self._text(node, path)
        fault = url_fault(text)
        if fault:
            # The text itself is not repeated: it may hold a password.
            self._place(node, path).refuse("the sites file has a bad URL", f"the URL {fault}")
        return text.rstrip("/")

    def _place(self, node: Any, path: str) -> _Place:
        return _Place(self._source, node.start_mark.line + 1, path)
